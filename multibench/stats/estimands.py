"""What is said of a family of runs: their mean, their median, or the best of n."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array

__all__ = ["Estimand", "estimand"]


@dataclass(frozen=True)
class Estimand:
    """A functional of the weighted distribution of run scores, every pretraining seed weighing the same.

    ``mean``: the mean. ``median``: the smallest score with at least half of the weight at or below it,
    averaged with the next where exactly half is. ``best-of-n``: the expected maximum of n runs drawn with
    replacement, ``sum x_(i) (F_i^n - F_(i-1)^n)`` (Dodge et al. 2019); biased low in small samples, so
    ``selection.best_of_n`` has the unbiased form for point estimates.
    """

    kind: str
    n: int = 1

    @property
    def linear(self) -> bool:
        """Whether runs may be averaged within seeds first."""
        return self.kind == "mean"

    @property
    def title(self) -> str:
        """In words."""
        if self.kind == "best":
            return f"expected best of {self.n} runs"
        return f"{self.kind} over pretraining seeds"

    def of(self, scores: Array, weights: Array) -> Array:
        """Values ``(n_draws,)`` of run scores under run weights, both ``(n_draws, n_runs)``."""
        if np.isnan(scores).any():
            # A run that was not drawn says nothing, not even NaN; one that was makes the draw NaN.
            lost = (np.isnan(scores) & (weights > 0)).any(axis=1)
            scores = np.where(np.isnan(scores), 0.0, scores)
            return np.where(lost, np.nan, self.of(scores, weights))
        if self.kind == "mean":
            # Not einsum: its order of summation depends on where arrays happen to lie in memory.
            return np.asarray((weights * scores).sum(axis=1))
        order = np.argsort(scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=1)
        below = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
        below /= below[:, -1:]
        if self.kind == "best":
            powers = below**self.n
            return np.asarray((ranked * np.diff(powers, axis=1, prepend=0)).sum(axis=1))
        rows = np.arange(len(ranked))
        lower = ranked[rows, (below >= 0.5 - 1e-12).argmax(axis=1)]
        upper = ranked[rows, (below > 0.5 + 1e-12).argmax(axis=1)]
        return np.asarray((lower + upper) / 2)

    def at(self, scores: Array, weights: Array) -> float:
        """The plug-in value for one set of scores ``(n_runs,)``."""
        return float(self.of(scores[None], weights[None])[0])


def estimand(name: str | Estimand) -> Estimand:
    """The estimand called ``name``: 'mean', 'median' or 'best-of-<n>'."""
    if isinstance(name, Estimand):
        return name
    if name in ("mean", "median"):
        return Estimand(name)
    match = re.fullmatch(r"best-of-([1-9]\d*)", name)
    if match is None:
        raise StatisticsError(f"There is no estimand '{name}'. Known: mean, median, best-of-<n> (best-of-5).")
    return Estimand("best", int(match.group(1)))
