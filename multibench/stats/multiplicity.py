"""Families of comparisons: adjusted p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimate import plain

__all__ = ["Family", "adjust", "max_t"]

Method = Literal["holm", "benjamini-hochberg", "benjamini-yekutieli"]
STATSMODELS = {"holm": "holm", "benjamini-hochberg": "fdr_bh", "benjamini-yekutieli": "fdr_by"}


@dataclass(frozen=True)
class Family:
    """p-values of a family, adjusted; ``rejected`` where the adjusted one is at most ``alpha``."""

    names: tuple[str, ...]
    p_values: tuple[float, ...]
    adjusted: tuple[float, ...]
    rejected: tuple[bool, ...]
    alpha: float
    method: str
    controls: str

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        count = sum(self.rejected)
        return f"{count} of {len(self.names)} rejected at {self.alpha:g} ({self.method}, {self.controls})"


def adjust(p_values: dict[str, float], method: Method = "holm", alpha: float = 0.05) -> Family:
    """Adjusted p-values of named comparisons.

    Holm controls the family-wise error rate under any dependence; Benjamini-Hochberg the false discovery
    rate under independence or positive dependence; Benjamini-Yekutieli under any.
    """
    if method not in STATSMODELS:
        raise StatisticsError(f"There is no method '{method}'. Known: {', '.join(sorted(STATSMODELS))}.")
    if not p_values:
        raise StatisticsError("The family is empty; give at least one p-value.")
    names = tuple(p_values)
    values = np.array([p_values[name] for name in names], dtype=float)
    if not np.all((values >= 0) & (values <= 1)):
        raise StatisticsError(f"p-values must lie between 0 and 1; got {values.tolist()}.")
    from statsmodels.stats.multitest import multipletests

    _, adjusted, _, _ = multipletests(values, alpha=alpha, method=STATSMODELS[method])
    controls = "family-wise error rate" if method == "holm" else "false discovery rate"
    return _family(names, values, np.asarray(adjusted), alpha, method, controls)


def max_t(
    names: tuple[str, ...] | list[str], estimates: ArrayLike, samples: ArrayLike, alpha: float = 0.05
) -> Family:
    """Single-step max-T adjustment from joint resamples (Westfall and Young 1993).

    Args:
        names: of the comparisons.
        estimates: plug-in differences ``(n_comparisons,)``.
        samples: joint draws of them, ``(nboot, n_comparisons)``, from one set of resamples
            (``multibootstrap_groups``), so that their correlation is used.
        alpha: family-wise level.

    ``t_k = |estimate_k| / sd_k`` is compared with the largest ``|draw_k - mean_k| / sd_k`` of each draw;
    ``p = (count + 1) / (nboot + 1)``. Less conservative than Holm where comparisons share runs or examples.

    """
    values, draws = np.asarray(estimates, dtype=float), np.asarray(samples, dtype=float)
    if draws.ndim != 2 or draws.shape[1] != len(values) or len(names) != len(values):
        raise StatisticsError(
            f"{len(names)} names, {len(values)} estimates and samples of shape {draws.shape} do not fit; "
            "expected (nboot, n_comparisons)."
        )
    draws = draws[~np.isnan(draws).any(axis=1)]
    if len(draws) < 2:
        raise StatisticsError("Fewer than two draws are without NaN: nothing to compare with.")
    spread = draws.std(axis=0, ddof=1)
    centred = np.abs(draws - draws.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(spread > 0, np.abs(values) / spread, np.where(values == 0, 0.0, np.inf))
        null = np.where(spread > 0, centred / spread, 0.0)
    largest = null.max(axis=1)
    raw = ((null >= statistic).sum(axis=0) + 1) / (len(draws) + 1)
    adjusted = ((largest[:, None] >= statistic[None]).sum(axis=0) + 1) / (len(draws) + 1)
    return _family(tuple(names), raw, adjusted, alpha, "max-T", "family-wise error rate")


def _family(
    names: tuple[str, ...], raw: Array, adjusted: Array, alpha: float, method: str, controls: str
) -> Family:
    return Family(
        names,
        tuple(float(p) for p in raw),
        tuple(float(p) for p in adjusted),
        tuple(bool(p <= alpha) for p in adjusted),
        alpha,
        method,
        controls,
    )
