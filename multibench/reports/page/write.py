"""From results to a folder: the page, every table and figure, and every number."""

from __future__ import annotations

import json
from pathlib import Path

from multibench.errors import StorageError
from multibench.reports.findings import Findings, Options
from multibench.reports.page.build import build_document
from multibench.reports.page.document import Ledger
from multibench.reports.page.html import html_page
from multibench.reports.page.latex import latex_preview
from multibench.reports.page.markdown import markdown_report
from multibench.results import Results
from multibench.results.store import writing

__all__ = ["report"]

MARK = '<meta name="generator" content="multibench">'


def report(
    results: Results | Path | str,
    out: Path | str,
    where: str = "",
    *,
    metric: str | None = None,
    rule: str | None = None,
    base: str | None = None,
    effect: float = 0.005,
    nboot: int = 2000,
    confidence: float = 0.95,
    title: str | None = None,
) -> Path:
    """Write a report on stored runs below ``out`` and return its page, ``out/index.html``.

    Beside it: ``report.md``; ``tables/`` with every table as CSV, Markdown and LaTeX (``tables.tex`` shows them all);
    ``figures/`` with every figure as SVG and PNG; ``estimates.json`` with every number that the page prints. The same
    results make the same bytes.

    ``where`` filters the runs; ``metric`` names one metric instead of the headline metrics, or "all"; ``rule`` replaces
    the suites' own selection rules; ``base`` is a filter of the group that the others are compared with; ``effect`` is
    the difference that matters, a fraction; ``nboot`` are bootstrap draws and ``confidence`` the level of intervals.
    Raises ``ResultsError`` if there is nothing to report, and ``StorageError`` if ``out`` cannot be written or holds a
    page that is no report.
    """
    opened = results if isinstance(results, Results) else Results.open(results)
    options = Options(metric, rule, base, effect, nboot, confidence)
    folder = Path(out)
    _refuse_strange_page(folder / "index.html")
    findings = Findings(opened.where(where) if where else opened, options)
    suites = sorted({str(run.fields["suite"]) for run in findings.results.stored})
    document = build_document(findings, title or f"Report on {', '.join(suites)}")
    ledger = Ledger()
    files: dict[str, str | bytes] = {
        "index.html": html_page(document, ledger),
        "report.md": markdown_report(document),
        "tables.tex": latex_preview(document),
        "estimates.json": json.dumps(ledger.entries, indent=0, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, table in document.tables():
        files[f"tables/{name}.csv"] = table.render("csv")
        files[f"tables/{name}.md"] = table.render("markdown")
        files[f"tables/{name}.tex"] = table.render("latex")
    for figure in document.figures():
        files[f"figures/{figure.name}.svg"] = figure.svg
        files[f"figures/{figure.name}.png"] = figure.png
    with writing(folder):
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    return folder / "index.html"


def _refuse_strange_page(page: Path) -> None:
    """Never write over somebody else's page."""
    if page.exists() and MARK not in page.read_text("utf-8", "replace"):
        raise StorageError(f"{page} exists and is no report of multibench; give another folder with --out.")
