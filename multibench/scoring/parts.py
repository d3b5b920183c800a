"""Scores on parts of a split, as the official scripts print them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multibench.tasks import Examples, Task

__all__ = ["Parts", "parts_of"]

Parts: TypeAlias = dict[str, dict[str, dict[str, float]]]
Measure: TypeAlias = Callable[[NDArray[np.bool_]], dict[str, float]]


def parts_of(task: Task, examples: Examples, measure: Measure) -> Parts:
    """``measure`` on every part of every grouping of ``examples``, with the number of ``examples`` in it.

    ``measure`` takes a mask ``(n_examples,)``. Parts come in the order in which the split shows them first.
    """
    parts: Parts = {}
    for grouping, names in _groupings(task, examples).items():
        of_example = np.array(names)
        parts[grouping] = {
            name: {"examples": int((of_example == name).sum()), **measure(of_example == name)}
            for name in dict.fromkeys(names)
        }
    return parts


def _groupings(task: Task, examples: Examples) -> dict[str, list[str]]:
    """The part that each example is in, for each way of grouping them; clusters are none."""
    labels = np.asarray(examples.labels).tolist()
    if task.kind == "span":
        names = ("NoAns", "HasAns")  # as the script of SQuAD v2.0 calls them
        return {"answers": [names[label] for label in labels]} if task.unanswerable else {}
    groupings: dict[str, list[str]] = {}
    for name, values in examples.metadata.items():
        if name != task.cluster:
            groupings[name] = list(values)
        if name == "heuristic":  # the script of HANS tells entailed examples from others
            groupings["heuristic, label"] = [
                f"{value}, {task.labels[label]}" for value, label in zip(values, labels, strict=True)
            ]
    return groupings
