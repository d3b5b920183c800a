"""Which output of somebody else's model is which class: found by accuracy, or stated; never assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.results.ties import keep_winners
from multibench.scoring.agreement import (
    accuracy_of,
    best_order,
    contradicts,
    disagreeing,
    said_by_label,
)
from multibench.scoring.classes import Classes, classes_of
from multibench.tasks import Task

__all__ = ["ClassOrder", "Found", "find_order", "said", "stated_order", "tie_note"]

Found = Literal["stated", "accuracy", "file"]
_FOUND = {"stated": "stated by the user", "accuracy": "by accuracy", "file": "said by the file"}


@dataclass(frozen=True)
class ClassOrder:
    """``classes[k]`` is the task's class that output k of the source means, or counts as.

    ``names`` are the classes of the outputs in their order. ``accuracy`` is the mean over ``runs`` runs under this
    order, ``next_best`` that under the best other order, both fractions; NaN where there are no labels. ``found``
    says where it is from. ``merged`` says that a model tells more classes apart than the task.
    """

    names: tuple[str, ...]
    classes: tuple[int, ...]
    accuracy: float
    next_best: float
    runs: int
    found: Found
    merged: bool = False
    doubts: tuple[str, ...] = ()
    """What speaks against it, in sentences, where it was forced."""

    @property
    def stated(self) -> bool:
        """Whether the user stated it."""
        return self.found == "stated"

    def apply(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        """Outputs of the source, ``(n, k)`` scores or ``(n,)`` class numbers, as scores of the task's classes.

        The highest score of a row stays that of the same class, the source's first among equals, and so it does where
        several classes count as one: each has the largest of its scores. Raises ``DataError`` for scores that float32
        cannot hold.
        """
        count = max(self.classes) + 1
        winners = np.asarray(self.classes, dtype=np.int64)[said(outputs)]
        if outputs.ndim == 1:
            return np.eye(count, dtype=np.float32)[winners]
        columns = [np.flatnonzero(np.equal(self.classes, c)) for c in range(count)]
        with np.errstate(over="ignore"):
            scores = np.stack([outputs[:, those].max(axis=1) for those in columns], axis=1).astype(np.float32)
        if not np.isfinite(scores).all():
            raise DataError(
                f"A class score is {np.abs(outputs).max():g}, which single precision cannot hold."
            )
        return keep_winners(np.ascontiguousarray(scores), winners)

    def to_dict(self) -> dict[str, Any]:
        """For ``run.json``: class names in the order of the source's outputs, and the evidence."""
        known = not math.isnan(self.accuracy)
        return {
            "order": list(self.names),
            "found": _FOUND[self.found],
            "accuracy": self.accuracy if known else None,
            "accuracy_of_next_best_order": self.next_best if known else None,
            "runs": self.runs,
            **({"merged": "after argmax"} if self.merged else {}),
            **({"doubts": list(self.doubts)} if self.doubts else {}),
        }

    def sentence(self) -> str:
        """What was found, for a person."""
        plural = "run" if self.runs == 1 else "runs"
        how = {"accuracy": f"found by the accuracy of {self.runs} {plural}", "file": "said by the file"}.get(
            self.found, "stated"
        )
        evidence = (
            ""
            if math.isnan(self.accuracy)
            else f": {100 * self.accuracy:.2f} %, and {100 * self.next_best:.2f} % under the next best order"
        )
        merged = "; classes are merged after the highest score is taken" if self.merged else ""
        return f"classes are {', '.join(self.names)} ({how}{evidence}{merged})"


def stated_order(task: Task, names: Sequence[str], classes: Classes | None = None) -> tuple[int, ...]:
    """Class numbers of ``names``: of the task's labels, or of ``classes`` that count as them.

    Raises ``DataError`` unless these are named, each once.
    """
    possible = classes or classes_of(task)
    if sorted(names) != sorted(possible.names):
        raise DataError(
            f"The class order of {task.name} was stated as {', '.join(names)}; its labels are "
            f"{', '.join(possible.names)}, each to be named once."
        )
    return tuple(possible.of[possible.names.index(name)] for name in names)


