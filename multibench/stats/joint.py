"""Several estimates at once: intervals that hold together, and p-values that agree with them.

Errors of several means are correlated where they share examples or seeds. Draws of all errors together, each the
product of a normal and of the root of its surrogate variance (``stats.surrogate``), give the chance that all single
intervals of one level hold; that level is chosen so that it is the one asked for. An adjusted p-value is the chance
that the smallest of all p-values is as small as this one (single-step min-P; Westfall and Young 1993): it is at most
alpha exactly where the simultaneous interval excludes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.estimate import Estimate
from multibench.stats.inference import Inference
from multibench.stats.streams import Streams
from multibench.stats.surrogate import Moments, Surrogate

__all__ = ["Joint", "Together", "joint_of"]

FAMILY = 5
DRAWS = 20_000
GRID, GRID_END = 400, 7.1
FARTHEST = 7.034  # a chance of 1e-12


@dataclass(frozen=True)
class Together:
    """One estimate of a family: its interval that holds with all others', and its adjusted p-value."""

    simultaneous: Estimate
    p_adjusted: float


class Joint:
    """The joint distribution of the errors of several estimates.

    ``correlation`` is ``(n, n)``, of the estimates. Draws are those of one fixed stream: the same every time.
    """

    def __init__(self, moments: Sequence[Moments], correlation: Array) -> None:
        self.surrogates = [Surrogate(one) for one in moments]
        generator = Streams(0).generator(FAMILY, 0)
        shape = (DRAWS, len(moments))
        root, square = _root(correlation), _root(correlation**2)
        errors = np.abs(generator.standard_normal(shape) @ root)
        variances = np.zeros(shape)
        names = list(dict.fromkeys(name for one in moments for name in one.terms))
        # Chi-squares of one kind of part go together as those of correlated normals do; kinds are independent.
        of_examples = _columns(generator.standard_normal(shape) @ square)
        for k, one in enumerate(moments):
            variances[:, k] = one.examples * _factor(of_examples[k], one.examples_df)
        for name in names:
            own = _columns(generator.standard_normal(shape) @ square)
            other = generator.standard_normal(shape)
            crossed = any(name in one.terms and one.terms[name].interaction > 0 for one in moments)
            held_by = _columns(other @ square) if crossed else None
            for k, one in enumerate(moments):
                term = one.terms.get(name)
                if term is None:
                    continue
                held: Array | float = 0.0
                if held_by is not None:
                    held = term.interaction * _factor(held_by[k], term.interaction_df)
                above = term.between * _factor(own[k], term.df) - np.maximum(term.error, held)
                variances[:, k] += above.clip(min=0)
        errors *= np.sqrt(variances)
        p_values = np.stack([_p_of(s, errors[:, k]) for k, s in enumerate(self.surrogates)], axis=1)
        self.smallest = np.sort(p_values.min(axis=1))

    @cached_property
    def _places(self) -> Array:
        """The chance of a smallest p-value up to each of ``smallest``."""
        n = len(self.smallest)
        return np.arange(1, n + 1) / (n + 1)

    def local_level(self, level: float) -> float:
        """The level of single intervals at which all hold together with probability ``level``."""
        n, alpha = len(self.surrogates), 1 - level
        if n == 1:
            return level
        places = self._places
        # The inverse of ``adjusted``, so that intervals and adjusted p-values agree at every p-value.
        found = float(np.interp(alpha, places, self.smallest)) if alpha >= places[0] else 0.0
        return 1 - max(alpha / n, min(found, alpha))

    def adjusted(self, p: float) -> float:
        """The adjusted p-value of a single one."""
        n = len(self.surrogates)
        if math.isnan(p) or n == 1:
            return p
        share = float(np.interp(p, self.smallest, self._places)) if p >= self.smallest[0] else n * p
        # Never less than the p-value itself, never more than Bonferroni's.
        return min(1.0, max(p, min(share, n * p)))


