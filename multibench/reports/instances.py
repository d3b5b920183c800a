"""Example by example: how alike runs answer, which examples are hard, and which of them two families differ on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError, StatisticsError
from multibench.metrics import METRICS
from multibench.reports.cells import Cell, Name, Quantity, count, points, say, share, shown
from multibench.reports.runs import evaluations_of
from multibench.reports.scores import chosen_title, describe_setting
from multibench.reports.sides import Sides, joined_sides
from multibench.reports.tables import Table
from multibench.results import Chosen, PredictionTensor, Results, select_settings
from multibench.results.filters import RunFilter
from multibench.stats import (
    Difficulty,
    Estimate,
    ExampleDifferences,
    difficulty,
    example_differences,
    seed_agreement,
)
from multibench.stats.differences import Flips

__all__ = ["Show", "agreement_table", "differences_table", "difficulty_table", "instances"]

Show = Literal["agreement", "difficulty", "differences"]
Method = Literal["benjamini-hochberg", "benjamini-yekutieli"]


def instances(
    results: Results,
    show: Show | None = None,
    base: str | None = None,
    experiment: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    top: int = 20,
    alpha: float = 0.05,
    method: Method = "benjamini-hochberg",
    confidence: float = 0.95,
) -> Table:
    """One of three tables on single examples.

    ``agreement``: how alike the runs of each group answer. ``difficulty``: the ``top`` hardest examples of each group.
    ``differences`` (what is shown if ``base`` and ``experiment`` are given): the examples on which these two filters'
    runs differ most, and which of them beyond what seeds explain. JSON has all examples. Raises ``ResultsError`` if
    the filters leave nothing to show.
    """
    if show is None:
        show = "agreement" if base is None and experiment is None else "differences"
    if show not in get_args(Show):
        raise ResultsError(
            f"There is no table '{show}' of single examples; there are {', '.join(get_args(Show))}."
        )
    if show != "differences" and not (base is None and experiment is None):
        raise ResultsError(f"Base and experiment are for 'differences'; '{show}' is of each group by itself.")
    if show == "agreement":
        return agreement_table(results, task, metric, rule, confidence)
    if show == "difficulty":
        return difficulty_table(results, task, metric, rule, top)
    if base is None or experiment is None:
        raise ResultsError("Differences need two sides: give filters for base and for experiment.")
    return differences_table(results, base, experiment, task, metric, paired, rule, top, alpha, method)


def agreement_table(
    results: Results,
    task: str | None = None,
    metric: str | None = None,
    rule: str | None = None,
    confidence: float = 0.95,
) -> Table:
    """A row for each group of checkpoints, evaluation and kind of pair of runs."""
    rows: list[dict[str, Cell]] = []
    level = Quantity(confidence, f"{confidence:.0%}", "confidence level")
    notes: list[str] = [
        say(
            "Pairs of runs of one setting; agreement and everything beside it in percent, with ",
            level,
            " intervals over pretraining seeds (jackknife) and examples. Kappa corrects for chance. Flips: right in "
            "one run and wrong in the other; churn: what of them would be left if both runs were equally accurate.",
        )
    ]
    for chosen, tensor, labels, name, where in _views(results, task, metric, rule):
        try:
            found = seed_agreement(tensor.run_info(), tensor.outputs, labels, name, confidence)
        except StatisticsError as error:
            notes.append(f"{where}: {error}")
            continue
        head: dict[str, Cell] = {
            "checkpoints": chosen_title(chosen),
            "setting": describe_setting(chosen),
            "evaluation": tensor.evaluation,
        }
        tail: dict[str, Cell] = {"examples": len(tensor.ids), "selection": chosen.selection}
        for pair in found.pairs:
            rows.append(
                {
                    **head,
                    "pairs of runs with": pair.kind,
                    "agreement": pair.agreement,
                    "kappa": pair.kappa,
                    "flips": pair.flips,
                    "churn at equal accuracy": pair.churn,
                    "accuracy gap": None if pair.accuracy_gap is None else points(pair.accuracy_gap),
                    "pairs": pair.n_pairs,
                    **_counts(pair.agreement),
                    **tail,
                }
            )
        for kind, distance in found.distances.items():
            rows.append(
                {
                    **head,
                    "pairs of runs with": kind,
                    "mean distance [units]": _in_units(distance),
                    **_counts(distance),
                    **tail,
                }
            )
    if not rows:
        raise ResultsError(
            "Agreement needs two runs of one group with predictions and labels"
            + (f"; {notes[1]}" if len(notes) > 1 else ".")
        )
    if any(isinstance(cell, Estimate) and cell.caveat for row in rows for cell in row.values()):
        notes.append(
            "Where leaving out a pretraining seed leaves no pair (one seed, or two) intervals cover examples only."
        )
    return _table("Agreement of runs", rows, notes)


def difficulty_table(
    results: Results,
    task: str | None = None,
    metric: str | None = None,
    rule: str | None = None,
    top: int = 20,
) -> Table:
    """The ``top`` hardest examples of each group and evaluation; all of them in JSON."""
    rows: list[dict[str, Cell]] = []
    notes: list[str] = []
    details = []
    for chosen, tensor, labels, name, where in _views(results, task, metric, rule):
        try:
            found = difficulty(tensor.run_info(), tensor.outputs, labels, name)
        except StatisticsError as error:
            notes.append(f"{where}: {error}")
            continue
        for place in found.hardest(top):
            rows.append(
                {
                    "checkpoints": chosen_title(chosen),
                    "setting": describe_setting(chosen),
                    "evaluation": tensor.evaluation,
                    "example": tensor.ids[place],
                    "label": _label(labels[place]),
                    _credit_name(found.unit): _credit(float(found.mean[place]), found.unit),
                    "other seeds, expected": _credit(float(found.shrunk[place]), found.unit),
                    "give or take": _credit(found.error, found.unit),
                    "pretraining seeds": found.n_seeds,
                    "runs": found.n_runs,
                    "selection": chosen.selection,
                }
            )
        notes.append(_difficulty_note(where, found))
        details.append(
            {
                "checkpoints": chosen_title(chosen),
                "evaluation": tensor.evaluation,
                "metric": name,
                "examples": list(tensor.ids),
                **found.to_dict(),
            }
        )
    if not rows:
        raise ResultsError(
            notes[0] if notes else "No stored run that was asked for has predictions with labels."
        )
    return _table("Hardest examples", rows, notes, {"difficulty": details})


def differences_table(
    results: Results,
    base: str | RunFilter,
    experiment: str | RunFilter,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    top: int = 20,
    alpha: float = 0.05,
    method: Method = "benjamini-hochberg",
) -> Table:
    """The ``top`` examples with the smallest p-values in each evaluation; sides as in ``compare``."""
    rows: list[dict[str, Cell]] = []
    notes: list[str] = [f"Base: {base}. Experiment: {experiment}."]
    details = []
    for sides in joined_sides(results, base, experiment, task, metric, paired, rule):
        found = example_differences(
            sides.run_info,
            sides.outputs,
            sides.labels,
            sides.metric,
            sides.paired,
            alpha,
            method,
            rng=sides.rng,
        )
        rows += _difference_rows(sides, found, top)
        notes += _difference_notes(sides, found)
        details.append(
            {
                "evaluation": sides.evaluation,
                "metric": sides.metric,
                "examples": list(sides.ids),
                **found.to_dict(),
            }
        )
    return _table("Examples on which two groups differ", rows, notes, {"differences": details})


def _views(
    results: Results, task: str | None, metric: str | None, rule: str | None
) -> Iterator[tuple[Chosen, PredictionTensor, NDArray[Any], str, str]]:
    """Each group's predictions, their labels, a metric, and how a note names them."""
    for chosen in select_settings(results, rule):
        if task not in (None, chosen.task):
            continue
        for evaluation, name in evaluations_of(chosen, metric):
            tensor = Results(chosen.runs).predictions(evaluation)
            if tensor.labels is not None:
                parts = (chosen_title(chosen), describe_setting(chosen), evaluation)
                yield chosen, tensor, tensor.labels, name, ", ".join(filter(None, parts))


