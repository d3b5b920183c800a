"""Metrics that are means of per-example scores: accuracy, and the mean of scores computed elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multibench.metrics.base import (
    EXACT_FLOAT32,
    Array,
    Index,
    Metric,
    Prepared,
    class_labels,
    class_outputs,
    value_outputs,
)

__all__ = ["Accuracy", "Mean", "PreparedMean", "weighted_sums"]


def weighted_sums(weights: Array, features: Array) -> Array:
    """``weights @ features`` in float64; single precision where that is exact, and faster.

    Integer or boolean features with integer weights are counts: float32 sums them exactly below 2**24.
    """
    if features.dtype.kind in "iub" and weights.dtype.kind in "iub":
        largest = int(weights.sum(axis=1).max(initial=0)) * int(np.abs(features).max(initial=0))
        if largest < EXACT_FLOAT32:
            return (weights.astype(np.float32) @ features.astype(np.float32)).astype(np.float64)
    return np.asarray(weights.astype(np.float64) @ features.astype(np.float64))


class PreparedMean(Prepared):
    """Per-example scores ``(n_runs, n_examples)``; the score of a run is their weighted mean."""

    linear = True

    def __init__(self, values: Array) -> None:
        self.values = values
        if values.dtype.kind == "b" or (values.size and values.min() >= 0 and values.max() <= 1):
            self.scale = "share"
        self.n_runs, self.n_examples = values.shape
        self._by_example: Array | None = None

    def rows(self) -> Array:
        """What identifies an example: its values, in the order of the runs."""
        values = self.values.T
        if values.dtype.kind == "f":
            # Averages of equal scores may differ in their last digit; they are equal all the same.
            scale = np.abs(values).max(initial=0) or 1.0
            values = np.round(values / scale, 13)
        return np.ascontiguousarray(values)

    def select(self, runs: Index, examples: Index) -> PreparedMean:
        """Only these runs and examples."""
        return PreparedMean(self.values[runs][:, examples])

    def average(self, mixing: Array) -> PreparedMean:
        """Means over runs in place of runs: ``mixing`` is ``(n_means, n_runs)`` with rows that sum to one."""
        return PreparedMean(mixing @ self.values)

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        if self._by_example is None:
            self._by_example = np.ascontiguousarray(self.values.T)
        sums = weighted_sums(weights, self._by_example)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums / weights.sum(axis=1, dtype=np.float64)[:, None])

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        values = self.values.astype(np.float64)
        return np.asarray(values - values.mean(axis=1, keepdims=True))


class Accuracy(Metric):
    """Share of examples whose predicted class is the label."""

    name = "accuracy"
    title = "Accuracy"
    takes = "classes"

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> PreparedMean:
        """See ``Metric.prepare``."""
        gold = class_labels(labels, self.name)
        return PreparedMean(class_outputs(gold, outputs, self.name) == gold)


class Mean(Metric):
    """Mean of per-example scores that are given in place of outputs (SQuAD's EM and F1, say).

    Labels are not looked at, only their number.
    """

    name = "mean"
    title = "Mean score"
    uses_labels = False

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> PreparedMean:
        """See ``Metric.prepare``."""
        counted = np.asarray(labels)
        scores = value_outputs(np.zeros(counted.shape), outputs, self.name)
        return PreparedMean(scores)
