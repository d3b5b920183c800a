"""A macro score over tasks (the GLUE average), with an interval that respects seeds shared by tasks.

The same pretraining seeds stand behind all tasks, so their scores rise and fall together: intervals that take tasks
as independent are too short. Examples of different tasks are independent.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import TwoWay, two_way
from multibench.stats.crossed import MEAN, Crossed, crossed_result, pseudo_scores
from multibench.stats.estimate import Estimate, plain
from multibench.stats.intervals import bootstrap_estimate
from multibench.stats.layout import Group, RunInfo, sides
from multibench.stats.problem import MetricLike, Problem, prepare
from multibench.stats.resample import Plan, group_samples
from multibench.stats.streams import Streams, draw_counts

__all__ = ["MacroScore", "TaskRuns", "macro_score"]

SEEDS = 1


@dataclass(frozen=True)
class TaskRuns:
    """One task's runs: the arguments of ``multibootstrap``. Several metrics count by their mean."""

    name: str
    run_info: RunInfo
    preds: ArrayLike
    labels: ArrayLike
    metrics: tuple[MetricLike, ...]


@dataclass(frozen=True)
class MacroScore:
    """The macro score (or its difference) by crossed random effects and by the multi-bootstrap."""

    crossed: Crossed
    bootstrap: Estimate
    tasks: dict[str, float]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"macro over {len(self.tasks)} tasks: {self.crossed}"


def macro_score(
    tasks: Sequence[TaskRuns],
    compare: bool = False,
    paired_seeds: bool = False,
    nboot: int = 1000,
    rng: np.random.Generator | int | None = None,
    confidence: float = 0.95,
) -> MacroScore:
    """Unweighted mean over tasks of the mean over seeds; with ``compare`` its difference between two sides.

    A seed counts only if every task has it (others are dropped, with a warning), once for all tasks. Crossed:
    ``sum_t V_t / T^2`` for examples, plus what the seeds' macro scores vary beyond the tasks' interactions.
    """
    if not tasks:
        raise StatisticsError("A macro score needs a task; none was given.")
    parsed = []
    for task in tasks:
        several = len(task.metrics) > 1
        problems = [
            prepare(task.run_info, task.preds, task.labels, metric, keep_examples=several)
            for metric in task.metrics
        ]
        if not problems:
            raise StatisticsError(f"The task {task.name} has no metric.")
        table = problems[0].table
        whole = table.group("group", range(len(problems[0].scores)))
        parsed.append((task.name, problems, sides(table) if compare else (whole,)))
    warnings: list[str] = []
    n_sides = 2 if compare else 1
    common = [_common([groups[side] for _, _, groups in parsed], warnings) for side in range(n_sides)]
    if paired_seeds and compare:
        shared = [seed for seed in common[0] if seed in set(common[1])]
        if not shared:
            raise StatisticsError("Paired seeds were asked for, but the sides share none in all tasks.")
        common = [shared, shared]
    kept = [
        (name, problems, tuple(group.only(common[side]) for side, group in enumerate(groups)))
        for name, problems, groups in parsed
    ]
    values = {}
    for name, problems, groups in kept:
        scores = [np.mean([problem.value(group, MEAN) for problem in problems]) for group in groups]
        values[name] = float(scores[1] - scores[0]) if compare else float(scores[0])
    crossed = _crossed(kept, values, paired_seeds and compare, confidence)
    draws = _draws(kept, common, paired_seeds and compare, nboot, Streams(rng))
    bootstrap = bootstrap_estimate(
        crossed.estimate.value,
        draws,
        confidence,
        "percentile",
        1.0,
        True,
        method="multi-bootstrap, percentile, seeds shared by tasks, examples by task",
        estimand=crossed.estimate.estimand,
        n_seeds=crossed.estimate.n_seeds,
        n_runs=crossed.estimate.n_runs,
        n_examples=crossed.estimate.n_examples,
    )
    return MacroScore(crossed, bootstrap, values, tuple(warnings))


Parsed = tuple[str, list[Problem], tuple[Group, ...]]


def _common(groups: Sequence[Group], warnings: list[str]) -> list[Hashable]:
    common = [seed for seed in groups[0].seeds if all(seed in group.seeds for group in groups)]
    dropped = sorted({str(seed) for group in groups for seed in group.seeds if seed not in common})
    if not common:
        raise StatisticsError("No pretraining seed has runs in every task; a macro score needs one at least.")
    if dropped:
        warnings.append(f"Seeds without runs in every task were dropped: {', '.join(dropped)}.")
    return common


def _crossed(kept: Sequence[Parsed], values: dict[str, float], paired: bool, level: float) -> Crossed:
    n_tasks, n_sides = len(kept), len(kept[0][2])
    seed_scores: list[list[Array]] = []
    errors: list[list[float]] = []
    examples, n_units = 0.0, []
    for _, problems, groups in kept:
        pseudo = np.mean([pseudo_scores(problem) for problem in problems], axis=0)
        tables = [group.mixing() @ pseudo[group.rows] for group in groups]
        columns = tables[-1].mean(axis=0) - (tables[0].mean(axis=0) if n_sides == 2 else 0.0)
        if paired:
            tables = [tables[1] - tables[0]]
        n_units.append(len(columns))
        examples += float(columns.var(ddof=1)) / len(columns) / n_tasks**2
        seed_scores.append([table.mean(axis=1) / n_tasks for table in tables])
        errors.append([float(two_way(table).ms_error) / table.shape[1] / n_tasks**2 for table in tables])
    moments = []
    for side in range(len(seed_scores[0])):
        macro = np.sum([scores[side] for scores in seed_scores], axis=0)
        spread = np.asarray(macro.var(ddof=1)) if len(macro) > 1 else np.asarray(np.nan)
        error = np.asarray(sum(task[side] for task in errors))
        moments.append(TwoWay(len(macro), 1, np.asarray(macro.mean()), spread, np.asarray(np.nan), error))
    groups = kept[0][2]
    what = "macro score: mean over tasks and pretraining seeds"
    smallest = min(n_units)
    return crossed_result(
        moments,
        examples * smallest,
        smallest,
        level,
        [],
        what if n_sides == 1 else f"difference of the {what}",
        "",
        n_seeds=groups[0].n_seeds if paired or n_sides == 1 else sum(group.n_seeds for group in groups),
        n_runs=sum(group.n_runs for _, _, of_task in kept for group in of_task),
        n_examples=sum(problems[0].n_examples for _, problems, _ in kept),
        value=float(np.mean(list(values.values()))),
    )


def _draws(
    kept: Sequence[Parsed], common: Sequence[Sequence[Hashable]], paired: bool, nboot: int, streams: Streams
) -> Array:
    generator = streams.generator(SEEDS, 0)
    n_pools = 1 if paired else len(common)
    seeds = tuple(draw_counts(generator, nboot, len(common[pool])) for pool in range(n_pools))
    total = np.zeros(nboot)
    for index, (_, problems, groups) in enumerate(kept):
        plan = Plan(
            groups,
            (0,) * len(groups) if paired else tuple(range(len(groups))),
            MEAN,
            given_seeds=seeds,
            test_set=index,
            compress=len(problems) == 1,
        )
        for problem in problems:
            samples, _ = group_samples(problem, plan, nboot, streams.entropy)
            value = samples[:, 1] - samples[:, 0] if samples.shape[1] == 2 else samples[:, 0]
            total += value / len(problems) / len(kept)
    return total
