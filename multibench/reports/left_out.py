"""Damaged runs are left out of a table, and the table says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Concatenate, ParamSpec

from multibench.reports.tables import Table
from multibench.results import Results

__all__ = ["naming_left_out"]

P = ParamSpec("P")


def naming_left_out(
    make: Callable[Concatenate[Results, P], Table],
) -> Callable[Concatenate[Results, P], Table]:
    """``make`` with a note on each damaged run of its results; JSON has them as ``left_out``, too."""

    @wraps(make)
    def made(results: Results, /, *args: P.args, **options: P.kwargs) -> Table:
        table = make(results, *args, **options)
        if not results.damaged:
            return table
        said = [f"Left out, being damaged: {text}" for text in results.damaged if text not in table.notes]
        extra = {**table.extra, "left_out": list(results.damaged)}
        return replace(table, notes=(*table.notes, *said), extra=extra)

    return made
