"""Tables for README files and issues (GitHub's Markdown)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multibench.reports.cells import one_line

if TYPE_CHECKING:
    from multibench.reports.tables import Table

__all__ = ["markdown_safe", "markdown_text"]


def markdown_safe(text: str) -> str:
    """``text`` on one line, with what would be markup, HTML or a new cell taken literally."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"\](?=[(\[])|[\\|`*]", lambda found: "\\" + found.group(), text)


def markdown_text(table: Table) -> str:
    """A pipe table below its title, the notes as a list."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(markdown_safe(cell) for cell in cells) + " |"

    rows = [line(cells) for cells in table.cells()]
    remarks = table.remarks()
    notes = ["", *(f"- {markdown_safe(note)}" for note in remarks)] if remarks else []
    rule = "| " + " | ".join("---" for _ in table.columns) + " |"
    head = [f"**{markdown_safe(table.title)}**", "", line(table.columns), rule]
    return "\n".join([*head, *rows, *notes]) + "\n"
