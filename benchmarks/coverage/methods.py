"""The intervals under study, each from a digested data set: low, high, and the p-value of no difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from scipy.special import stdtr, stdtrit

from multibench.metrics import METRICS
from multibench.metrics.base import Array
from multibench.stats.anova import TwoWay, two_way
from multibench.stats.factors import seed_means
from multibench.stats.inference import Inference, difference_inference, group_inference
from multibench.stats.layout import Group
from multibench.stats.problem import Problem

from .worlds import Found, Sample, World

__all__ = ["LEVEL", "METHODS", "digest", "inferred", "old_crossed", "printed"]

LEVEL, DRAWS, SAME_DRAWS = 0.95, 599, 20
# The constants of the crossed interval as it was before surrogates came: what shrinks the seeds' part and its weight.
SHRINK, MEASURE = 3.0, 1.5
Method: TypeAlias = Callable[[World, Problem, int], Found]


def digest(world: World, sample: Sample) -> Problem:
    """The package's view of a data set, runs in the order in which they were drawn, examples unsorted."""
    prepared = METRICS.get(world.metric).prepare(sample.labels, sample.outputs)
    scores = prepared.scores()
    missing = np.isnan(scores)
    return Problem(
        prepared,
        np.where(missing, 0.0, scores),
        prepared.n_examples,
        sample.clusters,
        sample.strata,
        int(missing.sum()),
        0.0,
        0.0,
        world.metric,
        world.table,
    )


def inferred(world: World, problem: Problem) -> Inference:
    """The package's own inference."""
    if world.paired is None:
        return group_inference(problem, world.groups[0], LEVEL)
    base, experiment = world.groups
    return difference_inference(problem, base, experiment, world.paired, LEVEL)


def printed(world: World, problem: Problem, _: int) -> Found:
    """The interval that the package prints."""
    found = inferred(world, problem)
    return found.estimate.low, found.estimate.high, found.p_value


def _rows(values: Array, group: Group) -> Array:
    return values[group.rows] if group.n_seeds == 1 else seed_means(values, group)


def old_crossed(world: World, problem: Problem, _: int) -> Found:
    """The crossed random-effects t interval that the package printed before: seeds and examples, two factors."""
    values = problem.pseudo_scores
    rows = [_rows(values, group) for group in world.groups]
    columns = rows[-1].mean(axis=0) - (rows[0].mean(axis=0) if len(rows) == 2 else 0.0)
    together = world.paired and world.groups[0].n_seeds > 1
    tables = [two_way(rows[1] - rows[0])] if together else [two_way(own) for own in rows]
    n = len(columns)
    variance = float(columns.var(ddof=1)) / n
    spread = variance**2 / max(n - 1, 1)
    for table in tables:
        if table.n_seeds > 1:
            part, measure = _old_seed_variance(table)
            variance += part
            spread += measure**2 / (table.n_seeds - 1)
    df = min(max(variance**2 / spread, 1.0), 1e9) if spread > 0 else 1e9
    value, error = float(columns.mean()), math.sqrt(variance)
    half = error * float(stdtrit(df, (1 + LEVEL) / 2))
    p = 2 * float(stdtr(df, -abs(value) / error)) if error > 0 else float(value == 0)
    return value - half, value + half, p


def _old_seed_variance(table: TwoWay) -> tuple[float, float]:
    """What seeds add to the variance, and the measure of its uncertainty."""
    seeds, error = float(table.ms_seed), float(table.ms_error)
    x = error / seeds if seeds > error else 1.0
    whole = seeds / (table.n_seeds * table.n_units)
    return whole * (1 - x) * (1 - x**SHRINK), whole * (1 - x**MEASURE)


@lru_cache(maxsize=2)
def _weights(n: int, turn: int) -> Array:
    rng = np.random.default_rng([n, turn])
    flat = rng.integers(0, n, size=(DRAWS, n)) + (np.arange(DRAWS) * n)[:, None]
    return np.bincount(flat.ravel(), minlength=DRAWS * n).reshape(DRAWS, n)


@lru_cache(maxsize=4)
def _counts(n: int, side: int, turn: int) -> Array:
    return np.random.default_rng([n, side, turn]).multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


def percentile(world: World, problem: Problem, number: int) -> Found:
    """The released percentile multi-bootstrap with 599 draws, which 20 data sets in turn share."""
    turn = number // SAME_DRAWS
    scores = problem.prepared.draws(_weights(problem.n_examples, turn))
    sides: list[Array] = []
    for place, group in enumerate(world.groups):
        side = 0 if world.paired else place
        sides.append(
            (_counts(group.n_seeds, side, turn) * (scores[:, group.rows] @ group.mixing().T)).sum(axis=1)
        )
    draws = np.sort(sides[-1] - (sides[0] if len(sides) == 2 else 0.0))
    rank = round((1 - LEVEL) / 2 * (DRAWS + 1))
    return float(draws[rank - 1]), float(draws[DRAWS - rank]), math.nan


METHODS: dict[str, Method] = {
    "printed": printed,
    "old crossed": old_crossed,
    "percentile": percentile,
}
