"""A report's page taken apart by the standard library's parser: its tables, its numbers and what else holds digits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "input", "br", "img"}


@dataclass
class Cell:
    """A table's cell: its text, and the ids of the numbers in it."""

    text: str = ""
    kind: str = ""
    numbers: list[str] = field(default_factory=list)


@dataclass
class ReadPage(HTMLParser):
    """What a page says. ``numbers``: shown texts by id. ``loose``: texts with digits, neither number nor name."""

    tables: dict[str, list[list[Cell]]] = field(default_factory=dict)
    numbers: dict[str, list[str]] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, dict[str, str]]] = []

    @classmethod
    def of(cls, path: Path) -> ReadPage:
        """The page in a file."""
        page = cls()
        page.feed(path.read_text("utf-8"))
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("href", "src", "xlink:href") if name in found]
        if tag not in VOID:
            self._open.append((tag, found))
        if tag == "table":
            self.tables[self._table()] = []
        elif tag == "tr":
            self.tables[self._table()].append([])
        elif tag in {"td", "th"}:
            self.tables[self._table()][-1].append(Cell(kind=found.get("class", "")))
        elif tag in {"h1", "h2", "h3", "h4"}:
            self.headings.append((int(tag[1]), ""))
        if "data-n" in found:
            self.numbers.setdefault(found["data-n"], []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        if {"svg", "style", "script"} & set(tags):
            return
        if tags and tags[-1] in {"h1", "h2", "h3", "h4"}:
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
        number = next((a["data-n"] for _, a in reversed(self._open) if "data-n" in a), None)
        if "td" in tags or "tbody" in tags:
            cell = self.tables[self._table()][-1][-1] if self.tables[self._table()][-1] else Cell()
            cell.text += data
            cell.numbers += [] if number is None else [number]
        if number is not None:
            self.numbers[number][-1] += data
        elif any(c.isdigit() for c in data) and self._should_be_traced():
            self.loose.append(data)

    def _should_be_traced(self) -> bool:
        """Whether the text at hand is prose or a number's cell, and no name."""
        classes = [found.get("class") for _, found in self._open]
        prose = {"p", "li"} & {tag for tag, _ in self._open}
        return bool(prose or "number" in classes) and "name" not in classes

    def _table(self) -> str:
        ids = [a["id"] for tag, a in self._open if tag == "figure" and "id" in a]
        return ids[-1].removeprefix("table-")


def read_estimates(folder: Path) -> dict[str, dict[str, Any]]:
    """``estimates.json`` by id; ids must be unique."""
    entries = json.loads((folder / "estimates.json").read_text("utf-8"))
    found = {entry["id"]: entry for entry in entries}
    assert len(found) == len(entries)
    return found
