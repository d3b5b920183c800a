"""The metrics of one prediction file as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multibench.reports.cells import Quantity, points
from multibench.reports.tables import Cell, Table

if TYPE_CHECKING:
    from multibench.scoring import Scored

__all__ = ["scored_table"]


def scored_table(scored: Scored) -> Table:
    """A row for the whole split and one for each part of it; metrics in percent, some for the whole split only."""
    names = list(scored.metrics)

    def row(part: str, examples: int, metrics: dict[str, float]) -> dict[str, Cell]:
        shown = {f"{name} [%]": _percent(metrics[name]) for name in names if name in metrics}
        return {"part": part, "examples": examples, **shown}

    rows = [row("all", scored.examples, scored.metrics)]
    for grouping, parts in scored.parts.items():
        rows += [row(f"{grouping}: {name}", int(part["examples"]), part) for name, part in parts.items()]
    columns = ("part", "examples", *(f"{name} [%]" for name in names))
    return Table(f"{scored.predictions} on {scored.task}.{scored.split}", columns, tuple(rows), scored.notes)


def _percent(value: float) -> Quantity:
    return points(value, unit="score", unknown="undefined")
