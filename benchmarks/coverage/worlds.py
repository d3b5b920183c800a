"""Worlds of known truth: seeds, examples and articles that data sets are drawn from, and what is true of them.

A run answers example j rightly with probability ``expit(m + b_j + c_j + a_g + u)``: ``b`` is the example's difficulty,
``c`` what only this side finds hard, ``a`` its article's difficulty, ``u`` the run's quality. That is the sum of what its
pretraining seed, its fine-tuning seed and the meeting of both bring, each with a standard deviation on the logit scale.
``m`` makes the true mean what the cell asks for. True means are integrals over normal distributions, by the trapezoidal
rule, whose error is below 1e-9; those over Student's t are taken over 2,000 quantiles (1e-5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, stdtrit

from multibench.metrics import METRICS
from multibench.metrics.base import Array, Prepared
from multibench.metrics.means import PreparedMean
from multibench.stats.layout import Group, RunTable

__all__ = ["Answers", "Correlations", "Sample", "Seeds", "World", "with_other"]

GRID = np.linspace(-8.5, 8.5, 241)
BELL = np.exp(-(GRID**2) / 2)
BELL /= BELL.sum()
QUANTILES = stdtrit(3, (np.arange(2000) + 0.5) / 2000) / math.sqrt(3)


@dataclass(frozen=True)
class Sample:
    """One data set: what a metric sees, its articles, the true value asked for, and whether a run collapsed."""

    prepared: Prepared
    clusters: Array | None
    truth: float
    collapsed: bool = False


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


@lru_cache(maxsize=256)
def _smooth(middle: float, spread: float) -> float:
    """The mean of ``expit(middle + N(0, spread^2))``."""
    return float(BELL @ expit(middle + spread * GRID))


def smooth(middle: Array, spread: float) -> Array:
    """The same for an array of middles."""
    return np.asarray(expit(middle[..., None] + spread * GRID) @ BELL)


@dataclass(frozen=True)
class World:
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

    def qualities(self, rng: np.random.Generator, levels: Callable[[Seeds], Array]) -> list[tuple[Array, ...]]:
        """For each side what pretraining seeds, fine-tuning seeds and their meetings bring, a value a run each."""
        found = []
        width = max(side.n for side in self.sides)
        normal = [rng.standard_normal((width, max(map(max, (s.counts for s in self.sides))))) for _ in range(2)]
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


@dataclass(frozen=True)
class Answers(World):
    """Right or wrong answers: accuracy, exact match, F1 and MCC, or partly right ones (``mean``)."""

    level: float = 0.84
    effect: float = 0.0
    difficulty: float = 3.0
    own: float = 0.0
    positive: float = 0.5
    bias: float = 0.0
    articles: tuple[int, int, int] | None = None
    article_sd: float = 1.0

    @property
    def expected_errors(self) -> float:
        """Examples of the rarer kind that a run is expected to have."""
        return self.examples * min(self.level, 1 - self.level)

    def spread(self, side: Seeds, *factors: int) -> float:
        """The sd of a latent value over examples and over these factors (0 pretraining, 1 fine-tuning, 2 both)."""
        squares = [self.difficulty, self.own, self.article_sd if self.articles else 0.0]
        return math.sqrt(sum(s**2 for s in squares) + sum(side.sds[k] ** 2 for k in factors))

    @cached_property
    def middles(self) -> tuple[float, ...]:
        """``m`` of each side."""
        return tuple(_middle(self, side, number) for number, side in enumerate(self.sides))

    @cached_property
    def atoms(self) -> dict[Seeds, Array]:
        """What a pretraining seed of few values can bring, on the logit scale, by side."""
        return {side: _levels(self, side) for side in self.sides if side.kind in ("two", "collapse")}

    def given(self, quality: Array, number: int, spread: float) -> Array:
        """The true score of runs of that quality, averaged over what ``spread`` holds besides."""
        middle = self.middles[number]
        if self.metric in ("f1", "mcc"):
            tpr, tnr = (smooth(middle + quality + way * self.bias, spread) for way in (1, -1))
            return _score(self.metric, tpr, tnr, self.positive)
        right = smooth(middle + quality, spread)
        return right if self.metric != "mean" else right + (1 - right) * 0.25

    @cached_property
    def truths(self) -> tuple[float, ...]:
        """The true mean of each side over all its random factors."""
        return tuple(self.over(number, 0.0, (1, 2)) for number in range(len(self.sides)))

    def expected(self, quality: Array, number: int, rest: tuple[int, ...]) -> Array:
        """The true score of runs of that quality, averaged over the factors ``rest``, too."""
        side = self.sides[number]
        if self.metric not in ("f1", "mcc"):
            return self.given(quality, number, self.spread(side, *rest))
        tail = math.sqrt(sum(side.sds[k] ** 2 for k in rest))
        return self.given(quality[..., None] + tail * GRID, number, self.spread(side)) @ BELL

    def over(self, number: int, quality: float, rest: tuple[int, ...]) -> float:
        """The same, averaged over pretraining seeds as well."""
        values, weights = _values(self.sides[number], self.atoms)
        return float(self.expected(quality + values, number, rest) @ weights)

    def truth(self, qualities: list[tuple[Array, ...]]) -> float:
        """What the printed interval is about: with one seed a side it is that seed's (that run's) true score."""
        values = []
        for number, (side, (p, f, both)) in enumerate(zip(self.sides, qualities, strict=True)):
            if side.n > 1 and (not side.shared or max(side.counts) > 1):
                values.append(self.truths[number])
            elif side.n > 1:
                values.append(self.over(number, float(f[0]), (2,)))
            elif len(p) > 1:
                values.append(float(self.expected(p[:1], number, (1, 2))[0]))
            else:
                values.append(float(self.expected(p + f + both, number, ())[0]))
        return values[-1] - values[0] if self.paired is not None else values[0]

    def sample(self, rng: np.random.Generator) -> Sample:
        """One data set."""
        clusters, n = None, self.examples
        hard = np.zeros(1, dtype=np.float32)
        if self.articles is not None:
            count, low, high = self.articles
            sizes = rng.integers(low, high, count, endpoint=True)
            clusters, n = np.repeat(np.arange(count), sizes), int(sizes.sum())
            hard = self.article_sd * rng.standard_normal(count, dtype=np.float32)[clusters]
        base = hard + np.float32(self.difficulty) * rng.standard_normal(n, dtype=np.float32)
        qualities = self.qualities(rng, lambda side: self.atoms[side])
        labels = (rng.random(n) < self.positive).astype(np.int64)
        blocks = []
        for number, (side, parts) in enumerate(zip(self.sides, qualities, strict=True)):
            latent = base + np.float32(self.middles[number])
            if self.own:
                latent = latent + np.float32(self.own) * rng.standard_normal(n, dtype=np.float32)
            if self.bias:
                latent = latent + np.float32(self.bias) * (2 * labels - 1).astype(np.float32)
            latent = latent + sum(parts).astype(np.float32)[:, None]
            blocks.append(rng.random((len(parts[0]), n), dtype=np.float32) < expit(latent))
        low_values = {side: values.min() for side, values in self.atoms.items() if side.kind == "collapse"}
        collapsed = any(
            side in low_values and bool((parts[0] == low_values[side]).any())
            for side, parts in zip(self.sides, qualities, strict=True)
        )
        return Sample(self.digested(rng, np.concatenate(blocks), labels), clusters, self.truth(qualities), collapsed)

    def digested(self, rng: np.random.Generator, right: Array, labels: Array) -> Prepared:
        """The metric's view of right and wrong answers."""
        if self.metric in ("f1", "mcc"):
            return METRICS.get(self.metric).prepare(labels, np.where(right, labels, 1 - labels))
        if self.metric == "mean":
            # A wrong answer may be partly right: half of them are, uniformly.
            part = rng.random(right.shape) * (rng.random(right.shape) < 0.5)
            return PreparedMean(np.where(right, 1.0, part))
        return PreparedMean(right)


