"""What all worlds share: seeds that data sets are drawn from, and samples of known truth.

True means are integrals over normal distributions, by the trapezoidal rule, whose error is below 1e-9; those over
Student's t are taken over 2,000 quantiles (1e-5).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from scipy.special import stdtrit

from multibench.metrics.base import Array
from multibench.stats.layout import Group, RunTable

__all__ = ["BELL", "GRID", "QUANTILES", "Found", "Sample", "Seeds", "Trial", "World", "atoms", "with_other"]

GRID = np.linspace(-8.5, 8.5, 241)
BELL = np.exp(-(GRID**2) / 2)
BELL /= BELL.sum()
QUANTILES = stdtrit(3, (np.arange(2000) + 0.5) / 2000) / math.sqrt(3)


Found: TypeAlias = tuple[float, float, float]
"""Low and high of an interval, less the truth in a ``Trial``, and a p-value (NaN where there is none)."""


@dataclass(frozen=True)
class Trial:
    """One data set: the estimate less the truth, and what each method found; ``seen`` as in ``Sample``."""

    error: float
    found: dict[str, Found]
    seen: bool = True


@dataclass(frozen=True)
class Sample:
    """One data set: labels, outputs of all runs, articles, fixed strata, and the true value asked for.

    ``seen`` is whether the data show all that seeds can do, where they can take two values only.
    """

    labels: Array
    outputs: Array
    clusters: Array | None
    truth: float
    seen: bool = True
    strata: Array | None = None


@dataclass(frozen=True)
class Seeds:
    """The seeds of one side: how many, how many runs each, how they vary.

    ``sds`` are those of pretraining seeds, fine-tuning seeds and both together, on the logit scale. ``kind`` is the
    distribution of what pretraining seeds bring: normal, t3, or two values that lie ``points`` above and below the mean
    (``two``), or one seed in ten that lies ``points`` below the others (``collapse``).
    """

    n: int
    runs: int | tuple[int, ...] = 1
    sds: tuple[float, float, float] = (0.3, 0.0, 0.0)
    kind: str = "normal"
    points: float = 0.0
    shared: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        """Runs of each pretraining seed."""
        return self.runs if isinstance(self.runs, tuple) else (self.runs,) * self.n

    @cached_property
    def places(self) -> tuple[Array, Array]:
        """Pretraining seed and fine-tuning seed of each run; nested ones have numbers of their own."""
        p = np.repeat(np.arange(self.n), self.counts)
        f = np.concatenate([np.arange(count) for count in self.counts])
        return p, f if self.shared else np.arange(len(p))

    @property
    def random(self) -> tuple[int, ...]:
        """Levels of each factor that an interval over seeds counts as drawn."""
        runs = max(self.counts)
        if self.n == 1:
            return (runs,) if runs > 1 else ()
        return (self.n, runs) if self.shared and runs > 1 else (self.n,)


@dataclass(frozen=True)
class World(ABC):
    """What all worlds share: a metric, one side or two, and how many units each has.

    ``paired`` is None for the mean of one group. Of two sides' seeds ``common`` says which part of the variance of
    pretraining and of fine-tuning seeds both sides share.
    """

    metric: str
    seeds: Seeds
    examples: int
    other: Seeds | None = None
    paired: bool | None = None
    common: tuple[float, float] = (0.5, 0.5)

    @property
    def expected_errors(self) -> float:
        """Examples of the rarer kind that a run is expected to have."""
        return math.inf

    @property
    def true_error(self) -> float:
        """The true standard error of the estimate, NaN where only repetitions can tell."""
        return math.nan

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Sample:
        """One data set."""

    @property
    def sides(self) -> tuple[Seeds, ...]:
        """Base and experiment, or the one group."""
        return (self.seeds,) if self.paired is None else (self.seeds, self.other or self.seeds)

    @cached_property
    def table(self) -> RunTable:
        """The run table of every data set, base first."""
        seeds: list[str] = []
        tuned: list[int] = []
        for number, side in enumerate(self.sides):
            p, f = side.places
            name = "seed" if self.paired is not False else f"side {number} seed"
            seeds += [f"{name} {place}" for place in p]
            own = 0 if side.shared or self.paired else 1000 * number
            tuned += (f + own).tolist()
        flags = [bool(number) for number, side in enumerate(self.sides) for _ in side.places[0]]
        columns = {"seed": seeds, "finetune_seed": tuned, "intervention": flags}
        return RunTable(np.arange(len(seeds)), tuple(seeds), tuple(tuned), columns)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The sides as groups of runs."""
        flags = self.table.columns["intervention"]
        names = ("group",) if self.paired is None else ("base", "experiment")
        rows = [[i for i, flag in enumerate(flags) if flag == number] for number in range(len(names))]
        return tuple(self.table.group(name, own) for name, own in zip(names, rows, strict=True))

    def qualities(
        self, rng: np.random.Generator, levels: Callable[[Seeds], Array]
    ) -> list[tuple[Array, ...]]:
        """For each side what pretraining seeds, fine-tuning seeds and their meetings bring, a value a run each."""
        found: list[tuple[Array, ...]] = []
        width = max(side.n for side in self.sides)
        normal = [
            rng.standard_normal((width, max(map(max, (s.counts for s in self.sides))))) for _ in range(2)
        ]
        for side in self.sides:
            p, f = side.places
            column = f if side.shared else np.concatenate([np.arange(count) for count in side.counts])
            spot = (0 if side.shared else p, column)
            cp, cf = self.common if len(self.sides) == 2 else (0.0, 0.0)
            cp = cp if self.paired else 0.0
            cf = cf if self.paired or side.shared else 0.0
            own = rng.standard_normal((2, *normal[0].shape))
            tuned = math.sqrt(cf) * normal[1] + math.sqrt(1 - cf) * own[1]
            pretrained = (
                math.sqrt(cp) * normal[0][:, 0] + math.sqrt(1 - cp) * own[0][:, 0]
                if side.kind == "normal"
                else _drawn(rng, side, levels)
            )
            scale = side.sds[0] if side.kind in ("normal", "t3") else 1.0
            meeting = rng.standard_normal(len(p))
            found.append((scale * pretrained[p], side.sds[1] * tuned[spot], side.sds[2] * meeting))
        return found


def _drawn(rng: np.random.Generator, side: Seeds, levels: Callable[[Seeds], Array]) -> Array:
    if side.kind == "t3":
        return np.asarray(rng.standard_t(3, side.n) / math.sqrt(3))
    values, weights = levels(side), atoms(side)
    return np.asarray(rng.choice(values, side.n, p=weights))


def atoms(side: Seeds) -> Array:
    """Weights of the values that a pretraining seed can have."""
    return np.array([0.5, 0.5]) if side.kind == "two" else np.array([0.9, 0.1])


def with_other(world: World, **changes: object) -> World:
    """The same world with an experiment whose seeds differ by ``changes``."""
    return replace(world, other=replace(world.seeds, **changes))  # type: ignore[arg-type]  # fields of Seeds
