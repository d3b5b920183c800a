"""The distribution behind every interval here: a normal error whose variance is known by mean squares only.

The variance of a mean is a sum of parts. Each part was estimated by a mean square with few degrees of freedom, less
the error that this mean square contains. A surrogate puts ``df / chi2(df)`` times the mean square in the place of its
expectation, with independent chi-squares:

    V* = V_X c_X  +  sum over factors  max(0, B c - max(e, b c_b))

``V_X`` is the part of the examples, ``B`` what the levels of a factor (pretraining seeds, say) vary, ``e`` the error in
``B`` and ``b`` an interaction that another factor holds already. The error of the mean is then taken as ``Z sqrt(V*)``
with a standard normal Z: its quantiles are the interval, its tails the p-values. Expectations are by quadrature, so
that no random number enters. Surrogates of that kind are known from gauge studies as generalized intervals
(Weerahandi 1993; Burdick, Borror and Montgomery 2005).

Several factors with alike degrees of freedom have one chi-square for their sum, with Welch's degrees of freedom:
independent ones would make the interval of two sides that of Behrens and Fisher, a sixth too wide with five seeds each.
Degrees of freedom that are far apart keep their own, since Welch's are then too many where the few matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array

__all__ = ["Moments", "Surrogate", "Term"]

# Nodes of a chi-square with few degrees of freedom, of one that is nearly normal, and where that begins.
NODES, FEW_NODES, NEARLY_NORMAL = 32, 7, 30
FEW_DF = 4
# Degrees of freedom from which on others up to twice as many are alike; below only equal ones are.
ALIKE = 4
# More points than this are gathered in as many bins of equal width of log V.
MOST_POINTS, BINS = 6000, 3000
FEW_POINTS, FEW_BINS = 400, 300
FAR = 1e-13


@dataclass(frozen=True)
class Term:
    """What one factor adds to the variance of a mean, as ``max(0, between - max(error, interaction))``.

    ``between`` is the sample variance of the means of the factor's levels over their number, with ``df`` degrees of
    freedom; ``error`` what examples bring into it; ``interaction`` (``interaction_df``) what the interaction with
    another factor brings into it that stands in that factor's own term. ``residual`` is what ``error`` and
    ``interaction`` both hold; it matters to the point estimate only.
    """

    between: float
    df: float
    error: float
    n_levels: int
    interaction: float = 0.0
    interaction_df: float = math.inf
    residual: float = 0.0
    effects: Array | None = field(default=None, repr=False, compare=False)
    """What each level does to the mean, ``(n_levels,)``."""

    @property
    def point(self) -> float:
        """The analysis-of-variance estimate of the part, 0 at least."""
        return max(0.0, self.between - self.error - self.interaction + self.residual)


@dataclass(frozen=True)
class Moments:
    """The value of a mean (or of a difference of means) and the parts of its variance.

    ``examples`` is the part that stays however many seeds there are, on ``examples_df`` degrees of freedom.
    """

    value: float
    examples: float
    examples_df: float
    terms: Mapping[str, Term] = field(default_factory=dict)

    @property
    def variance(self) -> float:
        """The squared standard error: the sum of the parts' estimates."""
        return self.examples + sum(term.point for term in self.terms.values())


