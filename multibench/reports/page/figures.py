"""Figures of a section: one for each evaluation, with words for those who do not see it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from multibench.errors import ResultsError
from multibench.plots import png_bytes, svg_bytes
from multibench.reports.cells import Cell, one_line
from multibench.reports.findings import Findings
from multibench.reports.page.document import Figure
from multibench.reports.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

__all__ = ["figures_of"]


def figures_of(
    findings: Findings,
    draw: Callable[[Findings, str], Drawing],
    name: str,
    table: Table,
    title: str,
    dot: Callable[[dict[str, Cell]], str] | None = None,
) -> tuple[Figure, ...]:
    """``draw`` for each evaluation of ``table``, which has the figure's numbers and is named in its words.

    ``dot`` is the title of the dot of a row, in figures of single runs.
    """
    made: list[Figure] = []
    if not table.rows:
        return ()
    subject = next(column for column in table.columns if column not in {"run", "evaluation"})
    for evaluation in dict.fromkeys(str(row["evaluation"]) for row in table.rows):
        rows = [row for row in table.rows if row["evaluation"] == evaluation]
        try:
            drawing = draw(findings, evaluation)
        except ResultsError:
            continue  # nothing to draw for this evaluation; the table says why
        shown = list(dict.fromkeys(one_line(row[subject]) for row in rows if row.get(subject)))
        about = f" of {', '.join(shown[:8])}{' and others' if len(shown) > 8 else ''}" if shown else ""
        alt = f"{title}{about} on {evaluation}. The numbers are in the table '{table.title}'."
        file = _file_name(f"{name}-{evaluation}", {figure.name for figure in made})
        titles = {str(row["run"]): dot(row) for row in rows} if dot else {}
        made.append(
            Figure(file, f"{title}: {evaluation}", alt, svg_bytes(drawing), png_bytes(drawing), titles)
        )
    return tuple(made)


def _file_name(text: str, taken: set[str]) -> str:
    """A name for files and ids; evaluations whose names differ in punctuation only get different ones."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
    return next(name for k in itertools.count() if (name := f"{plain}-{k}" if k else plain) not in taken)
