"""Worlds of other questions than a mean's: the best of several, choices of settings, wins, and parts of the noise.

Each has a ``trial``: one data set, and each method's bounds less the truth that it is about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from multibench.metrics.base import Array
from multibench.stats.chosen import choice_of_settings
from multibench.stats.components import components_of
from multibench.stats.equivalence import probability_of_improvement
from multibench.stats.estimate import Estimate
from multibench.stats.factors import PRETRAINING
from multibench.stats.inference import group_inference
from multibench.stats.selection import best_of_grid, best_of_n, expected_best

from .answers import Answers, smooth
from .methods import LEVEL, digest, old_crossed, printed
from .worlds import BELL, GRID, Found, Sample, Seeds, Trial

__all__ = ["BestOf", "BestOfGrid", "Chosen", "Parts", "Wins"]

DRAWS = 599
SINGLE_QUANTILES = np.linspace(-9, 9, 4001)


def scores_of(rng: np.random.Generator, kind: str, n: int) -> Array:
    """Scores of ``n`` runs, of variance 1: normal, t3, or of a few values as accuracies on few examples are."""
    if kind == "t3":
        return np.asarray(rng.standard_t(3, n) / math.sqrt(3))
    values = rng.standard_normal(n)
    return np.round(values, 1) if kind == "tied" else values


def quantile_of(kind: str, share: float) -> float:
    """The quantile of a single run's score."""
    if kind == "t3":
        return float(stdtrit(3, share)) / math.sqrt(3)
    value = float(ndtri(share))
    return round(value, 1) if kind == "tied" else value


def bounds(estimate: Estimate, truth: float) -> Found:
    """An estimate's bounds less the truth."""
    return estimate.low - truth, estimate.high - truth, math.nan


def percentiles(draws: Array, truth: float) -> Found:
    """Bounds of 599 draws less the truth."""
    ordered = np.sort(draws)
    rank = round((1 - LEVEL) / 2 * (DRAWS + 1))
    return float(ordered[rank - 1]) - truth, float(ordered[DRAWS - rank]) - truth, math.nan


@dataclass(frozen=True)
class BestOf:
    """The best of ``n`` runs, estimated from ``total`` ones. Before, the expected best had a percentile interval."""

    n: int
    total: int
    kind: str = "normal"

    @cached_property
    def expected(self) -> float:
        """The expected best of ``n`` normal runs."""
        x = SINGLE_QUANTILES
        return float(np.trapezoid(np.heaviside(x, 0.5) - ndtr(x) ** self.n, x))

    @cached_property
    def weights(self) -> Array:
        """What each run counts in the expected best, from the worst to the best."""
        top = [expected_best(np.arange(self.total) >= k, self.n) for k in range(self.total)]
        return -np.diff([*top, 0.0])

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One set of runs."""
        scores = scores_of(rng, self.kind, self.total)
        estimate = best_of_n(scores, self.n, LEVEL)
        truth = quantile_of(self.kind, 0.5 ** (1 / self.n))
        found = {"printed": bounds(estimate, truth)}
        if self.kind == "normal":
            # The interval of the expected best as it was: runs drawn with replacement.
            drawn = scores[rng.integers(0, self.total, (DRAWS, self.total))]
            found["percentile"] = percentiles(np.sort(drawn, axis=1) @ self.weights, self.expected)
        return Trial(estimate.value - truth, found)


@dataclass(frozen=True)
class BestOfGrid:
    """The best of a grid of settings alike, ``runs`` each; it has no interval now, and had a percentile one."""

    settings: int
    runs: int

    @cached_property
    def truth(self) -> float:
        """The expected best of one run of each."""
        return BestOf(self.settings, self.settings).expected

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One grid."""
        scores = rng.standard_normal((self.settings, self.runs))
        estimate = best_of_grid(scores, 1)
        drawn = rng.integers(0, self.runs, (DRAWS, self.settings, self.runs))
        drawn_scores = np.take_along_axis(scores[None], drawn, axis=2)
        points = np.sort(scores.ravel())
        below = (drawn_scores[..., None] <= points).mean(axis=2).prod(axis=1)
        best = np.diff(below, axis=1, prepend=0.0) @ points
        found = {
            "printed": bounds(estimate, self.truth),
            "percentile": percentiles(best, self.truth),
        }
        return Trial(estimate.value - self.truth, found)


