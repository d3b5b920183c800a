"""From the half-width of an error to the bounds of a score that cannot leave its range.

Shares (accuracy, exact match, F1) have score bounds: the variance is taken to go with ``theta (1 - theta)``, as that of
a binomial does and that of seeds whose accuracies are beta distributed, and the bounds are the values of theta that the
estimate is just not too far from (Wilson 1927, with the surrogate's half-width in the place of a normal one). They stay
within 0 and 1, and for one run they rise with every right answer at every level. Near a bound they are widened to the
exact binomial bounds (Clopper and Pearson 1934) on the number of distinct examples, however many runs there are.
Correlations (Pearson, Spearman, MCC) go through Fisher's z.

Over clusters exact bounds count fully where there are at most 15 of them, and where at most five have a wrong answer
(or a right one), so that nothing jumps where the fifth is touched. With each further one they count less, since data
then begin to tell how much clusters differ. The exact low bound is that of the four clusters with most wrong answers.
Better answers in the better clusters can widen an interval by more than they move it: the low bound is therefore the
lowest that it would be with any number of the better clusters all right, as long as most answers are; the high
bound likewise. More is not to be had with intervals of use: were exact bounds to count always, no accuracy over 35
clusters could have a low bound above .90, which all right answers have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from multibench.metrics.base import Array

__all__ = [
    "Clusters",
    "Scale",
    "clopper_pearson",
    "cluster_bounds",
    "correlation_bounds",
    "least_variance",
    "most_of",
    "share_bounds",
]

Scale = Literal["share", "correlation", "free"]

# Right or wrong answers below which the exact bounds come in.
FEW_ANSWERS, FEWEST_ANSWERS = 5.0, 3.0
# Variance of a difference, in squared examples, where no two answers differ: 4 gives the exact bound of a share 0.
NO_DISCORDANCE, GROWTH = 4.0, 0.2
# Of so many clusters, those with most wrong answers, exact bounds are taken.
EXACT_CLUSTERS = 4
# Exact bounds count fully up to the first number of touched clusters (of clusters at all), and not from the second on.
FADING, FADING_SIZE = (5, 15), (15, 30)
NOTHING = 1e-12


def most_of(answers: float, weight: float, n: float, level: float) -> float:
    """The upper exact bound of the share of such answers among ``n``, each of which weighs so much in their number.

    Of answers that runs share (weight 1) Clopper and Pearson's. Where each is one of many runs' there are more of them
    than their sum says, and one that was not yet seen may weigh 1 (after Fay and Feuer 1997).
    """
    from scipy.special import betaincinv

    if answers >= n:
        return 1.0
    scale = (answers + 1) / (weight * answers + 1)
    shape = scale * (answers + 1)
    return float(betaincinv(shape, scale * n + 1 - shape, (1 + level) / 2))


@dataclass(frozen=True)
class Clusters:
    """Answers by cluster: which share of all examples each cluster has, and which of all examples are wrong in it.

    Both ``(n_clusters,)``, averaged over runs. ``quantile`` is the squared half-width of an error of variance 1.
    """

    sizes: Array
    wrong: Array
    quantile: float = 0.0

    @property
    def turned(self) -> Clusters:
        """The same with right and wrong answers exchanged."""
        return Clusters(self.sizes, self.sizes - self.wrong, self.quantile)

    @property
    def touched(self) -> int:
        """How many have a wrong answer."""
        return int((self.wrong > NOTHING).sum())

    @property
    def exactness(self) -> float:
        """How much exact bounds count: 1 where few clusters have a wrong answer, 0 where many have."""
        found = ((self.touched, FADING), (len(self.sizes), FADING_SIZE))
        return max(min(1.0, max(0.0, (last - n) / (last - first))) for n, (first, last) in found)


def clopper_pearson(right: float, n: float, level: float) -> tuple[float, float]:
    """Exact binomial bounds of a share, for a number of right answers that need not be whole."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if right <= 0 else float(betaincinv(right, n - right + 1, tail))
    high = 1.0 if right >= n else float(betaincinv(right + 1, n - right, 1 - tail))
    return low, high


