"""Applying a fine-tuned model to a split, and seeing whether it has collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.tasks.encode import Encoded
from multibench.tasks.task import Task
from multibench.training.loop import forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["collapse_evidence", "predict", "predict_spans"]

_TOKENS_PER_BATCH = {"cpu": 2_048, "cuda": 131_072}
_CONSTANT_SHARE_OF_RANGE = 1e-3


def predict(model: PreTrainedModel, encoded: Encoded, precision: str = "fp32") -> NDArray[np.float32]:
    """Outputs of every example, ``(n, outputs)``, in the order of ``encoded``.

    Examples are batched by length under a budget of tokens, which changes rounding only.
    """
    outputs: NDArray[np.float32] | None = None
    for rows, output in _outputs(model, encoded, precision):
        logits = output.logits.float().cpu().numpy()
        if outputs is None:
            outputs = np.empty((len(encoded), logits.shape[1]), dtype=np.float32)
        outputs[rows] = logits
    assert outputs is not None
    return outputs


def predict_spans(model: PreTrainedModel, encoded: Encoded, precision: str = "fp32") -> NDArray[np.float32]:
    """Start and end scores of every token of ``encoded``, ``(total, 2)``, in its order."""
    scores = np.empty((len(encoded.tokens), 2), dtype=np.float32)
    for rows, output in _outputs(model, encoded, precision):
        logits = torch.stack([output.start_logits, output.end_logits], dim=2).float().cpu().numpy()
        for row, window in zip(rows, logits, strict=True):
            start, end = encoded.starts[row], encoded.starts[row + 1]
            scores[start:end] = window[: end - start]
    return scores


def _outputs(
    model: PreTrainedModel, encoded: Encoded, precision: str
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """The model's outputs for all sequences, in batches from long to short: their numbers, and the output."""
    kind = "cuda" if model.device.type == "cuda" else "cpu"
    lengths = encoded.lengths
    order = np.argsort(lengths, kind="stable")[::-1]
    start = 0
    model.eval()
    with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
        while start < len(order):
            size = max(1, _TOKENS_PER_BATCH[kind] // int(lengths[order[start]]))
            rows = order[start : start + size]
            yield rows, forward(model, encoded, rows)
            start += size


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
