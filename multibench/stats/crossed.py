"""The crossed random-effects interval: seeds and examples as random factors, by analysis of variance.

With per-example scores ``y[i, j]`` of seed i on example j (runs averaged within seeds), the mean has
variance ``s_S / S + s_X / X + s_I / (S X)``. Column means over seeds carry the last two terms, so their
sample variance over X estimates both; what seeds add is the part of the seeds' mean square above the
interaction's. Metrics that are no means enter through pseudo-scores, score plus influence value of each
example (infinitesimal jackknife).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import TwoWay, seed_variance, two_way
from multibench.stats.estimands import Estimand
from multibench.stats.estimate import Estimate, plain
from multibench.stats.layout import Group
from multibench.stats.problem import Problem

__all__ = ["Crossed", "crossed_delta", "crossed_group", "crossed_interval", "crossed_result", "pseudo_scores"]

MEAN = Estimand("mean")


@dataclass(frozen=True)
class Crossed:
    """A crossed random-effects estimate with its test.

    ``df`` are the degrees of freedom of the t quantile. ``examples`` and ``seeds`` are the two parts of the
    squared standard error: what would be left with endless seeds, and what seeds add. ``p_value`` is
    two-sided and of the same t as the interval; ``p_greater`` is small if the value is above 0.
    """

    estimate: Estimate
    df: float
    p_value: float
    p_greater: float
    p_less: float
    examples: float
    seeds: float

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.estimate}, p = {self.p_value:.3g} two-sided, df {self.df:.1f}"


def pseudo_scores(problem: Problem) -> Array:
    """Score plus influence values, ``(n_runs, n_units)``: units are examples, or clusters where given.

    The pseudo-score of a cluster is the score plus ``n_clusters / n_examples`` times the sum of its influence
    values. Rows have the run's score as their mean. A collapsed run has its fill value everywhere.

    Raises ``StatisticsError`` for callables, whose influence values are unknown.
    """
    influence = problem.prepared.influence()
    influence = np.where(np.isnan(influence), 0.0, influence)
    if problem.clusters is not None:
        n_clusters = int(problem.clusters.max()) + 1
        member = (problem.clusters[:, None] == np.arange(n_clusters)[None]).astype(np.float64)
        influence = influence @ member * (n_clusters / problem.n_examples)
    return np.asarray(problem.scores[:, None] + influence)


def levels(values: Array, group: Group) -> Array:
    """Rows of the two-way table: seed means; single runs where there is one seed."""
    own = values[group.rows]
    return own if group.n_seeds == 1 else np.asarray(group.mixing() @ own)


def crossed_interval(
    sides: Sequence[TwoWay],
    column_variance: Array,
    n_units: int,
    level: float,
    extra: Sequence[float] = (),
    shrink: bool = True,
) -> tuple[Array, Array, Array]:
    """Standard error, degrees of freedom and half width of a mean, or of a difference of independent sides.

    Args:
        sides: two-way moments of each side (one, of the differences, where paired).
        column_variance: sample variance over units of the column means (of their difference).
        n_units: number of examples or clusters.
        level: confidence level.
        extra: for each side, by how much its seed part is multiplied (1 unless told).
        shrink: see ``anova.seed_variance``.

    Arrays keep the leading shape of the moments, so that a study can pass many data sets at once.

    """
    from scipy.special import stdtrit

    examples = np.asarray(column_variance) / n_units
    variance, spread = examples.copy(), examples**2 / max(n_units - 1, 1)
    for index, side in enumerate(sides):
        if side.n_seeds == 1:
            continue
        times = extra[index] if extra else 1.0
        part, measure = seed_variance(side.ms_seed, side.ms_error, side.n_seeds, side.n_units, shrink)
        variance += times * part
        spread += (times * measure) ** 2 / (side.n_seeds - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0, variance**2 / spread, np.inf)
    df = np.maximum(df, 1.0)
    error = np.sqrt(variance)
    quantile = stdtrit(np.minimum(df, 1e9), (1 + level) / 2)
    return error, df, np.asarray(error * quantile)


def crossed_delta(
    problem: Problem,
    base: Group,
    experiment: Group,
    paired: bool,
    level: float = 0.95,
    procedure: bool = False,
    values: Array | None = None,
    shrink: bool = True,
) -> Crossed:
    """Interval of the difference of two sides' means over seeds.

    Paired: the two-way table holds differences of common seeds. Unpaired: both sides answer the same
    examples, so column means are subtracted before their variance is taken.

    A side with one seed brings no seed variance: the estimand is then this checkpoint (its
    fine-tuning runs, if there are several, take the seeds' place). ``procedure=True`` asks for the
    procedure behind that checkpoint instead, and assumes that its seeds vary as much as the other side's.
    ``values`` are ``pseudo_scores(problem)``, where they are at hand; ``shrink`` is that of ``anova.seed_variance``.
    """
    values = pseudo_scores(problem) if values is None else values
    first, second = levels(values, base), levels(values, experiment)
    single = [group for group in (base, experiment) if group.n_seeds == 1]
    extra: list[float] = []
    what = "difference of means over pretraining seeds"
    caveat = ""
    if paired and base.n_seeds > 1:
        tables = [two_way(second - first)]
        columns = (second - first).mean(axis=0)
    else:
        tables = [two_way(first), two_way(second)]
        columns = second.mean(axis=0) - first.mean(axis=0)
        extra = [1.0, 1.0]
    if single and not procedure:
        names = " and ".join(group.name for group in single)
        only = "this checkpoint" if len(single) == 1 else "these checkpoints"
        what = f"difference of means, the {names} being {only}"
        caveat = f"the interval does not cover other pretraining seeds of the {names}"
    if procedure:
        if len(single) != 1 or paired:
            raise StatisticsError(
                "The procedure behind one checkpoint can only be asked for with one seed on one side and "
                "several on the other, unpaired."
            )
        family = 1 if base.n_seeds == 1 else 0
        # The lone seed deviates with the family's whole seed variance, S times that of the family's mean.
        extra[family] = 1.0 + tables[family].n_seeds
        what = "difference of the procedures' means over pretraining seeds"
        caveat = f"assumes that seeds of the {single[0].name} vary as those of the other side do"
    return crossed_result(
        tables,
        columns.var(ddof=1) if len(columns) > 1 else math.nan,
        len(columns),
        level,
        extra,
        what,
        caveat,
        n_seeds=base.n_seeds if paired else base.n_seeds + experiment.n_seeds,
        n_runs=base.n_runs + experiment.n_runs,
        n_examples=problem.n_examples,
        value=problem.value(experiment, MEAN) - problem.value(base, MEAN),
        shrink=shrink,
    )


def crossed_group(
    problem: Problem, group: Group, level: float = 0.95, values: Array | None = None
) -> Crossed:
    """Interval of one group's mean over seeds (over fine-tuning runs where there is one seed).

    ``values`` are ``pseudo_scores(problem)``, where they are at hand.
    """
    table = levels(pseudo_scores(problem) if values is None else values, group)
    caveat, what = "", MEAN.title
    if group.n_seeds == 1:
        caveat = "one pretraining seed: the interval does not cover other pretraining seeds"
        what = "mean over the runs of one pretraining seed"
        if group.n_runs == 1:
            caveat = "one run: the interval covers neither other pretraining seeds nor other fine-tuning runs"
            what = "this run"
    return crossed_result(
        [two_way(table)],
        table.mean(axis=0).var(ddof=1) if table.shape[1] > 1 else math.nan,
        table.shape[1],
        level,
        [],
        what,
        caveat,
        n_seeds=group.n_seeds,
        n_runs=group.n_runs,
        n_examples=problem.n_examples,
        value=problem.value(group, MEAN),
    )


def crossed_result(
    tables: Sequence[TwoWay],
    column_variance: float,
    n_units: int,
    level: float,
    extra: Sequence[float],
    what: str,
    caveat: str,
    *,
    n_seeds: int,
    n_runs: int,
    n_examples: int,
    value: float,
    shrink: bool = True,
) -> Crossed:
    """Interval and test from moments; arguments as in ``crossed_interval``, then what the estimate says."""
    from scipy.special import stdtr

    reason = ""
    error = df = half = examples = math.nan
    if math.isnan(value):
        reason = "the score of a run is undefined"
    elif n_units < 2:
        reason = "one example (or cluster): its noise cannot be estimated"
    else:
        variance = np.asarray(column_variance)
        errors, dfs, halves = crossed_interval(tables, variance, n_units, level, extra, shrink)
        error, df, half = float(errors), float(dfs), float(halves)
        examples = float(column_variance) / n_units
    if error == 0 or math.isnan(error):
        greater = less = math.nan if math.isnan(error) else (1.0 if value == 0 else float(value < 0))
        less = less if value == 0 or math.isnan(less) else 1.0 - greater
    else:
        less = float(stdtr(df, value / error))
        greater = float(stdtr(df, -value / error))
    estimate = Estimate(
        value,
        value - half,
        value + half,
        level,
        "crossed random effects, t",
        what,
        error,
        0.0,
        n_seeds,
        n_runs,
        n_examples,
        reason,
        caveat,
    )
    two_sided = min(1.0, 2 * min(greater, less)) if not math.isnan(greater) else math.nan
    return Crossed(estimate, df, two_sided, greater, less, examples, error**2 - examples)
