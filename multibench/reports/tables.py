"""One table, five formats. Cells are texts, numbers or estimates; formats decide how they look.

People read points and percent under titles. Programs (JSON, CSV) read fractions under names without a unit, which do
not change with what was asked: ``machine_names``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from multibench.reports import formats
from multibench.reports.cells import Cell, Quantity, percent, shown
from multibench.stats import Estimate

__all__ = ["FORMATS", "Cell", "Format", "Table", "machine_name", "machine_names", "percent"]

Format = Literal["text", "json", "csv", "markdown", "latex"]
FORMATS: tuple[Format, ...] = ("text", "json", "csv", "markdown", "latex")


_BRACKETS = re.compile(r"\[[^\]]*\]")
# In brackets: a level, or a unit. Before a name: a level.
_UNIT = re.compile(r"[\d.]+ ?%|\b(?:points|units)\b|%")
_LEVEL = re.compile(r"^[\d.]+ ?% ")


def machine_name(column: str) -> str:
    """The name that programs read a column under: ``score [95 % band]`` is ``score_band``, ``sd [points]`` is ``sd``.

    Lower case, without units and levels, ``_`` for blanks and punctuation. It is the same at every confidence level.
    """
    bare = _BRACKETS.sub(lambda found: _UNIT.sub(" ", found.group()), _LEVEL.sub("", column.casefold()))
    return re.sub(r"[^\w]+", "_", bare.replace("%", " ")).strip("_") or "column"


def machine_names(columns: Iterable[str]) -> dict[str, str]:
    """``machine_name`` of each column; where two would have one name, the later ones are numbered from 2."""
    found: dict[str, str] = {}
    for column in columns:
        name = own = machine_name(column)
        number = 1
        while name in found.values():
            number += 1
            name = f"{own}_{number}"
        found[column] = name
    return found


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
    units: str = ""
    """What people are told of the units of cells; programs read fractions."""

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
        """Everything, ready for JSON under ``machine_names``: fractions, and estimates with all their fields."""
        names = self.names()
        rows = [{names[name]: _plain(cell) for name, cell in row.items()} for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes), **self.extra}

    def names(self) -> dict[str, str]:
        """The names that programs read, of all columns and whatever else rows hold."""
        return machine_names(dict.fromkeys([*self.columns, *(name for row in self.rows for name in row)]))

    def remarks(self) -> tuple[str, ...]:
        """What stands below the table for people: its units and its notes."""
        return (self.units, *self.notes) if self.units else self.notes

    def cells(self) -> list[list[str]]:
        """Rows of the texts that people read, in the order of ``columns``."""
        return [[shown(row.get(name)) for name in self.columns] for row in self.rows]


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Estimate):
        return cell.to_dict()
    value = cell.value if isinstance(cell, Quantity) else cell
    return None if isinstance(value, float) and not math.isfinite(value) else value
