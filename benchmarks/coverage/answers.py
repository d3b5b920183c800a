"""Right and wrong answers of known truth: accuracy, F1, MCC, and scores that are partly right.

A run answers example j rightly with probability ``expit(m + b_j + c_j + a_g + u)``: ``b`` is the example's difficulty,
``c`` what only this side finds hard, ``a`` its article's difficulty, ``u`` the run's quality. That is the sum of what
its pretraining seed, its fine-tuning seed and the meeting of both bring, each with a standard deviation on the logit
scale. ``m`` makes the true mean what the cell asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from multibench.metrics.base import Array

from .worlds import BELL, GRID, QUANTILES, Sample, Seeds, World, atoms

__all__ = ["Answers"]


@lru_cache(maxsize=256)
def _smooth(middle: float, spread: float) -> float:
    """The mean of ``expit(middle + N(0, spread^2))``."""
    return float(BELL @ expit(middle + spread * GRID))


def smooth(middle: Array, spread: float) -> Array:
    """The same for an array of middles."""
    return np.asarray(expit(middle[..., None] + spread * GRID) @ BELL)


@dataclass(frozen=True)
class Answers(World):
    """Right or wrong answers: accuracy, exact match, F1 and MCC, or partly right ones (``mean``).

    ``strata`` fixed parts of the test set, equally large, are as hard as the quantiles of a normal with ``strata_sd``;
    what a run is worth varies between them by ``uneven``.
    """

    level: float = 0.84
    effect: float = 0.0
    difficulty: float = 3.0
    own: float = 0.0
    positive: float = 0.5
    bias: float = 0.0
    articles: tuple[int, int, int] | None = None
    article_sd: float = 1.0
    strata: int = 1
    strata_sd: float = 1.0
    uneven: float = 0.0

    @cached_property
    def offsets(self) -> Array:
        """How hard each stratum is."""
        return np.asarray(self.strata_sd * ndtri((np.arange(self.strata) + 0.5) / self.strata))

    @property
    def expected_errors(self) -> float:
        """Examples of the rarer kind that a run is expected to have, of the side that has fewer."""
        ends = [self.level, 1 - self.level]
        if self.paired is not None:
            ends += [self.level + self.effect, 1 - self.level - self.effect]
        return self.n_examples * min(ends)

    @property
    def n_examples(self) -> float:
        """How many examples there are, on average where articles are drawn."""
        if self.articles is None:
            return self.examples
        count, low, high = self.articles
        return count * (low + high) / 2

    def spread(self, side: Seeds, *factors: int) -> float:
        """The sd of a latent value over examples and over these factors (0 pretraining, 1 fine-tuning, 2 both)."""
        squares = [self.difficulty, self.own, self.article_sd if self.articles else 0.0, self.uneven]
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
        right = np.asarray(smooth(middle + quality[..., None] + self.offsets, spread).mean(axis=-1))
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
        if self.sides[number].kind == "normal":
            return float(self.expected(np.array([quality]), number, (0, *rest))[0])
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
        strata = np.arange(n) % self.strata if self.strata > 1 else None
        blocks = []
        for number, parts in enumerate(qualities):
            latent = base + np.float32(self.middles[number])
            if self.own:
                latent = latent + np.float32(self.own) * rng.standard_normal(n, dtype=np.float32)
            if self.bias:
                latent = latent + np.float32(self.bias) * (2 * labels - 1).astype(np.float32)
            latent = latent + np.sum(parts, axis=0).astype(np.float32)[:, None]
            if strata is not None:
                latent = latent + self.of_strata(rng, len(parts[0]))[:, strata]
            blocks.append(rng.random((len(parts[0]), n), dtype=np.float32) < expit(latent))
        seen = all(
            len(np.unique(parts[0])) > 1
            for side, parts in zip(self.sides, qualities, strict=True)
            if side.kind in ("two", "collapse")
        )
        outputs = self.outputs(rng, np.concatenate(blocks), labels)
        return Sample(labels, outputs, clusters, self.truth(qualities), seen, strata)

    def of_strata(self, rng: np.random.Generator, n_runs: int) -> Array:
        """What strata do to the answers of each run, ``(n_runs, n_strata)``."""
        own = self.uneven * rng.standard_normal((n_runs, self.strata))
        return np.asarray((self.offsets + own).astype(np.float32))

    def outputs(self, rng: np.random.Generator, right: Array, labels: Array) -> Array:
        """What the runs said: classes, or scores between 0 and 1 of answers that may be partly right."""
        if self.metric != "mean":
            return np.where(right, labels, 1 - labels)
        # Half of the wrong answers are partly right, uniformly.
        part = rng.random(right.shape) * (rng.random(right.shape) < 0.5)
        return np.where(right, 1.0, part)


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
