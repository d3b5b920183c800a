"""The noise of a comparison: what seeds, runs and examples bring into a difference, measured in a pilot or assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import two_way
from multibench.stats.estimate import plain
from multibench.stats.factors import matched_runs
from multibench.stats.layout import Group, RunInfo, codes_of, pair, sides
from multibench.stats.problem import MetricLike, Undefined, prepare
from multibench.stats.sizes import REACH

__all__ = ["Noise", "comparison_noise"]

# Quantiles of the pilot's mean squares that a plan's range spans: 80 % between them.
RANGE = (0.1, 0.9)


@dataclass(frozen=True)
class Noise:
    """Variance components of a difference of two sides (squared scores), measured or assumed.

    With S seeds a side, R runs a seed and X examples the difference has variance
    ``(pretraining + finetuning / R) / S + example / X + (pretraining_example + residual / R) / (S X)``.
    For a paired comparison ``pretraining`` is the variance over seeds of the paired difference; unpaired, the sum of
    both sides' variances. ``low`` and ``high`` are the ends of what the pilot allows for ``pretraining`` (80 %); equal
    to it where the components were given. ``reach`` is the largest difference that two scores can have.
    """

    pretraining: float
    finetuning: float
    example: float
    pretraining_example: float
    residual: float
    paired: bool
    low: float = math.nan
    high: float = math.nan
    reach: float = math.inf

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in ("paired", "low", "high", "reach") and not (value >= 0 and math.isfinite(value)):
                raise StatisticsError(f"The variance component '{name}' is {value}; it must be 0 or more.")
        for name in ("low", "high"):
            if math.isnan(getattr(self, name)):
                object.__setattr__(self, name, self.pretraining)

    def seeds(self, n_seeds: int, n_runs: int) -> float:
        """The part of the variance that only more seeds (or runs) can lower."""
        return (self.pretraining + self.finetuning / n_runs) / n_seeds

    def cells(self, n_seeds: int, n_runs: int, n_examples: int) -> float:
        """What examples bring into the differences between seeds."""
        return (self.pretraining_example + self.residual / n_runs) / (n_seeds * n_examples)

    def examples(self, n_seeds: int, n_runs: int, n_examples: int) -> float:
        """The part that more examples lower."""
        return self.example / n_examples + self.cells(n_seeds, n_runs, n_examples)

    @property
    def ends(self) -> tuple[Noise, Noise]:
        """The same noise with the least and the most variance of seeds that the pilot allows."""
        return tuple(replace(self, pretraining=v, low=v, high=v) for v in (self.low, self.high))  # type: ignore[return-value]

    def to_dict(self) -> dict[str, Any]:
        """The components, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items() if key != "reach"}


def comparison_noise(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    paired_seeds: bool = False,
    *,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    undefined: Undefined = "collapsed",
    corrections: ArrayLike | None = None,
) -> Noise:
    """Components of the difference of two sides as measured; arguments as in ``compare_groups``.

    Units are examples, or clusters where given. Negative estimates are set to 0. With one run a seed, fine-tuning
    noise is inside ``pretraining`` and the residual inside ``pretraining_example``: planning with more runs a seed
    then promises too little. Noise of shared fine-tuning seeds counts as that of own ones, which new runs have.
    """
    problem = prepare(run_info, preds, labels, metric, clusters, undefined, strata=strata)
    base, experiment = sides(problem.table)
    if base.n_seeds == experiment.n_seeds == 1 and min(base.n_runs, experiment.n_runs) > 1:
        paired_seeds = paired_seeds and matched_runs(base, experiment) is not None
        base, experiment = (_by_run(group) for group in (base, experiment))
    if paired_seeds:
        base, experiment = pair(base, experiment, [])
    values = problem.corrected(corrections)
    groups = (base, experiment)
    if min(group.n_seeds for group in groups) < 2:
        raise StatisticsError("Noise cannot be measured with one seed on a side; give components by hand.")
    tables = [group.mixing() @ values[group.rows] for group in groups]
    inner = [_within(values, group) for group in groups]
    # A seed mean of R_i runs carries finetuning / R_i: on average, that over the harmonic mean.
    finetuning = sum(run for run, _, _ in inner)
    residual = sum(cell for _, cell, _ in inner)
    carried_run = sum(run / r for run, _, r in inner)
    carried_cell = sum(cell / r for _, cell, r in inner)
    differences = [two_way(tables[1] - tables[0])] if paired_seeds else [two_way(table) for table in tables]
    x = differences[0].n_units
    seed = sum(float(side.ms_seed - side.ms_error) for side in differences) / x
    interaction = sum(float(side.ms_error) for side in differences)
    columns = tables[1].mean(axis=0) - tables[0].mean(axis=0)
    example = float(columns.var(ddof=1)) - sum(float(side.ms_error) / side.n_seeds for side in differences)
    low, high = (
        sum(_surrogate_seed(float(s.ms_seed), float(s.ms_error), s.n_seeds, q) for s in differences) / x
        for q in RANGE
    )
    pretraining = max(0.0, seed - carried_run)
    return Noise(
        pretraining,
        finetuning,
        max(0.0, example),
        max(0.0, interaction - carried_cell),
        residual,
        paired_seeds,
        min(pretraining, max(0.0, low - carried_run)),
        max(pretraining, high - carried_run),
        REACH[problem.scale],
    )


def _by_run(group: Group) -> Group:
    """The runs of one pretraining seed, each a seed of its own under its fine-tuning seed."""
    labels = group.finetune or tuple(range(group.n_runs))
    seeds, codes = codes_of(labels)
    return Group(group.name, group.rows, seeds, codes, group.finetune)


def _surrogate_seed(ms_seed: float, ms_error: float, n_seeds: int, quantile: float) -> float:
    """A quantile of what the seeds' variance may be, by the surrogate of its mean square."""
    from scipy.special import chdtri

    return max(0.0, ms_seed * (n_seeds - 1) / float(chdtri(n_seeds - 1, quantile)) - ms_error)


def _within(values: Array, group: Group) -> tuple[float, float, float]:
    """Variance of runs within seeds, of single cells within runs, and the harmonic mean of run counts."""
    sizes = np.bincount(group.seed_codes)
    harmonic = group.n_seeds / float((1 / sizes).sum())
    within = int((sizes - 1).sum())
    if within == 0:
        return 0.0, 0.0, harmonic
    runs = cells = 0.0
    own = values[group.rows]
    for code in np.flatnonzero(sizes > 1):
        table = two_way(own[group.seed_codes == code])
        runs += float(table.ms_seed) * (sizes[code] - 1)
        cells += float(table.ms_error) * (sizes[code] - 1)
    return max(0.0, (runs - cells) / within / own.shape[1]), cells / within, harmonic
