"""Choosing the best run: what best-of-n means, best of a grid, and what choosing and reporting on one set costs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array, Metric
from multibench.stats.estimate import Estimate
from multibench.stats.intervals import bootstrap_estimate
from multibench.stats.streams import Streams

__all__ = ["best_of_grid", "best_of_n", "selection_optimism"]

TRIALS, SPLITS = 5, 6


def best_of_n(
    scores: ArrayLike,
    n: int,
    nboot: int = 10_000,
    rng: np.random.Generator | int | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Expected best of ``n`` exchangeable trials, unbiased, from N >= n of them.

    ``sum_i C(i - 1, n - 1) / C(N, n) x_(i)``: the mean over all subsets of n trials (Tang et al. 2020), where the
    plug-in of Dodge et al. (2019) draws with replacement and is biased low. Trials are exchangeable when they
    differ by random seeds only; a grid of learning rates is not: see ``best_of_grid``. The test set is held
    fixed. Never print this beside a mean without saying so.
    """
    values = _scores(scores)
    if not 1 <= n <= len(values):
        raise StatisticsError(
            f"The best of {n} cannot be estimated without bias from {len(values)} trials; give {n} or more."
        )
    weights = _best_weights(len(values), n)
    generator = Streams(rng).generator(TRIALS, 0)
    index = generator.integers(0, len(values), size=(nboot, len(values)))
    draws = np.sort(np.sort(values)[index], axis=1) @ weights
    return bootstrap_estimate(
        float(np.sort(values) @ weights),
        draws,
        confidence,
        "percentile",
        1.0,
        True,
        method="unbiased best-of-n; bootstrap over trials, percentile",
        estimand=f"expected best of {n} trials",
        n_seeds=len(values),
        n_runs=len(values),
        n_examples=0,
        caveat="takes trials as exchangeable and the test set as fixed",
    )


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


def best_of_grid(
    scores: ArrayLike,
    seeds_each: int = 1,
    nboot: int = 2_000,
    rng: np.random.Generator | int | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Expected best score of a search over settings, ``seeds_each`` runs of every setting.

    ``scores`` is ``(n_settings, n_seeds)``. Runs of one setting are exchangeable, settings are not: the
    distribution of the maximum is the product over settings of
    ``C(k_s(x), seeds_each) / C(n_seeds, seeds_each)``, with k_s(x) the runs of setting s at or below x. Runs of
    different settings are taken as independent. It depends on the grid: another grid has another best. With
    ``seeds_each = n_seeds`` it is the best score seen, and has no interval.
    """
    values = _scores(scores, 2)
    n_seeds = values.shape[1]
    if not 1 <= seeds_each <= n_seeds:
        raise StatisticsError(f"`seeds_each` is {seeds_each}; the grid has {n_seeds} runs of each setting.")
    generator = Streams(rng).generator(TRIALS, 0)
    draws = np.empty(nboot)
    for b in range(nboot):
        index = generator.integers(0, n_seeds, size=values.shape)
        draws[b] = _grid_best(np.take_along_axis(values, index, axis=1), seeds_each)
    fields = {
        "method": "exact over subsets; bootstrap over runs within settings, percentile",
        "estimand": f"expected best of a grid of {len(values)} settings with {seeds_each} runs each",
    }
    if seeds_each == n_seeds:
        draws = np.full(nboot, math.nan)
    return bootstrap_estimate(
        _grid_best(values, seeds_each),
        draws,
        confidence,
        "percentile",
        1.0,
        True,
        n_seeds=n_seeds,
        n_runs=values.size,
        n_examples=0,
        caveat="for this grid and test set only",
        **fields,
    )


def _grid_best(values: Array, k: int) -> float:
    """Expected maximum over settings of the best of k random runs of each."""
    points = np.unique(values)
    total = values.shape[1]
    choose = np.exp([_log_choose(i, k) - _log_choose(total, k) for i in range(total + 1)])
    below = np.array([np.searchsorted(np.sort(row), points, side="right") for row in values])
    distribution = choose[below].prod(axis=0)
    return float(points @ np.diff(distribution, prepend=0.0))


def selection_optimism(
    preds: ArrayLike,
    labels: ArrayLike,
    metric: str | Metric,
    n_splits: int = 200,
    rng: np.random.Generator | int | None = None,
) -> Estimate:
    """How much too good the best candidate looks on the set it was chosen on.

    ``preds`` are candidates ``(n_candidates, n_examples[, n_outputs])``. Each split halves the examples, chooses
    on one half and scores the chosen on both: the mean of (score where chosen minus score on the other half).
    Halves are noisier than the whole set, so this is larger than the optimism of choosing on all
    examples, roughly by the square root of 2. ``mc_error`` is the error of the mean over splits; splits share
    examples, so there is no sampling interval.
    """
    known = METRICS.get(metric) if isinstance(metric, str) else metric
    prepared = known.prepare(labels, preds)
    n = prepared.n_examples
    if n < 4:
        raise StatisticsError(f"{n} examples are too few to split in halves.")
    generator = Streams(rng).generator(SPLITS, 0)
    chosen = np.zeros((n_splits, n), dtype=np.int8)
    for row in chosen:
        row[generator.permutation(n)[: n // 2]] = 1
    gaps = []
    for selecting, reporting in ((chosen, 1 - chosen), (1 - chosen, chosen)):
        on, off = prepared.draws(selecting), prepared.draws(reporting)
        on = np.where(np.isnan(on), -np.inf, on)
        best = on.argmax(axis=1)[:, None]
        gaps.append(np.take_along_axis(on, best, axis=1)[:, 0] - np.take_along_axis(off, best, axis=1)[:, 0])
    gap = (gaps[0] + gaps[1]) / 2
    return Estimate(
        float(gap.mean()),
        math.nan,
        math.nan,
        0.95,
        f"{n_splits} random halvings",
        "optimism of choosing and reporting on one half of the examples",
        float(gap.std(ddof=1)),
        float(gap.std(ddof=1) / math.sqrt(n_splits)),
        0,
        prepared.n_runs,
        n,
        reason="splits share their examples; their spread is no sampling interval",
    )
