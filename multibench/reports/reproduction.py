"""A published table beside what was measured, a verdict for each figure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from multibench.errors import StatisticsError
from multibench.recipes import RECIPES
from multibench.reference import (
    DEFAULT_MARGIN,
    MATCH_LEVEL,
    REFERENCES,
    Published,
    PublishedCell,
    Reference,
    Row,
    in_points,
    judge,
    obstacle,
)
from multibench.reports.cells import Cell, Quantity
from multibench.reports.counterparts import Counterpart, Unlike, counterpart
from multibench.reports.lacking import suite_needs, without_suite
from multibench.reports.tables import Table
from multibench.results import Results

__all__ = ["reproduce"]

LEVEL = f"{MATCH_LEVEL:.0%}".replace("%", " %")


def reproduce(reference: str, results: Results | None = None, margin: float = DEFAULT_MARGIN) -> Table:
    """The figures of a published table, with a verdict on each if there are ``results``.

    ``margin`` is the largest difference that counts as none, a fraction; for a published difference half of it counts
    if that is smaller. *match*: the 90 % interval of the difference lies within the margin; *differs*: the 95 % one
    lies wholly beyond; *cannot tell*: anything else, and whatever must not be compared. docs/references.md has the rule
    and its error rates. Raises ``UnknownNameError`` for an unknown reference and ``StatisticsError`` for a margin
    that is no fraction between 0 and 1.
    """
    table = REFERENCES.get(reference)
    if not 0 < margin < 1:
        raise StatisticsError(f"The margin is {margin}; it must be a fraction between 0 and 1, such as 0.01.")
    cells = list(table.cells())
    if results is None:
        rows = [_figure(c) | _protocol(c) | {"never comparable because": obstacle(table, c)} for c in cells]
        notes: list[str] = []
    else:
        rows = [_figure(c) | _held_against(results, table, c, margin) | _protocol(c) for c in cells]
        notes = _explanation(margin)
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
    results: Results, reference: Reference, cell: PublishedCell, margin: float
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
        _margin(cell, margin),
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
    return Published(
        mean=cell.value,
        n=min(row.runs_per_checkpoint for row in rows),
        sd=cell.sd if known and cell.sd is not None else math.nan,
        rounding=cell.rounding,
        exact=not cell.row.trained,
    )


def _margin(cell: PublishedCell, margin: float) -> float:
    """For a difference at most half of it: within that, its sign and the better part of it are reproduced."""
    return min(margin, abs(cell.value) / 2) if cell.row.of is not None and cell.value else margin


def _explanation(margin: float) -> list[str]:
    return [
        f"Differences are measured less published, with {LEVEL} intervals over fine-tuning seeds on the "
        "same examples and pretrained weights. match: the interval lies within the margin, so that a true difference "
        "of the margin or more is called a match in at most 5 % of cases. differs: the 95 % interval lies wholly "
        "beyond, so that a true difference of the margin or less is called different in at most 5 %.",
        f"Margin: {in_points(margin)}, for published differences at most half of the difference.",
        "Where a source prints no spread, its runs are taken to vary as the measured ones do.",
    ]


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
