"""Worlds of several statements at once: all differences of groups, bands along steps, and looks after every seed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.compare import looks_at_every_seed
from multibench.stats.dynamics import dynamics
from multibench.stats.groups import compare_all
from multibench.stats.inference import difference_inference
from multibench.stats.problem import prepare

from .answers import Answers
from .methods import LEVEL
from .worlds import Seeds, Trial

__all__ = ["Bands", "Family", "Looks", "Settling"]


def right_answers(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    sd: float,
    common: float,
    middle: float | Array,
    difficulty: float,
) -> Array:
    """Answers ``(n_groups, n_seeds, n_examples)`` of groups alike, whose seeds share ``common`` of their variance."""
    groups, seeds, examples = shape
    latent = difficulty * rng.standard_normal(examples, dtype=np.float32)
    effect = math.sqrt(common) * rng.standard_normal(seeds) + math.sqrt(1 - common) * rng.standard_normal(
        shape[:2]
    )
    latent = latent + (middle + sd * effect)[:, :, None].astype(np.float32)
    latent = latent + 0.5 * rng.standard_normal((groups, 1, examples), dtype=np.float32)
    return np.asarray((rng.random(shape, dtype=np.float32) < 1 / (1 + np.exp(-latent))).astype(np.int64))


@dataclass(frozen=True)
class Family:
    """Groups of one procedure, all compared with each other: every simultaneous interval should hold 0."""

    groups: int
    seeds: int
    examples: int
    paired: bool
    sd: float = 0.3

    @cached_property
    def middle(self) -> float:
        """Where seeds lie, on the logit scale."""
        world = Answers("accuracy", Seeds(2, 1, (self.sd, 0.0, 0.0)), 2, own=0.5, paired=True)
        return world.middles[0]

    @cached_property
    def info(self) -> dict[str, list[str]]:
        """The run table."""
        cells = list(itertools.product(range(self.groups), range(self.seeds)))
        seeds = [f"seed {s}" if self.paired else f"seed {g}.{s}" for g, s in cells]
        return {"seed": seeds, "group": [f"group {g}" for g, _ in cells]}

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One set of groups; the bounds are those of the interval that misses by most."""
        shape = (self.groups, self.seeds, self.examples)
        right = right_answers(rng, shape, self.sd, 0.5 if self.paired else 0.0, self.middle, 3.0)
        outputs = right.reshape(-1, self.examples)
        labels = np.ones(self.examples, dtype=np.int64)
        result = compare_all(self.info, outputs, labels, "accuracy", self.paired, LEVEL)
        ends = [(one.simultaneous.low, one.simultaneous.high) for one in result.together.values()]
        p = min(one.p_adjusted for one in result.together.values())
        single = [(one.estimate.low, one.estimate.high) for one in result.differences.values()]
        smallest = min(one.p_value for one in result.differences.values())
        return Trial(
            next(iter(result.differences.values())).estimate.value,
            {"printed": (*worst(ends), p), "one by one": (*worst(single), smallest)},
        )


def worst(ends: list[tuple[float, float]]) -> tuple[float, float]:
    """The bounds, less the truth, of the interval that holds the truth least."""
    return max(ends, key=lambda pair: max(pair[0], -pair[1]))


@dataclass(frozen=True)
class Bands:
    """Scores at several steps, the true score the same at each: the band should hold all of them."""

    steps: int
    seeds: int
    examples: int
    sd: float = 0.3

    @cached_property
    def info(self) -> dict[str, list[int]]:
        """The run table."""
        cells = list(itertools.product(range(self.steps), range(self.seeds)))
        steps = [1000 * (t + 1) for t, _ in cells]
        return {"seed": [s for _, s in cells], "step": steps, "finetune_seed": [0] * len(cells)}

    @cached_property
    def world(self) -> Answers:
        """One step alone, against another."""
        return Answers("accuracy", Seeds(2, 1, (self.sd, 0.0, 0.0)), 2, own=0.5, paired=True)

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One curve."""
        shape = (self.steps, self.seeds, self.examples)
        right = right_answers(rng, shape, self.sd, 0.5, self.world.middles[0], 3.0)
        labels = np.ones(self.examples, dtype=np.int64)
        found = dynamics(self.info, right.reshape(-1, self.examples), labels, "accuracy")
        truth = self.world.level
        band = [(one.band.low - truth, one.band.high - truth) for one in found.steps]
        single = [(one.score.low - truth, one.score.high - truth) for one in found.steps]
        return Trial(
            found.steps[0].score.value - truth,
            {"printed": (*worst(band), math.nan), "one by one": (*worst(single), math.nan)},
        )


@dataclass(frozen=True)
class Settling:
    """The step from which nothing changes: the middle one lies exactly a margin of 2 points below all later ones.

    To name it, or an earlier one, is an error: its p-value counts as 0, and the truth as missed from above.
    """

    steps: int
    seeds: int
    examples: int
    sd: float = 0.3

    @cached_property
    def middles(self) -> Array:
        """Where each step lies, on the logit scale."""
        last = Bands(self.steps, self.seeds, self.examples, self.sd).world
        before = replace(last, level=last.level - 0.02).middles[0]
        return np.where(np.arange(self.steps) <= self.steps // 2, before, last.middles[0])

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One curve, and the step that is named."""
        shape = (self.steps, self.seeds, self.examples)
        right = right_answers(rng, shape, self.sd, 0.5, self.middles[:, None], 3.0)
        labels = np.ones(self.examples, dtype=np.int64)
        info = Bands(self.steps, self.seeds, self.examples, self.sd).info
        found = dynamics(info, right.reshape(-1, self.examples), labels, "accuracy", margin=0.02)
        step = None if found.settled is None else found.settled.step
        early = step is not None and step <= 1000 * (self.steps // 2 + 1)
        return Trial(0.0, {"printed": (1.0 if early else 0.0, 1.0 if early else 0.0, 0.0 if early else 1.0)})


@dataclass(frozen=True)
class Looks:
    """A paired comparison without difference, looked at after every seed from 2 on: no look should find one."""

    most: int
    examples: int
    sd: float = 0.3

    @cached_property
    def world(self) -> Answers:
        """All seeds."""
        return Answers(
            "accuracy", Seeds(self.most, 1, (self.sd, 0.0, 0.0)), self.examples, own=0.5, paired=True
        )

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One series of looks."""
        sample = self.world.sample(rng)
        problem = prepare(self.world.table.columns, sample.outputs, sample.labels, "accuracy")
        flags = problem.table.column("intervention")
        sides = [
            problem.table.group("side", [i for i, f in enumerate(flags) if f == s]) for s in (False, True)
        ]
        valid, plain = [], []
        value = 0.0
        for n in range(2, self.most + 1):
            base, experiment = (side.only([f"seed {k}" for k in range(n)]) for side in sides)
            level = looks_at_every_seed(LEVEL, n)
            found = difference_inference(problem, base, experiment, True, LEVEL, problem.pseudo_scores)
            value = found.estimate.value
            plain.append((found.estimate.low, found.estimate.high, found.p_value))
            half = found.surrogate.half_width(level)
            valid.append((value - half, value + half, min(1.0, found.p_value * (1 - LEVEL) / (1 - level))))
        return Trial(
            value,
            {
                "printed": (*worst([one[:2] for one in valid]), min(p for *_, p in valid)),
                "one by one": (*worst([one[:2] for one in plain]), min(p for *_, p in plain)),
            },
        )
