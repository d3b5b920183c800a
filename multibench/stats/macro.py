"""A macro score over tasks (the GLUE average), with an interval that respects seeds shared by tasks.

The same pretraining seeds stand behind all tasks, so their scores rise and fall together: intervals that take tasks
as independent are too short. Examples of different tasks are independent.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.bounds import FEW_ANSWERS, least_variance, share_bounds
from multibench.stats.estimate import Estimate, plain
from multibench.stats.factors import PRETRAINING, Parts, difference_parts, group_parts
from multibench.stats.inference import METHOD, Inference
from multibench.stats.layout import Group, RunInfo, sides
from multibench.stats.problem import MetricLike, Problem, prepare
from multibench.stats.surrogate import Moments, Surrogate, Term

__all__ = ["MacroScore", "TaskRuns", "macro_score"]


@dataclass(frozen=True)
class TaskRuns:
    """One task's runs: arguments as those of ``compare_groups``. Several metrics count by their mean.

    ``weight`` is the task's share of the average before all are scaled to sum to one. ``corrections`` ``(n_runs,)`` are
    added to the runs' scores.
    """

    name: str
    run_info: RunInfo
    preds: ArrayLike
    labels: ArrayLike
    metrics: tuple[MetricLike, ...]
    clusters: ArrayLike | None = None
    strata: ArrayLike | None = None
    weight: float = 1.0
    corrections: ArrayLike | None = None


@dataclass(frozen=True)
class MacroScore:
    """The macro score, or its difference between two sides; ``tasks`` are the tasks' own values."""

    inference: Inference
    tasks: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def estimate(self) -> Estimate:
        """The estimate with its interval."""
        return self.inference.estimate

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"macro over {len(self.tasks)} tasks: {self.inference}"


@dataclass(frozen=True)
class _Task:
    """One task made ready: the seeds' scores and what is theirs by the examples."""

    problem: Problem
    values: Array
    groups: tuple[Group, ...]
    weight: float


def macro_score(
    tasks: Sequence[TaskRuns], compare: bool = False, paired_seeds: bool = False, confidence: float = 0.95
) -> MacroScore:
    """Weighted mean over tasks of the mean over seeds; with ``compare`` its difference between two sides.

    A seed counts only if every task has it (others are dropped, with a warning), once for all tasks. Examples bring
    ``sum w_t^2 V_t``; seeds what their macro scores vary beyond the tasks' interactions. Fine-tuning seeds that are
    shared by pretraining seeds are a factor of their own, if every task has the same.

    Raises ``StatisticsError`` for no tasks, a task without a metric, and tasks without a common seed.
    """
    if not tasks:
        raise StatisticsError("A macro score needs a task; none was given.")
    total = sum(task.weight for task in tasks)
    parsed = [_parsed(task, compare, total) for task in tasks]
    warnings: list[str] = []
    n_sides = 2 if compare else 1
    common = [_common([one.groups[side] for one in parsed], warnings) for side in range(n_sides)]
    if paired_seeds and compare:
        shared = [seed for seed in common[0] if seed in set(common[1])]
        if not shared:
            raise StatisticsError("Paired seeds were asked for, but the sides share none in all tasks.")
        common = [shared, shared]
    ready = [
        _Task(
            one.problem,
            one.values,
            tuple(group.only(common[side]) for side, group in enumerate(one.groups)),
            one.weight,
        )
        for one in parsed
    ]
    inference, values = _inference(ready, compare, paired_seeds and compare, confidence)
    named = {task.name: value for task, value in zip(tasks, values, strict=True)}
    return MacroScore(inference, named, tuple(warnings))


def _parsed(task: TaskRuns, compare: bool, total: float) -> _Task:
    problems = [
        prepare(
            task.run_info,
            task.preds,
            task.labels,
            metric,
            task.clusters,
            keep_examples=True,
            strata=task.strata,
        )
        for metric in task.metrics
    ]
    if not problems:
        raise StatisticsError(f"The task {task.name} has no metric.")
    table = problems[0].table
    groups = sides(table) if compare else (table.group("group", range(len(problems[0].scores))),)
    values = np.mean([problem.corrected(task.corrections) for problem in problems], axis=0)
    return _Task(problems[0], values, groups, task.weight / total)


def _common(groups: Sequence[Group], warnings: list[str]) -> list[Hashable]:
    common = [seed for seed in groups[0].seeds if all(seed in group.seeds for group in groups)]
    dropped = sorted({str(seed) for group in groups for seed in group.seeds if seed not in common})
    if not common:
        raise StatisticsError("No pretraining seed has runs in every task; a macro score needs one at least.")
    if dropped:
        warnings.append(f"Seeds without runs in every task were dropped: {', '.join(dropped)}.")
    return common


