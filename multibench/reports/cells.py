"""What can stand in a table or a sentence: texts, numbers, and numbers that know what stands behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from multibench.stats import Estimate

__all__ = [
    "Cell",
    "Mention",
    "Name",
    "Quantity",
    "Sentence",
    "count",
    "level_text",
    "mention",
    "one_line",
    "p_value",
    "percent",
    "points",
    "say",
    "share",
    "shown",
]


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number without an interval, and how it is printed: 0.0123 as ``1.23``.

    ``value`` keeps all digits, NaN where it is unknown: a fraction where the text has points or percent. ``unit`` says
    in a few words what it counts or measures.
    """

    value: float
    text: str
    unit: str = ""

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = str | int | float | bool | Estimate | Quantity | None


class Name(str):
    """A part of a sentence that is copied from the results (a task, a setting): its digits are no statement."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Mention:
    """An estimate or a quantity as a sentence words it."""

    cell: Estimate | Quantity
    text: str

    def __str__(self) -> str:
        return self.text


Part: TypeAlias = "str | Mention"


class Sentence(str):
    """A text that remembers which of its parts are numbers, so that each can be traced."""

    __slots__ = ("parts",)
    parts: tuple[Part, ...]


def say(*parts: str | Quantity | Mention) -> Sentence:
    """A sentence of words, names and numbers, put together as they are.

    Raises ``ValueError`` if bare words hold a digit: a number must say what it is (``Quantity``, ``mention``), and
    what is copied from the results is a ``Name``.
    """
    made: list[Part] = [Mention(part, part.text) if isinstance(part, Quantity) else part for part in parts]
    for part in made:
        if isinstance(part, str) and not isinstance(part, Name) and any(c.isdigit() for c in part):
            raise ValueError(f"The words {part!r} hold a number that cannot be traced.")
    sentence = Sentence("".join(str(part) for part in made))
    sentence.parts = tuple(made)
    return sentence


def mention(estimate: Estimate, *, signed: bool = False, unit: str = "") -> Mention:
    """``0.7 points (95 % interval 0.4 to 1.0)``; without an interval where there is none."""
    sign = "+" if signed else ""
    if math.isnan(estimate.value):
        return Mention(estimate, "an unknown value")
    value = f"{100 * estimate.value:{sign}.1f}{unit}"
    if math.isnan(estimate.low):
        return Mention(estimate, value)
    low, high = (f"{100 * bound:{sign}.1f}" for bound in (estimate.low, estimate.high))
    return Mention(estimate, f"{value} ({100 * estimate.level:g} % interval {low} to {high})")


def count(number: int, noun: str, plural: str | None = None) -> Quantity:
    """``1 run``, ``2,000 runs``."""
    return Quantity(number, f"{number:,} {noun if number == 1 else plural or noun + 's'}", noun)


def level_text(level: float) -> str:
    """``95 %``, ``99.9 %``."""
    return f"{100 * level:.6g} %"


def share(value: float, unit: str = "share") -> Quantity:
    """A fraction as whole percent: ``35 %``."""
    return Quantity(value, "unknown" if math.isnan(value) else f"{100 * value:.0f} %", unit)


def points(value: float, digits: int = 2, unit: str = "difference", unknown: str = "") -> Quantity:
    """A fraction in points: 0.0123 as ``1.23``; ``unknown`` where it is NaN."""
    return Quantity(value, unknown if math.isnan(value) else f"{100 * value:.{digits}f}", unit)


def p_value(p: float) -> Quantity:
    """A p-value with three digits, ``< 0.001`` below; empty where there is none."""
    text = "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return Quantity(p, text, "p-value")


def percent(estimate: Estimate, digits: int = 1) -> str:
    """``84.4 [83.8, 85.0]``: value and bounds in percent."""
    if math.isnan(estimate.value):
        return "undefined"
    if math.isnan(estimate.low):
        return f"{100 * estimate.value:.{digits}f}"
    return f"{100 * estimate.value:.{digits}f} [{100 * estimate.low:.{digits}f}, {100 * estimate.high:.{digits}f}]"


def one_line(text: object) -> str:
    """Any text on one line, with single spaces and no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def shown(cell: Cell) -> str:
    """A cell as people read it."""
    if isinstance(cell, Estimate):
        return percent(cell)
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return one_line(cell)
