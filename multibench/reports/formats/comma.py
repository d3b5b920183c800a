"""Tables for spreadsheets: all digits, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

from multibench.reports.cells import Quantity
from multibench.stats import Estimate

if TYPE_CHECKING:
    from multibench.reports.tables import Table

__all__ = ["csv_text"]

# What makes a spreadsheet take a text for a formula, in full width as well.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def csv_text(table: Table) -> str:
    """One column a number, under ``machine_names``: an estimate becomes its value, its bounds and its level."""
    known = table.names()
    estimates = {n for n in table.columns if any(isinstance(r.get(n), Estimate) for r in table.rows)}
    names: list[str] = []
    for name in table.columns:
        own = known[name]
        names += [own, f"{own}_low", f"{own}_high", f"{own}_level"] if name in estimates else [own]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_safe(name) for name in names)
    for row in table.rows:
        line: list[Any] = []
        for name in table.columns:
            cell = row.get(name)
            if isinstance(cell, Estimate):
                line += [_number(cell.value), _number(cell.low), _number(cell.high), cell.level]
            elif name in estimates:
                line += ["", "", "", ""]
            elif isinstance(cell, Quantity):
                line.append(_number(cell.value))
            else:
                line.append(_safe("" if cell is None else cell))
        writer.writerow(line)
    return buffer.getvalue()


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _safe(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets a leading apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
