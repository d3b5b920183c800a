"""Which output of somebody else's model is which class: found by accuracy, or stated; never assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.tasks import Task

__all__ = ["ClassOrder", "find_order", "stated_order"]


@dataclass(frozen=True)
class ClassOrder:
    """``classes[k]`` is the task's class that output k of the source means.

    ``accuracy`` is the mean over ``runs`` runs under this order, ``next_best`` that under the best other
    order, both fractions; NaN where there are no labels.
    """

    names: tuple[str, ...]
    classes: tuple[int, ...]
    accuracy: float
    next_best: float
    runs: int
    stated: bool

    def apply(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs ``(n, classes)`` of the source in the order of the task's classes."""
        return np.ascontiguousarray(outputs[:, np.argsort(self.classes)])

    def to_dict(self) -> dict[str, Any]:
        """For ``run.json``: class names in the order of the source's outputs, and the evidence."""
        known = not math.isnan(self.accuracy)
        return {
            "order": list(self.names),
            "found": "stated by the user" if self.stated else "by accuracy",
            "accuracy": self.accuracy if known else None,
            "accuracy_of_next_best_order": self.next_best if known else None,
            "runs": self.runs,
        }

    def sentence(self) -> str:
        """What was found, for a person."""
        how = "stated" if self.stated else f"found by the accuracy of {self.runs} runs"
        evidence = (
            ""
            if math.isnan(self.accuracy)
            else f": {100 * self.accuracy:.2f} %, and {100 * self.next_best:.2f} % under the next best order"
        )
        return f"classes are {', '.join(self.names)} ({how}{evidence})"


def stated_order(task: Task, names: Sequence[str]) -> tuple[int, ...]:
    """Class numbers of ``names``. Raises ``DataError`` unless these are the task's labels, each once."""
    if sorted(names) != sorted(task.labels):
        raise DataError(
            f"The class order of {task.name} was stated as {', '.join(names)}; its labels are "
            f"{', '.join(task.labels)}, each to be named once."
        )
    return tuple(task.labels.index(name) for name in names)


def find_order(
    task: Task,
    labels: NDArray[Any] | None,
    outputs: Sequence[NDArray[np.float32]],
    what: str,
    stated: tuple[int, ...] | None = None,
) -> ClassOrder:
    """The order in which the outputs ``(n, classes)`` of several runs go best with ``labels`` ``(n,)``.

    Raises ``DataError``, unless the order is ``stated``, where accuracy cannot tell: without labels; where the best
    order is not ahead of the next best by three standard errors of a share of n examples; and where it is no
    better than saying the commonest class always. ``what`` names the runs in messages.
    """
    if labels is None or len(labels) == 0:
        if stated is None:
            raise DataError(
                f"{what} has no labels, so its class order cannot be verified; {_how_to_state(task)}."
            )
        return _order(task, stated, math.nan, math.nan, len(outputs), True)
    n, k = len(labels), task.outputs
    together = np.zeros((k, k))  # how often output i is the highest where the label is j
    for run in outputs:
        said = run.argmax(axis=1) * k + labels
        together += np.bincount(said, minlength=k * k).reshape(k, k)
    together /= n * len(outputs)
    best, accuracy = _assigned(together)
    if stated is not None:
        accuracy = float(together[np.arange(k), list(stated)].sum())
        others = best if best != stated else _next_best(together, stated)[0]
        next_best = float(together[np.arange(k), list(others)].sum())
        return _order(task, stated, accuracy, next_best, len(outputs), True)
    next_best = _next_best(together, best)[1]
    commonest = float(np.bincount(labels, minlength=k).max() / n)
    clear = accuracy - next_best > 1.5 / math.sqrt(n)
    if not clear or accuracy <= commonest:
        names = ", ".join(task.labels[c] for c in best)
        why = (
            f"always saying the commonest class has {100 * commonest:.2f} %"
            if clear
            else f"another order has {100 * next_best:.2f} %"
        )
        raise DataError(
            f"The class order of {what} is not clear: the best, {names}, has an accuracy of {100 * accuracy:.2f} % "
            f"over {len(outputs)} runs, and {why}. Are the rows in the order of the labels? If so, "
            f"{_how_to_state(task)}."
        )
    return _order(task, best, accuracy, next_best, len(outputs), False)


def _order(
    task: Task, classes: tuple[int, ...], accuracy: float, next_best: float, runs: int, stated: bool
) -> ClassOrder:
    names = tuple(task.labels[c] for c in classes)
    return ClassOrder(names, classes, accuracy, next_best, runs, stated)


def _assigned(shares: NDArray[np.float64]) -> tuple[tuple[int, ...], float]:
    """The class of each output that gives the highest accuracy, and that accuracy."""
    from scipy.optimize import linear_sum_assignment

    rows, classes = linear_sum_assignment(shares, maximize=True)
    return tuple(classes.tolist()), float(shares[rows, classes].sum())


def _next_best(shares: NDArray[np.float64], order: tuple[int, ...]) -> tuple[tuple[int, ...], float]:
    """The best order that differs from ``order``: it lacks at least one of its pairs."""
    found = []
    for output, class_ in enumerate(order):
        without = shares.copy()
        without[output, class_] = -len(shares)  # no order has that little
        found.append(_assigned(without))
    return max(found, key=lambda each: each[1])


def _how_to_state(task: Task) -> str:
    return f"state it: --class-order {task.name}={','.join(task.labels)} (in the order of the outputs)"
