"""Runs trained together against runs trained alone, and the stacked encoder against transformers' own models."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedModel

from multibench.checkpoints.load import initialise_head
from multibench.recipes import Hyperparameters
from multibench.seeds import derive_seeds
from multibench.tasks.encode import Encoded
from multibench.training import packing
from multibench.training.batching import Grain
from multibench.training.encoder import Encoder
from multibench.training.loop import Replica, train, train_together
from multibench.training.packing import packer_of
from multibench.training.predict import predict, predict_together
from multibench.training.record import TrainingRecord
from multibench.training.stack import Stack, words_in

VOCABULARY = 100
CONFIGS: dict[str, dict[str, Any]] = {
    "Bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "MegatronBert": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
}
PURPOSES = {"classification": "SequenceClassification", "span": "QuestionAnswering"}


def _model(architecture: str = "Bert", kind: str = "classification", dropout: float = 0.0) -> PreTrainedModel:
    """Random weights, spread more widely than a new model's, so that differences show."""
    names = (
        ("dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout")
        if architecture == "DistilBert"
        else ("hidden_dropout_prob", "attention_probs_dropout_prob")
    )
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        num_labels={"classification": 3, "regression": 1, "span": 2}[kind],
        **CONFIGS[architecture],
        **dict.fromkeys(names, dropout),
    )
    torch.manual_seed(3)
    purpose = PURPOSES.get(kind, "SequenceClassification")
    model = getattr(transformers, f"{architecture}For{purpose}")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def _encoded(n: int = 61) -> Encoded:
    rng = np.random.default_rng(5)
    pieces, seconds = [], []
    for _ in range(n):
        first, other = rng.integers(2, 14, size=2)
        pieces.append(np.array([2, *rng.integers(5, 60, size=first + other), 3], dtype=np.int32))
        seconds.append(1 + first)
    starts = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    return Encoded(np.concatenate(pieces), starts, np.array(seconds, dtype=np.int32), pad_id=0)


ENCODED = _encoded()


def _labels(kind: str) -> np.ndarray:
    rng = np.random.default_rng(6)
    if kind == "span":
        return rng.integers(0, ENCODED.lengths[:, None], size=(len(ENCODED), 2))
    classes = rng.integers(0, 3, size=len(ENCODED))
    return np.asarray(classes if kind == "classification" else classes * 0.7)


SETTINGS = Hyperparameters(
    learning_rate=1e-4, batch_size=8, epochs=13, warmup=0.1, weight_decay=0.05, clip_norm=0.5
)
# Each differs from the others in whatever replicas may differ in.
EACH = [
    Replica(SETTINGS, derive_seeds(0)),
    Replica(SETTINGS.model_copy(update={"learning_rate": 3e-4, "clip_norm": None}), derive_seeds(0)),
    Replica(SETTINGS.model_copy(update={"weight_decay": 0.0, "schedule": "constant"}), derive_seeds(1)),
    Replica(SETTINGS.model_copy(update={"warmup_steps": 0, "beta2": 0.98}), derive_seeds(2)),
]


