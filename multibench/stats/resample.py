"""The engine of every bootstrap here: scores of groups of runs under shared resamples.

A draw is a weight for each example and for each pretraining seed (and, if asked, for each
fine-tuning run). Metrics turn example weights into run scores by matrix products; seed weights
turn run scores into one number a group.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array
from multibench.metrics.means import PreparedMean
from multibench.stats.estimands import Estimand
from multibench.stats.layout import Group, codes_of
from multibench.stats.problem import Problem, pattern_keys
from multibench.stats.streams import Rng, Streams, draw_counts, pattern_counts

__all__ = ["CostWarning", "Plan", "Runs", "group_samples"]

Runs = Literal["averaged", "nested", "crossed"]

BLOCK_CELLS = 2**19
SLOW_SECONDS = 20.0
EXAMPLES, SEEDS, RUNS = range(3)


class CostWarning(UserWarning):
    """A metric without a weighted form is about to be called very often."""


@dataclass(frozen=True)
class Plan:
    """What is resampled, and what of it is reported.

    ``pools`` gives for each group the pool its pretraining seeds come from: groups of one pool have the
    same seeds and share every draw of them (paired).
    """

    groups: tuple[Group, ...]
    pools: tuple[int, ...]
    estimand: Estimand
    sample_seeds: bool = True
    sample_examples: bool = True
    runs: Runs = "averaged"
    progress: Callable[[int, int], None] | None = field(default=None, compare=False)
    #: Draws of seeds made elsewhere, ``(nboot, n_seeds)`` for each pool: tasks that share their seeds.
    given_seeds: tuple[Array, ...] | None = field(default=None, compare=False)
    #: Number of the test set: other test sets have other, independent resamples of examples.
    test_set: int = 0
    #: Whether examples that no run tells apart may be drawn as one pattern.
    compress: bool = True

    def pool_sizes(self) -> list[int]:
        """Number of seeds of each pool."""
        sizes: dict[int, int] = {}
        for group, pool in zip(self.groups, self.pools, strict=True):
            if sizes.setdefault(pool, group.n_seeds) != group.n_seeds:
                raise StatisticsError("Groups that share seeds must have the same seeds.")
        return [sizes[pool] for pool in sorted(sizes)]


def group_samples(problem: Problem, plan: Plan, nboot: int, rng: Rng) -> tuple[Array, int]:
    """Bootstrap values ``(nboot, n_groups)``, and how many run scores were undefined in them."""
    if nboot < 1:
        raise StatisticsError(f"`nboot` is {nboot}; at least one draw is needed (1000 is usual).")
    legacy = isinstance(rng, np.random.RandomState)
    scorer = _Scorer(problem, plan, compress=plan.compress and not legacy and problem.clusters is None)
    if problem.slow and plan.sample_examples:
        _warn_of_cost(problem, plan, nboot)
    blocks = (
        _released_blocks(rng, scorer, plan, nboot)
        if isinstance(rng, np.random.RandomState)
        else _fast_blocks(Streams(rng), scorer, plan, nboot)
    )
    samples = np.empty((nboot, len(plan.groups)))
    done = undefined = 0
    for examples, seeds, runs in blocks:
        n = len(seeds[0])
        values, missing = scorer.values(examples, seeds, runs, n)
        samples[done : done + n] = values
        undefined += missing
        done += n
        if plan.progress is not None:
            plan.progress(done, nboot)
    return samples, undefined


def _warn_of_cost(problem: Problem, plan: Plan, nboot: int) -> None:
    calls = nboot * sum(group.n_runs for group in plan.groups)
    seconds = calls * problem.seconds_per_call
    if seconds > SLOW_SECONDS:
        warnings.warn(
            f"The metric {problem.name} has no weighted form and will be called {calls:,} times, about "
            f"{seconds / 60:.1f} minutes. Registered metrics ({', '.join(METRICS.names())}) take seconds.",
            CostWarning,
            stacklevel=4,
        )


Block: TypeAlias = "tuple[Array | None, list[Array], list[Array] | None]"


class _Scorer:
    """Turns weights into the values of groups; knows the shortcuts."""

    def __init__(self, problem: Problem, plan: Plan, compress: bool) -> None:
        self.plan, self.fill = plan, problem.fill
        rows = np.concatenate([group.rows for group in plan.groups])
        prepared = problem.prepared.select(rows, slice(None))
        base_scores = problem.scores[rows]
        offsets = np.cumsum([0, *(group.n_runs for group in plan.groups)])
        self.by_seed = plan.runs == "averaged" and plan.estimand.linear
        self.mixing = [group.mixing() for group in plan.groups]
        if self.by_seed and isinstance(prepared, PreparedMean):
            # Means over examples and over runs change places: average runs first, once.
            joint = _block_diagonal(self.mixing)
            prepared = prepared.average(joint)
            base_scores = joint @ base_scores
            offsets = np.cumsum([0, *(group.n_seeds for group in plan.groups)])
            self.mixing = [np.eye(group.n_seeds) for group in plan.groups]
        self.slices = [slice(a, b) for a, b in itertools.pairwise(offsets)]
        self.base_scores = base_scores
        self.sizes = np.ones(prepared.n_examples, dtype=np.int64)
        self.strata = problem.strata
        if compress and not problem.slow:
            first, self.sizes = _patterns(prepared.rows(), problem.strata)
            prepared = prepared.select(slice(None), first)
            self.strata = None if problem.strata is None else problem.strata[first]
        self.prepared = prepared
        self.clusters = problem.clusters
        self.slow = problem.slow

    @property
    def block(self) -> int:
        """Draws in one block: a constant of the problem, so that results are too."""
        if self.slow:
            return 16
        return max(1, min(4096, BLOCK_CELLS // max(len(self.sizes), self.prepared.n_runs)))

    def example_weights(self, rng: np.random.Generator, n: int) -> Array:
        if self.clusters is not None:
            ones = np.ones(int(self.clusters.max()) + 1, dtype=np.int64)
            return np.asarray(_counts(rng, n, ones, self.strata)[:, self.clusters])
        return _counts(rng, n, self.sizes, self.strata)

    def values(
        self, examples: Array | None, seeds: list[Array], runs: list[Array] | None, n: int
    ) -> tuple[Array, int]:
        """Values of all groups, ``(n, n_groups)``, and the number of undefined scores among drawn runs."""
        if examples is None:
            scores = np.broadcast_to(self.base_scores, (n, len(self.base_scores)))
            missing = np.zeros(scores.shape, dtype=bool)
        else:
            scores = self.prepared.draws(examples)
            missing = np.isnan(scores)
            scores = np.where(missing, self.fill, scores)
        values = np.empty((n, len(self.plan.groups)))
        undefined = 0
        for g, group in enumerate(self.plan.groups):
            of_seeds = seeds[self.plan.pools[g]]
            part, lost = scores[:, self.slices[g]], missing[:, self.slices[g]]
            per_run = None if runs is None else runs[g]
            if per_run is None:
                per_run = (of_seeds / group.n_seeds) @ self.mixing[g]
            undefined += int((lost & (per_run > 0)).sum())
            values[:, g] = self.plan.estimand.of(part, per_run)
        return values, undefined


def _block_diagonal(blocks: Sequence[Array]) -> Array:
    shape = sum(len(block) for block in blocks), sum(block.shape[1] for block in blocks)
    joint = np.zeros(shape)
    row = col = 0
    for block in blocks:
        joint[row : row + len(block), col : col + block.shape[1]] = block
        row, col = row + len(block), col + block.shape[1]
    return joint


def _counts(rng: np.random.Generator, n_draws: int, sizes: Array, strata: Array | None) -> Array:
    """Counts ``(n_draws, n_patterns)`` of resamples; each of the fixed ``strata`` is drawn from by itself."""
    if strata is None:
        return pattern_counts(rng, n_draws, sizes)
    counts = np.zeros((n_draws, len(sizes)), dtype=np.int32)
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        counts[:, own] = pattern_counts(rng, n_draws, sizes[own])
    return counts


def _patterns(rows: Array, strata: Array | None) -> tuple[Array, Array]:
    """Index of one example of each distinct row (of each stratum), and how many examples have it.

    Examples that no run tells apart are interchangeable: drawing how often each pattern comes up is the same
    as drawing examples, and there are fewer of them.
    """
    keys = pattern_keys(rows)
    if strata is not None:
        keys = keys * (int(strata.max()) + 1) + strata
    _, first, sizes = np.unique(keys, return_index=True, return_counts=True)
    return first, sizes


def _fast_blocks(streams: Streams, scorer: _Scorer, plan: Plan, nboot: int) -> Iterator[Block]:
    """Blocks of weights, each factor from a stream of its own."""
    sizes = plan.pool_sizes()
    for index, start in enumerate(range(0, nboot, scorer.block)):
        n = min(scorer.block, nboot - start)
        # A block is always drawn whole: the first draws do not depend on how many are asked for.
        whole = scorer.block
        examples = None
        if plan.sample_examples:
            examples = scorer.example_weights(streams.generator(EXAMPLES, index, plan.test_set), whole)[:n]
        if plan.given_seeds is not None:
            seeds = [given[start : start + n] for given in plan.given_seeds]
            whole = n
        else:
            generator = streams.generator(SEEDS, index)
            ones = [np.ones((whole, size), dtype=np.int64) for size in sizes]
            seeds = [draw_counts(generator, whole, s) for s in sizes] if plan.sample_seeds else ones
        runs = None
        if plan.runs != "averaged":
            runs = [w[:n] for w in _run_weights(streams.generator(RUNS, index), plan, seeds, whole)]
        yield examples, [weights[:n] for weights in seeds], runs


def _run_weights(rng: np.random.Generator, plan: Plan, seeds: list[Array], n: int) -> list[Array]:
    """Weights of runs ``(n, n_runs)`` of each group, rows summing to one, fine-tuning seeds resampled too."""
    weights = []
    shared: dict[tuple[Any, ...], Array] = {}
    for group, pool in zip(plan.groups, plan.pools, strict=True):
        of_seed = seeds[pool] / group.n_seeds
        per_run = np.zeros((n, group.n_runs))
        if plan.runs == "nested":
            for code in range(group.n_seeds):
                members = np.flatnonzero(group.seed_codes == code)
                size = len(members)
                # Every time a seed is drawn its runs are drawn afresh.
                picks = rng.multinomial(seeds[pool][:, code].astype(np.int64) * size, np.full(size, 1 / size))
                per_run[:, members] = picks / (size * group.n_seeds)
        else:
            labels, codes = _crossing(group)
            if labels not in shared:
                shared[labels] = draw_counts(rng, n, len(labels)) / len(labels)
            per_run = of_seed[:, group.seed_codes] * shared[labels][:, codes]
        weights.append(per_run)
    return weights


def _crossing(group: Group) -> tuple[tuple[Any, ...], Array]:
    if group.finetune is None:
        raise StatisticsError(
            "Crossed fine-tuning seeds need a column 'finetune_seed' in the run table; use runs='nested'."
        )
    labels, codes = codes_of(group.finetune)
    cells = set(zip(group.seed_codes.tolist(), codes.tolist(), strict=True))
    if len(cells) != group.n_runs or group.n_runs != group.n_seeds * len(labels):
        raise StatisticsError(
            f"The {group.name} side is not fully crossed: {group.n_seeds} pretraining seeds and "
            f"{len(labels)} fine-tuning seeds, but {group.n_runs} runs. Use runs='nested', or complete the grid."
        )
    return labels, codes


def _released_blocks(rng: np.random.RandomState, scorer: _Scorer, plan: Plan, nboot: int) -> Iterator[Block]:
    """Weights from the released procedure's draws, in its order: seeds of each pool, then examples."""
    if scorer.clusters is not None or scorer.strata is not None or plan.runs != "averaged":
        raise StatisticsError(
            "The released procedure, which a RandomState follows, knows neither clusters nor strata nor resampled "
            "fine-tuning runs. Pass a numpy Generator or an integer as `rng`."
        )
    sizes, n_examples = plan.pool_sizes(), scorer.prepared.n_examples
    for start in range(0, nboot, scorer.block):
        n = min(scorer.block, nboot - start)
        seeds = [np.ones((n, size), dtype=np.int64) for size in sizes]
        examples = np.zeros((n, n_examples), dtype=np.int32) if plan.sample_examples else None
        for b in range(n):
            if plan.sample_seeds:
                for weights, size in zip(seeds, sizes, strict=True):
                    weights[b] = np.bincount(rng.choice(size, size=size, replace=True), minlength=size)
            if examples is not None:
                picked = rng.choice(n_examples, size=n_examples, replace=True)
                examples[b] = np.bincount(picked, minlength=n_examples)
        yield examples, seeds, None
