"""The best of several runs: of n that differ by chance, and of a grid of settings. ``chosen`` has scores of a
choice.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimate import Estimate

__all__ = ["best_of_grid", "best_of_n", "expected_best"]


def expected_best(scores: ArrayLike, n: int) -> float:
    """Expected best of ``n`` exchangeable trials, unbiased, from N >= n of them.

    ``sum_i C(i - 1, n - 1) / C(N, n) x_(i)``: the mean over all subsets of n trials (Tang et al. 2020), where the
    plug-in of Dodge et al. (2019) draws with replacement and is biased low. Raises ``StatisticsError`` for N < n.
    """
    values = _enough(scores, n)
    return float(np.sort(values) @ _best_weights(len(values), n))


def best_of_n(scores: ArrayLike, n: int, confidence: float = 0.95) -> Estimate:
    """The median best of ``n`` exchangeable trials: half of all searches of n trials end above it.

    It is the ``0.5^(1/n)`` quantile of single trials, so that order statistics bound it whatever their distribution
    (Lourie, Cho and He 2023). Where n is too near the number of trials N no order statistic lies above it often enough:
    there is then no interval, and the reason says how many trials there had to be. Trials are exchangeable when they
    differ by random seeds only; a grid of learning rates is not: see ``best_of_grid``. The test set is held fixed.
    Never print this beside a mean without saying so. Raises ``StatisticsError`` for N < n.
    """
    values = np.sort(_enough(scores, n))
    total, share, tail = len(values), 0.5 ** (1 / n), (1 - confidence) / 2
    chances = np.cumsum(_best_weights(total, n))
    low, high, reason = _order_bounds(values, share, tail)
    return Estimate(
        float(values[int(np.argmax(chances >= 0.5 - 1e-12))]),
        low,
        high,
        confidence,
        "order statistics, distribution-free",
        f"median best of {n} trials",
        math.nan,
        0.0,
        total,
        total,
        0,
        reason,
        caveat="takes trials as exchangeable and the test set as fixed",
        over="trials",
    )


def _order_bounds(values: Array, share: float, tail: float) -> tuple[float, float, str]:
    """Order statistics that hold the ``share`` quantile between them, each missing it with chance ``tail`` at most."""
    from scipy.special import bdtr

    total = len(values)
    below = [float(bdtr(k, total, share)) for k in range(total)]  # P(at most k trials lie below)
    lower = max((k for k in range(total) if (below[k] <= tail)), default=-1)
    upper = min((k for k in range(total) if 1 - below[k] <= tail), default=total)
    if upper >= total or lower < 0:
        needed = total
        while share**needed > tail or (1 - share) ** needed > tail:
            needed += 1
        return math.nan, math.nan, f"{total} trials are too few to bound it; {needed} would do"
    return float(values[lower]), float(values[upper]), ""


def _enough(scores: ArrayLike, n: int) -> Array:
    values = _scores(scores)
    if not 1 <= n <= len(values):
        raise StatisticsError(
            f"The best of {n} cannot be estimated without bias from {len(values)} trials; give {n} or more."
        )
    return values


def _scores(scores: ArrayLike, ndim: int = 1) -> Array:
    values = np.asarray(scores, dtype=float)
    if values.ndim != ndim or values.size == 0:
        raise StatisticsError(f"Scores have shape {values.shape}; expected {ndim} non-empty axes.")
    if np.isnan(values).any():
        raise StatisticsError(
            "A score is NaN; decide what a collapsed run counts as before choosing the best."
        )
    return values


def _best_weights(total: int, n: int) -> Array:
    """Chance that the i-th smallest of ``total`` is the best of a random subset of ``n``."""
    logs = [_log_choose(i, n - 1) - _log_choose(total, n) for i in range(total)]
    return np.asarray(np.exp(np.array(logs)))


def _log_choose(n: int, k: int) -> float:
    if k > n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def best_of_grid(scores: ArrayLike, seeds_each: int = 1) -> Estimate:
    """Expected best score of a search over settings, ``seeds_each`` runs of every setting.

    ``scores`` is ``(n_settings, n_seeds)``. Runs of one setting are exchangeable, settings are not: the
    distribution of the maximum is the product over settings of
    ``C(k_s(x), seeds_each) / C(n_seeds, seeds_each)``, with k_s(x) the runs of setting s at or below x. Runs of
    different settings are taken as independent. It depends on the grid: another grid has another best. It has no
    interval: with a handful of runs a setting none is known to cover. Raises ``StatisticsError`` for scores that do
    not fit.
    """
    values = _scores(scores, 2)
    n_seeds = values.shape[1]
    if not 1 <= seeds_each <= n_seeds:
        raise StatisticsError(f"`seeds_each` is {seeds_each}; the grid has {n_seeds} runs of each setting.")
    return Estimate(
        _grid_best(values, seeds_each),
        math.nan,
        math.nan,
        0.95,
        "exact over subsets",
        f"expected best of a grid of {len(values)} settings with {seeds_each} runs each",
        math.nan,
        0.0,
        n_seeds,
        values.size,
        0,
        reason="no interval is known to cover the best of a grid with so few runs a setting",
        caveat="for this grid and test set only",
    )


def _grid_best(values: Array, k: int) -> float:
    """Expected maximum over settings of the best of k random runs of each."""
    points = np.unique(values)
    total = values.shape[1]
    choose = np.exp([_log_choose(i, k) - _log_choose(total, k) for i in range(total + 1)])
    below = np.array([np.searchsorted(np.sort(row), points, side="right") for row in values])
    distribution = choose[below].prod(axis=0)
    return float(points @ np.diff(distribution, prepend=0.0))
