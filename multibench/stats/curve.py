"""Several steps of the same seeds on the same examples: one curve, and intervals that hold for all of it at once.

Each step's interval is the crossed random-effects one (``stats.crossed``). What makes a band of them is the local
level: the confidence that every single interval needs so that all of them cover together. It follows from how the
steps' estimates move together, through common examples and common seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.anova import seed_variance, two_way
from multibench.stats.crossed import crossed_interval
from multibench.stats.streams import Streams

__all__ = ["Curve", "curve_of", "joint_level"]

BAND = 5
DRAWS = 20_000


@dataclass(frozen=True)
class Curve:
    """Mean scores ``values`` ``(n_steps,)``, their standard errors, degrees of freedom and correlations.

    ``correlation`` is ``(n_steps, n_steps)``: of the estimates, not of the examples.
    """

    values: Array
    errors: Array
    df: Array
    correlation: Array

    def half_widths(self, level: float) -> Array:
        """Half widths ``(n_steps,)`` of t intervals at ``level``, each by itself."""
        from scipy.special import stdtrit

        return np.asarray(self.errors * stdtrit(np.minimum(self.df, 1e9), (1 + level) / 2))


def curve_of(table: Array, level: float) -> Curve:
    """The curve of per-example scores ``table`` ``(n_steps, n_seeds, n_units)``, seeds and units shared by steps."""
    _, n_seeds, n_units = table.shape
    moments = two_way(table)
    columns = table.mean(axis=1)
    errors, df, _ = crossed_interval([moments], columns.var(axis=1, ddof=1), n_units, level)
    covariance = np.atleast_2d(np.cov(columns)) / n_units
    if n_seeds > 1:
        added, _ = seed_variance(moments.ms_seed, moments.ms_error, n_seeds, n_units)
        covariance = covariance + _correlation(np.cov(table.mean(axis=2))) * np.sqrt(np.outer(added, added))
    return Curve(np.asarray(moments.mean), errors, df, _correlation(covariance))


def _correlation(covariance: Array) -> Array:
    """Correlations; those of something that does not vary are 0, and 1 with itself."""
    matrix = np.atleast_2d(covariance)
    spread = np.sqrt(np.diag(matrix))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = matrix / np.outer(spread, spread)
    correlation = np.where(np.isfinite(correlation), correlation, 0.0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def joint_level(curve: Curve, level: float, rng: np.random.Generator | int | None) -> float:
    """The level at which single intervals of ``curve`` must be taken to hold all together with probability ``level``.

    By simulation (20,000 draws) of t statistics whose numerators have the curve's correlations and whose
    variances are chi-square with each step's degrees of freedom, correlated by the squares of those: sample variances
    of normal variables with correlation r have correlation r^2. The level is one minus the ``1 - level`` quantile of
    the smallest p-value.
    """
    from scipy.special import chdtri, ndtr, stdtr

    live = curve.errors > 0
    if not live.any():
        return level
    correlation, df = curve.correlation[np.ix_(live, live)], np.minimum(curve.df[live], 1e6)
    generator = Streams(rng).generator(BAND, 0)
    shape = (DRAWS, len(df))
    numerators = generator.standard_normal(shape) @ _root(correlation)
    scales = generator.standard_normal(shape) @ _root(correlation**2)
    # From normal to chi-square by its quantiles, exact at the points of a grid.
    grid = np.linspace(-6, 6, 481)
    for step, freedom in enumerate(df):
        quantiles = np.sqrt(chdtri(freedom, ndtr(-grid)) / freedom)
        scales[:, step] = np.interp(scales[:, step], grid, quantiles)
    smallest = (2 * stdtr(df, -np.abs(numerators / scales))).min(axis=1)
    return float(1 - np.quantile(smallest, 1 - level))


def _root(correlation: Array) -> Array:
    """A matrix whose square is ``correlation``, negative eigenvalues (rounding) taken as 0."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
