"""The interval of a mean, and of a difference of two means, with the tests that belong to it.

One method for all of them (``stats.surrogate``), over all random factors that the runs have (``stats.factors``), on the
scale of the metric (``stats.bounds``). Interval, p-value and tests against a margin come from one distribution of the
error, so that they cannot contradict each other. Metrics that are no means enter through pseudo-scores, score plus
influence value of each example (infinitesimal jackknife).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.bounds import (
    FEW_ANSWERS,
    Scale,
    clopper_pearson,
    cluster_bounds,
    correlation_bounds,
    least_variance,
    share_bounds,
)
from multibench.stats.estimate import Estimate, plain
from multibench.stats.factors import Parts, difference_parts, group_parts
from multibench.stats.layout import Group
from multibench.stats.problem import Problem
from multibench.stats.sizes import REACH
from multibench.stats.surrogate import Moments, Surrogate

__all__ = ["METHOD", "Few", "Inference", "difference_inference", "group_inference", "infer", "with_one_more"]

METHOD = "surrogate mean squares"
FEW_UNITS = 5


@dataclass(frozen=True)
class Few:
    """A factor with few units: the half-width ``now``, and to be expected with one more unit (``then``)."""

    factor: str
    n_units: int
    now: float
    then: float

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class Inference:
    """An estimate, and the distribution of its error.

    ``p_value`` is two-sided: the interval excludes 0 exactly where it is at most one minus the level. ``p_greater`` is
    small if the value is above 0. All three are NaN where the interval is unknown, and for single means.
    """

    estimate: Estimate
    moments: Moments
    p_value: float
    p_greater: float
    p_less: float
    reach: float = math.inf
    """The largest difference that is possible."""
    columns: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """Scores of units averaged over runs (their difference), ``(n_units,)``."""
    looks: float = 1.0
    """By how much all p-values were multiplied for looks at other numbers of seeds (``compare.always_valid``)."""

    @cached_property
    def surrogate(self) -> Surrogate:
        """The distribution of the error. Raises ``StatisticsError`` where it is unknown."""
        return Surrogate(self.moments)

    @cached_property
    def few(self) -> tuple[Few, ...]:
        """Factors with two to four units: what one more would buy."""
        return tuple(_few(self.moments, self.spent(self.estimate.level))) if self.known else ()

    @property
    def effects(self) -> dict[str, tuple[float, Array]]:
        """For each random factor its part of the variance, and what each of its levels does to the value."""
        found = {"examples": (self.moments.examples, self.columns - self.columns.mean())}
        for name, term in self.moments.terms.items():
            if term.effects is not None:
                found[name] = (term.point, term.effects)
        return found

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.estimate.low)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the true value is greater than ``bound``."""
        return self._one_sided(self.estimate.value - bound)

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the true value is less than ``bound``."""
        return self._one_sided(bound - self.estimate.value)

    def _one_sided(self, error: float) -> float:
        return min(1.0, self.looks * self.surrogate.above(error)) if self.known else math.nan

    def spent(self, level: float) -> float:
        """The level of the interval that holds at ``level`` however often one has looked."""
        return 1 - (1 - level) / self.looks

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        parts = {
            "examples": self.moments.examples,
            **{name: term.point for name, term in self.moments.terms.items()},
        }
        kept = {
            k: plain(v)
            for k, v in vars(self).items()
            if k not in ("moments", "surrogate", "columns", "few", "reach", "looks")
        }
        return {**kept, "variance": plain(parts), "few": plain(self.few)}

    def __str__(self) -> str:
        return f"{self.estimate}, p = {self.p_value:.3g} two-sided"


def group_inference(
    problem: Problem, group: Group, level: float = 0.95, values: Array | None = None
) -> Inference:
    """The mean of one group over its pretraining seeds, runs of one seed averaged first.

    ``values`` are ``problem.pseudo_scores`` or what stands in their place, ``(n_runs, n_units)``.
    """
    values = problem.pseudo_scores if values is None else values
    parts = group_parts(values, group, problem.units_df)
    return infer(
        parts,
        problem,
        level,
        estimand=_mean_of(group),
        n_seeds=group.n_seeds,
        n_runs=group.n_runs,
        group=group,
    )


def _mean_of(group: Group) -> str:
    if group.n_seeds > 1:
        return "mean over pretraining seeds"
    return "mean over the runs of one pretraining seed" if group.n_runs > 1 else "this run"


def difference_inference(
    problem: Problem,
    base: Group,
    experiment: Group,
    paired: bool,
    level: float = 0.95,
    values: Array | None = None,
) -> Inference:
    """The difference of two groups' means, experiment minus base; arguments as in ``factors.difference_parts``.

    A side with one pretraining seed brings no variance of pretraining seeds: the estimand is then that checkpoint, its
    fine-tuning seeds being the random factor, or that run if it has but one.
    """
    values = problem.pseudo_scores if values is None else values
    parts = difference_parts(values, base, experiment, paired, problem.units_df)
    lone = [g for g in (base, experiment) if g.n_seeds == 1]
    what = "difference of means over pretraining seeds"
    if lone:
        names = " and ".join(
            f"the {g.name} being {'this run' if g.n_runs == 1 else 'this checkpoint'}" for g in lone
        )
        what = f"difference of means, {names}"
    return infer(
        parts,
        problem,
        level,
        estimand=what,
        n_seeds=base.n_seeds if paired else base.n_seeds + experiment.n_seeds,
        n_runs=base.n_runs + experiment.n_runs,
        discordant=problem.discordant(base, experiment),
    )


def infer(
    parts: Parts,
    problem: Problem,
    level: float,
    *,
    estimand: str,
    n_seeds: int,
    n_runs: int,
    group: Group | None = None,
    discordant: float = math.inf,
) -> Inference:
    """The inference from the parts of a variance, on the scale of the problem's metric.

    ``group`` has the runs behind a mean; without it it is a difference, and ``discordant`` units tell its sides apart.
    """
    difference = group is None
    moments = replace(parts.moments, examples_df=_examples_df(parts, problem))
    if (
        difference
        and problem.scale == "share"
        and not math.isnan(moments.examples)
        and discordant < FEW_ANSWERS
    ):
        moments = replace(moments, examples=least_variance(moments.examples, problem.deciding))
    value, reason = moments.value, ""
    low = high = half = error = math.nan
    greater = less = both = math.nan
    if math.isnan(value):
        reason = "the score of a run is undefined"
    elif math.isnan(moments.examples):
        reason = f"one {problem.unit}: its noise cannot be estimated"
    else:
        surrogate = Surrogate(moments)
        half = surrogate.half_width(level)
        error = math.sqrt(moments.variance)
        if group is None:
            low, high, reason = _difference_bounds(value, half, problem.scale)
        else:
            low, high, reason = _mean_bounds(moments, half, level, problem, group)
        if difference and not reason:
            greater, less, both = surrogate.above(value), surrogate.above(-value), surrogate.beyond(value)
    over = (*parts.over, problem.units)
    estimate = Estimate(
        value,
        low,
        high,
        level,
        METHOD,
        estimand,
        error,
        0.0,
        n_seeds,
        n_runs,
        problem.n_examples,
        reason,
        "; ".join(parts.caveats),
        over=_listed(over),
    )
    return Inference(estimate, moments, both, greater, less, REACH[problem.scale], parts.columns)


def _examples_df(parts: Parts, problem: Problem) -> float:
    """Degrees of freedom of the examples' part; those that its spread shows where the metric is no mean."""
    df = parts.moments.examples_df
    if problem.linear:
        return df
    squares = (parts.columns - parts.columns.mean()) ** 2
    mean, n = float(squares.mean()), len(squares)
    variance = float(squares.var(ddof=1)) / n if n > 1 else 0.0
    return min(df, max(1.0, 2 * mean**2 / variance)) if variance > 0 else df


