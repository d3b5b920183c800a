"""More than two groups on one test set: all differences, held to each other, and where each group ranks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.stats.estimate import Estimate, plain
from multibench.stats.inference import Inference, difference_inference, group_inference
from multibench.stats.joint import Together, joint_of
from multibench.stats.layout import RunInfo, sorted_labels
from multibench.stats.problem import MetricLike, Undefined, prepare

__all__ = ["GroupsResult", "compare_all", "ranks_of"]


@dataclass(frozen=True)
class GroupsResult:
    """Scores of several groups, all pairwise differences with simultaneous intervals, and ranks.

    ``differences`` and ``together`` are keyed "b - a", the later group less the earlier. ``ranks`` are the best and the
    worst place that a group can have: all hold together at the level.
    """

    names: tuple[str, ...]
    scores: dict[str, Estimate]
    differences: dict[str, Inference]
    together: dict[str, Together]
    ranks: dict[str, tuple[int, int]]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        together = {
            name: {"simultaneous": plain(one.simultaneous), "p_adjusted": plain(one.p_adjusted)}
            for name, one in self.together.items()
        }
        return {**{key: plain(value) for key, value in vars(self).items()}, "together": together}

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {low} to {high}" for name, (low, high) in self.ranks.items())
        return f"{len(self.names)} groups; ranks: {shown}"


def compare_all(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    paired_seeds: bool = False,
    confidence: float = 0.95,
    *,
    column: str = "group",
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    undefined: Undefined = "collapsed",
) -> GroupsResult:
    """Compare any number of groups, named by a column of the run table, two by two.

    Arguments as in ``compare_groups``; paired, only seeds that all groups have are kept. Raises ``StatisticsError``
    for a single group, for a callable metric, and where nothing can be paired.
    """
    problem = prepare(run_info, preds, labels, metric, clusters, undefined, strata=strata)
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
            dropped = [str(seed) for seed in group.seeds if seed not in common]
            if dropped:
                warnings.append(
                    f"Seeds of {group.name} not in all groups were dropped: {', '.join(dropped)}."
                )
        groups = [group.only(common) for group in groups]
    pairs = list(itertools.combinations(range(len(groups)), 2))
    values = problem.pseudo_scores
    found = [
        difference_inference(problem, groups[a], groups[b], paired_seeds, confidence, values)
        for a, b in pairs
    ]

    def key(place: int, factor: str) -> tuple[str, ...]:
        a, b = (groups[index].name for index in pairs[place])
        name, _, side = factor.partition(": ")
        # Paired seeds differ from pair to pair in what they do, but are the same seeds.
        return (name,) if not side else (name, a if side == "base" else b)

    together = joint_of(found, key)
    keyed = [f"{groups[b].name} - {groups[a].name}" for a, b in pairs]
    return GroupsResult(
        tuple(group.name for group in groups),
        {group.name: group_inference(problem, group, confidence, values).estimate for group in groups},
        dict(zip(keyed, found, strict=True)),
        dict(zip(keyed, together, strict=True)),
        ranks_of(len(groups), pairs, together, [group.name for group in groups]),
        tuple(warnings),
    )


def ranks_of(
    n: int, pairs: list[tuple[int, int]], together: list[Together], names: list[str]
) -> dict[str, tuple[int, int]]:
    """The best and worst rank of each group, from simultaneous intervals of all differences (second less first).

    A group surely stands behind those whose difference to it excludes 0, and surely before those it exceeds.
    """
    better, worse = [0] * n, [0] * n
    for (a, b), one in zip(pairs, together, strict=True):
        if one.simultaneous.low > 0:
            better[a] += 1
            worse[b] += 1
        elif one.simultaneous.high < 0:
            better[b] += 1
            worse[a] += 1
    return {names[g]: (1 + better[g], n - worse[g]) for g in range(n)}
