"""What modules of ``evaluate`` say of a run's predictions: once a run, beside the task's own metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from multibench.errors import DataError
from multibench.metrics.evaluate_adapter import EvaluateModule
from multibench.metrics.squad import ANSWER_OUTPUTS, given_answers
from multibench.results.store import Predictions
from multibench.tasks import Examples, Task

__all__ = ["module_scores"]


def module_scores(
    modules: Sequence[EvaluateModule],
    task: Task,
    examples: Examples,
    predictions: Predictions,
    null_threshold: float,
) -> dict[str, Any]:
    """For each module its ``scores``, or the ``reason`` why it has none: a run is not lost for it.

    Modules get class numbers, numbers or answers, as the task has them.
    """
    found: dict[str, Any] = {}
    for module in modules:
        try:
            scores = _scores(module, task, examples, predictions, null_threshold)
            found[module.source] = {
                "scores": {name: value if math.isfinite(value) else None for name, value in scores.items()}
            }
        except DataError as error:
            found[module.source] = {"scores": {}, "reason": str(error)}
    return found


def _scores(
    module: EvaluateModule, task: Task, examples: Examples, predictions: Predictions, null_threshold: float
) -> dict[str, float]:
    outputs = predictions.outputs
    if task.kind == "span":
        assert predictions.texts is not None
        assert examples.answers is not None
        odds = outputs[:, ANSWER_OUTPUTS.index("null_odds")]
        texts = given_answers(predictions.texts, odds, null_threshold if task.unanswerable else None)
        return module.answers(examples.ids, texts, examples.answers)
    assert examples.labels is not None
    given = outputs.argmax(axis=1) if task.kind == "classification" else outputs[:, 0]
    return module.scores(given.tolist(), examples.labels.tolist())
