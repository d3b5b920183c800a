"""The study's tables in Markdown: what is worst first, then what no interval can cover, then every cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import groupby

from .cell import Cell
from .limits import Row, limits_of, misses
from .missed import reasoned

__all__ = ["all_misses", "page", "summary", "with_summary"]

BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"

Found = dict[str, dict[str, Row]]

TITLES = {
    "printed": "printed interval",
    "old crossed": "crossed t interval, as printed before",
    "percentile": "percentile multi-bootstrap",
}
HEAD = """# The coverage study: every cell

`python -m benchmarks.coverage --write` writes this page from `benchmarks/coverage/results.csv`. The cells are in
`cells.py` and `questions.py` of `benchmarks/coverage`, the worlds they are drawn from in `answers.py`, `normal.py`,
`extremes.py` and `families.py` beside them. Nominal 95 %.

- *Width* is the median width over that of an oracle, 2 x 1.96 true standard errors.
- *Above* and *below* are the shares of intervals that lie wholly above or below the truth.
- *Errs* is the share of p-values up to 5 % where there is no difference.
- *Before* is the crossed t interval that was printed before, *percentile* the released multi-bootstrap, 599 draws.

Coverage and width are all that is judged here. That no bound over clusters moves against an answer holds for up to
five clusters with a wrong answer, and not always beyond ([statistics.md](statistics.md), bounded scores)."""


def number(value: float, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def both(row: Row | None) -> str:
    """Coverage, and in brackets the width."""
    return "" if row is None else f"{number(row.coverage)} ({number(row.relative, 2)})"


def all_misses(known: dict[str, Cell], found: Found) -> list[str]:
    """A sentence for each limit that a simulated cell does not keep."""
    return [
        f"{name}: {text}"
        for name, cell in known.items()
        if name in found
        for text in misses(limits_of(cell), found[name]["printed"], found[name].get("old crossed"))
    ]


def hopeless_table(known: dict[str, Cell], found: Found) -> list[str]:
    """Cells that no interval can cover, with the coverage where the data show what seeds can do."""
    lines = [
        "| cell | covers | data show it in | covers then | width | before |",
        "|---|---|---|---|---|---|",
    ]
    for name, cell in known.items():
        if cell.hopeless and name in found:
            row = found[name]["printed"]
            cells = [
                name,
                number(row.coverage),
                number(row.seen),
                number(row.given_seen),
                number(row.relative, 2),
            ]
            lines.append(f"| {' | '.join(cells)} | {both(found[name].get('old crossed'))} |")
    return lines


def _judged(known: dict[str, Cell], found: Found, method: str) -> list[tuple[str, Cell, Row]]:
    return [
        (name, cell, found[name][method])
        for name, cell in known.items()
        if name in found and cell.judged and method in found[name] and found[name][method].none < 1
    ]


def _worst(
    title: str,
    rows: Iterable[tuple[str, Cell, Row]],
    measure: Callable[[Row], float],
    text: Callable[[Row], str],
) -> str:
    name, _, row = max(rows, key=lambda entry: measure(entry[2]))
    return f"| {title} | {text(row)} | {name} |"


def worst_table(known: dict[str, Cell], found: Found) -> list[str]:
    """For each method the cell that it covers least, and those in which it is widest and errs most."""
    lines = ["| method | worst | cell |", "|---|---|---|"]
    for method, title in TITLES.items():
        rows = _judged(known, found, method)
        if not rows:
            continue
        plain = [entry for entry in rows if limits_of(entry[1]).least == 0.935]
        other = [entry for entry in rows if limits_of(entry[1]).least != 0.935]
        for kind, part in (("means, accuracies", plain), ("F1, correlations, articles", other)):
            if part:
                lines.append(
                    _worst(f"{title}: {kind}", part, lambda r: -r.coverage, lambda r: f"covers {both(r)}")
                )
        wide = [entry for entry in rows if limits_of(entry[1]).width is not None]
        if wide:
            lines.append(
                _worst(
                    f"{title}: 5 or more of all",
                    wide,
                    lambda r: r.relative,
                    lambda r: f"width {r.relative:.2f}",
                )
            )
        null = [entry for entry in rows if not math.isnan(entry[2].type_one)]
        if null:
            lines.append(
                _worst(
                    f"{title}: no difference",
                    null,
                    lambda r: r.type_one,
                    lambda r: f"errs in {r.type_one:.3f}",
                )
            )
    return lines


def _span(entries: list[tuple[str, Cell, Row]]) -> str:
    shares = [row.coverage for _, _, row in entries]
    return f"{min(shares):.3f} to {max(shares):.3f}"


def section_table(known: dict[str, Cell], found: Found) -> list[str]:
    """For each section the range of coverage of each method."""
    lines = ["| section | cells | printed interval | before | percentile |", "|---|---|---|---|---|"]
    for section, group in groupby(known.items(), key=lambda item: item[1].section):
        own = dict(group)
        spans = [_judged(own, found, method) for method in TITLES]
        if spans[0]:
            shown = " | ".join(_span(entries) if entries else "" for entries in spans)
            lines.append(f"| {section} | {len(spans[0])} | {shown} |")
    return lines


def kept(known: dict[str, Cell], found: Found) -> str:
    """How many cells keep their limits."""
    missed = all_misses(known, found)
    cells = len({line.rsplit(": ", 1)[0] for line in missed})
    judged = len(_judged(known, found, "printed"))
    if not missed:
        return f"All {judged} cells that have limits keep them."
    return f"{cells} of {judged} cells that have limits miss one:"


def summary(known: dict[str, Cell], found: Found) -> str:
    """What docs/statistics.md prints."""
    parts = [
        "**The worst cell of each method**",
        "",
        *worst_table(known, found),
        "",
        "**No interval can cover this**",
        "",
        *hopeless_table(known, found),
        "",
        "**From the worst cell to the best, by section**",
        "",
        *section_table(known, found),
    ]
    return "\n".join(parts)


def not_kept(known: dict[str, Cell], found: Found) -> str:
    """What misses its limits, and why."""
    missed = reasoned(all_misses(known, found))
    return "\n".join([kept(known, found), *(["", *missed] if missed else [])])


def with_summary(text: str, known: dict[str, Cell], found: Found) -> str:
    """A document with the summary between its two marks."""
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    body = f"{summary(known, found)}\n\n{not_kept(known, found)}"
    return f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}"


def page(known: dict[str, Cell], found: Found) -> str:
    """All of docs/coverage.md."""
    lines = [HEAD, "", "**Limits that are missed**", "", not_kept(known, found), "", summary(known, found)]
    for section, group in groupby(known.items(), key=lambda item: item[1].section):
        lines += ["", f"## {section[0].upper()}{section[1:]}", ""]
        lines += [
            "| cell | repetitions | covers (width) | above | below | errs | old | percentile |",
            "|---" * 8 + "|",
        ]
        for name, cell in group:
            rows = found.get(name)
            if rows is None:
                continue
            row = rows["printed"]
            shown = [
                cell.name,
                f"{row.repetitions:,}",
                both(row),
                number(row.above),
                number(row.below),
                number(row.type_one),
            ]
            lines.append(
                f"| {' | '.join([*shown, both(rows.get('old crossed')), both(rows.get('percentile'))])} |"
            )
    return "\n".join(lines)
