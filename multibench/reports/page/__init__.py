"""Reports: one document of sections, written as a page, as Markdown, and as files to paste into papers."""

from multibench.reports.page.write import report

__all__ = ["report"]
