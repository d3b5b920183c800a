"""A published table beside what was measured, a verdict for each figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from multibench.errors import MultibenchError, StatisticsError
from multibench.recipes import RECIPES
from multibench.reference import (
    DEFAULT_MARGIN,
    MARGINS,
    MATCH_LEVEL,
    REFERENCES,
    TRIED,
    ConstantAnswer,
    Figure,
    Measured,
    Published,
    PublishedCell,
    Reference,
    Row,
    constant_answer,
    in_points,
    judge,
    margin_of,
    obstacle,
)
from multibench.reports.cells import Cell, Quantity
from multibench.reports.counterparts import Counterpart, Unlike, counterpart
from multibench.reports.lacking import suite_needs, without_suite
from multibench.reports.tables import Table
from multibench.results import Results
from multibench.tasks import TASKS

__all__ = ["reproduce"]

LEVEL = f"{MATCH_LEVEL:.0%}".replace("%", " %")


def reproduce(reference: str, results: Results | None = None, margin: float | None = None) -> Table:
    """The figures of a published table, with a verdict on each if there are ``results``.

    ``margin`` is the largest difference that counts as none, a fraction; without it each task has its own, and for a
    published difference half of that difference counts if it is smaller. *match*: the 90 % interval of the difference
    lies within the margin; *differs*: the 95 % one lies wholly beyond, and no collapsed run would explain it;
    *cannot tell*: anything else, and whatever must not be compared. docs/references.md has the rule
    and its error rates. Raises ``UnknownNameError`` for an unknown reference and ``StatisticsError`` for a margin
    that is no fraction between 0 and 1.
    """
    table = REFERENCES.get(reference)
    if margin is not None and not 0 < margin < 1:
        raise StatisticsError(f"The margin is {margin}; it must be a fraction between 0 and 1, such as 0.01.")
    cells = list(table.cells())
    if results is None:
        rows = [_figure(c) | _protocol(c) | {"never comparable because": obstacle(table, c)} for c in cells]
        notes: list[str] = []
    else:
        rows = [_figure(c) | _held_against(results, table, c, margin) | _protocol(c) for c in cells]
        notes = _explanation(cells, margin)
    needs = suite_needs(table, results)
    notes += [*table.remarks, *_remarks(cells), *_substitutes(table), *map(str, needs), without_suite(table)]
    notes += results.damaged if results is not None else ()
    columns = [
        name for name in rows[0] if name not in _BESIDE and any(row[name] not in ("", None) for row in rows)
    ]
    title = f"{table.title} ({table.paper})"
    extra: dict[str, Any] = {"reference": table.name, "suites": [need.to_dict() for need in needs]}
    if results is not None and results.damaged:
        extra["left_out"] = list(results.damaged)
    return Table(
        title,
        tuple(columns),
        tuple(rows),
        tuple(dict.fromkeys(filter(None, notes))),
        extra,
        "Scores are in percent, differences in points.",
    )


# In JSON only: what the other formats have as notes, or what would make them too wide.
_BESIDE = {"remarks", "margin"}


def _figure(cell: PublishedCell) -> dict[str, Cell]:
    """One figure and what is printed with it."""
    row, figure = cell.row, cell.figure
    spread = None if figure.spread is None else Decimal(f"{figure.spread:.2g}")
    low, high = figure.interval or (None, None)
    first, last = figure.range or (None, None)
    return {
        "model": row.model,
        "evaluation": cell.evaluation,
        "metric": cell.metric,
        "published": _percent(figure.centre, row),
        "sd": _percent(figure.sd or spread, row),
        "best": _percent(figure.maximum, row),
        "95 % low": _percent(low, row),
        "95 % high": _percent(high, row),
        "from": _percent(first, row),
        "to": _percent(last, row),
        "published p": None if figure.p_value is None else float(figure.p_value),
    }


def _protocol(cell: PublishedCell) -> dict[str, Cell]:
    """How the figure came to be, and where it is printed."""
    row = cell.row
    random = row.trained and row.of is None
    return {
        "statistic": row.statistic if row.trained else "released weights",
        "published runs": (row.runs or "not stated") if random else "",
        "selection": row.selection_text if random else "",
        "source": row.source,
        "remarks": " ".join(cell.remarks()),
    }


def _held_against(
    results: Results, reference: Reference, cell: PublishedCell, margin: float | None
) -> dict[str, Cell]:
    """Measured score, difference and verdict of one figure."""
    reason = obstacle(reference, cell)
    found: Counterpart | None = None
    try:
        found = counterpart(results, reference, cell)
    except Unlike as unlike:
        reason = reason or str(unlike)
    shown: dict[str, Cell] = {
        "measured": None if found is None else _measured(float(found.scores.mean())),
        "measured runs": None if found is None else found.n_runs,
        f"difference [{LEVEL}]": None,
        "verdict": "cannot tell",
        "why": reason,
        "margin": None,
    }
    if reason or found is None or cell.value is None:
        return shown
    verdict = judge(
        found.scores,
        _published(reference, cell),
        _margin(cell, margin_of(cell.task) if margin is None else margin),
        runs=_runs(found, cell),
        n_seeds=found.n_checkpoints,
        n_runs=found.n_runs,
        n_examples=found.n_examples,
    )
    return shown | {
        f"difference [{LEVEL}]": verdict.difference,
        "verdict": verdict.word,
        "why": verdict.why,
        "margin": verdict.margin,
    }


def _published(reference: Reference, cell: PublishedCell) -> Published:
    rows = [cell.row] if cell.row.of is None else [reference.row(name) for name in cell.row.of]
    assert cell.value is not None
    # A spread over the runs of several checkpoints is not the one of means over these checkpoints.
    known = cell.sd is not None and cell.row.of is None and len(cell.row.checkpoints) == 1
    one = all((row.runs or 1) == 1 for row in rows)
    return Published(
        mean=cell.value,
        n=min(row.runs_per_checkpoint for row in rows),
        sd=cell.sd if known and cell.sd is not None else math.nan,
        rounding=cell.rounding,
        exact=not cell.row.trained,
        perhaps_chosen=one and cell.row.trained and cell.row.split.startswith("dev"),
        sides=_sides(cell, rows),
        n_runs=min(row.runs or 1 for row in rows),
    )


def _sides(cell: PublishedCell, rows: Sequence[Row]) -> tuple[float, float] | None:
    """The two means whose difference is published, where they are printed."""
    if cell.row.of is None:
        return None
    own = [
        PublishedCell(row, cell.published_task, cell.metric, figure)
        for row in rows
        if (figure := _of(row, cell))
    ]
    values = [one.value for one in own if one.value is not None]
    return (values[0], values[1]) if len(values) == 2 else (math.nan, math.nan)


def _of(row: Row, cell: PublishedCell) -> Figure | None:
    return row.scores.get(cell.published_task, {}).get(cell.metric)


def _runs(found: Counterpart, cell: PublishedCell) -> Measured:
    """The single runs behind a mean, and what a run that always answers alike would score."""
    scores = tuple(run.score(cell.evaluation, cell.metric) for run in found.runs)
    collapsed = sum(run.manifest["status"] == "collapsed" for run in found.runs)
    return Measured(scores, collapsed, _constant(found, cell))


def _constant(found: Counterpart, cell: PublishedCell) -> ConstantAnswer | None:
    """By the task's label counts, or by those of the labels that are stored."""
    task, _, split = cell.evaluation.partition(".")
    known = TASKS.get(task)
    histogram = known.splits[split].histogram
    if histogram is None and known.kind == "classification":
        histogram = _stored_counts(found, cell.evaluation, known.labels)
    return constant_answer(cell.metric, histogram, found.n_examples)


