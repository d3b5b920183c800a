"""The two sides of a comparison, from filters to joined arrays: formed here and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError
from multibench.reports.evaluated import Evaluated, Units, evaluated, units_of
from multibench.reports.groups import refuse_mixture, trained_apart
from multibench.reports.looks import added_later
from multibench.reports.pairing import pairing_of
from multibench.reports.scores import chosen_title, describe_setting, metrics_of, seed_for
from multibench.results import Chosen, Results, select_settings
from multibench.results.filters import RunFilter

__all__ = ["MATCHES", "Sides", "joined_sides"]

MATCHES = ("seeds", "step", "size")
"""What base and experiment can be matched on."""

_FIELDS = {"step": "step", "size": "parameters"}


@dataclass(frozen=True, eq=False)
class Sides:
    """Base and experiment on one evaluation: what the statistics take.

    ``run_info`` has the columns ``seed``, ``finetune_seed`` and ``intervention``; ``outputs`` is
    ``(n_runs, n_examples, n_outputs)`` with the base's runs first; ``labels`` ``(n_examples,)``.
    """

    evaluation: str
    metric: str
    run_info: dict[str, list[Any]]
    outputs: NDArray[np.float32]
    labels: NDArray[Any]
    ids: tuple[str, ...]
    """Names of the examples."""
    paired: bool
    pairing: str
    """Why the sides are paired, or are not, in a few words."""
    units: Units
    corrections: NDArray[np.float64] | None
    """``(n_runs,)``: what is added to runs' scores for the luck of a choice; None where there was none."""
    common: tuple[Any, ...]
    """Pretraining seeds that both sides have, where they could be paired on these only."""
    selection: str
    as_released: bool
    rng: int
    """Seed of the bootstrap, a function of the runs compared."""
    base: str
    experiment: str
    """The filters."""
    at: str = ""
    """What the sides were matched on: ``step 20,000``."""
    remarks: tuple[str, ...] = ()
    """What else sets the sides apart, in sentences."""
    later: tuple[str, ...] = ()
    """Sentences on seeds that were made long after the others: somebody may have looked in between."""

    @property
    def title(self) -> str:
        """Evaluation and, where there is one, the value that was matched on."""
        return f"{self.evaluation}, {self.at}" if self.at else self.evaluation

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the functions of ``multibench.stats`` that take two groups."""
        return {**self.units.options(), "corrections": self.corrections}

    def seeds_and_runs(self, experiment: bool) -> tuple[int, int]:
        """Pretraining seeds of one side, and runs of each (of the one with fewest)."""
        info = self.run_info
        counts = Counter(
            s for s, flag in zip(info["seed"], info["intervention"], strict=True) if flag == experiment
        )
        return len(counts), min(counts.values())


def joined_sides(
    results: Results,
    base: str | RunFilter,
    experiment: str | RunFilter,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    match: Sequence[str] = (),
) -> Iterator[Sides]:
    """One ``Sides`` for each evaluation that both filters' runs have in common.

    ``paired`` None leaves it to ``pairing.pairing_of``. Without ``metric`` each evaluation's headline metric is taken,
    "all" takes every one. ``match`` compares like with like: on ``seeds`` pairs the
    pretraining seeds that both sides have and leaves out the others; on ``step`` and ``size`` (number of parameters)
    makes one comparison for each value that both sides have. Raises ``ResultsError`` if a side is empty, the sides
    share a run, a side mixes groups of checkpoints or still has several settings, or nothing is in common.
    """
    unknown = [name for name in match if name not in MATCHES]
    if unknown:
        raise ResultsError(f"Sides cannot be matched on '{unknown[0]}'; they can on {', '.join(MATCHES)}.")
    sides = (results.where(base), results.where(experiment))
    for name, text, side in zip(("base", "experiment"), (base, experiment), sides, strict=True):
        if not len(side):
            raise ResultsError(f"The {name} filter '{text}' accepts no stored run.")
    shared = {run.run_id for run in sides[0].stored} & {run.run_id for run in sides[1].stored}
    if shared:
        raise ResultsError(
            f"Base and experiment share {len(shared)} runs, such as {min(shared)}; narrow the filters."
        )
    if "seeds" in match:
        paired = True
    found = [
        one
        for at, own in _matched(sides, [_FIELDS[name] for name in match if name in _FIELDS])
        for one in _joined(own, (str(base), str(experiment)), at, task, metric, paired, rule)
    ]
    if not found:
        raise ResultsError("Base and experiment were scored on no evaluation and metric in common.")
    yield from found


def _matched(
    sides: tuple[Results, Results], fields: list[str]
) -> Iterator[tuple[str, tuple[Results, Results]]]:
    """The sides cut into pieces of equal ``fields``, each with a title."""
    if not fields:
        yield "", sides
        return
    values = [{tuple(run.fields[f] for f in fields) for run in side.stored} for side in sides]
    common = sorted(key for key in values[0] & values[1] if None not in key)
    if not common:
        raise ResultsError(
            f"Base and experiment have no {' and '.join(fields)} in common: base has {_listed(values[0])}, "
            f"experiment has {_listed(values[1])}."
        )
    for key in common:
        at = ", ".join(f"{field} {value:,}" for field, value in zip(fields, key, strict=True))
        one = RunFilter(at, tuple((f, (str(v),)) for f, v in zip(fields, key, strict=True)))
        yield at, (sides[0].where(one), sides[1].where(one))


def _listed(values: set[tuple[Any, ...]]) -> str:
    texts = sorted(" and ".join("none" if v is None else f"{v:,}" for v in key) for key in values)
    return ", ".join(texts[:5]) + (", ..." if len(texts) > 5 else "")


def _joined(
    sides: tuple[Results, Results],
    filters: tuple[str, str],
    at: str,
    task: str | None,
    metric: str | None,
    paired: bool | None,
    rule: str | None,
) -> Iterator[Sides]:
    chosen = [
        {c.task: c for c in _one_setting(side, rule, name, task)}
        for side, name in zip(sides, ("base", "experiment"), strict=True)
    ]
    tasks = [t for t in sorted(set(chosen[0]) & set(chosen[1])) if task in (None, t)]
    if not tasks and not at:
        raise ResultsError(f"Base and experiment have no task in common{f' named {task}' if task else ''}.")
    for name in tasks:
        yield from _of_task((chosen[0][name], chosen[1][name]), filters, at, metric, paired)


def _one_setting(side: Results, rule: str | None, name: str, only: str | None) -> list[Chosen]:
    """The side's runs by task, all of them one group under one setting; of one task if ``only`` names it."""
    by_task: dict[str, list[Chosen]] = {}
    for chosen in select_settings(side, rule):
        if only in (None, chosen.task):
            by_task.setdefault(chosen.task, []).append(chosen)
    merged = []
    for task, parts in by_task.items():
        groups = [part.group for part in parts]
        if len(set(groups)) < len(groups):
            settings = "; ".join(describe_setting(part) for part in parts)
            raise ResultsError(
                f"The {name} side has several settings for {task} ({settings}) and its selection rule keeps them "
                "all. Filter by one of them, or give --select best_mean_dev."
            )
        if len(parts) > 1:
            refuse_mixture(parts, name, task)
        runs = tuple(run for part in parts for run in part.runs)
        if len(parts) == 1:
            merged.append(parts[0])
            continue
        merged.append(Chosen(groups[0], task, runs, parts[0].varied, parts[0].selection, parts[0].estimand))
    return merged


