"""One table, five formats. Cells are texts, numbers or estimates; formats decide how they look."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from multibench.reports import formats
from multibench.reports.cells import Cell, Quantity, percent, shown
from multibench.stats import Estimate

__all__ = ["FORMATS", "Cell", "Format", "Table", "percent"]

Format = Literal["text", "json", "csv", "markdown", "latex"]
FORMATS: tuple[Format, ...] = ("text", "json", "csv", "markdown", "latex")


@dataclass(frozen=True)
class Table:
    """Rows of named cells. ``notes`` say what holds for the whole table.

    Rows may hold more than ``columns`` names: JSON has all of it, the other formats have the columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Cell], ...]
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """More for JSON readers."""

    def render(self, format_: Format) -> str:
        """The table as text in one of ``FORMATS``, ending in a line feed."""
        return {
            "text": formats.plain_text,
            "json": formats.json_text,
            "csv": formats.csv_text,
            "markdown": formats.markdown_text,
            "latex": formats.latex_text,
        }[format_](self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; estimates with all their fields."""
        rows = [{name: _plain(cell) for name, cell in row.items()} for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes), **self.extra}

    def cells(self) -> list[list[str]]:
        """Rows of the texts that people read, in the order of ``columns``."""
        return [[shown(row.get(name)) for name in self.columns] for row in self.rows]


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Estimate):
        return cell.to_dict()
    value = cell.value if isinstance(cell, Quantity) else cell
    return None if isinstance(value, float) and not math.isfinite(value) else value