def _table(
    title: str, rows: Sequence[dict[str, Cell]], notes: Sequence[str], extra: dict[str, Any] | None = None
) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    ordered = [*(n for n in names if n != "selection"), "selection"]
    kept = [n for n in ordered if n == "selection" or any(shown(row.get(n)) for row in rows)]
    return Table(title, tuple(kept), tuple(rows), tuple(dict.fromkeys(notes)), extra or {})


def _counts(estimate: Estimate) -> dict[str, Cell]:
    return {"pretraining seeds": estimate.n_seeds, "runs": estimate.n_runs}


def _in_units(estimate: Estimate) -> Quantity:
    """A value that is no fraction, with its interval, in the unit of the task's labels."""
    text = f"{estimate.value:.3g}"
    if not math.isnan(estimate.low):
        text += f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return Quantity(estimate.value, text, "units of the labels")


def _is_error(unit: str) -> bool:
    return unit.startswith("absolute error")


def _credit_name(unit: str) -> str:
    return "error [units]" if _is_error(unit) else "right [%]" if "right" in unit else "score [%]"


def _credit(value: float, unit: str) -> Quantity:
    """A mean credit as people read it: in percent, or as an absolute error."""
    if _is_error(unit):
        return Quantity(abs(value), "" if math.isnan(value) else f"{abs(value):.3g}", "units of the labels")
    return points(value, 1, unit)