def _inference(
    tasks: Sequence[_Task], compare: bool, paired: bool, level: float
) -> tuple[Inference, list[float]]:
    parts = []
    for task in tasks:
        df = task.problem.units_df
        if compare:
            parts.append(difference_parts(task.values, task.groups[0], task.groups[1], paired, df))
        else:
            parts.append(group_parts(task.values, task.groups[0], df))
    weights = np.array([task.weight for task in tasks])
    values = [one.moments.value for one in parts]
    examples = np.array([one.moments.examples for one in parts]) * weights**2
    if compare:
        examples = np.array([_examples(o, t) for o, t in zip(parts, tasks, strict=True)]) * weights**2
    spread = float(sum(v**2 / one.moments.examples_df for v, one in zip(examples, parts, strict=True)))
    variance = float(examples.sum())
    terms = _terms([one.moments.terms for one in parts], weights)
    df = variance**2 / spread if spread > 0 else 1.0
    moments = Moments(float(weights @ values), variance, max(1.0, df), terms)
    caveats = dict.fromkeys(c for one in parts for c in one.caveats)
    return _concluded(moments, tasks, compare, paired, level, tuple(caveats)), values


def _examples(parts: Parts, task: _Task) -> float:
    """The examples' part of a task's difference, which few discordant answers do not show."""
    problem, own = task.problem, parts.moments.examples
    few = problem.discordant(task.groups[0], task.groups[1]) < FEW_ANSWERS
    return least_variance(own, problem.deciding) if problem.scale == "share" and few else own


def _terms(of_tasks: Sequence[Mapping[str, Term]], weights: Array) -> dict[str, Term]:
    """Parts of the macro score's seeds: their levels are averaged over tasks before their variance is taken."""
    terms: dict[str, Term] = {}
    for name in dict.fromkeys(name for own in of_tasks for name in own):
        found = [(own[name], w) for own, w in zip(of_tasks, weights, strict=True) if name in own]
        effects = [term.effects * w for term, w in found if term.effects is not None]
        error = float(sum(term.error * w**2 for term, w in found))
        interaction = float(sum(term.interaction * w**2 for term, w in found))
        residual = float(sum(term.residual * w**2 for term, w in found))
        alike = len({len(effect) for effect in effects}) == 1
        first = found[0][0]
        if alike and (name.startswith(PRETRAINING) or len(found) == len(of_tasks)):
            joint = np.sum(effects, axis=0)
            n = len(joint)
            between = float(joint @ joint) / (n - 1) / n
        else:  # other fine-tuning seeds in each task: independent, so that their parts add up
            between = float(sum(term.between * w**2 for term, w in found))
        terms[name] = Term(
            between, first.df, error, first.n_levels, interaction, first.interaction_df, residual
        )
    return terms


def _concluded(
    moments: Moments,
    tasks: Sequence[_Task],
    compare: bool,
    paired: bool,
    level: float,
    caveats: tuple[str, ...],
) -> Inference:
    groups = tasks[0].groups
    reach = math.inf
    value, reason = moments.value, ""
    low = high = error = greater = less = both = math.nan
    if math.isnan(value) or math.isnan(moments.examples):
        reason = "the score of a run is undefined, or a task has a single example"
    else:
        surrogate = Surrogate(moments)
        half, error = surrogate.half_width(level), math.sqrt(moments.variance)
        low, high = value - half, value + half
        shares = all(task.problem.scale == "share" for task in tasks)
        reach = 1.0 if shares else 2.0
        if compare:
            low, high = max(low, -reach), min(high, reach)
            greater, less, both = surrogate.above(value), surrogate.above(-value), surrogate.beyond(value)
        elif shares:
            low, high = share_bounds(value, half, sum(t.problem.deciding for t in tasks), level)
        else:
            low, high = max(low, -1.0), min(high, 1.0)
    what = "macro score: mean over tasks and pretraining seeds"
    factors = dict.fromkeys(name.partition(":")[0] for name in moments.terms)
    estimate = Estimate(
        value,
        low,
        high,
        level,
        METHOD,
        f"difference of the {what}" if compare else what,
        error,
        0.0,
        groups[0].n_seeds if paired or not compare else sum(group.n_seeds for group in groups),
        sum(group.n_runs for task in tasks for group in task.groups),
        sum(task.problem.n_examples for task in tasks),
        reason,
        "; ".join(caveats),
        over=" and ".join([*factors, "examples of each task"]),
    )
    return Inference(estimate, moments, both, greater, less, reach)
