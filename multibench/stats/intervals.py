"""Intervals and p-values from bootstrap draws, both from the same inversion."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimate import Estimate

__all__ = [
    "Interval",
    "bootstrap_estimate",
    "checked_interval",
    "p_values",
    "released_p",
    "shaped_draws",
]

Interval = Literal["percentile", "basic", "rescaled"]

# Differences of means of counts that are equal may differ by so much.
ROUNDING = 1e-12


def checked_interval(interval: Interval, confidence: float) -> Interval:
    """``interval``, if it and the level are what they may be. Raises ``StatisticsError``."""
    if interval not in ("percentile", "basic", "rescaled"):
        raise StatisticsError(f"`interval` is {interval!r}; it must be percentile, basic or rescaled.")
    if not 0 < confidence < 1:
        raise StatisticsError(f"`confidence` is {confidence}; it must lie between 0 and 1 (0.95 is usual).")
    return interval


def bootstrap_estimate(
    value: float,
    draws: Array,
    level: float,
    interval: Interval,
    factor: float,
    exact: bool,
    *,
    method: str,
    estimand: str,
    n_seeds: int,
    n_runs: int,
    n_examples: int,
    caveat: str = "",
    over: str = "",
) -> Estimate:
    """An estimate from bootstrap draws; NaN draws are left out of the interval."""
    kept = draws[~np.isnan(draws)]
    reason = ""
    low = high = error = spread = mean = math.nan
    if math.isnan(value):
        reason = "the score of a run is undefined"
    elif len(kept) == 0:
        reason = "no draw had a defined score"
    else:
        shaped = np.sort(shaped_draws(value, kept, interval, factor))
        low, high = _bounds(shaped, level, exact)
        error = _bound_error(shaped, level)
        spread = float(kept.std(ddof=1)) * factor if len(kept) > 1 else math.nan
        mean = float(kept.mean())
    return Estimate(
        value,
        low,
        high,
        level,
        method,
        estimand,
        spread,
        error,
        n_seeds,
        n_runs,
        n_examples,
        reason,
        caveat,
        mean,
        over,
    )


def shaped_draws(value: float, draws: Array, interval: Interval, factor: float) -> Array:
    """Draws moved so that their own quantiles are the interval's bounds."""
    if interval == "basic":
        return 2 * value - draws
    return value + factor * (draws - value) if factor != 1.0 else draws


def _bounds(ordered: Array, level: float, exact: bool) -> tuple[float, float]:
    tail = (1 - level) / 2
    if not exact:
        low, high = np.quantile(ordered, [tail, 1 - tail])
        return float(low), float(high)
    # Order statistics whose exclusion of a value means p <= 1 - level for it, and the other way round.
    rank = max(1, math.floor(tail * (len(ordered) + 1) + 1e-9))
    return float(ordered[rank - 1]), float(ordered[len(ordered) - rank])


def _bound_error(ordered: Array, level: float) -> float:
    """Monte Carlo standard error of the worse bound, from the spacing of draws about it."""
    n = len(ordered)
    if n < 2:
        return math.nan
    errors = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        step = math.sqrt(n * tail * (1 - tail))
        low, high = (min(n - 1, max(0, round(tail * n + sign * step))) for sign in (-1, 1))
        errors.append(float(ordered[high] - ordered[low]) / 2)
    return max(errors)


def p_values(shaped: Array) -> tuple[float, float]:
    """Evidence that the true value is above 0, and below: ``(k + 1) / (n + 1)`` of ``n`` shaped draws.

    Draws that differ from 0 by rounding only are 0, and count on both sides.
    """
    n = len(shaped)
    if n == 0:
        return math.nan, math.nan
    return (int((shaped <= ROUNDING).sum()) + 1) / (n + 1), (int((shaped >= -ROUNDING).sum()) + 1) / (n + 1)


def released_p(against: Array) -> float:
    """The released function's p-value: the share of draws that speak against, at least one draw's."""
    share = float(against.mean())
    return share if share > 0 else 1 / len(against)