def joint_of(inferences: Sequence[Inference], keys: Callable[[int, str], Hashable]) -> list[Together]:
    """Simultaneous intervals and adjusted p-values of a family of differences, in the order given.

    ``keys`` names the units of a factor of an inference, given its place and the factor's name: factors of two
    inferences with one key are one and the same set of units, in one order. Estimates without an interval are left out
    of the family and stay as they are.
    """
    known = [k for k, one in enumerate(inferences) if one.known]
    found = [Together(one.estimate, one.p_value) for one in inferences]
    if len(known) < 2:
        return found
    effects = [{keys(k, name): e for name, e in inferences[k].effects.items()} for k in known]
    joint = Joint([inferences[k].moments for k in known], correlation_of(effects))
    for place, k in enumerate(known):
        one = inferences[k]
        half = joint.surrogates[place].half_width(one.spent(joint.local_level(one.estimate.level)))
        found[k] = Together(_widened(one, half), joint.adjusted(one.p_value))
    return found


def _widened(one: Inference, half: float) -> Estimate:
    """The interval with another half-width, cut to what is possible."""
    estimate, value = one.estimate, one.estimate.value
    low, high = max(-one.reach, value - half), min(one.reach, value + half)
    return replace(estimate, low=low, high=high, method=f"{estimate.method}, simultaneous")


def correlation_of(effects: Sequence[Mapping[Any, tuple[float, Array]]]) -> Array:
    """Correlations of estimates from what they share; see ``joint_of``."""
    n = len(effects)
    correlation = np.eye(n)
    total = [sum(part for part, _ in one.values()) for one in effects]
    for k in range(n):
        for m in range(k):
            shared = 0.0
            for key in effects[k].keys() & effects[m].keys():
                (first, u), (second, v) = effects[k][key], effects[m][key]
                if len(u) == len(v):
                    shared += math.sqrt(first * second) * _cosine(u, v)
            scale = math.sqrt(total[k] * total[m])
            correlation[k, m] = correlation[m, k] = shared / scale if scale > 0 else 0.0
    return correlation


def _cosine(u: Array, v: Array) -> float:
    scale = math.sqrt(float(u @ u) * float(v @ v))
    return float(u @ v) / scale if scale > 0 else 0.0


def _columns(normals: Array) -> Array:
    """Each estimate's normals, ``(n, n_draws)``, away from the ends of their distribution."""
    return np.ascontiguousarray(np.clip(normals.T, -FARTHEST, FARTHEST))


def _factor(normals: Array, df: float) -> Array:
    """``df / chi2`` at quantiles of the chi-square that normals stand for, by interpolation between those of a grid."""
    if math.isinf(df):
        return np.ones(len(normals))
    return np.asarray(np.exp(_interpolated(normals, -GRID_END, GRID_END, _log_factors(df))))


@lru_cache(maxsize=64)
def _log_factors(df: float) -> Array:
    from scipy.special import chdtri, ndtr

    return np.asarray(np.log(df / chdtri(df, ndtr(-np.linspace(-GRID_END, GRID_END, GRID)))))


def _interpolated(x: Array, first: float, last: float, values: Array) -> Array:
    """Between ``values`` at equal steps from ``first`` to ``last``: as ``numpy.interp`` does, but faster."""
    place = (x - first) * ((len(values) - 1) / (last - first))
    low = np.clip(place.astype(np.int64), 0, len(values) - 2)
    place -= low
    return np.asarray(values[low] + np.clip(place, 0.0, 1.0) * np.diff(values)[low])


def _p_of(surrogate: Surrogate, errors: Array) -> Array:
    """Two-sided p-values of errors, by interpolation of the logarithm between those of a grid."""
    positive = errors[errors > 0]
    if not len(positive) or positive.min() == positive.max():
        return np.array([surrogate.beyond(error) for error in errors])
    points = np.geomspace(positive.min(), positive.max(), GRID)
    logs = np.log([max(surrogate.beyond(x), 1e-300) for x in points])
    places = np.log(np.maximum(errors, points[0]))
    return np.asarray(np.exp(_interpolated(places, math.log(points[0]), math.log(points[-1]), logs)))


def _root(correlation: Array) -> Array:
    """A matrix whose square is ``correlation``, negative eigenvalues (rounding) taken as 0."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
