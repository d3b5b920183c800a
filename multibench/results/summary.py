"""What ``run.json`` says of an evaluation, and whether a run has collapsed: alike for runs made here and imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.metrics import METRICS
from multibench.results.clusters import groups_of, unit_names
from multibench.tasks import Examples, Task

__all__ = ["collapse_evidence", "evaluation_summary"]

_CONSTANT_SHARE_OF_RANGE = 1e-3


def evaluation_summary(
    task: Task, examples: Examples, outputs: NDArray[np.float32], metrics: Sequence[str] | None = None
) -> dict[str, Any]:
    """Scores of ``outputs`` ``(n, outputs)`` by ``metrics`` (the task's own if not given), and on which data.

    A score that is not defined is None; where the split has no labels there are none. ``left_out`` is there where rows
    of the source have no label: it is their number.
    """
    scores = {}
    if examples.labels is not None:
        for name in task.metrics if metrics is None else metrics:
            value = METRICS.get(name).score(examples.labels, outputs)
            scores[name] = value if math.isfinite(value) else None
    return {
        "metrics": scores,
        "headline": task.headline,
        "examples": len(examples),
        "data": examples.fingerprint,
        "as_released": examples.as_released,
        "origin": examples.origin_name,
        **({"left_out": examples.left_out} if examples.left_out else {}),
        **unit_names(task, groups_of(task, examples)),
    }


def collapse_evidence(
    task: Task, outputs: NDArray[np.float32], answers: Sequence[str] | None = None
) -> str | None:
    """A sentence if the predictions are constant, so that the run has learnt nothing; else None.

    For classification: one class for all examples. For regression: a standard deviation below a
    thousandth of the score range. For spans: one text, or none, as the ``answers`` to all questions.
    """
    if len(outputs) < 2:
        return None
    if task.kind == "span" and answers is not None and len(set(answers)) == 1:
        return (
            f"every one of {len(answers)} answers is '{answers[0]}'"
            if answers[0]
            else (f"every one of {len(answers)} questions is left without an answer")
        )
    if task.kind == "classification":
        classes = np.unique(outputs.argmax(axis=1))
        if len(classes) == 1:
            return f"every one of {len(outputs)} predictions is '{task.labels[classes[0]]}'"
    if task.kind == "regression" and task.score_range is not None:
        spread = float(outputs.std())
        if spread < _CONSTANT_SHARE_OF_RANGE * (task.score_range[1] - task.score_range[0]):
            return f"the predicted scores are constant: standard deviation {spread:.2g}"
    return None
