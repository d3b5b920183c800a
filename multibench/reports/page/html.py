"""A report as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import count
from string import Template

from multibench.reports.cells import Quantity, level_text
from multibench.reports.page.document import Document, Figure, Ledger, Section, Traced
from multibench.reports.page.svg import inline_svg
from multibench.reports.tables import Table
from multibench.stats import Estimate

__all__ = ["html_page"]

MANY_NOTES = 4
# Above this a table is too long to be read as a whole, and the page shows it piece by piece.
LONG = 30
LONG_WORD = 36
# Columns above which a printed table breaks numbers after their value, and above which it breaks words.
WIDE, WIDEST = 12, 18


def html_page(document: Document, ledger: Ledger) -> str:
    """The page; every number on it is entered in ``ledger`` under the id in its ``data-n``."""
    here = files("multibench.reports.page")
    sections = "\n".join(_section(section, ledger) for section in document.sections)
    links = "".join(f'<li><a href="#{s.name}">{escape(s.heading)}</a></li>' for s in document.sections)
    return Template(here.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(document.title),
        style=here.joinpath("style.css").read_text("utf-8"),
        script=here.joinpath("page.js").read_text("utf-8"),
        links=links,
        sections=sections,
    )


def _section(section: Section, ledger: Ledger) -> str:
    parts = [f'<section id="{section.name}" aria-labelledby="{section.name}-heading">']
    parts.append(f'<h2 id="{section.name}-heading">{escape(section.heading)}</h2>')
    said = [_pieces(ledger.text(text, f"{section.name}.s{k}")) for k, text in enumerate(section.sentences)]
    parts += [f"<p>{text}</p>" for text in said]
    number = count()
    for topic, sentences in section.findings.items():
        found = [_pieces(ledger.text(text, f"{section.name}.f{next(number)}")) for text in sentences]
        items = "".join(f"<li>{text}</li>" for text in found)
        parts.append(f'<h3>{escape(topic)}</h3>\n<ul class="findings">{items}</ul>')
    parts += [_figure(figure) for figure in section.figures]
    parts += [_table(name, table, ledger) for name, table in section.tables.items()]
    parts += [f'<pre tabindex="0"><code>{escape(block)}</code></pre>' for block in section.code]
    return "\n".join([*parts, "</section>"])


def _figure(figure: Figure) -> str:
    return (
        f'<figure class="plot" id="figure-{figure.name}"><figcaption>{escape(figure.title)} '
        f"{_files('figures', figure.name, ('svg', 'png'))}</figcaption>"
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(figure.title)}">{inline_svg(figure)}</div>'
        "</figure>"
    )


def _files(folder: str, name: str, endings: Sequence[str]) -> str:
    links = " ".join(f'<a href="{folder}/{name}.{ending}">{ending}</a>' for ending in endings)
    return f'<span class="files">{links}</span>'


def _table(name: str, table: Table, ledger: Ledger) -> str:
    title = escape(table.title)
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "\n".join(_rows(name, table, ledger))
    attributes = f' data-long="{LONG}"' if len(table.rows) > LONG else ""
    width = len(table.columns)
    attributes += f' class="wide{" widest" * (width > WIDEST)}"' if width > WIDE else ""
    return (
        f'<figure class="table" id="table-{name}"><figcaption>{title} {_files("tables", name, ("csv", "md", "tex"))}'
        f'</figcaption><div class="scroll" tabindex="0" role="group" aria-label="{title}">'
        f"<table{attributes}><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
        f"{_notes(name, table.remarks(), ledger)}</figure>"
    )


def _rows(name: str, table: Table, ledger: Ledger) -> Iterator[str]:
    names = table.names()
    for i, row in enumerate(table.rows):
        words = [str(row[c]) for c in table.columns if isinstance(row.get(c), str) and row[c]]
        of = ", ".join(dict.fromkeys(words))
        cells = []
        for j, column in enumerate(table.columns):
            traced = ledger.cell(
                row.get(column), f"{name}.{i}.{j}", f"{of}: {names[column]}" if of else names[column]
            )
            cells.append(_cell(traced, row.get(column), "th" if j == 0 else "td"))
        yield f"<tr>{''.join(cells)}</tr>"


def _cell(traced: Traced, cell: object, tag: str) -> str:
    scope = ' scope="row"' if tag == "th" else ""
    if traced.number is None:
        long = any(len(word) > LONG_WORD for word in traced.text.split())
        kind = "number" if isinstance(cell, Quantity) else "long" if long else ""
        kind = "prose" if not kind and len(traced.text) > LONG_WORD else kind
        blank = f' class="{kind}"' if kind else ""
        return f"<{tag}{scope}{blank}>{escape(traced.text)}</{tag}>"
    value = cell.value if isinstance(cell, (Estimate, Quantity)) else cell
    sort = f' data-v="{value:.10g}"' if isinstance(value, (int, float)) else ""
    return f'<{tag}{scope} class="number"{sort}>{_piece(traced)}</{tag}>'


def _pieces(pieces: Sequence[Traced]) -> str:
    return "".join(_piece(piece) for piece in pieces)


def _piece(traced: Traced) -> str:
    if traced.number is None:
        return f'<span class="name">{escape(traced.text)}</span>' if traced.name else escape(traced.text)
    tip = ""
    if isinstance(traced.cell, Estimate):
        tip = f' class="estimate" tabindex="0" data-tip="{escape(_behind(traced.cell))}"'
    return f'<span data-n="{escape(str(traced.number))}"{tip}>{escape(traced.text)}</span>'


def _behind(estimate: Estimate) -> str:
    """What stands behind an estimate, for its tooltip."""
    counts = ((estimate.n_seeds, "seeds"), (estimate.n_runs, "runs"), (estimate.n_examples, "examples"))
    parts = [
        estimate.estimand,
        f"{level_text(estimate.level)} interval: {estimate.method}",
        ", ".join(f"{number:,} {what}" for number, what in counts if number),
        estimate.caveat or estimate.reason,
    ]
    return ". ".join(part for part in parts if part)


def _notes(name: str, notes: Sequence[str], ledger: Ledger) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{_pieces(ledger.text(note, f'{name}.n{k}'))}</li>" for k, note in enumerate(notes))
    if len(notes) <= MANY_NOTES:
        return f'<ul class="notes">{items}</ul>'
    return f'<details class="notes"><summary>Notes on this table</summary><ul>{items}</ul></details>'
