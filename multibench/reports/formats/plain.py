"""Tables for terminals and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multibench.reports.cells import one_line

if TYPE_CHECKING:
    from multibench.reports.tables import Table

__all__ = ["json_text", "plain_text"]


def json_text(table: Table) -> str:
    """Everything, estimates with all their fields; unknown numbers are null."""
    return json.dumps(table.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain_text(table: Table) -> str:
    """Columns of one width each, the notes below."""
    cells = table.cells()
    widths = [max(len(c) for c in column) for column in zip(table.columns, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    rule = "  ".join("-" * width for width in widths)
    notes = [one_line(note) for note in table.remarks()]
    lines = [one_line(table.title), "", line(table.columns), rule, *(line(row) for row in cells)]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"