def _stored_counts(found: Counterpart, evaluation: str, names: Sequence[str]) -> dict[str, int] | None:
    try:
        labels = Results(found.runs[:1]).predictions(evaluation).labels
    except MultibenchError:  # imported scores without predictions, or files that are gone: nothing to count
        return None
    if labels is None:
        return None
    return {name: int((np.asarray(labels) == place).sum()) for place, name in enumerate(names)}


def _margin(cell: PublishedCell, margin: float) -> float:
    """For a difference at most half of it: within that, its sign and the better part of it are reproduced."""
    return min(margin, abs(cell.value) / 2) if cell.row.of is not None and cell.value else margin


def _explanation(cells: Sequence[PublishedCell], margin: float | None) -> list[str]:
    return [
        f"Differences are measured less published, with {LEVEL} intervals over fine-tuning seeds on the "
        "same examples and pretrained weights. match: the interval lies within the margin, so that a true difference "
        "of the margin or more is called a match in at most 5 % of cases. differs: the 95 % interval lies wholly "
        "beyond, so that a true difference of the margin or less is called different in at most 5 %.",
        *_margins(cells, margin),
        "Where a source prints no spread, its runs are taken to vary as the measured ones do.",
        f"A single published score on dev is taken to be the best of up to {TRIED} runs.",
        "differs is withheld where a run, measured or published, does no better than always giving the commonest "
        "answer, or where collapsed runs among the published ones would make the gap.",
    ]


def _margins(cells: Sequence[PublishedCell], margin: float | None) -> list[str]:
    """The margins that count, and why."""
    differences = "for published differences at most half of the difference."
    if margin is not None:
        return [f"Margin: {in_points(margin)}, {differences}"]
    by_margin: dict[float, list[str]] = {}
    for task in dict.fromkeys(cell.task for cell in cells if cell.task in TASKS):
        by_margin.setdefault(margin_of(task), []).append(task)
    if len(by_margin) == 1:
        said = in_points(next(iter(by_margin)))
    else:
        said = ", ".join(
            f"{in_points(size)} ({', '.join(tasks)})" for size, tasks in sorted(by_margin.items())
        )
    reasons = [
        f"{task}: {MARGINS[task].reason}"
        for size, tasks in by_margin.items()
        for task in tasks
        if size > DEFAULT_MARGIN
    ]
    return [f"Margin: {said}, {differences}", *(f"Margin of {reason}." for reason in reasons)]


def _remarks(cells: Iterable[PublishedCell]) -> list[str]:
    """What is to be known of single rows and figures, each said once."""
    notes = []
    for cell in cells:
        own = [f"{cell.row.model}: {cell.row.remark}"] if cell.row.remark else []
        if cell.figure.remark or cell.doubt:
            texts = [text for text in cell.remarks() if text != cell.row.remark]
            own.append(f"{cell.row.model}, {cell.evaluation}, {cell.metric}: {' '.join(texts)}")
        notes += own
    return notes


def _substitutes(reference: Reference) -> list[str]:
    """Hyperparameters of the published runs that cannot be had here, and what the recipes have in their place."""
    return [
        f"The recipe {cell.row.recipe} has {name} {fact.value}; the published runs had {fact.published}."
        for cell in reference.cells()
        if cell.row.recipe and not obstacle(reference, cell)
        for name, fact in RECIPES.get(cell.row.recipe).facts(cell.task).items()
        if fact.published is not None
    ]


def _percent(value: Decimal | None, row: Row) -> Quantity | None:
    """A printed number in percent, with the digits that were printed."""
    if value is None:
        return None
    digits = value if row.unit == "percent" else value.scaleb(2)
    return Quantity(float(value * row.scale), f"{digits:f}", "published")


def _measured(value: float) -> Quantity:
    return Quantity(value, f"{100 * value:.2f}", "measured")