def said(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Which output is the highest in each row, the first among equals; class numbers as they are."""
    return outputs.argmax(axis=1) if outputs.ndim == 2 else outputs.astype(np.int64)


def tie_note(what: str, outputs: Sequence[NDArray[Any]]) -> list[str]:
    """A sentence on rows with several highest scores, if there are any in ``outputs``, ``(n, k)`` or ``(n,)`` each."""
    scores = [run for run in outputs if run.ndim == 2]
    ties = sum(int(((run == run.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum()) for run in scores)
    if not ties:
        return []
    total = sum(map(len, scores))
    return [
        f"{what}: {ties} of {total} predictions have two highest scores alike; the first in the file counts."
    ]


def find_order(
    task: Task,
    labels: NDArray[Any] | None,
    outputs: Sequence[NDArray[Any]],
    what: str,
    stated: Sequence[int] | None = None,
    *,
    classes: Classes | None = None,
    places: Sequence[str] = (),
    force: bool = False,
) -> ClassOrder:
    """The order in which the outputs of several runs, ``(n, k)`` scores or ``(n,)`` numbers, go best with ``labels``.

    ``stated`` gives the task's class of each output; ``classes`` are what these may be, the task's own if not given.
    ``what`` names the runs in messages, and ``places`` each of them. Raises
    ``DataError`` where accuracy cannot tell, unless the order is ``stated``: without labels; where the best order is
    not ahead of the next best by three standard errors of a share of n examples; and where it is no better than
    saying the commonest class always. Raises it, too, unless told to ``force``, where the runs contradict a stated
    order, and where one contradicts the others.
    """
    of = classes or classes_of(task)
    names = places or [f"run {k}" for k in range(len(outputs))]
    if labels is None or len(labels) == 0:
        if stated is None:
            raise DataError(
                f"{what} has no labels, so its class order cannot be verified; {_how_to_state(task, of)}."
            )
        return _order(of, stated, math.nan, math.nan, len(outputs), "stated")
    n = len(labels)
    each = [said_by_label(said(run), labels, len(of), task.outputs) for run in outputs]
    doubts = _contradictions(of, each, names, what, n, stated)
    if doubts and not force:
        raise DataError(f"{doubts[0]}.")
    together = np.mean(each, axis=0)
    order = tuple(stated) if stated is not None else best_order(together, of)
    accuracy = accuracy_of(together, order)
    best = best_order(together, of)
    next_best = accuracy_of(together, best if best != order else best_order(together, of, without=order))
    if stated is None and not doubts:
        _refuse_unclear(task, of, labels, order, accuracy, next_best, len(outputs), what)
    return _order(
        of, order, accuracy, next_best, len(outputs), "accuracy" if stated is None else "stated", doubts
    )


def _contradictions(
    of: Classes,
    each: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    what: str,
    n: int,
    stated: Sequence[int] | None,
) -> list[str]:
    """Whether the runs contradict the stated order, or one another: a sentence, without its full stop."""
    together = np.mean(each, axis=0)
    better = None if stated is None else contradicts(together, of, stated, n)
    if stated is not None and better is not None:
        return [
            f"The class order of {what} was stated as {_named(of, stated)}, and the labels contradict it: the "
            f"accuracy of {_count(len(each))} is {_percent(accuracy_of(together, stated))} in that order, and "
            f"{_percent(accuracy_of(together, better))} in the order {_named(of, better)}. If the stated order is "
            "right nevertheless, --force takes it"
        ]
    reference, others = disagreeing(each, of, n, stated)
    if not others:
        return []
    first, own = others[0]
    more = (
        f" (and {len(others) - 1} more: {', '.join(names[k] for k, _ in others[1:4])})" if others[1:] else ""
    )
    return [
        f"{names[first]}{more} has its classes in another order than the rest of {what}: its accuracy is "
        f"{_percent(accuracy_of(each[first], reference))} in the order {_named(of, reference)} of the others, and "
        f"{_percent(accuracy_of(each[first], own))} in the order {_named(of, own)}. If that is how the file was "
        "written, say so in a column 'class_order' of the index; else correct the file or leave it out. --force "
        "takes the order of the others for it, too"
    ]


def _refuse_unclear(
    task: Task,
    of: Classes,
    labels: NDArray[Any],
    best: Sequence[int],
    accuracy: float,
    next_best: float,
    runs: int,
    what: str,
) -> None:
    n = len(labels)
    commonest = float(np.bincount(labels, minlength=task.outputs).max() / n)
    clear = accuracy - next_best > 1.5 / math.sqrt(n)
    if clear and accuracy > commonest:
        return
    why = (
        f"always saying the commonest class has {_percent(commonest)}"
        if clear
        else f"another order has {_percent(next_best)}"
    )
    raise DataError(
        f"The class order of {what} is not clear: the best, {_named(of, best)}, has an accuracy of "
        f"{_percent(accuracy)} over {runs} runs, and {why}. If the rows are in another order than those of the split, "
        "give each file a column of ids. If they are not, and you know what the outputs mean, "
        f"{_how_to_state(task, of)}."
    )


def _order(
    of: Classes,
    order: Sequence[int],
    accuracy: float,
    next_best: float,
    runs: int,
    found: Found,
    doubts: Sequence[str] = (),
) -> ClassOrder:
    names = _names(of, order)
    return ClassOrder(names, tuple(order), accuracy, next_best, runs, found, of.merged, tuple(doubts))


def _names(of: Classes, order: Sequence[int]) -> tuple[str, ...]:
    """The names of the outputs; where several classes count as one, any of these may be meant, and all are named."""
    meant = {
        number: "/".join(n for n, k in zip(of.names, of.of, strict=True) if k == number) for number in of.of
    }
    return tuple(meant[number] for number in order)


def _named(of: Classes, order: Sequence[int]) -> str:
    return ", ".join(_names(of, order))


def _count(runs: int) -> str:
    return "the run" if runs == 1 else f"{runs} runs"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _how_to_state(task: Task, of: Classes) -> str:
    outputs = ",".join(f"CLASS{k}" for k in range(len(of)))
    return (
        f"state it: --class-order {task.name}={outputs}, what output 0, 1 and so on mean, each one of "
        f"{', '.join(of.names)}"
    )
