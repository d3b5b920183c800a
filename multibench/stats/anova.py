"""Mean squares of a two-way table (seeds by examples), one observation a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multibench.metrics.base import Array

__all__ = ["TwoWay", "seed_variance", "two_way"]

SHRINK, MEASURE = 3.0, 1.5


@dataclass(frozen=True)
class TwoWay:
    """Moments of ``y`` with shape ``(..., n_seeds, n_units)``; arrays have the leading shape.

    Expected mean squares under the two-way random model, with variances s_S, s_X, s_I: ``ms_seed``
    s_I + X s_S; ``ms_unit`` s_I + S s_X; ``ms_error`` s_I. NaN where there are no degrees of freedom.
    """

    n_seeds: int
    n_units: int
    mean: Array
    ms_seed: Array
    ms_unit: Array
    ms_error: Array

    @property
    def bootstrap_variance(self) -> Array:
        """Variance of one multi-bootstrap draw of the mean, exactly, given the data."""
        s, x = self.n_seeds, self.n_units
        seeds = np.zeros_like(self.mean) if s == 1 else self.ms_seed * (s - 1) / x
        units = np.zeros_like(self.mean) if x == 1 else self.ms_unit * (x - 1) / s
        error = np.zeros_like(self.mean) if s == 1 or x == 1 else self.ms_error * (s - 1) * (x - 1)
        return np.asarray(seeds / s**2 + units / x**2 + error / (s * x) ** 2)


def two_way(y: Array) -> TwoWay:
    """Mean squares over the last two axes."""
    s, x = y.shape[-2:]
    values = y.astype(np.float64)
    rows, columns = values.mean(axis=-1), values.mean(axis=-2)
    mean = rows.mean(axis=-1)
    nan = np.full(mean.shape, np.nan)
    of_rows = ((rows - mean[..., None]) ** 2).sum(axis=-1) * x
    of_columns = ((columns - mean[..., None]) ** 2).sum(axis=-1) * s
    within = values - rows[..., None]
    within -= (columns - mean[..., None])[..., None, :]
    of_error = np.einsum("...ij,...ij->...", within, within)
    return TwoWay(
        s,
        x,
        np.asarray(mean),
        of_rows / (s - 1) if s > 1 else nan,
        of_columns / (x - 1) if x > 1 else nan,
        of_error / ((s - 1) * (x - 1)) if s > 1 and x > 1 else nan,
    )


def seed_variance(
    ms_seed: Array, ms_error: Array, n_seeds: int, n_units: int, shrink: bool = True
) -> tuple[Array, Array]:
    """What seeds add to the variance of the mean, and a measure of its uncertainty.

    The unbiased estimate ``(ms_seed - ms_error) / (S X)`` is negative in about half of all data sets when
    seeds hardly differ. Truncated at zero it is too large on average, and a Satterthwaite formula that puts
    the whole ``ms_seed`` in its denominator then gives needlessly few degrees of freedom. With
    ``x = ms_error / ms_seed`` (1 where larger) this returns ``ms_seed (1 - x) (1 - x^A)`` and
    ``ms_seed (1 - x^B)``, both over ``S X``: the usual two where seeds dominate (x near 0), and both
    vanish smoothly where nothing speaks for seeds. ``A`` and ``B`` were chosen by the coverage study in
    docs/statistics.md. The squared measure over ``S - 1`` is the Satterthwaite term.

    ``shrink=False`` leaves it at the truncated difference and the whole ``ms_seed``, which errs on the wide side.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(ms_seed > ms_error, ms_error / ms_seed, 1.0)
    whole = ms_seed / (n_seeds * n_units)
    if not shrink:
        return np.asarray(whole * (1 - x)), np.asarray(whole)
    return np.asarray(whole * (1 - x) * (1 - x**SHRINK)), np.asarray(whole * (1 - x**MEASURE))
