"""What the outputs of a model can mean on a task: its classes, or those of another task that count as them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from multibench.errors import DataError
from multibench.tasks import Task
from multibench.tasks.layouts import spellings

__all__ = ["Classes", "class_codes", "classes_of", "folded", "possible_classes"]


@dataclass(frozen=True)
class Classes:
    """The classes that a model tells apart: ``names[i]`` counts as the task's class ``of[i]``."""

    names: tuple[str, ...]
    of: tuple[int, ...]

    @property
    def merged(self) -> bool:
        """Whether several of them count as one of the task."""
        return len(set(self.of)) < len(self.of)

    def __len__(self) -> int:
        return len(self.names)


def classes_of(task: Task, trained: Task | None = None) -> Classes:
    """The classes of a model that was trained on ``trained``, or on ``task`` itself, as ``task`` counts them.

    Raises ``DataError`` if a model of ``trained`` cannot be applied to ``task``.
    """
    class_map = None if trained is None else task.class_map(trained)
    if trained is None or class_map is None:
        return Classes(task.labels, tuple(range(len(task.labels))))
    of = {output: number for number, outputs in enumerate(class_map) for output in outputs}
    missing = [name for k, name in enumerate(trained.labels) if k not in of]
    if missing:
        raise DataError(
            f"'merges' of {task.name} does not say what {', '.join(missing)} of {trained.name} count as."
        )
    return Classes(trained.labels, tuple(of[k] for k in range(len(trained.labels))))


def possible_classes(task: Task, trained: Task | None = None) -> tuple[Classes, ...]:
    """All that outputs for ``task`` may be of: its own classes, and those that its ``merges`` names.

    Where it is known what the model was ``trained`` on, the merged ones are its classes; else their order is that of
    ``merges``, which says nothing about the order of a model's outputs.
    """
    if task.kind != "classification":
        return ()
    own = classes_of(task)
    if trained is not None and trained.labels != task.labels and task.class_map(trained) is not None:
        return own, classes_of(task, trained)
    if not task.merges:
        return (own,)
    pairs = [(name, task.labels.index(label)) for label in task.labels for name in task.merges[label]]
    return own, Classes(tuple(name for name, _ in pairs), tuple(number for _, number in pairs))


def class_codes(task: Task) -> dict[str, int]:
    """Every way in which files write a class of ``task``, ``folded``; empty for regression."""
    codes = {folded(name): k for k, name in enumerate(task.labels)}
    for layout in (task.files, task.official):
        if layout is not None:
            given = [layout.label_codes, *(split.label_codes for split in layout.splits.values())]
            for each in filter(None, given):
                codes |= {folded(code): k for code, k in spellings(each).items()}
    for label, names in (task.merges or {}).items():
        # A model of the other task may have said any of the labels that count as this one.
        codes |= {folded(name): task.labels.index(label) for name in names}
    return codes


def folded(label: str) -> str:
    """HANS writes ``non-entailment`` what GLUE writes ``not_entailment``."""
    return re.sub("^(non|not)[-_]", "not_", label)
