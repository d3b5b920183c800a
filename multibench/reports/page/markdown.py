"""A report as Markdown: for a README, an issue, or reading in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from multibench.reports.formats.markdown import markdown_safe, markdown_text
from multibench.reports.page.document import Document

__all__ = ["markdown_report"]

ROWS = 200
"""Longer tables are left to their own files."""


def markdown_report(document: Document) -> str:
    """The whole document, with links to its figures and to long tables."""
    return "\n\n".join(_blocks(document)) + "\n"


def _blocks(document: Document) -> Iterator[str]:
    yield f"# {markdown_safe(document.title)}"
    for section in document.sections:
        yield f"## {markdown_safe(section.heading)}"
        yield from (markdown_safe(sentence) for sentence in section.sentences)
        for topic, sentences in section.findings.items():
            yield f"### {markdown_safe(topic)}"
            yield "\n".join(f"- {markdown_safe(sentence)}" for sentence in sentences)
        for figure in section.figures:
            yield f"![{markdown_safe(figure.alt)}](figures/{figure.name}.svg)"
        for name, table in section.tables.items():
            long = len(table.rows) > ROWS
            link = f"[{markdown_safe(table.title)}](tables/{name}.csv)"
            yield link if long else markdown_text(table).rstrip()
        yield from (f"```\n{block.rstrip()}\n```" for block in section.code)
