"""What a metric is: a score, its weighted form for many resamples at once, and its influence values.

Shapes, everywhere in this package: labels ``(n_examples,)``; outputs of one run ``(n_examples,)`` or
``(n_examples, n_outputs)``; outputs of several runs with an axis of runs in front; weights
``(n_draws, n_examples)``, how often each example is counted in each draw (a bootstrap resample is
a row of integers that sums to ``n_examples``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multibench.errors import StatisticsError

__all__ = [
    "Array",
    "Index",
    "Metric",
    "Prepared",
    "class_labels",
    "class_outputs",
    "value_labels",
    "value_outputs",
]

Array: TypeAlias = NDArray[Any]
Index: TypeAlias = "NDArray[Any] | slice"

# Sums of integers up to this are exact in single precision.
EXACT_FLOAT32 = 2**24


class Prepared(ABC):
    """Labels and the outputs of ``n_runs`` runs, digested for one metric.

    Preparing once and then asking for draws block by block is what makes a bootstrap cheap.
    """

    n_runs: int
    n_examples: int
    #: Where scores end: ``share`` within 0 and 1, ``correlation`` within -1 and 1, ``free`` nowhere.
    scale: Literal["share", "correlation", "free"] = "free"
    #: Whether a score is the mean of scores of single examples.
    linear: bool = False

    def deciding(self) -> float:
        """How many examples can move a score that has come to an end of its scale."""
        return self.n_examples

    @abstractmethod
    def rows(self) -> Array:
        """All that the metric sees of each example, ``(n_examples, k)``: equal rows are interchangeable."""

    @abstractmethod
    def select(self, runs: Index, examples: Index) -> Prepared:
        """Only these runs and these examples (indices or slices)."""

    @abstractmethod
    def draws(self, weights: Array) -> Array:
        """The score of each run under each row of ``weights``: ``(n_draws, n_runs)``, float64.

        Weights are non-negative, integers or floats; a score that a resample does not define is NaN.
        """

    @abstractmethod
    def influence(self) -> Array:
        """Influence value of each example on each run's score, ``(n_runs, n_examples)``.

        ``n_examples`` times the derivative of the score by the example's weight, at weights of one;
        rows sum to zero. ``score + influence`` are pseudo-scores whose mean is the score and whose spread
        gives the infinitesimal-jackknife variance (Efron and Stein's delta-method view). NaN for a
        run whose score is undefined.
        """

    def scores(self) -> Array:
        """The plain score of each run, ``(n_runs,)``."""
        scores: Array = self.draws(np.ones((1, self.n_examples), dtype=np.int64))[0]
        return scores


class Metric(ABC):
    """One metric: its name, how it is printed, and its definition (in ``prepare``)."""

    name: str
    title: str
    #: What a run contributes to a mean over runs when its score is undefined (constant predictions).
    collapsed_value: float = 0.0
    #: What it compares: class numbers, numbers, or answers to questions.
    takes: Literal["classes", "values", "answers"] = "values"
    #: How many classes it is defined for, where that is not any number.
    most_classes: int | None = None
    #: Whether it compares outputs with labels; else it takes scores in place of outputs.
    uses_labels: bool = True
    #: Whether something was tuned on the very examples that are scored; marked wherever the score is printed.
    tuned_on_reported_split: bool = False

    @abstractmethod
    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> Prepared:
        """Check and digest ``labels`` and the outputs of several runs (runs in front).

        Raises ``StatisticsError`` for shapes or contents that the metric is not defined for.
        """

    def score(self, labels: ArrayLike, outputs: ArrayLike) -> float:
        """The score of one run, a fraction (or a correlation); NaN where it is not defined."""
        return float(self.prepare(labels, np.asarray(outputs)[None]).scores()[0])

    def draws(self, labels: ArrayLike, outputs: ArrayLike, weights: ArrayLike) -> Array:
        """Scores ``(n_draws, n_runs)`` under weights ``(n_draws, n_examples)``.

        Equal to scoring each run on the resample in which example ``j`` appears ``weights[b, j]`` times.
        """
        prepared = self.prepare(labels, outputs)
        checked = np.asarray(weights)
        if checked.ndim != 2 or checked.shape[1] != prepared.n_examples:
            raise StatisticsError(
                f"Weights of shape {checked.shape} were given for {prepared.n_examples} examples; "
                f"expected (n_draws, {prepared.n_examples})."
            )
        return prepared.draws(checked)

    def influence(self, labels: ArrayLike, outputs: ArrayLike) -> Array:
        """Influence values ``(n_runs, n_examples)``; see ``Prepared.influence``."""
        return self.prepare(labels, outputs).influence()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _runs_axis(labels: Array, outputs: Array, name: str) -> None:
    if labels.ndim != 1:
        raise StatisticsError(f"Labels for {name} have shape {labels.shape}; expected (n_examples,).")
    if outputs.ndim not in (2, 3) or outputs.shape[1] != labels.shape[0]:
        raise StatisticsError(
            f"Outputs for {name} have shape {outputs.shape} with {labels.shape[0]} labels; expected "
            f"(n_runs, {labels.shape[0]}) or (n_runs, {labels.shape[0]}, n_outputs)."
        )
    if labels.shape[0] == 0:
        raise StatisticsError(f"There are no examples: {name} of nothing is undefined.")


def _integers(values: Array, what: str) -> Array:
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.dtype.kind == "f" and bool(np.all(np.isfinite(values))):
        rounded = values.astype(np.int64)
        if np.array_equal(rounded, values):
            return rounded
    raise StatisticsError(
        f"{what} must be class numbers (integers); got {values.dtype} such as "
        f"{values.ravel()[:3].tolist()}. Class scores go in with an axis of classes at the end."
    )


def class_outputs(labels: Array, outputs: ArrayLike, name: str) -> Array:
    """Predicted classes ``(n_runs, n_examples)``: the argmax of class scores, or the integers themselves."""
    given = np.asarray(outputs)
    _runs_axis(labels, given, name)
    if given.ndim == 2:
        return _integers(given, f"Outputs for {name}")
    if given.shape[2] < 2:
        raise StatisticsError(
            f"Outputs for {name} have one score an example; expected a score for each class, or classes."
        )
    if not np.all(np.isfinite(given)):
        raise StatisticsError(f"Outputs for {name} hold NaN or infinite scores; such runs cannot be scored.")
    return np.asarray(given.argmax(axis=2), dtype=np.int64)


def class_labels(labels: ArrayLike, name: str) -> Array:
    """Labels as integers."""
    return _integers(np.asarray(labels), f"Labels for {name}")


def value_labels(labels: ArrayLike, name: str) -> Array:
    """Labels as finite floats."""
    given = np.asarray(labels, dtype=np.float64)
    if not np.all(np.isfinite(given)):
        raise StatisticsError(f"Labels for {name} hold NaN or infinite values.")
    return given


def value_outputs(labels: Array, outputs: ArrayLike, name: str) -> Array:
    """Predicted values ``(n_runs, n_examples)``; a last axis of one output is dropped."""
    given = np.asarray(outputs, dtype=np.float64)
    _runs_axis(labels, given, name)
    if given.ndim == 3:
        if given.shape[2] != 1:
            raise StatisticsError(
                f"Outputs for {name} have {given.shape[2]} values an example; expected one."
            )
        given = given[:, :, 0]
    if not np.all(np.isfinite(given)):
        raise StatisticsError(f"Outputs for {name} hold NaN or infinite values; such runs cannot be scored.")
    return given
