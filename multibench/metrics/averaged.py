"""F1 of several classes as one number: the mean over classes, weighted or not, or F1 of all decisions together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multibench.metrics.base import Array, Index, Metric, Prepared, class_labels, class_outputs
from multibench.metrics.means import weighted_sums

__all__ = ["MacroF1", "MicroF1", "WeightedF1"]


class _Counted(Prepared):
    """Labels and predicted classes as small integers, 0 .. ``classes`` - 1.

    Of each class are counted: its labels t, its predictions p and its hits h, under any weights.
    """

    def __init__(self, gold: Array, predicted: Array, classes: int) -> None:
        self.gold, self.predicted, self.classes = gold, predicted, classes
        self.n_runs, self.n_examples = predicted.shape
        self._features: Array | None = None

    def rows(self) -> Array:
        """What identifies an example: its values, in the order of the runs."""
        return np.ascontiguousarray(np.vstack([self.gold[None], self.predicted]).T)

    def select(self, runs: Index, examples: Index) -> _Counted:
        """Only these runs and examples; the classes stay those of all examples."""
        return type(self)(self.gold[examples], self.predicted[runs][:, examples], self.classes)

    def counts(self, weights: Array) -> tuple[Array, Array, Array]:
        """T ``(n_draws, classes, 1)``, p and h ``(n_draws, classes, n_runs)``, float64."""
        if self._features is None:
            said = [self.predicted == k for k in range(self.classes)]
            gold = [(self.gold == k)[None] for k in range(self.classes)]
            hits = [s & g for s, g in zip(said, gold, strict=True)]
            self._features = np.ascontiguousarray(np.vstack([*gold, *said, *hits]).T)
        sums = weighted_sums(weights, self._features)
        k, runs, draws = self.classes, self.n_runs, len(weights)
        said_and_hit = sums[:, k:].reshape(draws, 2, k, runs)
        return sums[:, :k].reshape(draws, k, 1), said_and_hit[:, 0], said_and_hit[:, 1]

    def _of_classes(self, weights: Array) -> tuple[Array, Array]:
        """F1 of each class ``(n_draws, classes, n_runs)``, 0 where it is nowhere, and its labels' number t."""
        t, p, h = self.counts(weights)
        f1: Array = np.divide(2 * h, t + p, out=np.zeros(h.shape), where=t + p > 0)
        return f1, t

    def _changes(self) -> tuple[Array, Array, Array]:
        """F1 ``(classes, n_runs)``, t ``(classes, 1)``, and what an example adds: ``(classes, n_runs, n_examples)``."""
        ones = np.ones((1, self.n_examples), dtype=np.int64)
        t, p, h = (part[0] for part in self.counts(ones))
        total = t + p
        f1: Array = np.divide(2 * h, total, out=np.zeros(h.shape), where=total > 0)
        numbers = np.arange(self.classes)[:, None, None]
        gold, said = self.gold[None, None] == numbers, self.predicted[None] == numbers
        # d F1 = (2 d hits - F1 (d labels + d predictions)) / (labels + predictions)
        change = 2.0 * (gold & said) - f1[:, :, None] * (gold.astype(np.int8) + said)
        each: Array = np.divide(
            change, total[:, :, None], out=np.zeros(change.shape), where=total[:, :, None] > 0
        )
        return f1, t, each


class _PreparedMacro(_Counted):
    """The plain mean over the classes that the labels or any prediction of that run (in that draw) name."""

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        f1, _ = self._of_classes(weights)
        t, p, _ = self.counts(weights)
        there = (t + p > 0).sum(axis=1)
        return np.asarray(np.divide(f1.sum(axis=1), there, out=np.zeros(there.shape), where=there > 0))

    def influence(self) -> Array:
        """See ``Prepared.influence``: small weights keep the classes that are there."""
        _, _, each = self._changes()
        t, p, _ = (part[0] for part in self.counts(np.ones((1, self.n_examples), dtype=np.int64)))
        there = np.maximum((t + p > 0).sum(axis=0), 1)[:, None]
        return np.asarray(self.n_examples * each.sum(axis=0) / there)


class _PreparedWeighted(_Counted):
    """The mean over classes, each as often as the labels have it."""

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        f1, t = self._of_classes(weights)
        total = t.sum(axis=1)
        return np.asarray(
            np.divide((f1 * t).sum(axis=1), total, out=np.zeros(f1[:, 0].shape), where=total > 0)
        )

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        f1, t, each = self._changes()
        n = float(self.n_examples)
        own = (
            f1[self.gold].T - (f1 * t).sum(axis=0)[:, None] / n
        )  # the share of the example's own class grows
        return np.asarray((each * t[:, :, None]).sum(axis=0) + own)


class _PreparedMicro(_Counted):
    """All decisions together: as each example has one label and one prediction, the share of hits."""

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        t, p, h = self.counts(weights)
        total = (t + p).sum(axis=1)
        return np.asarray(np.divide(2 * h.sum(axis=1), total, out=np.zeros(total.shape), where=total > 0))

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        hits = (self.predicted == self.gold).astype(np.float64)
        return np.asarray(hits - hits.mean(axis=1, keepdims=True))


class _AveragedF1(Metric):
    prepared: type[_Counted]
    takes = "classes"

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> Prepared:
        """See ``Metric.prepare``."""
        gold = class_labels(labels, self.name)
        predicted = class_outputs(gold, outputs, self.name)
        classes, codes = np.unique(np.concatenate([gold[None], predicted]), return_inverse=True)
        codes = codes.reshape(len(predicted) + 1, len(gold)).astype(np.min_scalar_type(len(classes)))
        return self.prepared(codes[0], codes[1:], len(classes))


class MacroF1(_AveragedF1):
    """The mean of the F1 of every class that labels or predictions name; of all others nothing is known."""

    name = "macro_f1"
    title = "Macro F1"
    prepared = _PreparedMacro


class WeightedF1(_AveragedF1):
    """The mean of the F1 of every class, weighted by how often the labels have it."""

    name = "weighted_f1"
    title = "Weighted F1"
    prepared = _PreparedWeighted


class MicroF1(_AveragedF1):
    """F1 of all decisions together; with one label and one prediction an example it equals accuracy."""

    name = "micro_f1"
    title = "Micro F1"
    prepared = _PreparedMicro
