"""Applying a fine-tuned model to a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.tasks.encode import Encoded
from multibench.training.batching import grain_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["predict", "predict_spans"]

# Numbers of hidden states in a batch: on a CPU as many as its caches hold, on a GPU as many as keep it busy.
_NUMBERS_PER_BATCH = {"cpu": 800_000, "cuda": 100_000_000}


def _forward(model: PreTrainedModel, encoded: Encoded, rows: NDArray[np.int64], longest: int) -> Any:
    """The model's output object for ``rows``, padded to ``longest`` tokens."""
    ids, mask, types = encoded.padded(rows, longest)
    inputs = {"input_ids": torch.from_numpy(ids).to(model.device)}
    if encoded.lengths[rows].min() < longest:  # without padding there is nothing to mask
        inputs["attention_mask"] = torch.from_numpy(mask).to(model.device)
    if model.config.model_type != "distilbert":
        inputs["token_type_ids"] = torch.from_numpy(types).to(model.device)
    return model(**inputs)


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
    lengths, hidden = encoded.lengths, model.config.hidden_size
    order = np.argsort(lengths, kind="stable")[::-1]
    grain = grain_of(kind, precision)
    start = 0
    model.eval()
    with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
        while start < len(order):
            longest = grain.padded(int(lengths[order[start]]), int(lengths[order[0]]))
            size = max(1, _NUMBERS_PER_BATCH[kind] // (hidden * longest))
            rows = order[start : start + size]
            yield rows, _forward(model, encoded, rows, longest)
            start += size
