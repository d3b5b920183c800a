"""What tables of single examples have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from multibench.reports.cells import Cell, Quantity, points, shown
from multibench.reports.tables import Table
from multibench.stats import Estimate

__all__ = ["credit", "credit_name", "examples_table", "in_units"]


def examples_table(
    title: str,
    rows: Sequence[dict[str, Cell]],
    notes: Sequence[str],
    extra: dict[str, Any] | None = None,
    units: str = "",
) -> Table:
    """A table of ``rows`` that may lack columns; columns that nothing stands in are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    ordered = [*(n for n in names if n != "selection"), "selection"]
    kept = [n for n in ordered if n == "selection" or any(shown(row.get(n)) for row in rows)]
    return Table(title, tuple(kept), tuple(rows), tuple(dict.fromkeys(notes)), extra or {}, units)


def in_units(estimate: Estimate) -> Quantity:
    """A value that is no fraction, with its interval, in the unit of the task's labels."""
    text = f"{estimate.value:.3g}"
    if not math.isnan(estimate.low):
        text += f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return Quantity(estimate.value, text, "units of the labels")


def _is_error(unit: str) -> bool:
    return unit.startswith("absolute error")


def credit_name(unit: str) -> str:
    """The heading of mean credits (``stats.instances``) of this unit."""
    return "error [units]" if _is_error(unit) else "right [%]" if "right" in unit else "score [%]"


def credit(value: float, unit: str) -> Quantity:
    """A mean credit as people read it: in percent, or as an absolute error."""
    if _is_error(unit):
        return Quantity(abs(value), "" if math.isnan(value) else f"{abs(value):.3g}", "units of the labels")
    return points(value, 1, unit)
