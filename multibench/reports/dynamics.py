"""Scores along pretraining: a row for each step, with bands that hold for all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError, StatisticsError
from multibench.reports.cells import Cell, Name, Quantity, count, level_text, say, shown
from multibench.reports.evaluated import evaluated, units_of
from multibench.reports.scores import describe_setting, metrics_of, score_notes
from multibench.reports.tables import Table
from multibench.results import Chosen, PredictionTensor, Results, select_settings
from multibench.stats import Dynamics, StepEstimates
from multibench.stats import dynamics as analyse
from multibench.stats.sizes import ImpossibleSizeError, possible_size

__all__ = ["StepCurve", "dynamics", "step_curves"]


@dataclass(frozen=True)
class StepCurve:
    """One family, evaluation and metric along its steps; ``settings`` and ``selections`` belong to them."""

    family: str
    evaluation: str
    metric: str
    settings: tuple[str, ...]
    selections: tuple[str, ...]
    found: Dynamics
    as_released: bool

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: value for key, value in vars(self).items() if key != "found"} | self.found.to_dict()


def step_curves(
    results: Results,
    task: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
    family: str | None = None,
    rule: str | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
) -> tuple[list[StepCurve], list[str]]:
    """A curve for each family that has runs of one architecture at two steps or more, evaluation and metric.

    Where a selection rule keeps several settings, each that steps have in common is a curve of its own; where it
    chose one for each step, the curve is of those. With them come sentences on curves that cannot be drawn (no
    seed that all steps have). Raises ``ResultsError`` if there is no curve at all, and ``StatisticsError`` for a
    margin that is not above 0 or that no two scores can differ by.
    """
    if margin is not None:
        possible_size(margin, "margin")
    curves: list[StepCurve] = []
    refused: list[str] = []
    for steps in _families(results, task, family, rule):
        evaluations = Results([run for chosen in steps for run in chosen.runs]).evaluations()
        for evaluation in evaluations:
            having = [c for c in steps if evaluation in Results(c.runs).evaluations()]
            tensor = Results([run for chosen in having for run in chosen.runs]).predictions(evaluation)
            if tensor.labels is None or len(having) < 2 or len(tensor.ids) < 2:
                continue
            info = {**tensor.run_info(), "step": [run["step"] for run in tensor.runs]}
            for name in metrics_of(having[0], evaluation, metric):
                try:
                    found = analyse(
                        info,
                        tensor.outputs,
                        tensor.labels,
                        name,
                        margin,
                        alpha,
                        confidence,
                        corrections=_corrections(having, evaluation, name, tensor),
                        **units_of(tensor).options(),
                    )
                except ImpossibleSizeError:
                    raise
                except StatisticsError as error:
                    refused.append(f"{tensor.runs[0]['family']}, {evaluation}, {name}: {error}")
                    continue
                curve = StepCurve(
                    tensor.runs[0]["family"],
                    evaluation,
                    name,
                    tuple(describe_setting(chosen) for chosen in having),
                    tuple(chosen.selection for chosen in having),
                    found,
                    tensor.as_released,
                )
                curves.append(curve)
                if any(chosen.estimand != "mean" for chosen in having):
                    refused.append(
                        f"{curve.family}, {evaluation}, {name}: means over seeds are shown, not medians."
                    )
    if not curves and refused:
        raise ResultsError(refused[0])
    if not curves:
        asked = "".join(
            f", {k} {v}" for k, v in (("family", family), ("task", task), ("metric", metric)) if v
        )
        raise ResultsError(
            f"There are no runs of one family at two steps or more that were scored{asked}. Families with steps are "
            "multiberts (step_20k to step_2000k) and pocket."
        )
    return curves, refused


def _families(
    results: Results, task: str | None, family: str | None, rule: str | None
) -> Iterator[Sequence[Chosen]]:
    """For each family, architecture, task and setting its steps in order, two or more."""
    found: dict[tuple[Any, ...], dict[Any, list[Chosen]]] = {}
    for chosen in select_settings(results, rule):
        fields = chosen.runs[0].fields
        if fields["pretraining_seed"] is None or fields["step"] is None:
            continue
        if task in (None, chosen.task) and family in (None, fields["family"]):
            trained_on = (fields["task_version"], fields["training_data"], fields["imported"])
            key = (fields["family"], fields["parameters"], chosen.task, fields["held_out"], *trained_on)
            found.setdefault(key, {}).setdefault(fields["step"], []).append(chosen)
    for steps in found.values():
        if all(len(settings) == 1 for settings in steps.values()):
            groups = [[settings[0] for settings in steps.values()]]
        else:
            by_setting: dict[str, list[Chosen]] = {}
            for settings in steps.values():
                for chosen in settings:
                    by_setting.setdefault(describe_setting(chosen), []).append(chosen)
            groups = list(by_setting.values())
        for group in groups:
            if len(group) > 1:
                yield sorted(group, key=lambda chosen: chosen.runs[0].fields["step"])


def _corrections(
    steps: Sequence[Chosen], evaluation: str, metric: str, tensor: PredictionTensor
) -> NDArray[np.float64] | None:
    """What is added to each run's score for the luck of the choices at the steps; None where nothing was chosen."""
    own: dict[str, float] = {}
    for chosen in steps:
        one = evaluated(chosen, evaluation, metric)
        if one is not None and one.choice is not None:
            own |= {run.run_id: -one.choice.optimism for run in chosen.runs}
    return np.array([own.get(run["run_id"], 0.0) for run in tensor.runs]) if own else None