def _label(label: Any) -> str:
    return f"{float(label):g}" if np.issubdtype(type(label), np.number) else str(label)


def _difficulty_note(where: str, found: Difficulty) -> str:
    parts: list[str | Quantity] = [Name(where), ": ", count(len(found.mean), "example")]
    if found.always is not None and found.never is not None:
        always = Quantity(found.always, f"{found.always:,}", "examples that all runs have right")
        never = Quantity(found.never, f"{found.never:,}", "examples that no run has right")
        parts += [", ", always, " right in all runs, ", never, " in none"]
    if not math.isnan(found.reliability):
        parts += [
            "; ",
            share(found.reliability, "reliability"),
            " of the differences between examples would show",
        ]
        parts += [" again with other seeds"]
    if found.caveat:
        parts += ["; ", Name(found.caveat)]
    return say(*parts, ".")


def _difference_rows(sides: Sides, found: ExampleDifferences, top: int) -> Iterator[dict[str, Cell]]:
    for place in found.order(top):
        name = _credit_name(found.unit)
        difference = float(found.difference[place])
        yield {
            "evaluation": sides.evaluation,
            "metric": sides.metric,
            "example": sides.ids[place],
            f"base, {name}": _credit(float(found.base[place]), found.unit),
            f"experiment, {name}": _credit(float(found.experiment[place]), found.unit),
            "better": "neither" if difference == 0 else "experiment" if difference > 0 else "base",
            "p": float(found.p_values[place]),
            "p (adjusted)": float(found.adjusted[place]) if found.testable[place] else None,
            "differs": bool(found.differs[place]),
            "pairing": "paired" if found.paired else "unpaired",
            found.units: Quantity(
                min(found.n_units), f"{found.n_units[0]} / {found.n_units[1]}", found.units
            ),
            "selection": sides.selection,
        }


def _difference_notes(sides: Sides, found: ExampleDifferences) -> list[str]:
    where = Name(f"{sides.title}: ")
    total, named = len(found.base), int(found.differs.sum())
    tried = f"all {found.n_arrangements:,}" if found.exact else f"{found.n_arrangements:,} drawn"
    parts: list[str | Quantity] = [
        where,
        Quantity(named, f"{named:,} of ", "examples that differ"),
        count(total, "example"),
        " differ beyond seed noise (false discovery rate ",
        Quantity(found.alpha, f"{found.alpha:.0%}", "false discovery rate"),
        ", ",
        Name(found.method),
        "; exact tests over ",
        Quantity(found.n_arrangements, tried, "exchanges"),
        f" exchanges of {found.units}).",
    ]
    if not math.isnan(found.p_any):
        parts += [
            " ",
            Quantity(found.few, f"{found.few:,}", "small p-values"),
            " examples have a p-value up to that rate, ",
            Quantity(found.by_chance, f"{found.by_chance:.1f}", "small p-values by chance"),
            " would by chance; that any differ at all: p = ",
            Quantity(found.p_any, f"{found.p_any:.3g}", "p-value"),
            ".",
        ]
    notes: list[str] = [say(*parts)]
    if found.flips is not None:
        notes.append(_flips_note(where, found.flips, found))
    if not found.can_name:
        limit = f"{found.smallest_p:.2g}"
        why = (
            "no example reaches the level"
            if found.needed is None
            else f"{found.needed:,} examples would have to have it, of {int(found.testable.sum()):,} that could"
        )
        notes.append(
            f"{where}no single example can be named with these seeds, whatever the predictions: the smallest possible "
            f"p-value is {limit}, and {why}. More seeds are needed."
        )
    notes += [f"{where}{warning}" for warning in found.warnings]
    if found.units != "pretraining seeds":
        notes.append(
            f"{where}one checkpoint a side; this is about these two, beyond their fine-tuning noise."
        )
    if METRICS.get(sides.metric).takes == "classes":
        notes.append(f"{where}examples are right or wrong, whatever the metric.")
    if not sides.as_released:
        notes.append(f"{where}NOT the released data (accepted by the suite).")
    return notes


def _flips_note(where: Name, flips: Flips, found: ExampleDifferences) -> str:
    runs = "runs of one seed" if found.paired else "runs"
    parts: list[str | Quantity] = [
        where,
        "from base to experiment ",
        points(flips.gained, 1, "examples gained"),
    ]
    parts += [
        " % of examples turn right and ",
        points(flips.lost, 1, "examples lost"),
        f" % wrong between two {runs}",
    ]
    for side, share_ in (("base", flips.base), ("experiment", flips.experiment)):
        if not math.isnan(share_):
            change = points(share_, 1, f"examples that change within {side}")
            parts += ["; ", change, f" % change between two {found.units} of {side}"]
    return say(*parts, ".")
