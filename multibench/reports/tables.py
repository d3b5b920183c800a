"""One table, five formats. Cells are texts, numbers or estimates; formats decide how they look."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from multibench.stats import Estimate

__all__ = ["FORMATS", "Cell", "Format", "Table", "percent"]

Format = Literal["text", "json", "csv", "markdown", "latex"]
FORMATS: tuple[Format, ...] = ("text", "json", "csv", "markdown", "latex")

Cell = str | int | float | bool | None | Estimate


@dataclass(frozen=True)
class Table:
    """Rows of named cells. ``notes`` say what holds for the whole table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Cell], ...]
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """More for JSON readers."""

    def render(self, format_: Format) -> str:
        """The table as text in one of ``FORMATS``, ending in a line feed."""
        return {
            "text": self._text,
            "json": self._json,
            "csv": self._csv,
            "markdown": self._markdown,
            "latex": self._latex,
        }[format_]()

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; estimates with all their fields."""
        rows = [
            {k: (v.to_dict() if isinstance(v, Estimate) else _plain(v)) for k, v in r.items()}
            for r in self.rows
        ]
        return {"title": self.title, "rows": rows, "notes": list(self.notes), **self.extra}

    def _cells(self) -> list[list[str]]:
        return [[_shown(row.get(name)) for name in self.columns] for row in self.rows]

    def _json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _csv(self) -> str:
        """One column a number: an estimate becomes its value, its bounds and its level."""
        estimates = {n for n in self.columns if any(isinstance(r.get(n), Estimate) for r in self.rows)}
        names: list[str] = []
        for name in self.columns:
            names += [name, f"{name}_low", f"{name}_high", f"{name}_level"] if name in estimates else [name]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            line: list[Any] = []
            for name in self.columns:
                cell = row.get(name)
                if isinstance(cell, Estimate):
                    line += [_number(cell.value), _number(cell.low), _number(cell.high), cell.level]
                elif name in estimates:
                    line += ["", "", "", ""]
                else:
                    line.append(_formula_safe("" if cell is None else cell))
            writer.writerow(line)
        return buffer.getvalue()

    def _text(self) -> str:
        widths = [max(len(c) for c in column) for column in zip(self.columns, *self._cells(), strict=True)]

        def line(cells: Sequence[str]) -> str:
            return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

        body = [line(cells) for cells in self._cells()]
        rule = "  ".join("-" * width for width in widths)
        lines = [self.title, "", line(self.columns), rule, *body]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes]) + "\n"

    def _markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(c.replace("\\", "\\\\").replace("|", "\\|") for c in cells) + " |"

        rows = [line(cells) for cells in self._cells()]
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return (
            "\n".join(
                [
                    f"**{self.title}**",
                    "",
                    line(self.columns),
                    line(["---"] * len(self.columns)),
                    *rows,
                    *notes,
                ]
            )
            + "\n"
        )

    def _latex(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return " & ".join(_latex_safe(cell) for cell in cells) + r" \\"

        head = rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}"
        rows = [line(cells) for cells in self._cells()]
        notes = [f"% {note}" for note in self.notes]
        body = [r"\toprule", line(self.columns), r"\midrule", *rows, r"\bottomrule"]
        return "\n".join([f"% {self.title}", *notes, head, *body, r"\end{tabular}"]) + "\n"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """``84.4 [83.8, 85.0]``: value and bounds in percent."""
    if math.isnan(estimate.value):
        return "undefined"
    if math.isnan(estimate.low):
        return f"{100 * estimate.value:.{digits}f}"
    return f"{100 * estimate.value:.{digits}f} [{100 * estimate.low:.{digits}f}, {100 * estimate.high:.{digits}f}]"


def _shown(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        return percent(cell)
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return " ".join(str(cell).split())


def _plain(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _formula_safe(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets a leading apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def _latex_safe(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
