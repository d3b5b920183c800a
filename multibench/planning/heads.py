"""Checkpoints that are applied as they are: which output of their own head is which class of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multibench.checkpoints.folder import CheckpointFolder
from multibench.errors import CheckpointError
from multibench.tasks import Task

__all__ = ["OwnHead", "how_to_state", "own_head"]


@dataclass(frozen=True)
class OwnHead:
    """The outputs of a checkpoint's own head.

    ``order[c]`` is the output that means class c of the task; None where it is still to be found: then ``found_on`` is
    the evaluation by whose labels, and ``data`` the fingerprint of its examples (None if they are not here).
    """

    order: tuple[int, ...] | None = None
    found_on: tuple[Task, str] | None = None
    data: str | None = None

    @property
    def known(self) -> bool:
        """Whether it is known by now what decides the order, so that runs can be identified."""
        return self.order is not None or self.data is not None

    def identity(self) -> list[int] | str:
        """For the identity of a run: the order, or what it is found by."""
        return list(self.order) if self.order is not None else f"by accuracy on {self.data}"


def own_head(
    folder: CheckpointFolder,
    task: Task,
    evaluations: Sequence[tuple[Task, str]],
    fingerprints: Mapping[str, str | None],
    stated: Sequence[str] | None,
) -> OwnHead:
    """The own head of the checkpoint in ``folder`` for ``task``.

    The classes' names in its configuration come first, then the ``stated`` order of the suite (class names in the
    order of the outputs), then the accuracy on the first of ``evaluations`` that is of the task itself and has labels;
    ``fingerprints`` are by name of evaluation. Raises ``CheckpointError`` for a statement that the configuration
    contradicts, for names that are not the task's, and where nothing tells the order.
    """
    named = folder.class_order(task.labels)
    if stated is not None:
        order = tuple(stated.index(label) for label in task.labels)
        if named is not None and order != tuple(named):
            said = ", ".join(task.labels[named.index(k)] for k in range(len(named)))
            raise CheckpointError(
                f"The suite's class_order of {task.name} is {', '.join(stated)}; {folder.path} itself names its "
                f"classes {said}. Take {task.name} out of class_order, or correct id2label in its config.json."
            )
        return OwnHead(order)
    if named is not None:
        return OwnHead(tuple(named))
    if folder.class_names:
        raise CheckpointError(
            f"{folder.path} names its classes {', '.join(folder.class_names)}; expected {', '.join(task.labels)}. "
            + how_to_state(task)
        )
    for other, split in evaluations:
        if other.name == task.name and other.splits[split].labelled:
            return OwnHead(None, (other, split), fingerprints.get(f"{other.name}.{split}"))
    raise CheckpointError(
        f"{folder.path} does not name its classes, and no evaluation of {task.name} has labels to find their order by. "
        + how_to_state(task)
    )


def how_to_state(task: Task) -> str:
    """How a suite says which output is which class."""
    return (
        f"If you know the order of its outputs, state it in the suite: class_order: {{{task.name}: "
        f"[{', '.join(task.labels)}]}} with the classes of {task.name} in that order."
    )
