"""Differences that somebody names beforehand: an effect, a margin, a half-width. Which of them are possible."""

from __future__ import annotations

import math

from multibench.errors import StatisticsError
from multibench.stats.bounds import Scale

__all__ = ["REACH", "ImpossibleSizeError", "possible_size"]

REACH: dict[Scale, float] = {"share": 1.0, "correlation": 2.0, "free": math.inf}
"""The largest difference of two scores."""


class ImpossibleSizeError(StatisticsError):
    """A difference that no two scores of the metric can have, or that is not above 0."""


def possible_size(value: float, what: str, reach: float = math.inf) -> float:
    """``value``, a difference that somebody calls the ``what``: a positive fraction of at most ``reach``.

    Raises ``ImpossibleSizeError`` for NaN, infinities, 0, less than 0 and more than ``reach``.
    """
    if not (math.isfinite(value) and value > 0):
        raise ImpossibleSizeError(
            f"The {what} is {value:g}; give a positive fraction, such as 0.005 for half a point."
        )
    if value > reach:
        raise ImpossibleSizeError(
            f"The {what} is {value:g}, which is {100 * value:g} points; two scores of this metric differ by "
            f"{100 * reach:g} points at most. Give a fraction, such as 0.005 for half a point."
        )
    return value
