"""F1 and Matthews correlation from counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array, Index, Metric, Prepared, class_labels, class_outputs
from multibench.metrics.means import weighted_sums

__all__ = ["F1", "Matthews"]


class _Classes(Prepared):
    """Labels and predicted classes as small integers."""

    def __init__(self, gold: Array, predicted: Array) -> None:
        self.gold, self.predicted = gold, predicted
        self.n_runs, self.n_examples = predicted.shape
        self._features: Array | None = None

    def rows(self) -> Array:
        """What identifies an example: its values, in the order of the runs."""
        return np.ascontiguousarray(np.vstack([self.gold[None], self.predicted]).T)

    def select(self, runs: Index, examples: Index) -> _Classes:
        """Only these runs and examples."""
        return type(self)(self.gold[examples], self.predicted[runs][:, examples])


class _PreparedF1(_Classes):
    """Classes are 1 (positive) and 0."""

    scale = "share"

    def deciding(self) -> float:
        """Positive labels and a run's positive answers: F1 is the share of hits in these, each counted twice."""
        return max(1.0, float(self.gold.sum()) + float(self.predicted.sum(axis=1).mean()))

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        if self._features is None:
            hits = self.predicted & self.gold
            self._features = np.ascontiguousarray(np.vstack([self.gold[None], self.predicted, hits]).T)
        sums = weighted_sums(weights, self._features)
        positives, guesses, hits = sums[:, :1], sums[:, 1 : self.n_runs + 1], sums[:, self.n_runs + 1 :]
        f1: Array = np.divide(
            2 * hits, guesses + positives, out=np.zeros(hits.shape), where=guesses + positives > 0
        )
        return f1

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        # d F1 = (2 d hits - F1 (d guesses + d positives)) / (guesses + positives)
        f1 = self.scores()[:, None]
        total = (self.predicted.sum(axis=1) + self.gold.sum())[:, None].astype(np.float64)
        change = 2.0 * (self.predicted & self.gold) - f1 * (self.predicted + self.gold)
        influence: Array = np.divide(
            self.n_examples * change, total, out=np.zeros(self.predicted.shape), where=total > 0
        )
        return influence


class F1(Metric):
    """F1 of one class, ``2 TP / (2 TP + FP + FN)``; 0 where nothing is positive, in labels or outputs.

    That class is 1 of the two classes 0 and 1, unless another one is stated to be ``positive``: of three classes it
    would be one picked by its number.
    """

    name = "f1"
    title = "F1"
    takes = "classes"
    most_classes = 2

    def __init__(self, positive: int | None = None) -> None:
        self.stated = positive is not None
        self.positive = 1 if positive is None else positive

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> Prepared:
        """See ``Metric.prepare``."""
        gold = class_labels(labels, self.name)
        predicted = class_outputs(gold, outputs, self.name)
        shape = np.shape(outputs)
        classes = max(int(gold.max()) + 1, int(predicted.max()) + 1, shape[2] if len(shape) == 3 else 0)
        if classes > self.most_classes and not self.stated:
            raise StatisticsError(
                f"f1 is of one of two classes, and there are {classes}. Name the average that is meant: macro_f1, "
                "micro_f1 or weighted_f1."
            )
        return _PreparedF1(
            (gold == self.positive).astype(np.int8), (predicted == self.positive).astype(np.int8)
        )

    def __repr__(self) -> str:
        return f"F1(positive={self.positive})"


class _PreparedMatthews(_Classes):
    """Classes are 0 .. n_classes - 1.

    ``MCC = (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2))`` with s the number of
    examples, c of correct ones, p_k of predictions and t_k of labels of class k (Gorodkin 2004).
    """

    def _counts(self, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Counts s (n_draws, 1), c (n_draws, n_runs), p (n_draws, k, n_runs), t (n_draws, k, 1)."""
        n_classes = 1 + int(max(self.gold.max(), self.predicted.max()))
        if self._features is None:
            # The last class follows from the total, so two classes take two products, not three.
            guesses = [self.predicted == k for k in range(n_classes - 1)]
            golds = [self.gold[None] == k for k in range(n_classes - 1)]
            stacked = np.vstack([self.predicted == self.gold, *guesses, *golds])
            self._features = np.ascontiguousarray(stacked.T)
        sums = weighted_sums(weights, self._features)
        s = weights.sum(axis=1, dtype=np.float64)[:, None]
        runs, known = self.n_runs, n_classes - 1
        c = sums[:, :runs]
        p = sums[:, runs : runs * n_classes].reshape(len(s), known, runs)
        t = sums[:, runs * n_classes :].reshape(len(s), known, 1)
        p = np.concatenate([p, s[:, None] - p.sum(axis=1, keepdims=True)], axis=1)
        t = np.concatenate([t, s[:, None] - t.sum(axis=1, keepdims=True)], axis=1)
        return s, c, p, t

    scale = "correlation"

    def deciding(self) -> float:
        """Examples of the rarest class: the correlation hangs on these most."""
        return int(np.unique(self.gold, return_counts=True)[1].min())

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        s, c, p, t = self._counts(weights)
        covariance = c * s - (p * t).sum(axis=1)
        guess_spread, gold_spread = s**2 - (p**2).sum(axis=1), s**2 - (t**2).sum(axis=1)
        defined = (guess_spread > 1e-9 * s**2) & (gold_spread > 1e-9 * s**2)
        spread = np.sqrt(np.where(defined, guess_spread * gold_spread, 1.0))
        return np.asarray(np.where(defined, covariance / spread, 0.0))

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        s, c, p, t = (part[0] for part in self._counts(np.ones((1, self.n_examples), dtype=np.int64)))
        t = t[:, 0]
        runs = np.arange(self.n_runs)[:, None]
        guess_spread = (s**2 - (p**2).sum(axis=0))[:, None]
        gold_spread = float(s[0] ** 2 - (t**2).sum())
        mcc = self.scores()[:, None]
        d_cov = s[0] * (self.predicted == self.gold) + c[:, None] - t[self.predicted] - p[self.gold, runs]
        d_guess = 2 * (s[0] - p[self.predicted, runs])
        d_gold = 2 * (s[0] - t[self.gold])[None]
        defined = (guess_spread > 0) & (gold_spread > 0)
        guess_spread = np.where(defined, guess_spread, 1.0)
        gold_spread = gold_spread or 1.0
        change = d_cov / np.sqrt(guess_spread * gold_spread)
        change -= mcc / 2 * (d_guess / guess_spread + d_gold / gold_spread)
        return np.where(defined, self.n_examples * change, 0.0)


class Matthews(Metric):
    """Matthews correlation, of two or more classes; 0 where labels or outputs are constant."""

    name = "mcc"
    title = "Matthews correlation"
    takes = "classes"

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> Prepared:
        """See ``Metric.prepare``."""
        gold = class_labels(labels, self.name)
        predicted = class_outputs(gold, outputs, self.name)
        classes, codes = np.unique(np.concatenate([gold[None], predicted]), return_inverse=True)
        codes = codes.reshape(len(predicted) + 1, len(gold)).astype(np.min_scalar_type(len(classes)))
        return _PreparedMatthews(codes[0], codes[1:])