def _of_task(
    chosen: tuple[Chosen, Chosen], filters: tuple[str, str], at: str, metric: str | None, paired: bool | None
) -> Iterator[Sides]:
    base, experiment = chosen
    evaluations = Results(experiment.runs).evaluations()
    for evaluation in Results(base.runs).evaluations():
        if evaluation not in evaluations:
            continue
        known = [set(metrics_of(side, evaluation, "all")) for side in chosen]
        for name in metrics_of(base, evaluation, metric):
            if name not in known[1]:
                continue
            sides = evaluated(base, evaluation, name), evaluated(experiment, evaluation, name)
            if sides[0] is not None and sides[1] is not None:
                yield _joined_arrays((sides[0], sides[1]), filters, at, paired)


def _later(side: Evaluated) -> str | None:
    found = added_later(side.chosen.runs)
    return None if found is None else f"{chosen_title(side.chosen)}, {side.evaluation}: {found}"


def _joined_arrays(
    sides: tuple[Evaluated, Evaluated], filters: tuple[str, str], at: str, paired: bool | None
) -> Sides:
    base, experiment = sides
    evaluation, name = base.evaluation, base.metric
    if base.tensor.ids != experiment.tensor.ids:
        raise ResultsError(f"Base and experiment were scored on different examples of {evaluation}.")
    columns = [side.run_info for side in sides]
    info = {key: [*columns[0][key], *columns[1][key]] for key in columns[0]}
    info["intervention"] = [False] * len(base.tensor.runs) + [True] * len(experiment.tensor.runs)
    found = pairing_of(base.tensor, experiment.tensor, paired)
    corrections = None
    if base.choice is not None or experiment.choice is not None:
        own = [np.zeros(len(s.tensor.runs)) if s.corrections is None else s.corrections for s in sides]
        corrections = np.concatenate(own)
    runs = (*base.chosen.runs, *experiment.chosen.runs)
    return Sides(
        evaluation=evaluation,
        metric=name,
        run_info=info,
        outputs=np.concatenate([side.tensor.outputs for side in sides]),
        labels=base.labels,
        ids=base.tensor.ids,
        paired=found.paired,
        pairing=found.why,
        units=units_of(base.tensor),
        corrections=corrections,
        common=found.common,
        selection=f"{base.chosen.selection} / {experiment.chosen.selection}",
        as_released=base.tensor.as_released and experiment.tensor.as_released,
        rng=seed_for(evaluation, name, *(run.run_id for run in runs)),
        base=filters[0],
        experiment=filters[1],
        at=at,
        remarks=(*base.tensor.remarks, *trained_apart(base.chosen, experiment.chosen)),
        later=tuple(filter(None, (_later(side) for side in sides))),
    )