def share_bounds(
    value: float, half_width: float, n_units: float, level: float, weights: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """Bounds of a share ``value`` whose error at ``value`` has this half-width, from ``n_units`` distinct units.

    ``n_units`` are the examples that can move the score, ``weights`` those of a right and of a wrong answer in it: 1
    for one run, a tenth where one run of ten has it. (Sums of squared weights over sums of weights.)
    """
    low, high = _score_bounds(value, half_width)
    right = value * n_units
    wrong = n_units - right
    exact_low, exact_high = clopper_pearson(right, n_units, level)
    if n_units < 2 * FEW_ANSWERS:
        return min(low, exact_low), max(high, exact_high)
    # Towards the far side exact bounds count for up to three answers and stay there: bounds never move backwards.
    # With more answers score bounds are the wider ones, but where many runs average their noise away.
    low = min(low, 1 - most_of(min(wrong, FEWEST_ANSWERS), weights[1], n_units, level))
    high = max(high, most_of(min(right, FEWEST_ANSWERS), weights[0], n_units, level))
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


def cluster_bounds(
    value: float, half_width: float, n_clusters: float, level: float, clusters: Clusters | None
) -> tuple[float, float]:
    """Bounds of a share over clusters; see the module.

    ``clusters`` is None for scores that are no means of answers (F1 over classes): exact bounds then count at 0 and 1.
    """
    if clusters is None:
        exact = value <= 0 or value >= 1
        found = clopper_pearson(value * n_clusters, n_clusters, level) if exact else None
        return found or _score_bounds(value, half_width)
    low = _far_bound(value, half_width, n_clusters, level, clusters)
    high = 1 - _far_bound(1 - value, half_width, n_clusters, level, clusters.turned)
    exact_low, exact_high = clopper_pearson(value * n_clusters, n_clusters, level)
    if clusters.turned.touched <= EXACT_CLUSTERS:
        low = min(low, exact_low)
    if clusters.touched <= EXACT_CLUSTERS:
        high = max(high, exact_high)
    return low, high


def _far_bound(value: float, half_width: float, n_clusters: float, level: float, clusters: Clusters) -> float:
    """The lowest of the score bounds with better clusters all right, and the exact bound as far as it counts."""
    values, variances = _with_worst_wrong(clusters)
    values = values + (value - values[-1])  # what was taken off for a choice stays off
    low = _score_bounds(value, half_width)[0]
    spread, inside = values * (1 - values), (values >= 0.5) & (values < 1)
    if spread[-1] > 0 and not math.isinf(half_width):
        # What clusters do not explain goes with theta (1 - theta), as everywhere.
        rest = max(0.0, half_width**2 - clusters.quantile * variances[-1]) / spread[-1]
        h = clusters.quantile * variances[inside] / spread[inside] + rest
        low = min([low, *_score_lows(values[inside], h).tolist()])
    worst = max(0.0, (1 - value) - float(np.sort(clusters.wrong)[:-EXACT_CLUSTERS].sum()))
    exact = clopper_pearson(n_clusters * (1 - worst), n_clusters, level)[0]
    return low - clusters.exactness * max(0.0, low - exact)


def _with_worst_wrong(clusters: Clusters) -> tuple[Array, Array]:
    """Scores, and variances of them (jackknife over clusters), with only the k worst clusters as they are, k from 0 on.

    All others are all right. A cluster is the worse the lower the score is with it than without.
    """
    n, b = len(clusters.sizes), clusters.sizes
    scale = (n - 1) / np.maximum(1 - b, NOTHING)
    moved = scale * b * clusters.wrong.sum() - scale * clusters.wrong
    order = np.argsort(moved, kind="stable")
    lost = _sums(clusters.wrong[order])
    own = scale * clusters.wrong
    sums = lost * float((scale * b).sum()) - _sums(own[order])
    squares = lost**2 * float(((scale * b) ** 2).sum()) - 2 * lost * _sums((scale * b * own)[order])
    squares += _sums((own**2)[order])
    return 1 - lost, (squares - sums**2 / n).clip(min=0.0) / max(1, n - 1) / n


def _sums(values: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(values)])


def _score_lows(values: Array, h: Array) -> Array:
    """Low score bounds of shares between 0 and 1, ``h`` being squared half-widths over ``theta (1 - theta)``."""
    roots = np.sqrt(h * h + 4 * h * values * (1 - values))
    return np.asarray(((2 * values + h - roots) / (2 * (1 + h))).clip(min=0.0))


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
