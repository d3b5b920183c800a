"""From the half-width of an error to the bounds of a score that cannot leave its range.

Shares (accuracy, exact match, F1) have score bounds: the variance is taken to go with ``theta (1 - theta)``, as that of
a binomial does and that of seeds whose accuracies are beta distributed, and the bounds are the values of theta that the
estimate is just not too far from (Wilson 1927, with the surrogate's half-width in the place of a normal one). They stay
within 0 and 1, and for one run they rise with every right answer at every level. Near a bound they are widened to the
exact binomial bounds (Clopper and Pearson 1934) on the number of distinct examples, however many runs there are.
Correlations (Pearson, Spearman, MCC) go through Fisher's z.
"""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["Scale", "clopper_pearson", "correlation_bounds", "least_variance", "share_bounds"]

Scale = Literal["share", "correlation", "free"]

# Right or wrong answers below which the exact bounds come in.
FEW_ANSWERS, FEWEST_ANSWERS = 5.0, 3.0
# Variance of a difference, in squared examples, where no two answers differ: 4 gives the exact bound of a share 0.
NO_DISCORDANCE, GROWTH = 4.0, 0.2


def clopper_pearson(right: float, n: float, level: float) -> tuple[float, float]:
    """Exact binomial bounds of a share, for a number of right answers that need not be whole."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if right <= 0 else float(betaincinv(right, n - right + 1, tail))
    high = 1.0 if right >= n else float(betaincinv(right + 1, n - right, 1 - tail))
    return low, high


def share_bounds(
    value: float, half_width: float, n_units: float, level: float, touched: tuple[int, int] | None = None
) -> tuple[float, float]:
    """Bounds of a share ``value`` whose error at ``value`` has this half-width, from ``n_units`` distinct units.

    ``n_units`` are the examples that can move the score, or clusters. Of clusters ``touched`` says how many have a
    right answer, and how many a wrong one: with fewer than five the exact bounds count.
    """
    low, high = _score_bounds(value, half_width)
    right = value * n_units
    wrong = n_units - right
    exact_low, exact_high = clopper_pearson(right, n_units, level)
    if touched is not None:
        if min(touched) < FEW_ANSWERS:
            return min(low, exact_low), max(high, exact_high)
        return low, high
    if n_units < 2 * FEW_ANSWERS:
        return min(low, exact_low), max(high, exact_high)
    # Towards the far side exact bounds count for up to three answers and stay there: bounds never move backwards.
    # With more answers score bounds are the wider ones, but where many runs average their noise away.
    low = min(low, clopper_pearson(n_units - min(wrong, FEWEST_ANSWERS), n_units, level)[0])
    high = max(high, clopper_pearson(min(right, FEWEST_ANSWERS), n_units, level)[1])
    if right < FEW_ANSWERS:
        low = min(low, exact_low)
    if wrong < FEW_ANSWERS:
        high = max(high, exact_high)
    return low, high


def _score_bounds(value: float, half_width: float) -> tuple[float, float]:
    """The theta with ``(value - theta)^2 = half_width^2 theta (1 - theta) / (value (1 - value))``."""
    spread = value * (1 - value)
    if spread <= 0:
        return (0.0, 0.0) if value <= 0 else (1.0, 1.0)
    h = half_width**2 / spread
    if math.isinf(h):
        return 0.0, 1.0
    root = math.sqrt(h * h + 4 * h * spread)
    centre = 2 * value + h
    return max(0.0, (centre - root) / (2 * (1 + h))), min(1.0, (centre + root) / (2 * (1 + h)))


def correlation_bounds(value: float, half_width: float) -> tuple[float, float]:
    """Bounds of a correlation by Fisher's z; unknown (NaN) at -1 and 1, where z ends."""
    slope = 1 - value**2
    if slope <= 0:
        return math.nan, math.nan
    z, half = math.atanh(value), half_width / slope
    return math.tanh(z - half), math.tanh(z + half)


def least_variance(examples: float, n_units: float) -> float:
    """The examples' part of the variance of a difference of shares, never less than few discordant answers allow.

    ``examples n_units^2`` is about the number of units on which the sides differ. Were it 0, the true share of such
    units could still be that of an exact bound. It is meant for fewer than five such units.
    """
    discordant = examples * n_units**2
    return max(discordant, NO_DISCORDANCE + GROWTH * discordant) / n_units**2