def dynamics(
    results: Results,
    task: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
    family: str | None = None,
    rule: str | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
) -> Table:
    """Score, noise of seeds and agreement at each step; from which step on nothing changes by ``margin`` or more.

    ``margin`` is a fraction (0.005 is half a point); without it no step is claimed. ``alpha`` is the chance at
    which the step named may come too early. Arguments and errors otherwise as in ``step_curves``.
    """
    rows: list[dict[str, Cell]] = []
    level = Quantity(confidence, level_text(confidence), "confidence level")
    notes: list[str] = [
        say(
            "Scores have intervals (",
            level,
            ") by surrogate mean squares, each by itself; bands hold for all steps at once, at a joint level. Bands of "
            "agreement are Bonferroni's. All are over the pretraining seeds that every step has. Differences are "
            "paired: this step minus the last.",
        )
    ]
    curves, refused = step_curves(results, task, metric, margin, family, rule, alpha, confidence)
    for curve in curves:
        rows += [_row(curve, step, index) for index, step in enumerate(curve.found.steps)]
        notes += _notes(curve)
    notes += refused
    columns = list(dict.fromkeys(name for row in rows for name in row))
    kept = [c for c in columns if c == "selection" or any(shown(row.get(c)) for row in rows)]
    details = {"dynamics": [curve.to_dict() for curve in curves]}
    units = "Scores and agreement in percent, differences and sd in points."
    return Table("Dynamics", tuple(kept), tuple(rows), tuple(dict.fromkeys(notes)), details, units)


def _row(curve: StepCurve, step: StepEstimates, index: int) -> dict[str, Cell]:
    settled = curve.found.settled
    row: dict[str, Cell] = {
        "family": curve.family,
        "setting": curve.settings[index],
        "evaluation": curve.evaluation,
        "metric": curve.metric,
        "step": Quantity(step.step, f"{step.step:,}", "pretraining step"),
        f"score [{level_text(curve.found.level)}]": step.score,
        f"score [{level_text(curve.found.level)} band]": step.band,
        "sd of seeds": step.seed_sd,
        f"agreement of seeds [{level_text(curve.found.level)} band]": step.agreement_band,
        "minus last": None if step.difference is None else step.difference.estimate,
    }
    if settled is not None:
        last = index == len(settled.steps)
        row["p (from here on equivalent)"] = None if last else settled.p_values[index]
        from_here = settled.step is not None and step.step >= settled.step
        row["settled"] = "last" if last else from_here
    return row | {
        "pretraining seeds": step.score.n_seeds,
        "runs": step.score.n_runs,
        "examples": step.score.n_examples,
        "selection": curve.selections[index],
    }


def _notes(curve: StepCurve) -> list[str]:
    setting = curve.settings[0] if len(set(curve.settings)) == 1 else "setting chosen at each step"
    where = ", ".join(filter(None, (curve.family, curve.evaluation, curve.metric, setting))) + ": "
    settled = curve.found.settled
    notes: list[str] = []
    if settled is not None:
        margin = Quantity(
            settled.margin,
            f"{100 * settled.margin:g} point{'' if settled.margin == 0.01 else 's'}",
            "margin",
        )
        if settled.step is None:
            why = f" ({settled.reason})" if settled.reason else ""
            notes.append(
                say(
                    Name(where),
                    "no earlier step is shown to be within ",
                    margin,
                    " of the last",
                    Name(why),
                    ".",
                )
            )
        else:
            notes.append(
                say(
                    Name(where),
                    "from step ",
                    Quantity(settled.step, f"{settled.step:,}", "pretraining step"),
                    " on every step measured is within ",
                    margin,
                    " of the last. The chance that this step comes too early is at most ",
                    Quantity(settled.alpha, f"{settled.alpha:.0%}", "error rate"),
                    " (two one-sided tests a step, from the last one backwards; steps between are not spoken of).",
                )
            )
    notes += [f"{where}{warning}" for warning in curve.found.warnings]
    if curve.found.n_seeds == 1:
        only = count(curve.found.n_seeds, "pretraining seed")
        notes.append(say(Name(where), only, ": all of this is about that checkpoint's training alone."))
    return [*notes, *score_notes(curve.evaluation, curve.metric, curve.as_released)]
