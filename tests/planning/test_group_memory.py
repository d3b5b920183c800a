"""What a group of runs takes of a card: the tensors that training keeps, and how they grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from multibench.checkpoints import Architecture
from multibench.planning.group_memory import PackedStep, group_memory
from multibench.recipes import Hyperparameters
from multibench.seeds import derive_seeds
from multibench.tasks.encode import Encoded
from multibench.training.loop import Replica, train_together
from multibench.training.stack import Stack, words_in

GB = 1e9
BASE = Architecture("bert", 12, 768, 12, 3072, 30522)
MRPC, SQUAD = PackedStep.largest(32, 53.2, 128, replicas=20), PackedStep.largest(32, 161.1, 384)


def _total(
    architecture: Architecture = BASE, replicas: int = 4, step: PackedStep = MRPC, **more: Any
) -> float:
    found = group_memory(architecture, replicas, step, more.pop("precision", "bf16"), **more)
    assert found is not None
    return found.total


def test_twenty_bert_bases_on_sentence_pairs_fit_80_gb() -> None:
    found = group_memory(BASE, 20, MRPC, "bf16")
    assert 40 * GB < found.total < 72 * GB  # a tenth of the card is left
    assert _total(replicas=20) <= 0.9 * 80 * GB
    assert _total(replicas=1) <= 0.9 * 40 * GB < _total(replicas=20)


def test_orders_of_magnitude() -> None:
    # 16 bytes of 110 million numbers, two more of the 86 million that are not words; 4 of the checkpoint.
    one = group_memory(BASE, 1, MRPC, "bf16")
    assert one.trained == pytest.approx(16 * 109.48e6 + 2 * 86.04e6, rel=0.001)
    assert one.model == pytest.approx(4 * 109.48e6, rel=0.001)
    assert 0.5 * GB < one.kept < 1.2 * GB
    assert one.passing < one.kept / 5
    # Windows of 384 tokens keep more than the weights take; small models take next to nothing.
    assert group_memory(BASE, 1, SQUAD, "bf16", spans=True).kept > 2 * one.kept
    tiny = Architecture("bert", 2, 128, 2, 512, 30522)
    assert _total(tiny, 32) < 6 * GB
    # A large BERT alone fits 16 GB, four do not.
    large = Architecture("bert", 24, 1024, 16, 4096, 30522)
    assert _total(large, 1) < 16 * GB < _total(large, 4)


@pytest.mark.parametrize(
    "larger",
    [
        {"replicas": 5},
        {"precision": "fp32"},
        {"precision": "tf32"},
        {"spans": True},
        {"step": replace(MRPC, tokens=MRPC.tokens + 1)},
        {"step": replace(MRPC, pairs=2 * MRPC.pairs)},
        {"step": PackedStep.largest(48, 53.2, 128, 20)},
        {"step": PackedStep.largest(32, 60, 128, 20)},
        {"step": PackedStep.largest(32, 53.2, 128, 1)},
        *(
            {"architecture": replace(BASE, **{n: v})}
            for n, v in {"layers": 13, "heads": 16, "intermediate": 3200}.items()
        ),
        {"architecture": replace(BASE, hidden=1536)},
        {"architecture": replace(BASE, vocab_size=50_000)},
    ],
)
def test_more_takes_more(larger: dict[str, Any]) -> None:
    assert _total(**larger) > _total()


def test_words_that_do_not_occur_take_less() -> None:
    assert _total(words=5000) < _total(words=10_000) < _total() == _total(words=30522) == _total(words=10**6)
    assert _total(precision="fp16") == _total(precision="bf16")


def test_the_largest_step_is_no_larger_than_it_can_be() -> None:
    one = PackedStep.largest(4, 100, 128)
    assert (one.tokens, one.pairs) == (4 * 128, 4 * 128**2)
    assert PackedStep.largest(8, 900, 512) == PackedStep(8.0, 8 * 512.0, 8 * 512.0**2)
    many = PackedStep.largest(32, 50, 512, 32)
    assert 1.0 < many.tokens / (32 * 50) < 1.06
    for count, mean, longest in ((1, 10, 64), (32, 53.2, 128), (128, 300, 384)):
        step = PackedStep.largest(count, mean, longest)
        assert step.sequences * mean <= step.tokens <= step.sequences * longest
        assert step.tokens**2 / count <= step.pairs <= step.sequences * longest**2


def test_a_size_that_is_not_known_has_no_memory() -> None:
    for name in ("intermediate", "vocab_size"):
        unknown = replace(BASE, **{name: None})
        assert group_memory(unknown, 1, MRPC, "bf16") is None
    assert _total(replace(BASE, heads=None)) == _total()


@pytest.mark.parametrize(
    ("shape", "replicas", "precision", "length", "spans"),
    [
        ((2, 128, 2), 2, "bf16", 48, False),
        ((2, 128, 2), 2, "fp32", 48, False),
        ((4, 64, 4), 3, "fp32", 64, False),
        ((3, 96, 6), 1, "bf16", 96, True),
    ],
)
def test_what_is_kept_is_what_training_keeps(
    shape: tuple[int, int, int], replicas: int, precision: str, length: int, spans: bool
) -> None:
    """Sequences of one length have no padding: their tensors are those of a packed step, masks as booleans."""
    layers, hidden, heads = shape
    estimate = group_memory(
        Architecture("bert", layers, hidden, heads, 4 * hidden, 500),
        replicas,
        PackedStep(8, 8 * length, 8 * length**2),
        precision,
        spans=spans,
    )
    saved = _bytes_kept(shape, replicas, precision, length, spans)
    assert saved / 1.15 < estimate.kept < saved * 1.15


def _bytes_kept(shape: tuple[int, int, int], replicas: int, precision: str, length: int, spans: bool) -> int:
    """Bytes that one step of 8 sequences saves for its backward pass, beside the weights."""
    from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification

    layers, hidden, heads = shape
    config = BertConfig(
        vocab_size=500,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )
    model = (BertForQuestionAnswering if spans else BertForSequenceClassification)(config)
    rng = np.random.default_rng(0)
    starts = np.arange(17) * length
    encoded = Encoded(
        rng.integers(0, 500, 16 * length).astype(np.int32), starts, np.full(16, 5, np.int32), pad_id=0
    )
    labels = rng.integers(0, length if spans else 2, (16, 2) if spans else 16)
    settings = Hyperparameters(learning_rate=1e-4, batch_size=8, epochs=1, precision=precision)
    stack = Stack(model, replicas, words_in(encoded.tokens), precision)
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    each = [Replica(settings, derive_seeds(k)) for k in range(replicas)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        train_together(model, stack, encoded, labels, each, max_steps=1)
    weights = stack.part("bert.encoder.layer.0.output.dense.weight").value, stack.weights, stack.gradients
    own = {tensor.untyped_storage().data_ptr() for tensor in weights}
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)
