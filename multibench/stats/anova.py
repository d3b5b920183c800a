"""Mean squares of a two-way table (seeds by examples), one observation a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multibench.metrics.base import Array

__all__ = ["TwoWay", "two_way"]


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
