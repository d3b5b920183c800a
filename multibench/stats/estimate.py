"""The common currency: a number that says how sure it is, how it was made and what stands behind it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Estimate", "plain"]


def plain(value: Any) -> Any:
    """``value`` as what JSON can hold: NaN and infinities become ``None``, numpy scalars Python's."""
    if hasattr(value, "to_dict") and not isinstance(value, type):
        return value.to_dict()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    ``value`` is the plug-in estimate, never a mean of draws (that is ``bootstrap_mean``, where there is one).
    ``low`` and ``high`` bound it at confidence ``level``; ``mc_error`` is the Monte Carlo standard
    error of those bounds (0 for closed forms). Fractions, not percent. What is unknown is NaN and
    ``reason`` says why; ``caveat`` says what a known interval does not cover.
    """

    value: float
    low: float
    high: float
    level: float
    method: str
    estimand: str
    standard_error: float
    mc_error: float
    n_seeds: int
    n_runs: int
    n_examples: int
    reason: str = ""
    caveat: str = ""
    bootstrap_mean: float = math.nan
    over: str = ""
    """The random factors that the interval covers, in words."""

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON; unknown numbers are ``None``."""
        return {key: plain(value) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        counts = f"{_count(self.n_seeds, 'seed')}, {_count(self.n_runs, 'run')}"
        behind = f"{self.method}; {counts}, {_count(self.n_examples, 'example')}"
        if math.isnan(self.value):
            return f"unknown: {self.reason} ({behind})"
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{_short(self.value)}, no interval: {self.reason} ({behind})"
        bounds = f"[{_short(self.low)}, {_short(self.high)}]"
        return f"{_short(self.value)} {bounds} at {self.level:.0%} ({behind})"


def _short(number: float) -> str:
    return f"{number:.4f}" if number == 0 or abs(number) >= 0.001 else f"{number:.2g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
