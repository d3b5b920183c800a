r"""A LaTeX document of all tables, to see them before they go into a paper."""

from __future__ import annotations

from multibench.reports.formats.latex import latex_safe
from multibench.reports.page.document import Document

__all__ = ["latex_preview"]

ROWS = 60
"""Longer tables do not fit on a page."""

_HEAD = r"""\documentclass{article}
\usepackage[paperwidth=60cm,paperheight=60cm,margin=1cm]{geometry}
\IfFileExists{booktabs.sty}{\usepackage{booktabs}}{%
  \let\toprule\hline \let\midrule\hline \let\bottomrule\hline}
\begin{document}
"""


def latex_preview(document: Document) -> str:
    r"""A document that inputs ``tables/NAME.tex`` of every table of up to ``ROWS`` rows; run it beside ``tables``."""
    inputs = "\n".join(
        f"\\section*{{{latex_safe(table.title)}}}\n\\noindent\\input{{tables/{name}.tex}}"
        for name, table in document.tables()
        if len(table.rows) <= ROWS
    )
    return f"{_HEAD}{inputs}\n\\end{{document}}\n"