def _score(metric: str, tpr: Array, tnr: Array, positive: float) -> Array:
    tp, fn = positive * tpr, positive * (1 - tpr)
    tn, fp = (1 - positive) * tnr, (1 - positive) * (1 - tnr)
    if metric == "f1":
        return np.asarray(2 * tp / (2 * tp + fp + fn))
    return np.asarray((tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def _values(side: Seeds, atoms_of: dict[Seeds, Array]) -> tuple[Array, Array]:
    """Values that a pretraining seed takes, and weights."""
    if side.kind == "normal":
        return side.sds[0] * GRID, BELL
    if side.kind == "t3":
        return side.sds[0] * QUANTILES, np.full(len(QUANTILES), 1 / len(QUANTILES))
    return atoms_of[side], atoms(side)


def _middle(world: Answers, side: Seeds, number: int) -> float:
    """``m`` such that the mean share of right answers is the cell's (plus its effect, on the experiment's side)."""
    wanted = world.level + (world.effect if number else 0.0)
    spread = world.spread(side, 1, 2)
    if side.kind in ("two", "collapse"):
        # A middle for the mean; the values that seeds take are placed around it.
        return float(brentq(lambda m: _smooth(m, spread) - wanted, -30, 30))
    values, weights = _values(side, {})
    return float(brentq(lambda m: float(smooth(m + values, spread) @ weights) - wanted, -30, 30))


def _levels(world: Answers, side: Seeds) -> Array:
    """Logits above the middle at which a seed of few values stands."""
    number = world.sides.index(side)
    middle, spread = world.middles[number], world.spread(side, 1, 2)
    mean = world.level + (world.effect if number else 0.0)
    wanted = [mean - side.points, mean + side.points]
    if side.kind == "collapse":
        wanted = [mean + 0.1 * side.points, mean - 0.9 * side.points]
    return np.array([brentq(lambda u, w=w: _smooth(middle + u, spread) - w, -30, 30) for w in wanted])


@dataclass(frozen=True)
class Correlations(World):
    """Numbers as answers: labels are normal, runs add an error that they partly share; Pearson or Spearman.

    ``level`` is Pearson's correlation of a middling seed. A seed's error is ``exp(sd u)`` times as large.
    """

    level: float = 0.9
    tail: float = 0.0

    expected_errors = math.inf

    @cached_property
    def truths(self) -> float:
        """The true mean over seeds."""
        return float(BELL @ self.given(self.seeds.sds[0] * GRID))

    def given(self, quality: Array) -> Array:
        """The true correlation of runs of that quality."""
        error = math.sqrt(1 / self.level**2 - 1) * np.exp(quality)
        r = 1 / np.sqrt(1 + error**2)
        return np.asarray(r if self.metric == "pearson" else 6 / math.pi * np.arcsin(r / 2))

    def sample(self, rng: np.random.Generator) -> Sample:
        """One data set; the sides have the same procedure."""
        labels = rng.standard_normal(self.examples)
        common = rng.standard_normal(self.examples)
        size = math.sqrt(1 / self.level**2 - 1)
        qualities = [sum(parts) for parts in self.qualities(rng, lambda side: np.zeros(2))]
        blocks = []
        for quality in qualities:
            noise = rng.standard_normal((len(quality), self.examples))
            noise = math.sqrt(0.5) * (common + noise)
            blocks.append(labels + size * np.exp(quality)[:, None] * noise)
        prepared = METRICS.get(self.metric).prepare(labels, np.concatenate(blocks))
        if self.paired is not None:
            return Sample(prepared, None, 0.0)
        truth = self.truths if self.seeds.n > 1 else float(self.given(qualities[0][:1])[0])
        return Sample(prepared, None, truth)


def with_other(world: World, **changes: object) -> World:
    """The same world with an experiment whose seeds differ by ``changes``."""
    return replace(world, other=replace(world.seeds, **changes))  # type: ignore[arg-type]
