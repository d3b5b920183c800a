"""Example by example: how alike runs answer, which examples are hard, and which of them two families differ on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError, StatisticsError
from multibench.reports.cells import Cell, Name, Quantity, count, level_text, points, say, share
from multibench.reports.differences import Method, differences_table
from multibench.reports.examples import credit, credit_name, examples_table, in_units
from multibench.reports.runs import evaluations_of
from multibench.reports.scores import chosen_title, describe_setting, score_notes
from multibench.reports.tables import Table
from multibench.results import Chosen, PredictionTensor, Results, select_settings
from multibench.stats import Difficulty, Estimate, difficulty, seed_agreement

__all__ = ["Show", "agreement_table", "differences_table", "difficulty_table", "instances"]

Show = Literal["agreement", "difficulty", "differences"]


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
    level = Quantity(confidence, level_text(confidence), "confidence level")
    notes: list[str] = [
        say(
            "Pairs of runs of one setting, with ",
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
        notes += score_notes(tensor.evaluation, name, tensor.as_released)
        for kind, distance in found.distances.items():
            rows.append(
                {
                    **head,
                    "pairs of runs with": kind,
                    "mean distance [units]": in_units(distance),
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
    units = "Agreement, flips and churn are in percent, kappa times 100, gaps in points."
    return examples_table("Agreement of runs", rows, notes, units=units)


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
                    credit_name(found.unit): credit(float(found.mean[place]), found.unit),
                    "other seeds, expected": credit(float(found.shrunk[place]), found.unit),
                    "give or take": credit(found.error, found.unit),
                    "pretraining seeds": found.n_seeds,
                    "runs": found.n_runs,
                    "selection": chosen.selection,
                }
            )
        notes += [_difficulty_note(where, found), *score_notes(tensor.evaluation, name, tensor.as_released)]
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
    return examples_table("Hardest examples", rows, notes, {"difficulty": details})


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


def _counts(estimate: Estimate) -> dict[str, Cell]:
    return {"pretraining seeds": estimate.n_seeds, "runs": estimate.n_runs}


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
