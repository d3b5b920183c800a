"""Families of comparisons: adjusted p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimate import plain

__all__ = ["Family", "adjust"]

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