@dataclass(frozen=True)
class Wins:
    """How often a run of one side beats a run of the other, ``effect`` of base's standard deviations apart.

    The experiment's runs spread ``ratio`` times as much, where they are normal.
    """

    seeds: int
    other: int
    effect: float = 0.0
    kind: str = "normal"
    ratio: float = 1.0

    @cached_property
    def truth(self) -> float:
        """The true probability."""
        if self.kind == "normal" or not self.effect:
            return float(ndtr(self.effect / math.hypot(1, self.ratio)))
        from scipy.integrate import quad
        from scipy.stats import t

        scale = math.sqrt(3)
        value, _ = quad(
            lambda x: t.pdf(x, 3) * t.cdf(x + self.effect * scale, 3), -np.inf, np.inf, epsabs=1e-10
        )
        return float(value)

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """Both sides' scores."""
        base = scores_of(rng, self.kind, self.seeds)
        experiment = self.ratio * scores_of(rng, self.kind, self.other) + self.effect
        estimate = probability_of_improvement(base, experiment, LEVEL)
        draws = [side[rng.integers(0, len(side), (DRAWS, len(side)))] for side in (base, experiment)]
        wins = draws[1][:, :, None] > draws[0][:, None]
        ties = draws[1][:, :, None] == draws[0][:, None]
        shares = (wins + 0.5 * ties).mean(axis=(1, 2))
        found = {"printed": bounds(estimate, self.truth), "percentile": percentiles(shares, self.truth)}
        return Trial(estimate.value - self.truth, found)


@dataclass(frozen=True)
class Chosen:
    """The best of ``settings`` by its mean over seeds, on the very examples that it was chosen on.

    Settings differ by ``apart`` on the logit scale, as a normal's quantiles do; the truth is the true score of the one
    that was chosen. *Before*, its plain mean was printed with the interval of a mean.
    """

    settings: int
    seeds: int
    examples: int
    apart: float = 0.0
    sd: float = 0.2
    level: float = 0.84
    difficulty: float = 3.0

    @cached_property
    def world(self) -> Answers:
        """One setting alone."""
        seeds = Seeds(self.seeds, 1, (self.sd, 0.0, 0.0))
        return Answers("accuracy", seeds, self.examples, level=self.level, difficulty=self.difficulty)

    @cached_property
    def offsets(self) -> Array:
        """What each setting has above the middle one."""
        return np.asarray(self.apart * ndtri((np.arange(self.settings) + 0.5) / self.settings))

    @cached_property
    def truths(self) -> Array:
        """The true score of each setting."""
        return smooth(self.world.middles[0] + self.offsets, math.hypot(self.difficulty, self.sd))

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One grid: all settings on the same examples and pretraining seeds, that have the same quality in each."""
        shape = (self.settings, self.seeds, self.examples)
        latent = self.difficulty * rng.standard_normal(self.examples, dtype=np.float32)
        effect = math.sqrt(0.5) * (rng.standard_normal(self.seeds) + rng.standard_normal(shape[:2]))
        middle = self.world.middles[0] + self.offsets[:, None] + self.sd * effect
        chance = smooth_free(latent + middle[:, :, None].astype(np.float32))
        right = (rng.random(shape, dtype=np.float32) < chance).astype(float)
        rows = [(seed, seed) for seed in range(self.seeds)]
        flat = right.reshape(-1, self.examples)
        names = np.repeat(np.arange(self.settings), self.seeds).tolist()
        choice = choice_of_settings(flat, flat, names, rows * self.settings)
        best = int(right.mean(axis=(1, 2)).argmax())
        truth = float(self.truths[best])
        labels = np.ones(self.examples, dtype=np.int64)
        problem = digest(self.world, Sample(labels, right[best].astype(np.int64), None, truth))
        plain = printed(self.world, problem, number)
        shift = 0.0 if choice is None else choice.optimism
        corrected = problem.corrected(np.full(self.seeds, -shift))
        estimate = group_inference(problem, self.world.groups[0], LEVEL, corrected).estimate
        old = old_crossed(self.world, problem, number)
        return Trial(
            estimate.value - truth,
            {
                "printed": bounds(estimate, truth),
                "uncorrected": (plain[0] - truth, plain[1] - truth, math.nan),
                "old crossed": (old[0] - truth, old[1] - truth, math.nan),
            },
        )


def smooth_free(latent: Array) -> Array:
    """``expit`` in single precision."""
    return np.asarray(1 / (1 + np.exp(-latent)))


@dataclass(frozen=True)
class Parts:
    """The standard deviation between the levels of ``factor``, below its one-sided upper bound."""

    seeds: Seeds
    examples: int
    factor: str = PRETRAINING
    level: float = 0.84
    difficulty: float = 3.0

    @cached_property
    def world(self) -> Answers:
        """The world of answers."""
        return Answers("accuracy", self.seeds, self.examples, level=self.level, difficulty=self.difficulty)

    @cached_property
    def truth(self) -> float:
        """The true standard deviation of accuracies between levels of the factor, all else averaged."""
        own = 0 if self.factor == PRETRAINING else 1
        spread = self.world.spread(self.seeds, *({0, 1, 2} - {own}))
        scores = smooth(self.world.middles[0] + self.seeds.sds[own] * GRID, spread)
        return math.sqrt(float(BELL @ scores**2) - float(BELL @ scores) ** 2)

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One group of runs."""
        problem = digest(self.world, self.world.sample(rng))
        source = components_of(problem, self.world.groups[0], LEVEL).source(self.factor)
        assert source is not None
        estimate = source.sd
        return Trial(estimate.value - self.truth, {"printed": bounds(estimate, self.truth)})
