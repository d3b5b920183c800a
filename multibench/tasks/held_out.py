"""A part of the training examples that is kept out of training, to choose hyperparameters on.

The cut follows from the ids of the examples alone, so it is the same for every run, on every machine, and in every
order of the data; a larger share contains a smaller one. It goes by example: questions on one paragraph, say, may
fall on both sides, so that scores on the part are for choosing rather than for reporting.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from multibench.errors import DataError
from multibench.tasks.data import Examples
from multibench.tasks.task import SplitFacts, Task

__all__ = ["HELD_OUT", "CutTask", "part_of", "with_held_out"]

HELD_OUT = "held_out"


class CutTask(Task):
    """``whole``, with ``share`` of its training examples in the split ``held_out`` and the rest in ``train``."""

    whole: Task
    share: float

    @property
    def held_out(self) -> float:
        """See ``Task.held_out``."""
        return self.share


def with_held_out(task: Task, share: float) -> CutTask:
    """``task`` without ``share`` (above 0, below 1) of its training examples, which become the split ``held_out``.

    Raises ``DataError`` if the share leaves nothing on one side, or the task has such a split of its own.
    """
    if HELD_OUT in task.splits:
        raise DataError(
            f"The task {task.name} has a split '{HELD_OUT}' of its own; select without 'held_out'."
        )
    train = task.splits["train"]
    cut = _size(task, train.rows, share)
    splits = {**task.splits, "train": SplitFacts(rows=train.rows - cut), HELD_OUT: SplitFacts(rows=cut)}
    facts = {name: getattr(task, name) for name in Task.model_fields}
    return CutTask.model_validate({**facts, "splits": splits, "whole": task, "share": share})


def part_of(task: CutTask, train: Examples, split: str) -> Examples:
    """The part of ``train``, all training examples, that is ``split``: ``train`` or ``held_out``; in their order.

    Raises ``DataError`` if the share leaves nothing on one side.
    """
    cut = _size(task, len(train), task.share)
    held_out = set(sorted(range(len(train)), key=lambda i: (_rank(train.ids[i]), i))[:cut])
    rows = [i for i in range(len(train)) if (i in held_out) == (split == HELD_OUT)]
    return replace(train.rows(rows), split=split)


def _rank(name: str) -> bytes:
    return hashlib.sha256(f"{HELD_OUT}\n{name}".encode("utf-8", "surrogatepass")).digest()


def _size(task: Task, rows: int, share: float) -> int:
    size = round(share * rows)
    if not 0 < size < rows:
        raise DataError(
            f"{task.name} has {rows} training examples: 'held_out' {share:g} would hold out {size} of them. Expected "
            "at least one, and at least one left to train on; give another share."
        )
    return size