@lru_cache(maxsize=64)
def _legendre(n: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


@lru_cache(maxsize=4)
def _hermite(n: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


@lru_cache(maxsize=4096)
def _edges(df: float) -> tuple[float, float]:
    """Between them a chi variable with ``df`` degrees of freedom lies almost surely."""
    from scipy.special import chdtri

    return math.sqrt(float(chdtri(df, 1 - FAR))), math.sqrt(float(chdtri(df, FAR)))


def _density(s: Array, df: float) -> Array:
    """Of the root of a chi-square."""
    from scipy.special import gammaln, xlogy

    logs = (1 - df / 2) * math.log(2) - float(gammaln(df / 2)) + xlogy(df - 1, s) - s**2 / 2
    return np.asarray(np.exp(logs))


def _nearly_normal(df: float) -> tuple[Array, Array]:
    """Nodes of ``df / chi2`` and weights, by the cube root of a chi-square (Wilson and Hilferty 1931)."""
    if math.isinf(df):
        return np.ones(1), np.ones(1)
    z, weights = _hermite(FEW_NODES)
    spread = 2 / (9 * df)
    return 1 / (1 - spread + z * math.sqrt(spread)) ** 3, weights


def _factors(df: float, floor: Array) -> tuple[Array, Array]:
    """Nodes and weights ``(len(floor), n)`` of ``df / chi2`` above each ``floor``; what lies below has no node.

    The chi variable itself is the variable of integration: the tails of the error are smooth in it, up to the floor.
    With few degrees of freedom far tails hang on the smallest values, so nodes crowd there.
    """
    low, high = _edges(df)
    with np.errstate(divide="ignore"):
        top = np.clip(np.sqrt(df / floor), low, high)
    nodes, weights = _legendre(NODES)
    if df <= FEW_DF:
        nodes, weights = nodes**3, weights * 3 * nodes**2
    width = (top - low)[:, None]
    s = low + width * nodes
    return df / s**2, weights * width * _density(s, df)


def _examples_points(moments: Moments) -> tuple[Array, Array]:
    df = moments.examples_df
    if df < NEARLY_NORMAL:
        factors, weights = _factors(df, np.zeros(1))
        return moments.examples * factors[0], weights[0] / weights[0].sum()
    factors, weights = _nearly_normal(df)
    return moments.examples * factors, weights


def _term_points(term: Term) -> tuple[Array, Array]:
    """Values of ``max(0, B c - max(e, b c_b))`` and their weights; the last is the chance that it is 0."""
    held = np.array([term.error])
    chance = np.ones(1)
    if term.interaction > term.error * 1e-9:
        if term.interaction_df < NEARLY_NORMAL:
            (factors,), (chance,) = _factors(term.interaction_df, np.zeros(1))
            chance = chance / chance.sum()
        else:
            factors, chance = _nearly_normal(term.interaction_df)
        held = np.maximum(term.error, term.interaction * factors)
    if term.between <= 0:
        return np.zeros(1), np.ones(1)
    factors, weights = _factors(term.df, held / term.between)
    values = (term.between * factors - held[:, None]).clip(min=0.0).ravel()
    weights = (weights * chance[:, None]).ravel()
    rest = max(0.0, 1.0 - float(weights.sum()))
    return np.append(values, 0.0), np.append(weights, rest)


def _pooled(terms: list[Term]) -> list[Term]:
    """The terms, those with alike degrees of freedom as one."""
    left = sorted((t for t in terms if t.between > 0), key=lambda term: term.df)
    found: list[Term] = []
    while left:
        most = left[0].df * (2 if left[0].df >= ALIKE else 1)
        alike, left = [t for t in left if t.df <= most], [t for t in left if t.df > most]
        if len(alike) == 1:
            found += alike
            continue
        total = sum(term.between for term in alike)
        df = total**2 / sum(term.between**2 / term.df for term in alike)
        error = sum(max(term.error, term.interaction) for term in alike)
        found.append(Term(total, df, error, min(term.n_levels for term in alike)))
    return found


def _added(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The distribution of a sum of two independent parts."""
    values = (first[0][:, None] + second[0][None]).ravel()
    weights = (first[1][:, None] * second[1][None]).ravel()
    kept = weights > FAR / len(weights)
    return _gathered(values[kept], weights[kept])


def _gathered(values: Array, weights: Array, few: bool = False) -> tuple[Array, Array]:
    """The same distribution with fewer points: those of nearly equal value stand as one, at their mean."""
    positive = values > 0
    most, bins = (FEW_POINTS, FEW_BINS) if few else (MOST_POINTS, BINS)
    if positive.sum() <= most:
        return values, weights
    logs = np.log(values[positive])
    low, high = float(logs.min()), float(logs.max())
    code = np.minimum(((logs - low) * (bins / max(high - low, 1e-300))).astype(np.int64), bins - 1)
    mass = np.bincount(code, weights[positive], bins)
    total = np.bincount(code, weights[positive] * values[positive], bins)
    kept = mass > 0
    zero = float(weights[~positive].sum())
    return np.append(total[kept] / mass[kept], 0.0), np.append(mass[kept], zero)


class Surrogate:
    """The distribution of the error of a mean; see the module. Raises ``StatisticsError`` for unknown parts."""

    def __init__(self, moments: Moments) -> None:
        numbers = [moments.examples, *(t.between for t in moments.terms.values())]
        if any(math.isnan(number) or number < 0 for number in numbers):
            raise StatisticsError("A part of the variance is unknown, so that no interval follows from it.")
        points = _examples_points(moments)
        for term in _pooled(list(moments.terms.values())):
            points = _added(points, _gathered(*_term_points(term), few=True))
        self.variances, self.weights = points
        self.weights = self.weights / self.weights.sum()

    @cached_property
    def _scales(self) -> tuple[Array, Array, float]:
        """Standard deviations above 0 with their weights, and the chance of no error at all."""
        live = self.variances > 0
        return np.sqrt(self.variances[live]), self.weights[live], float(self.weights[~live].sum())

    def above(self, x: float) -> float:
        """The chance of an error greater than ``x``; where there may be none at all, 0 is not greater than 0."""
        from scipy.special import ndtr

        scales, weights, still = self._scales
        tail = float(weights @ ndtr(-x / scales)) if len(scales) else 0.0
        return min(1.0, tail + (still if x < 0 else 0.0))

    def beyond(self, x: float) -> float:
        """P(|error| >= |x|): the two-sided p-value of a difference ``x``."""
        from scipy.special import ndtr

        if x == 0:
            return 1.0
        scales, weights, _ = self._scales
        return min(1.0, 2 * float(weights @ ndtr(-abs(x) / scales))) if len(scales) else 0.0

    def half_width(self, level: float) -> float:
        """The ``level`` quantile of |error|."""
        from scipy.optimize import brentq

        scales, _, still = self._scales
        if still >= level or not len(scales):
            return 0.0
        high = float(scales.max()) * 10 + 1e-300
        while self.beyond(high) > 1 - level:
            high *= 4
        low = float(scales.min()) * 1e-3
        if self.beyond(low) < 1 - level:
            return low
        found = brentq(
            lambda t: self.beyond(math.exp(t)) - (1 - level), math.log(low), math.log(high), xtol=1e-10
        )
        return math.exp(found)
