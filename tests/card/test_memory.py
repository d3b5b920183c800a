"""What a group takes of a card's memory, by the model of it and by the peak of the emulated card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification

from multibench.checkpoints import Architecture
from multibench.planning.buckets import overhead_in_tokens
from multibench.planning.group_memory import PackedStep, group_memory
from multibench.recipes import Hyperparameters, Precision
from multibench.seeds import derive_seeds
from multibench.tasks.encode import Encoded
from multibench.training.loop import Replica, train_together
from multibench.training.stack import Stack, words_in

pytestmark = pytest.mark.gpu
WORDS, BATCH = 2_000, 16


@dataclass(frozen=True)
class Case:
    """What is trained: shape, runs, precision, mean and spread of lengths."""

    layers: int
    hidden: int
    heads: int
    replicas: int
    precision: Precision = "bf16"
    mean: float = 50.0
    spans: bool = False


CASES = [
    Case(2, 128, 2, 1),
    Case(2, 128, 2, 8),
    Case(4, 128, 4, 3, "fp32"),
    Case(4, 128, 4, 2, "bf16", 90.0),
    Case(3, 128, 4, 1, "bf16", 150.0, spans=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_of_memory_is_near_the_peak(case: Case) -> None:
    """Within 1.3, for the largest of a training's steps as planning guesses it."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    estimate = group_memory(
        Architecture("bert", case.layers, case.hidden, case.heads, 4 * case.hidden, WORDS),
        case.replicas,
        PackedStep.largest(BATCH, case.mean, 384, case.replicas, overhead_in_tokens("cuda", case.hidden)),
        case.precision,
        spans=case.spans,
    )
    assert estimate is not None
    peak = _peak(case)
    assert peak / 1.3 < estimate.allocated < peak * 1.3, (estimate, peak, estimate.allocated / peak)


def _peak(case: Case) -> int:
    """Bytes in use at most in a training of 6 steps, on top of what is in use now."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(4.0, case.mean / 4, 200), 6, 384).astype(np.int64)
    starts = np.append(0, np.cumsum(lengths))
    tokens = rng.permutation(np.arange(starts[-1]) % WORDS).astype(np.int32)
    encoded = Encoded(tokens, starts, (lengths // 2).astype(np.int32), pad_id=0)
    labels = rng.integers(0, lengths[:, None], (200, 2)) if case.spans else rng.integers(0, 2, 200)
    config = BertConfig(
        vocab_size=WORDS,
        num_hidden_layers=case.layers,
        hidden_size=case.hidden,
        num_attention_heads=case.heads,
        intermediate_size=4 * case.hidden,
    )
    purpose = BertForQuestionAnswering if case.spans else BertForSequenceClassification
    model = purpose(config).eval().to("cuda")
    settings = Hyperparameters(learning_rate=1e-4, batch_size=BATCH, epochs=1, precision=case.precision)
    stack = Stack(model, case.replicas, words_in(encoded.tokens), case.precision)
    each = [Replica(settings, derive_seeds(k)) for k in range(case.replicas)]
    train_together(model, stack, encoded, labels, each, max_steps=6)
    return torch.cuda.max_memory_allocated() - before
