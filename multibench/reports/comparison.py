"""Base against experiment: both scores, their difference, and what may be said of several differences together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from multibench.reports.cells import Cell, Name, Quantity, level_text, mention, p_value, say
from multibench.reports.evaluated import few_notes
from multibench.reports.scores import how_intervals, score_notes
from multibench.reports.sides import Sides, joined_sides
from multibench.reports.tables import Table
from multibench.results import Results
from multibench.results.filters import RunFilter
from multibench.stats import Comparison, Inference, compare_groups, joint_of
from multibench.stats.compare import Method
from multibench.stats.groups import ranks_of

__all__ = ["compare", "comparison_table"]


_FIXED = "p-values are two-sided, and hold for a number of seeds that was fixed beforehand."
_ALWAYS = (
    "Intervals and two-sided p-values hold however often one has looked while pretraining seeds were added."
)


def compare(
    results: Results,
    base: str | RunFilter,
    experiment: str | RunFilter | Sequence[str | RunFilter],
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    nboot: int = 2000,
    confidence: float = 0.95,
    match: Sequence[str] = (),
    method: Method = "surrogate",
    always_valid: bool = False,
) -> Table:
    """Compare the runs that the filters ``base`` and ``experiment`` accept, a row for each evaluation.

    ``experiment`` may be several filters: each is compared with the base. Other arguments and errors as in
    ``sides.joined_sides``. ``method`` ``multibootstrap`` gives the published percentile intervals, of ``nboot`` draws.
    ``always_valid`` makes intervals and p-values hold however often one has looked while seeds were added. Several
    comparisons have simultaneous intervals beside their own, and adjusted p-values that agree with them.
    """
    experiments = [experiment] if isinstance(experiment, (str, RunFilter)) else list(experiment)
    sides = (
        one
        for filter_ in experiments
        for one in joined_sides(results, base, filter_, task, metric, paired, rule, match)
    )
    return comparison_table(sides, nboot, confidence, method, always_valid)


def comparison_table(
    sides: Iterable[Sides],
    nboot: int = 2000,
    confidence: float = 0.95,
    method: Method = "surrogate",
    always_valid: bool = False,
) -> Table:
    """The comparisons of ``sides``, a row each. See ``compare``."""
    every = list(sides)
    found = [_compared(side, nboot, confidence, method, always_valid) for side in every]
    rows = [_row(side, one) for side, one in zip(every, found, strict=True)]
    notes: list[str] = []
    abouts: dict[str, list[str]] = {}
    for side, one in zip(every, found, strict=True):
        abouts.setdefault(one.about, []).append(side.title)
        notes += [*_notes(side, one, confidence), *(() if always_valid else side.later)]
    filters = list(dict.fromkeys((side.base, side.experiment) for side in every))
    head: list[str] = []
    if len(filters) == 1:
        head.append(say("Base: ", Name(filters[0][0]), ". Experiment: ", Name(filters[0][1]), "."))
    head += [how_intervals(confidence, method, nboot), _ALWAYS if always_valid else _FIXED]
    adjusted = _adjust(rows, every, found) if method == "surrogate" else False
    if adjusted:
        head.append(
            "The simultaneous intervals hold all together, and p (adjusted) is at most one minus their level exactly "
            "where they exclude 0: for every comparison of this table."
        )
    head += few_notes(
        [
            ("", s.title, few)
            for s, o in zip(every, found, strict=True)
            if o.inference
            for few in o.inference.few
        ]
    )
    for sentence, titles in abouts.items():
        head.append(f"{'All' if len(abouts) == 1 < len(titles) else ', '.join(titles)}: about {sentence}.")
    hidden = {"about", "base seeds", "experiment seeds", "base runs", "experiment runs"}
    if len(filters) < 2:
        hidden |= {"from", "to"}
    if not any(row["at"] for row in rows):
        hidden.add("at")
    columns = tuple(name for name in rows[0] if name not in hidden)
    extra: dict[str, Any] = {"comparisons": [_details(s, o) for s, o in zip(every, found, strict=True)]}
    ranks = _ranks(every, found, confidence) if method == "surrogate" else {}
    if ranks:
        extra["ranks"] = [
            {"evaluation": e, "group": g, "best": b, "worst": w} for (e, g), (b, w) in ranks.items()
        ]
        notes += _rank_notes(ranks, confidence)
    said_once = tuple(dict.fromkeys([*head, *notes]))
    return Table(
        "Comparison", columns, tuple(rows), said_once, extra, "Scores in percent, differences in points."
    )


def _compared(side: Sides, nboot: int, confidence: float, method: Method, always_valid: bool) -> Comparison:
    return compare_groups(
        side.run_info,
        side.outputs,
        side.labels,
        side.metric,
        paired_seeds=side.paired,
        nboot=nboot,
        rng=side.rng,
        confidence=confidence,
        method=method,
        always_valid=always_valid,
        **side.options(),
    )


def _row(side: Sides, found: Comparison) -> dict[str, Cell]:
    base, experiment = found.base, found.experiment
    return {
        "from": side.base,
        "to": side.experiment,
        "evaluation": side.evaluation,
        "at": side.at,
        "metric": side.metric,
        "base": base,
        "experiment": experiment,
        "difference": found.difference,
        "p": p_value(found.p_value),
        **({} if found.runs is None else {"p (these two runs)": p_value(found.runs.p_value)}),
        "pairing": side.pairing,
        "seeds": f"{base.n_seeds} / {experiment.n_seeds}",
        "runs": f"{base.n_runs} / {experiment.n_runs}",
        "examples": found.difference.n_examples,
        "selection": side.selection,
        "over": found.difference.over,
        "method": found.difference.method,
        "about": found.about,
        "base seeds": base.n_seeds,
        "experiment seeds": experiment.n_seeds,
        "base runs": base.n_runs,
        "experiment runs": experiment.n_runs,
    }


def _details(side: Sides, found: Comparison) -> dict[str, Any]:
    return {
        "evaluation": side.evaluation,
        "at": side.at,
        "metric": side.metric,
        "base_filter": side.base,
        "experiment_filter": side.experiment,
        "pairing": side.pairing,
        **found.to_dict(),
    }


def _notes(side: Sides, found: Comparison, confidence: float) -> list[str]:
    """What there is to say of one comparison."""
    notes: list[str] = list(found.warnings)
    if found.difference.reason:
        notes.append(f"{side.title}: no interval: {found.difference.reason}.")
    if found.runs is not None:
        notes.append(
            say(
                Name(f"{side.title}: of these two runs, {found.runs.method}: p = "),
                p_value(found.runs.p_value),
                ". It says nothing about other runs.",
            )
        )
    if side.corrections is not None:
        notes.append(
            f"{side.title}: settings were chosen on this split; scores are those of what was chosen, without the luck "
            "of the choice."
        )
    if side.common:
        notes.append(_on_common_seeds(side, confidence))
    return [*notes, *score_notes(side.evaluation, side.metric, side.as_released), *side.remarks]


def _on_common_seeds(side: Sides, confidence: float) -> str:
    """What pairing on the seeds that both sides have would give."""
    common = set(side.common)
    rows = [k for k, seed in enumerate(side.run_info["seed"]) if seed in common]
    info = {name: [values[k] for k in rows] for name, values in side.run_info.items()}
    options = side.options()
    if side.corrections is not None:
        options["corrections"] = side.corrections[rows]
    found = compare_groups(
        info,
        side.outputs[rows],
        side.labels,
        side.metric,
        True,
        rng=side.rng,
        confidence=confidence,
        **options,
    )
    return say(
        Name(f"{side.title}: "),
        "paired on the ",
        Quantity(len(common), f"{len(common)} pretraining seeds", "common seeds"),
        " that both sides have, the difference is ",
        mention(found.difference, signed=True, unit=" points"),
        " (--match seeds).",
    )


def _adjust(rows: list[dict[str, Cell]], sides: Sequence[Sides], found: Sequence[Comparison]) -> bool:
    """Add simultaneous intervals and adjusted p-values, if two or more comparisons have a p-value."""
    places = [k for k, one in enumerate(found) if one.inference is not None and not math.isnan(one.p_value)]
    if len(places) < 2:
        return False

    def key(place: int, factor: str) -> Hashable:
        side = sides[places[place]]
        if factor == "examples":
            return "examples", side.evaluation, side.metric
        name, _, which = factor.partition(": ")
        return name, which, side.base if which != "experiment" else side.experiment, side.at

    inferences = [one for k in places if (one := found[k].inference) is not None]
    for row in rows:
        row["simultaneous"], row["p (adjusted)"] = None, p_value(math.nan)
    for k, held in zip(places, joint_of(inferences, key), strict=True):
        rows[k]["simultaneous"], rows[k]["p (adjusted)"] = held.simultaneous, p_value(held.p_adjusted)
    order = ("difference", "p", "simultaneous", "p (adjusted)")
    for k, row in enumerate(rows):
        before = {n: v for n, v in row.items() if n not in order}
        names = list(before)
        cut = names.index("experiment") + 1
        rows[k] = {
            **{n: row[n] for n in names[:cut]},
            **{n: row[n] for n in order},
            **{n: row[n] for n in names[cut:]},
        }
    return True


def _ranks(
    sides: Sequence[Sides], found: Sequence[Comparison], confidence: float
) -> dict[tuple[str, str], tuple[int, int]]:
    """The places that the base and several experiments can have on one evaluation, all pairs held to each other."""
    by_evaluation: dict[tuple[str, str, str], list[int]] = {}
    for k, side in enumerate(sides):
        if found[k].inference is not None:
            by_evaluation.setdefault((side.evaluation, side.metric, side.base), []).append(k)
    ranks: dict[tuple[str, str], tuple[int, int]] = {}
    for (evaluation, _, base), places in by_evaluation.items():
        if len(places) < 2 or len({sides[k].experiment for k in places}) < len(places):
            continue
        names = [base, *(sides[k].experiment for k in places)]
        pairs = [(0, n + 1) for n in range(len(places))]
        inferences = [one for k in places if (one := found[k].inference) is not None]
        for a in range(len(places)):
            for b in range(a + 1, len(places)):
                pairs.append((a + 1, b + 1))
                inferences.append(_between(sides[places[a]], sides[places[b]], confidence))

        def key(place: int, factor: str, pairs: list[tuple[int, int]] = pairs) -> Hashable:
            name, _, which = factor.partition(": ")
            return (name,) if not which else (name, pairs[place][0 if which == "base" else 1])

        together = joint_of(inferences, key)
        for group, places_of in ranks_of(len(names), pairs, together, names).items():
            ranks[evaluation, group] = places_of
    return ranks


def _between(first: Sides, second: Sides, confidence: float) -> Inference:
    """Two experiments that were each compared with one base, against each other."""
    rows = [[k for k, flag in enumerate(s.run_info["intervention"]) if flag] for s in (first, second)]
    info = {
        name: [first.run_info[name][k] for k in rows[0]] + [second.run_info[name][k] for k in rows[1]]
        for name in ("seed", "finetune_seed")
    }
    info["intervention"] = [False] * len(rows[0]) + [True] * len(rows[1])
    seeds = [{s.run_info["seed"][k] for k in own} for s, own in zip((first, second), rows, strict=True)]
    paired = first.paired and second.paired and seeds[0] == seeds[1]
    outputs = np.concatenate([s.outputs[own] for s, own in zip((first, second), rows, strict=True)])
    corrections = [
        np.zeros(len(own)) if s.corrections is None else s.corrections[own]
        for s, own in zip((first, second), rows, strict=True)
    ]
    options = {**first.units.options(), "corrections": np.concatenate(corrections)}
    found = compare_groups(
        info, outputs, first.labels, first.metric, paired, confidence=confidence, rng=first.rng, **options
    )
    assert found.inference is not None
    return found.inference


def _rank_notes(ranks: dict[tuple[str, str], tuple[int, int]], confidence: float) -> list[str]:
    by_evaluation: dict[str, list[str]] = {}
    for (evaluation, group), (best, worst) in ranks.items():
        place = f"{best}" if best == worst else f"{best} to {worst}"
        by_evaluation.setdefault(evaluation, []).append(f"{group}: {place}")
    return [
        f"{evaluation}: ranks that hold together at {level_text(confidence)}: {'; '.join(texts)}."
        for evaluation, texts in by_evaluation.items()
    ]
