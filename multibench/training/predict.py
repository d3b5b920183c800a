"""Applying the models of a stack to a split: the same forward pass that trains them, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.recipes import Precision
from multibench.tasks.encode import Encoded
from multibench.training.arithmetic import set_arithmetic
from multibench.training.encoder import Encoder
from multibench.training.packing import Packed, Packer, packer_of
from multibench.training.stack import Stack, words_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["predict", "predict_together"]

# Numbers of hidden states in a batch: on a CPU as many as its caches hold, on a GPU as many as keep it busy.
_NUMBERS_PER_BATCH = {"cpu": 800_000, "cuda": 100_000_000}


def predict_together(model: PreTrainedModel, stack: Stack, encoded: Encoded) -> NDArray[np.float32]:
    """Outputs of every example by each model of ``stack``, which are built like ``model``, ``(R, n, outputs)``.

    Of a model with a span head the start and end scores of every token of ``encoded``, ``(R, total, 2)``. Examples are
    batched by length, which changes rounding only.
    """
    set_arithmetic(stack.precision, stack.device)
    words = words_in(encoded.tokens)
    packer = packer_of(encoded, stack, words)
    encoder = Encoder(model, stack, packer.longest)
    spans = hasattr(model, "qa_outputs")
    found: NDArray[np.float32] | None = None
    with torch.inference_mode():
        table = stack.words_of(words)
        for rows, packed in _batches(packer, stack):
            outputs = encoder(packed, table=table).float().cpu().numpy()
            places = _tokens_of(encoded, rows) if spans else rows
            read = packed.places if spans else slice(None)
            if found is None:
                count = len(encoded.tokens) if spans else len(encoded)
                found = np.empty((stack.replicas, count, outputs.shape[1]), dtype=np.float32)
            found[:, places] = outputs[read].reshape(stack.replicas, len(places), -1)
    assert found is not None
    return found


def predict(model: PreTrainedModel, encoded: Encoded, precision: Precision = "fp32") -> NDArray[np.float32]:
    """Outputs of one model, ``(n, outputs)``, of a span head ``(total, 2)``; see ``predict_together``."""
    outputs: NDArray[np.float32] = predict_together(model, _alone(model, precision), encoded)[0]
    return outputs


def _alone(model: PreTrainedModel, precision: Precision) -> Stack:
    """The stack of one model that is not trained: it meets no words."""
    return Stack(model, 1, np.zeros(0, dtype=np.int64), precision)


def _batches(packer: Packer, stack: Stack) -> Iterator[tuple[NDArray[np.int64], Packed]]:
    """All sequences, in batches from long to short: their numbers, and each batch, the same for every replica."""
    order = np.argsort(packer.lengths, kind="stable")
    end = len(order)
    room = _NUMBERS_PER_BATCH[stack.device.type] // (stack.hidden * stack.replicas)
    while end > 0:
        start = max(0, end - max(1, room // int(packer.lengths[order[end - 1]])))
        rows = order[start:end]
        yield rows, packer.pack([rows] * stack.replicas)
        end = start


def _tokens_of(encoded: Encoded, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of all tokens are those of the sequences ``rows``, one after the other."""
    lengths = encoded.lengths[rows]
    begins = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(encoded.starts[rows] - begins, lengths) + np.arange(lengths.sum()))
