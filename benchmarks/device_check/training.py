"""A few steps of training at real shapes: the one place of the check that touches the training core."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import torch

from multibench.bench import SIZES, Case
from multibench.bench.sizes import model_of
from multibench.seeds import derive_seeds
from multibench.training.loop import Replica, train_together
from multibench.training.record import TrainingRecord
from multibench.training.stack import Stack, words_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Precision", "train_some"]

Precision = Literal["fp32", "bf16"]


def train_some(
    size: str, replicas: int, precision: Precision, device: str, steps: int, dropout: float = 0.1
) -> list[TrainingRecord]:
    """Train ``replicas`` runs of seeds 0, 1, ... together for ``steps`` steps of 32 texts as long as MRPC's.

    The same arguments start from the same weights and take the same texts in the same order. One record each.
    """
    case = Case(size, "mrpc", precision, torch.device(device), steps=steps)
    model = _model(size, device)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(model.config, name, dropout)
    model.dropout.p = dropout
    stack = Stack(model, replicas, words_in(case.encoded.tokens), precision)
    each = [Replica(case.settings, derive_seeds(seed)) for seed in range(replicas)]
    return train_together(model, stack, case.encoded, case.labels, each, max_steps=steps)


@cache
def _model(size: str, device: str) -> PreTrainedModel:
    """A classifier with random weights; training leaves it as it is, since a stack has weights of its own."""
    # Drawn on the processor, so that every device has the same.
    return model_of(SIZES[size], torch.device("cpu")).to(device)