def _together(
    model: PreTrainedModel, kind: str, each: list[Replica], steps: int = 100
) -> tuple[list[TrainingRecord], list[np.ndarray]]:
    """Records, and outputs of the trained models."""
    stack = Stack(model, len(each), words_in(ENCODED.tokens), each[0].settings.precision)
    for r, replica in enumerate(each):
        initialise_head(model, replica.seeds.head)
        stack.load(r, model)
    records = train_together(model, stack, ENCODED, _labels(kind), each, max_steps=steps)
    outputs = []
    for r in range(len(each)):
        stack.store(r, model)
        outputs.append(_scores(model, kind))
    return records, outputs


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where to train."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return str(request.param)


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("kind", ["classification", "regression", "span"])
def test_the_encoder_equals_transformers_own(architecture: str, kind: str) -> None:
    """Outputs and every gradient of two replicas, whose weights and inputs differ."""
    models = [_model(architecture, kind), _model(architecture, kind)]
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.mul_(1.1)
    words = words_in(ENCODED.tokens)
    base = _model(architecture, kind)
    stack = Stack(base, 2, words)
    with torch.no_grad():
        for own, parameter in zip(base.parameters(), models[1].parameters(), strict=True):
            own.copy_(parameter)
    stack.load(1, base)
    # Of unequal numbers: each replica's from short to long.
    rows = [np.array(sorted(part, key=lambda n: ENCODED.lengths[n])) for part in ([4, 7, 1], [30, 2])]
    packed = packer_of(ENCODED, stack).pack(rows)
    outputs = Encoder(base, stack, 64)(packed)
    weight = torch.linspace(-1, 1, outputs.numel()).view(outputs.shape)
    total = torch.zeros(())
    begin = 0
    for r, model in enumerate(models):
        ids, mask, types = (torch.from_numpy(part) for part in ENCODED.padded(rows[r]))
        inputs = {"input_ids": ids, "attention_mask": mask}
        if architecture != "DistilBert":
            inputs["token_type_ids"] = types
        found = model(**inputs)
        if kind == "span":
            expected = torch.stack([found.start_logits, found.end_logits], dim=2)[mask.bool()]
        else:
            expected = found.logits
        own = slice(begin, begin + len(expected))
        begin += len(expected)
        torch.testing.assert_close(outputs[own], expected, atol=2e-6, rtol=1e-5)
        (expected * weight[own]).sum().backward()
        total = total + (outputs[own] * weight[own]).sum()
    assert begin == len(outputs)
    total.backward()
    gradients = Stack(base, 2, words)
    gradients.weights.copy_(stack.gradients)
    for r, model in enumerate(models):
        gradients.store(r, base)
        for (name, mine), theirs in zip(base.named_parameters(), model.parameters(), strict=True):
            assert theirs.grad is not None
            wanted = theirs.grad
            if mine is base.get_input_embeddings().weight:
                mine, wanted = mine[words], wanted[words]
            torch.testing.assert_close(mine.detach(), wanted, atol=1e-5, rtol=1e-4, msg=name)


def _scores(model: PreTrainedModel, kind: str) -> np.ndarray:
    """Outputs; of spans up to what is the same for all tokens, which has no gradient and is rounding all over."""
    if kind != "span":
        return predict(model, ENCODED)
    scores: np.ndarray = predict(model, ENCODED)
    return np.asarray(scores - scores.mean(axis=0))


@pytest.mark.parametrize(
    ("architecture", "kind", "dropout"),
    [
        ("Bert", "classification", 0.0),
        ("Bert", "classification", 0.1),
        ("DistilBert", "span", 0.1),
    ],
)
def test_a_replica_equals_its_run_alone_after_100_steps(
    architecture: str, kind: str, dropout: float, device: str
) -> None:
    records, outputs = _together(_model(architecture, kind, dropout).to(device), kind, EACH)
    for r, replica in list(enumerate(EACH))[1:3]:
        model = _model(architecture, kind, dropout).to(device)
        initialise_head(model, replica.seeds.head)
        alone = train(model, ENCODED, _labels(kind), replica.settings, replica.seeds, max_steps=100)
        assert len(alone.losses) == 100
        np.testing.assert_allclose(records[r].losses, alone.losses, atol=1e-5, rtol=0)
        np.testing.assert_allclose(records[r].gradient_norms, alone.gradient_norms, atol=1e-3, rtol=0)
        assert np.array_equal(records[r].learning_rates, alone.learning_rates)
        assert (records[r].examples, records[r].tokens) == (alone.examples, alone.tokens)
        np.testing.assert_allclose(outputs[r], _scores(model, kind), atol=1e-5, rtol=0)
    finals = [record.losses[-10:].mean() for record in records]
    assert np.std(finals) > 1e-3  # they are different runs


@pytest.mark.gpu
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_gpu_trains_as_the_processor_does(dropout: float) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    (on_cpu, cpu_outputs), (on_gpu, gpu_outputs) = (
        _together(_model(dropout=dropout).to(device), "classification", EACH, steps=30)
        for device in ("cpu", "cuda")
    )
    for r in range(len(EACH)):
        np.testing.assert_allclose(on_gpu[r].losses, on_cpu[r].losses, atol=1e-4, rtol=0)
        np.testing.assert_allclose(gpu_outputs[r], cpu_outputs[r], atol=1e-3, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["classification", "span"])
