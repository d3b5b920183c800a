r"""Tables for papers: a ``tabular`` with booktabs rules that any LaTeX compiles, whatever names are in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multibench.reports.cells import Quantity, one_line
from multibench.stats import Estimate

if TYPE_CHECKING:
    from multibench.reports.tables import Table

__all__ = ["latex_safe", "latex_text"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl would need another font encoding
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "−": "$-$",
    "→": r"$\to$",
    "·": r"$\cdot$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "å": r"\aa{}",
    "Å": r"\AA{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def latex_safe(text: str) -> str:
    """``text`` in plain LaTeX; a character that standard fonts lack becomes its code point, ``[U+1F642]``."""
    return "".join(_letter(character) for character in one_line(text))


def _letter(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[1] in _ACCENTS and parts[0].isascii() and parts[0].isalpha():
        return rf"\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"[U+{ord(character):04X}]"


def latex_text(table: Table) -> str:
    """The tabular; title and notes as comments above it. Numbers are set to the right."""

    def line(cells: Sequence[str]) -> str:
        safe = [latex_safe(cell) for cell in cells]
        # After the \\ of the line before, a bracket or a star would be taken for its argument.
        return ("{}" if safe and safe[0][:1] in ("[", "*") else "") + " & ".join(safe) + r" \\"

    sides = "".join("r" if _is_number(table, name) else "l" for name in table.columns)
    comments = [f"% {one_line(text)}" for text in (table.title, *table.remarks())]
    rows = [line(cells) for cells in table.cells()]
    body = [r"\toprule", line(table.columns), r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*comments, rf"\begin{{tabular}}{{{sides}}}", *body, r"\end{tabular}"]) + "\n"


def _is_number(table: Table, name: str) -> bool:
    cells = [row[name] for row in table.rows if row.get(name) not in (None, "")]
    return bool(cells) and all(isinstance(cell, (int, float, Estimate, Quantity)) for cell in cells)
