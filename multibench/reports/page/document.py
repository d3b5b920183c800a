"""What a report is before it has a format: sections of sentences, tables, figures and code, and all its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from multibench.reports.cells import Cell, Mention, Name, Quantity, Sentence, shown
from multibench.reports.tables import Table
from multibench.stats import Estimate
from multibench.stats.estimate import plain

__all__ = ["Document", "Figure", "Ledger", "Section", "Traced"]

# Digits inside longer words (L-2_H-128, rte2) are parts of names.
NUMBER = re.compile(r"(?<![\w./-])-?\d(?:[\d,.]*\d)?(?:e-?\d+)?(?![\w/-])")


@dataclass(frozen=True)
class Figure:
    """A drawn figure: file name without ending, title, what it shows in words, and its bytes.

    ``titles`` are texts for the dots of runs, by run id.
    """

    name: str
    title: str
    alt: str
    svg: bytes
    png: bytes
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A heading; below it paragraphs, findings under topics, figures, ``tables`` by file name, and code."""

    name: str
    heading: str
    sentences: tuple[str, ...] = ()
    tables: dict[str, Table] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    code: tuple[str, ...] = ()
    findings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Every table with its file name."""
        for section in self.sections:
            yield from section.tables.items()

    def figures(self) -> Iterator[Figure]:
        """Every figure."""
        for section in self.sections:
            yield from section.figures


@dataclass(frozen=True)
class Traced:
    """A piece of text: words, a name, or a number, whose entry in the ledger has the id ``number``."""

    text: str
    number: str | None = None
    cell: Cell = None
    name: bool = False


class Ledger:
    """Every number of a document under an id, each object once: sentences share ids with the tables they repeat."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._known: dict[int, str] = {}
        self._held: list[object] = []

    def cell(self, cell: Cell, place: str, of: str) -> Traced:
        """A table's cell, entered under ``place`` if it is a number; ``of`` says what it is a number of."""
        text = shown(cell)
        is_number = isinstance(cell, (int, float, Estimate, Quantity)) and not isinstance(cell, bool)
        if not is_number or not any(c.isdigit() for c in text):
            return Traced(text)
        return Traced(text, self._enter(cell, place, of), cell)

    def text(self, text: str, place: str) -> list[Traced]:
        """A sentence in pieces, each of its numbers entered.

        Numbers in a text that does not know its parts (a reason that a statistic gave) are entered as it words them.
        """
        if not isinstance(text, Sentence):
            return self._verbatim(text, place)
        pieces = []
        for k, part in enumerate(text.parts):
            if isinstance(part, Mention):
                number = self._enter(part.cell, f"{place}.{k}", str(text))
                pieces.append(Traced(part.text, number, part.cell))
            else:
                pieces.append(Traced(part, name=isinstance(part, Name)))
        return pieces

    def _verbatim(self, text: str, place: str) -> list[Traced]:
        pieces, end = [], 0
        for k, found in enumerate(NUMBER.finditer(text)):
            value = float(found.group().replace(",", ""))
            number = self._enter(Quantity(value, found.group(), "as worded"), f"{place}.{k}", text)
            pieces += [_words(text[end : found.start()]), Traced(found.group(), number)]
            end = found.end()
        return [*pieces, _words(text[end:])]

    def _enter(self, cell: Cell, place: str, of: str) -> str:
        is_object = isinstance(cell, (Estimate, Quantity))
        if is_object and id(cell) in self._known:
            return self._known[id(cell)]
        if is_object:
            self._known[id(cell)] = place
            self._held.append(cell)  # so that no other object gets its id
        self.entries.append({"id": place, "of": of, **_entry(cell)})
        return place


def _words(text: str) -> Traced:
    return Traced(text, name=any(c.isdigit() for c in text))


def _entry(cell: Cell) -> dict[str, Any]:
    if isinstance(cell, Estimate):
        found = cell.to_dict()
        renamed = {"n_seeds": "seeds", "n_runs": "runs", "n_examples": "examples"}
        return {renamed.get(key, key): value for key, value in found.items()}
    if isinstance(cell, Quantity):
        return {"value": plain(cell.value), "estimand": cell.unit}
    return {"value": plain(cell), "estimand": ""}
