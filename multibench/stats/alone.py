"""Statements from scores alone, without the predictions behind them: what runs of a group vary by, and no more.

The examples stay the same ones in every run, and nothing is known of them: intervals here cover other runs, and not
other examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from multibench.errors import StatisticsError
from multibench.stats.estimate import plain

__all__ = ["AloneDifference", "AloneGroup", "difference_alone", "group_alone"]

_EXACT = 20_000
_RANDOM = 9_999
_HALVINGS = 60


@dataclass(frozen=True)
class AloneGroup:
    """``mean`` and sample standard deviation ``sd`` (n - 1) of ``runs`` scores, and the t interval of the mean.

    Fractions. What is unknown is NaN: with one run there is neither spread nor interval.
    """

    runs: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class AloneDifference:
    """The difference of the means of two groups, second less first, with two intervals and two-sided p-values.

    ``welch_...``: Welch's t, with variances of their own. ``permutation_...``: the shifts under which exchanging runs
    between the groups gives at least so large a difference in more than 1 - level of the cases; of all exchanges, or
    of ``permutations`` random ones. NaN where there are too few runs.
    """

    difference: float
    welch_low: float
    welch_high: float
    welch_p: float
    permutation_low: float
    permutation_high: float
    permutation_p: float
    permutations: int
    exact: bool

    def to_dict(self) -> dict[str, object]:
        """All fields, ready for JSON; unknown numbers are None."""
        return {key: plain(value) for key, value in vars(self).items()}


def group_alone(scores: Sequence[float], level: float = 0.95) -> AloneGroup:
    """What the ``scores`` of one group say. Raises ``StatisticsError`` if there are none, or one is not finite."""
    values = _checked(scores)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return AloneGroup(n, mean, math.nan, math.nan, math.nan)
    sd = float(values.std(ddof=1))
    half = _t_quantile(level, n - 1) * sd / math.sqrt(n)
    return AloneGroup(n, mean, sd, mean - half, mean + half)


def difference_alone(
    base: Sequence[float], expt: Sequence[float], level: float = 0.95, rng: int = 0
) -> AloneDifference:
    """``expt`` against ``base``, unpaired. ``rng`` is the seed of random exchanges, where all are too many.

    Raises ``StatisticsError`` if a side has no scores, or one is not finite.
    """
    x, y = _checked(base), _checked(expt)
    difference = float(y.mean() - x.mean())
    low, high, p = _welch(x, y, difference, level)
    moved, exact = _exchanges(len(x), len(y), rng)
    bounds = _permutation_interval(x, y, difference, moved, exact, level)
    return AloneDifference(
        difference, low, high, p, *bounds, _permutation_p(x, y, moved, exact), len(moved), exact
    )


def _checked(scores: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise StatisticsError(f"Scores {values.tolist()} were given; expected a list of finite numbers.")
    return values


def _t_quantile(level: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _welch(
    x: NDArray[np.float64], y: NDArray[np.float64], difference: float, level: float
) -> tuple[float, float, float]:
    from scipy.special import stdtr

    if len(x) < 2 or len(y) < 2:
        return math.nan, math.nan, math.nan
    parts = [float(side.var(ddof=1)) / len(side) for side in (x, y)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return math.nan, math.nan, math.nan
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (x, y), strict=True)
    )
    half = _t_quantile(level, freedom) * error
    return difference - half, difference + half, float(2 * stdtr(freedom, -abs(difference) / error))


def _exchanges(n: int, m: int, rng: int) -> tuple[NDArray[np.bool_], bool]:
    """Which of the ``n + m`` runs are in the second group, ``(exchanges, n + m)``; all ways, or random ones."""
    if math.comb(n + m, m) <= _EXACT:
        chosen = np.array(list(combinations(range(n + m), m)))
        moved = np.zeros((len(chosen), n + m), dtype=np.bool_)
        np.put_along_axis(moved, chosen, True, axis=1)
        return moved, True
    keys = np.random.default_rng(rng).random((_RANDOM, n + m))
    return keys.argsort(axis=1).argsort(axis=1) < m, False


def _permutation_p(
    x: NDArray[np.float64], y: NDArray[np.float64], moved: NDArray[np.bool_], exact: bool, shift: float = 0.0
) -> float:
    """The share of exchanges with at least so large a difference of means, once ``y`` is less by ``shift``."""
    pooled = np.concatenate([x, y - shift])
    sums = moved @ pooled
    differences = np.abs(sums / len(y) - (pooled.sum() - sums) / len(x))
    observed = abs(float(y.mean() - shift - x.mean()))
    count = int((differences >= observed - 1e-12 * max(1.0, np.abs(pooled).max())).sum())
    return count / len(moved) if exact else (count + 1) / (len(moved) + 1)


def _permutation_interval(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    difference: float,
    moved: NDArray[np.bool_],
    exact: bool,
    level: float,
) -> tuple[float, float]:
    """The shifts that are not rejected at 1 - ``level``; NaN where no shift ever is, because runs are too few."""
    spread = float(np.ptp(np.concatenate([x, y]))) or 1.0
    bounds = []
    for sign in (-1, 1):
        kept, rejected = difference, difference + sign * 1000 * spread
        if _permutation_p(x, y, moved, exact, rejected) > 1 - level:
            return math.nan, math.nan
        for _ in range(_HALVINGS):
            middle = (kept + rejected) / 2
            if _permutation_p(x, y, moved, exact, middle) > 1 - level:
                kept = middle
            else:
                rejected = middle
        bounds.append(kept)
    return bounds[0], bounds[1]
