"""Scores of normal theory, and correlations of known truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from multibench.metrics.base import Array

from .worlds import BELL, GRID, Sample, World

__all__ = ["Correlations", "Numbers"]


@dataclass(frozen=True)
class Correlations(World):
    """Numbers as answers: labels are normal, runs add an error that they partly share; Pearson or Spearman.

    ``level`` is Pearson's correlation of a middling seed. A seed's error is ``exp(sd u)`` times as large.
    """

    level: float = 0.9
    tail: float = 0.0

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
        qualities = [np.sum(parts, axis=0) for parts in self.qualities(rng, lambda side: np.zeros(2))]
        blocks = []
        for quality in qualities:
            noise = rng.standard_normal((len(quality), self.examples))
            noise = math.sqrt(0.5) * (common + noise)
            blocks.append(labels + size * np.exp(quality)[:, None] * noise)
        outputs = np.concatenate(blocks)
        if self.paired is not None:
            return Sample(labels, outputs, None, 0.0)
        truth = self.truths if self.seeds.n > 1 else float(self.given(qualities[0][:1])[0])
        return Sample(labels, outputs, None, truth)


@dataclass(frozen=True)
class Numbers(World):
    """Normal scores without ends, as normal theory has them.

    Of the variance of a single score the examples hold ``k`` over the number of seeds, pretraining seeds ``r`` over the
    number of examples, and the rest, seeds by examples, 1. Of two sides that are paired this is so of their difference.
    """

    k: float = 0.0
    r: float = 0.0

    @property
    def true_error(self) -> float:
        """The true standard error of the mean, or of the difference."""
        sides = self.sides[:1] if self.paired else self.sides
        return math.sqrt(sum((self.r + self.k + 1) / (side.n * self.examples) for side in sides))

    def sample(self, rng: np.random.Generator) -> Sample:
        """One data set, of true value 0."""
        n = self.examples
        blocks = []
        for side in self.sides:
            values = rng.standard_normal((side.n, n))
            values += math.sqrt(self.k / side.n) * rng.standard_normal(n)
            values += math.sqrt(self.r / n) * rng.standard_normal((side.n, 1))
            blocks.append(values)
        if self.paired:
            blocks[1] += blocks[0]
        return Sample(np.zeros(n), np.concatenate(blocks), None, 0.0)