def _difference_bounds(value: float, half: float, scale: Scale) -> tuple[float, float, str]:
    """Low and high of a difference, or NaN and the reason."""
    if half <= 0:
        return math.nan, math.nan, "both sides give the same answers, so that their difference shows no noise"
    return max(-REACH[scale], value - half), min(REACH[scale], value + half), ""


def _mean_bounds(
    moments: Moments, half: float, level: float, problem: Problem, group: Group
) -> tuple[float, float, str]:
    """Low and high of a mean, or NaN and the reason."""
    value, units = moments.value, problem.deciding
    if problem.scale == "share" and problem.clusters is not None:
        answers = problem.answers_by_cluster(group)
        if answers is not None and moments.variance > 0 and problem.strata is None:
            # Of fixed strata only what varies within them counts, of which clusters alone say too little.
            answers = replace(answers, quantile=half**2 / moments.variance)
        return (*cluster_bounds(value, half, units, level, answers), "")
    if problem.scale == "share":
        return (*share_bounds(value, half, units, level, problem.answer_weights(group)), "")
    if problem.scale == "correlation" and abs(value) >= 1 and units > 0:
        least = clopper_pearson(units, units, level)[0]
        return (least, 1.0, "") if value > 0 else (-1.0, -least, "")
    if problem.scale == "correlation" and half > 0 and abs(value) < 1:
        return (*correlation_bounds(value, half), "")
    if half <= 0:
        return math.nan, math.nan, "all scores are equal, so that they show no noise"
    return value - half, value + half, ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _few(moments: Moments, level: float) -> list[Few]:
    """What one more unit of each factor with few of them would buy."""
    found = []
    now = Surrogate(moments).half_width(level)
    for name, term in moments.terms.items():
        if term.n_levels < FEW_UNITS:
            then = Surrogate(with_one_more(moments, name)).half_width(level)
            found.append(Few(name, term.n_levels, now, then))
    return found


def with_one_more(moments: Moments, name: str) -> Moments:
    """The moments to expect with one more level of the factor ``name``, all else as it is."""
    term = moments.terms[name]
    share = term.n_levels / (term.n_levels + 1)
    more = replace(
        term,
        between=term.between * share,
        error=term.error * share,
        interaction=term.interaction * share,
        residual=term.residual * share,
        df=term.df + 1,
        n_levels=term.n_levels + 1,
    )
    return replace(moments, terms={**moments.terms, name: more})
