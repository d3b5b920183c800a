"""Run tables and scores of known designs, for the tests of statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.layout import Group
from multibench.stats.problem import Problem, prepare

__all__ = ["binary_sides", "crossed_scores", "grid_info", "groups_of", "nested_scores", "sides_info"]


def grid_info(n_seeds: int, n_runs: int, own_labels: bool = False) -> dict[str, Any]:
    """One row a run; fine-tuning seeds are common to all pretraining seeds, or each pretraining seed's own."""
    seeds, runs = np.repeat(np.arange(n_seeds), n_runs), np.tile(np.arange(n_runs), n_seeds)
    return {"seed": seeds, "finetune_seed": seeds * 100 + runs if own_labels else runs}


def sides_info(base: dict[str, Any], experiment: dict[str, Any]) -> dict[str, Any]:
    """Both run tables as one, base first."""
    info = {name: np.concatenate([base[name], experiment[name]]) for name in base}
    info["intervention"] = np.repeat([False, True], [len(base["seed"]), len(experiment["seed"])])
    return info


def nested_scores(
    rng: np.random.Generator, sizes: list[int], n: int, own: float = 0.3
) -> tuple[dict[str, Any], Array]:
    """Runs ``sizes[s]`` of each pretraining seed with labels of their own, and normal scores of ``n`` examples."""
    y = rng.normal(0, own, (len(sizes), 1, 1)) + rng.normal(0, 1, (1, 1, n))
    y = y + rng.normal(0, 0.4, (len(sizes), 1, n))
    rows = [
        y[s, 0] + rng.normal(0, 0.2) + rng.normal(0, 0.5, n)
        for s, size in enumerate(sizes)
        for _ in range(size)
    ]
    seeds = np.repeat(np.arange(len(sizes)), sizes)
    return {"seed": seeds, "finetune_seed": np.arange(len(seeds)) + 1000}, np.array(rows)


def crossed_scores(
    rng: np.random.Generator, p: int, f: int, n: int, sds: tuple[float, ...] = (0.3, 0.3, 0.2)
) -> Array:
    """Normal scores ``(p, f, n)`` of pretraining by shared fine-tuning seeds, with all interactions."""
    shapes = [(p, 1, 1), (1, f, 1), (p, f, 1), (1, 1, n), (p, 1, n), (1, f, n), (p, f, n)]
    spreads = [*sds, 1.0, 0.4, 0.3, 0.5]
    return np.asarray(sum(rng.normal(0, sd, shape) for sd, shape in zip(spreads, shapes, strict=True)) + 3.0)


def binary_sides(
    rng: np.random.Generator,
    seeds: tuple[int, int] = (5, 5),
    runs: int = 1,
    n: int = 80,
    sd: float = 0.3,
    effect: float = 0.0,
    common: bool = True,
) -> tuple[dict[str, Any], Array, Array]:
    """Two sides of class predictions, equal seeds having equal quality if ``common``; labels are 0 and 1."""
    labels = (np.arange(n) % 3 > 0).astype(int)
    hard, quality = rng.normal(0, 1, n), rng.normal(0, sd, (2, max(seeds)))
    if common:
        quality[1] = quality[0]
    rows = [
        1 + effect * side + quality[side, s] - hard + rng.normal(0, 1, n) > 0
        for side, count in enumerate(seeds)
        for s in range(count)
        for _ in range(runs)
    ]
    tables = [grid_info(count, runs, own_labels=True) for count in seeds]
    return sides_info(*tables), np.where(rows, labels, 1 - labels), labels


def groups_of(problem: Problem) -> Group:
    """All runs of a problem as one group."""
    return problem.table.group("group", range(len(problem.scores)))


def group_problem(
    info: dict[str, Any], scores: Array, metric: str = "mean", **options: Any
) -> tuple[Problem, Group]:
    """Scores as a problem, and all its runs as one group."""
    problem = prepare(info, scores, np.zeros(scores.shape[1]), metric, **options)
    return problem, groups_of(problem)
