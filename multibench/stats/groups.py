"""More than two groups on the same resamples."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimands import Estimand, estimand
from multibench.stats.estimate import Estimate, plain
from multibench.stats.intervals import Interval, bootstrap_estimate
from multibench.stats.layout import RunInfo, sorted_labels
from multibench.stats.multiplicity import Family, max_t
from multibench.stats.problem import MetricLike, Undefined, prepare
from multibench.stats.resample import Plan, Runs, group_samples
from multibench.stats.streams import Rng

__all__ = ["GroupsResult", "multibootstrap_groups"]

_estimand = estimand


@dataclass(frozen=True)
class GroupsResult:
    """Scores of several groups, all pairwise differences, and their max-T family.

    ``samples`` are joint draws ``(nboot, n_groups)`` in the order of ``names``; ``differences`` are keyed
    "a - b" in the order of ``family.names``.
    """

    names: tuple[str, ...]
    samples: Array
    scores: dict[str, Estimate]
    differences: dict[str, Estimate]
    family: Family
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items() if key != "samples"}

    def __str__(self) -> str:
        return f"{len(self.names)} groups, {self.family}"


def multibootstrap_groups(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    paired_seeds: bool = False,
    nboot: int = 1000,
    rng: Rng = None,
    confidence: float = 0.95,
    *,
    column: str = "group",
    runs: Runs = "averaged",
    clusters: ArrayLike | None = None,
    estimand: str | Estimand = "mean",
    undefined: Undefined = "collapsed",
    progress: Callable[[int, int], None] | None = None,
) -> GroupsResult:
    """The multi-bootstrap for any number of groups, named by a column of the run table.

    Arguments as in ``multibootstrap``. One set of resamples serves all groups, so that their draws are joint:
    examples always, seeds too where ``paired_seeds`` (only seeds that all groups have are then kept). Intervals of
    differences are percentile intervals one by one; ``family`` adjusts for looking at all of them (max-T).
    """
    exact = not isinstance(rng, np.random.RandomState)
    problem = prepare(run_info, preds, labels, metric, clusters, undefined, keep_examples=not exact)
    labels_of = problem.table.column(column)
    names = sorted_labels(labels_of)
    if len(names) < 2:
        raise StatisticsError(f"Column '{column}' holds one group, {names}; give two or more.")
    groups = [
        problem.table.group(str(name), [row for row, label in enumerate(labels_of) if label == name])
        for name in names
    ]
    warnings: list[str] = []
    if paired_seeds:
        common = [seed for seed in groups[0].seeds if all(seed in group.seeds for group in groups)]
        if not common:
            raise StatisticsError("Paired seeds were asked for, but no seed is in all groups.")
        for group in groups:
            if group.n_seeds > len(common):
                dropped = [str(seed) for seed in group.seeds if seed not in common]
                warnings.append(
                    f"Seeds of {group.name} not in all groups were dropped: {', '.join(dropped)}."
                )
        groups = [group.only(common) for group in groups]
    target = _estimand(estimand)
    pools = tuple(0 if paired_seeds else index for index in range(len(groups)))
    plan = Plan(tuple(groups), pools, target, runs=runs, progress=progress)
    samples, _ = group_samples(problem, plan, nboot, rng)
    plug_in = np.array([problem.value(group, target) for group in groups])
    method = "multi-bootstrap, percentile, over pretraining seeds and examples"
    interval: Interval = "percentile"
    scores = {
        group.name: bootstrap_estimate(
            float(plug_in[g]),
            samples[:, g],
            confidence,
            interval,
            1.0,
            exact,
            method=method,
            estimand=f"{group.name}: {target.title}",
            n_seeds=group.n_seeds,
            n_runs=group.n_runs,
            n_examples=problem.n_examples,
        )
        for g, group in enumerate(groups)
    }
    pairs = list(itertools.combinations(range(len(groups)), 2))
    named = [f"{groups[b].name} - {groups[a].name}" for a, b in pairs]
    deltas = np.array([plug_in[b] - plug_in[a] for a, b in pairs])
    draws = np.stack([samples[:, b] - samples[:, a] for a, b in pairs], axis=1)
    differences = {}
    for k, (name, (a, b)) in enumerate(zip(named, pairs, strict=True)):
        both = groups[a].n_seeds + groups[b].n_seeds
        differences[name] = bootstrap_estimate(
            float(deltas[k]),
            draws[:, k],
            confidence,
            interval,
            1.0,
            exact,
            method=method,
            estimand=f"difference of the {target.title}",
            n_seeds=groups[a].n_seeds if paired_seeds else both,
            n_runs=groups[a].n_runs + groups[b].n_runs,
            n_examples=problem.n_examples,
        )
    family = max_t(named, deltas, draws, 1 - confidence)
    return GroupsResult(
        tuple(group.name for group in groups), samples, scores, differences, family, tuple(warnings)
    )
