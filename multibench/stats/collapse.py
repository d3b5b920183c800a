"""Collapsed runs as an outcome of their own: how often, and what they do to the mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.stats.compare import estimate_group
from multibench.stats.estimate import Estimate, plain
from multibench.stats.layout import RunInfo, column

__all__ = ["Collapse", "collapse_rate", "collapsed_runs", "with_and_without_collapsed"]


@dataclass(frozen=True)
class Collapse:
    """Failure rate beside the mean: the primary estimate keeps all runs, the other is a sensitivity
    analysis.
    """

    rate: Estimate
    all_runs: Estimate
    without_collapsed: Estimate
    collapsed: tuple[bool, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{sum(self.collapsed)} of {len(self.collapsed)} runs collapsed; all runs {self.all_runs}"


def collapsed_runs(labels: ArrayLike, preds: ArrayLike) -> tuple[bool, ...]:
    """Which runs give every example the same answer (class after argmax, or value).

    The definition of a degenerate run that needs no threshold. Scores at or below the majority class are
    another: pass that as ``is_collapsed`` where it is wanted.
    """
    outputs = np.asarray(preds)
    if outputs.ndim == 3:
        outputs = outputs[:, :, 0] if outputs.shape[2] == 1 else outputs.argmax(axis=2)
    if outputs.ndim != 2 or outputs.shape[1] != len(np.asarray(labels)):
        raise StatisticsError(
            f"Predictions of shape {np.asarray(preds).shape} do not fit {len(np.asarray(labels))} labels."
        )
    return tuple(bool(flag) for flag in (outputs == outputs[:, :1]).all(axis=1))


def collapse_rate(n_collapsed: int, n_runs: int, confidence: float = 0.95, n_seeds: int = 0) -> Estimate:
    """Share of collapsed runs with the exact binomial interval (Clopper and Pearson 1934).

    Takes runs as independent; where several runs share a pretraining seed it may be too short.
    """
    if not 0 <= n_collapsed <= n_runs or n_runs == 0:
        raise StatisticsError(f"{n_collapsed} of {n_runs} runs is no share; expected 0 <= collapsed <= runs.")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if n_collapsed == 0 else float(betaincinv(n_collapsed, n_runs - n_collapsed + 1, tail))
    high = 1.0
    if n_collapsed < n_runs:
        high = float(betaincinv(n_collapsed + 1, n_runs - n_collapsed, 1 - tail))
    share = n_collapsed / n_runs
    return Estimate(
        share,
        low,
        high,
        confidence,
        "exact binomial (Clopper-Pearson)",
        "share of collapsed runs",
        math.sqrt(share * (1 - share) / n_runs),
        0.0,
        n_seeds,
        n_runs,
        0,
        caveat="takes runs as independent",
    )


def with_and_without_collapsed(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: str,
    confidence: float = 0.95,
    *,
    is_collapsed: Sequence[bool] | Callable[[Any, Any], Sequence[bool]] = collapsed_runs,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    cluster_unit: str = "clusters",
    corrections: ArrayLike | None = None,
) -> Collapse:
    """Rate of collapsed runs, and the group's mean with and without them; arguments as in ``compare_groups``."""
    outputs = np.asarray(preds)
    flags = is_collapsed(labels, outputs) if callable(is_collapsed) else is_collapsed
    marked = np.asarray(flags, dtype=bool)
    if marked.shape != (len(outputs),):
        raise StatisticsError(f"{marked.size} flags were given for {len(outputs)} runs; expected one a run.")
    seeds = column(run_info, "seed")
    options: dict[str, Any] = {
        "confidence": confidence,
        "clusters": clusters,
        "strata": strata,
        "cluster_unit": cluster_unit,
    }
    every = estimate_group(run_info, outputs, labels, metric, corrections=corrections, **options)
    if marked.all():
        rest = replace(
            every,
            value=math.nan,
            low=math.nan,
            high=math.nan,
            standard_error=math.nan,
            n_seeds=0,
            n_runs=0,
            reason="every run collapsed",
        )
    else:
        kept = {
            name: [v for v, flag in zip(column(run_info, name), marked, strict=True) if not flag]
            for name in run_info
        }
        own = None if corrections is None else np.asarray(corrections)[~marked]
        rest = estimate_group(kept, outputs[~marked], labels, metric, corrections=own, **options)
    rate = collapse_rate(int(marked.sum()), len(marked), confidence, n_seeds=len(set(seeds)))
    return Collapse(rate, every, rest, tuple(bool(flag) for flag in marked))