def test_no_step_waits_for_the_gpu(kind: str) -> None:
    """Losses are read at the end alone: twenty steps synchronise as often as five."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")

    def waits(steps: int) -> int:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                _together(_model(kind=kind, dropout=0.1).to("cuda"), kind, EACH, steps=steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(warning.message) for warning in said)

    waits(5)
    assert waits(20) == waits(5) > 0


def test_few_shapes_of_bfloat16_change_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that nobody reads and buckets of few sizes, against neither, with dropout."""
    settings = SETTINGS.model_copy(update={"precision": "bf16", "batch_size": 9})
    losses, computed = [], []
    for grain in (None, Grain()):
        if grain is not None:
            monkeypatch.setattr(packing, "grain_of", lambda *_, grain=grain: grain)
        record = train(
            _model(dropout=0.1), ENCODED, _labels("classification"), settings, derive_seeds(0), max_steps=20
        )
        losses.append(record.losses)
        computed.append(record.computed_tokens)
        assert record.tokens <= record.computed_tokens
    np.testing.assert_allclose(losses[0], losses[1], atol=0.03)
    assert computed[0] > computed[1] == record.tokens


def test_neither_buckets_nor_segments_change_more_than_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout belongs to tokens: however sequences and replicas are laid out, each meets the same masks."""
    losses = []
    for overhead, slack in ((0, 0.0), (10**6, 1.0), (40, 0.05)):
        monkeypatch.setattr(packing, "overhead_in_tokens", lambda *_, n=overhead: n)
        monkeypatch.setattr(packing, "_SLACK", {"cpu": slack})
        records, _ = _together(_model(dropout=0.3), "classification", EACH, steps=20)
        losses.append(np.stack([record.losses for record in records]))
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5, rtol=0)
    np.testing.assert_allclose(losses[0], losses[2], atol=1e-5, rtol=0)
    without, _ = _together(_model(), "classification", EACH, steps=20)
    assert np.abs(losses[0] - np.stack([record.losses for record in without])).max() > 0.01


@pytest.mark.parametrize("architecture", ["Bert", "MegatronBert"])
def test_runs_of_several_checkpoints_and_batch_sizes_equal_their_runs_alone(architecture: str) -> None:
    """Other weights, embeddings that training does not meet included, other batches, another number of steps."""
    models = [_model(architecture, dropout=0.1) for _ in range(3)]
    with torch.no_grad():
        for factor, model in zip((1.0, 1.1, 0.9), models, strict=True):
            for parameter in model.parameters():
                parameter.mul_(factor)
    changes = [{}, {"batch_size": 5, "epochs": 7}, {"batch_size": 16, "epochs": 11, "batching": "bucketed"}]
    each = [Replica(SETTINGS.model_copy(update=change), derive_seeds(k)) for k, change in enumerate(changes)]
    labels = _labels("classification")
    stack = Stack(models[0], 3, words_in(ENCODED.tokens))
    for r, model in enumerate(models):
        stack.load(r, model)
    records = train_together(models[0], stack, ENCODED, labels, each)
    assert sorted(len(record.losses) for record in records) == [44, 91, 104]
    every = Encoded(
        np.concatenate([ENCODED.tokens, np.arange(VOCABULARY, dtype=np.int32)]),
        np.append(ENCODED.starts, [ENCODED.starts[-1] + 50, ENCODED.starts[-1] + VOCABULARY]),
        np.append(ENCODED.second, [20, 30]).astype(np.int32),
        pad_id=0,
    )
    outputs = predict_together(models[0], stack, every)
    for r, (model, replica) in enumerate(zip(models, each, strict=True)):
        alone = train(model, ENCODED, labels, replica.settings, replica.seeds)
        np.testing.assert_allclose(records[r].losses, alone.losses, atol=1e-5, rtol=0)
        np.testing.assert_allclose(outputs[r], predict(model, every), atol=2e-5, rtol=0)
        assert records[r].tokens == alone.tokens
        carrier = _model(architecture)
        stack.store(r, carrier)
        # All words, those included that no text has.
        mine, theirs = (one.get_input_embeddings().weight for one in (carrier, model))
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["classification", "span"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_predictions_equal_transformers_own(architecture: str, kind: str) -> None:
    model = _model(architecture, kind)
    found = predict(model, ENCODED)
    for n in (0, 17, 60):
        ids, mask, types = (torch.from_numpy(part) for part in ENCODED.padded(np.array([n])))
        inputs = {"input_ids": ids, "attention_mask": mask}
        if architecture != "DistilBert":
            inputs["token_type_ids"] = types
        with torch.no_grad():
            own = model(**inputs)
        if kind == "span":
            expected = torch.stack([own.start_logits[0], own.end_logits[0]], dim=1).numpy()
            np.testing.assert_allclose(
                found[ENCODED.starts[n] : ENCODED.starts[n + 1]], expected, atol=2e-6, rtol=1e-5
            )
        else:
            np.testing.assert_allclose(found[n], own.logits[0].numpy(), atol=2e-6, rtol=1e-5)


def test_repeated_bits_are_equal_and_other_dropout_seeds_matter() -> None:
    one, again = (_together(_model(dropout=0.1), "classification", EACH, steps=10) for _ in range(2))
    for a, b in zip(one[0], again[0], strict=True):
        assert a.losses.tobytes() == b.losses.tobytes()
    for mine, theirs in zip(one[1], again[1], strict=True):
        assert mine.tobytes() == theirs.tobytes()
    seeds = replace(EACH[0].seeds, dropout=5)
    (other, _) = _together(_model(dropout=0.1), "classification", [Replica(SETTINGS, seeds)], steps=10)
    assert not np.allclose(other[0].losses, one[0][0].losses, atol=1e-3)


def test_a_replica_that_breaks_down_leaves_the_others_alone() -> None:
    broken = Replica(
        SETTINGS.model_copy(update={"learning_rate": 1e30, "warmup": 0.0, "clip_norm": None}), derive_seeds(4)
    )
    records, outputs = _together(_model(), "classification", [EACH[0], broken, EACH[1]], steps=30)
    alone, expected = _together(_model(), "classification", [EACH[0], EACH[1]], steps=30)
    assert [record.divergence is None for record in records] == [True, False, True]
    divergence = records[1].divergence
    assert divergence is not None
    assert len(records[1].losses) == divergence.step + 1 < 30
    assert not np.isfinite(records[1].losses[-1])
    for mine, other in ((0, 0), (2, 1)):
        np.testing.assert_allclose(records[mine].losses, alone[other].losses, atol=1e-5, rtol=0)
        np.testing.assert_allclose(outputs[mine], expected[other], atol=1e-5, rtol=0)


def test_replicas_in_bf16_stay_near_fp32() -> None:
    records = {}
    for precision in ("fp32", "bf16"):
        each = [replace(r, settings=r.settings.model_copy(update={"precision": precision})) for r in EACH[:2]]
        records[precision], _ = _together(_model(), "classification", each, steps=8)
    for half, full in zip(records["bf16"], records["fp32"], strict=True):
        assert not np.array_equal(half.losses, full.losses)
        np.testing.assert_allclose(half.losses, full.losses, atol=0.03)


def test_replicas_in_fp16_stay_near_fp32() -> None:
    each = [replace(r, settings=r.settings.model_copy(update={"precision": "fp16"})) for r in EACH[:2]]
    half, _ = _together(_model(), "classification", each, steps=8)
    full, _ = _together(_model(), "classification", EACH[:2], steps=8)
    for mine, theirs in zip(half, full, strict=True):
        assert mine.divergence is None
        assert not np.array_equal(mine.losses, theirs.losses)
        np.testing.assert_allclose(mine.losses, theirs.losses, atol=0.02)


def test_a_packed_step_computes_its_real_tokens() -> None:
    """Of texts as long as those of MRPC, RTE and MNLI, alone and 20 together, on the layout of a card as well."""
    for mean, sd in ((53, 19), (67, 34), (39, 20)):
        rng = np.random.default_rng(0)
        lengths = np.clip(rng.gamma((mean / sd) ** 2, sd**2 / mean, (20, 32)), 6, 128).astype(int)
        tokens = lengths.sum(axis=1)
        for count in (1, 20):
            for grain, slack in ((32, 0.0), (1, 0.05), (1, 0.0)):
                layout = packing.Layout.of(tokens[:count].tolist(), grain, slack)
                assert layout.rows / tokens[:count].sum() <= 1.05
