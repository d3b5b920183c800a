"""Our loop against a plain Hugging Face model and torch.optim.AdamW, step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    get_linear_schedule_with_warmup,
)

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Dropout, Head, initialise_head, load_model
from multibench.recipes import Hyperparameters
from multibench.seeds import derive_seeds
from multibench.tasks.encode import Encoded
from multibench.training import packing
from multibench.training.batching import step_rows, steps_in_total
from multibench.training.loop import train

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(95))]
BERT = BertConfig(
    vocab_size=100,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=64,
)
DISTILBERT = DistilBertConfig(
    vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
)
NO_DROPOUT = Dropout(0.0, 0.0, 0.0)


def _folder(path: Path, kind: str) -> Path:
    torch.manual_seed(3)
    model = BertModel(BERT) if kind == "bert" else DistilBertModel(DISTILBERT)
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    return path


def _data(n: int = 75, second: bool = True) -> tuple[Encoded, NDArray[np.int64]]:
    rng = np.random.default_rng(5)
    pieces, seconds = [], []
    for _ in range(n):
        first, other = rng.integers(3, 20, size=2)
        ids = [2, *rng.integers(5, 100, size=first), 3]
        seconds.append(len(ids))
        ids += [*rng.integers(5, 100, size=other), 3] if second else []
        pieces.append(np.array(ids, dtype=np.int32))
    starts = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    encoded = Encoded(np.concatenate(pieces), starts, np.array(seconds, dtype=np.int32), pad_id=0)
    return encoded, rng.integers(0, 3, size=n)


def _settings(**changes: object) -> Hyperparameters:
    values: dict[str, object] = {
        "learning_rate": 1e-3,
        "batch_size": 16,
        "epochs": 4,
        "warmup": 0.2,
        "weight_decay": 0.05,
        "clip_norm": 0.5,
    }
    return Hyperparameters.model_validate({**values, **changes})


def _reference(
    kind: str,
    path: Path,
    settings: Hyperparameters,
    head_from: dict[str, torch.Tensor],
    outputs: int,
    labels: torch.Tensor,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The loop that a user would write: whole padded batches, Hugging Face's own loss and schedule."""
    cls = BertForSequenceClassification if kind == "bert" else DistilBertForSequenceClassification
    model = cls.from_pretrained(path, num_labels=outputs)
    model.load_state_dict(head_from, strict=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.eval()  # dropout off, attention dropout included; gradients flow all the same
    encoded, _ = _data()
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "norm" not in n.lower()]
    rest = [p for n, p in model.named_parameters() if "bias" in n or "norm" in n.lower()]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    steps = steps_in_total(len(encoded), settings.batch_size, settings.epochs, drop_last=False)
    schedule = get_linear_schedule_with_warmup(optimizer, int(settings.warmup * steps), steps)
    losses = []
    for rows in step_rows(len(encoded), settings.batch_size, 20, derive_seeds(0).order):
        ids, mask, types = (torch.from_numpy(part) for part in encoded.padded(rows))
        inputs = {"input_ids": ids, "attention_mask": mask}
        if kind == "bert":
            inputs["token_type_ids"] = types
        loss = model(**inputs, labels=labels[torch.from_numpy(rows)]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or 0.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses, model.state_dict()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_twenty_steps_equal_hugging_face_and_torch(tmp_path: Path, kind: str, task: str) -> None:
    folder = open_folder(_folder(tmp_path, kind))
    encoded, labels = _data()
    scores = labels.astype(np.float64) * 0.7
    head = Head("classification", 3) if task == "classification" else Head("regression", 1)
    ours = load_model(folder, head, NO_DROPOUT)
    initialise_head(ours, 11)
    heads = {n: t.clone() for n, t in ours.state_dict().items() if not n.startswith(ours.base_model_prefix)}
    target = torch.from_numpy(labels if task == "classification" else scores.astype(np.float32))
    settings = _settings()
    losses, weights = _reference(kind, tmp_path, settings, heads, head.outputs, target)
    record = train(
        ours, encoded, labels if task == "classification" else scores, settings, derive_seeds(0), max_steps=20
    )
    np.testing.assert_allclose(record.losses, losses, atol=1e-5, rtol=0)
    assert len(losses) == 20
    start = load_model(folder, head, NO_DROPOUT).state_dict()
    prefix = ours.base_model_prefix
    moved = [float((t - start[n]).abs().max()) for n, t in ours.state_dict().items() if n.startswith(prefix)]
    assert max(moved) > 5e-3  # the weights moved far, so that their equality says something
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], atol=1e-5, rtol=0)


def test_buckets_change_a_step_by_less_than_1e_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One plain step with sequences in one bucket a length, in a few, in one: only rounding differs."""
    folder = open_folder(_folder(tmp_path, "bert"))
    encoded, labels = _data()
    results = []
    for overhead in (0, 30, 100_000):
        model = load_model(folder, Head("classification", 3), NO_DROPOUT)
        initialise_head(model, 11)
        monkeypatch.setattr(packing, "overhead_in_tokens", lambda *_, n=overhead: n)
        record = train(model, encoded, labels, _settings(warmup=0), derive_seeds(0), max_steps=1)
        results.append((record, {n: t.clone() for n, t in model.state_dict().items()}))
    for record, weights in results[1:]:
        assert abs(record.gradient_norms[0] - results[0][0].gradient_norms[0]) < 1e-6
        assert abs(record.losses[0] - results[0][0].losses[0]) < 1e-6
        for name, tensor in weights.items():
            # AdamW's first step is the sign of the gradient where that is tiny, so compare where it is not.
            difference = (tensor - results[0][1][name]).abs()
            assert difference.quantile(0.99) < 1e-6, name


def test_bit_identical_when_repeated_and_other_with_other_seeds(tmp_path: Path) -> None:
    folder = open_folder(_folder(tmp_path, "bert"))
    encoded, labels = _data()

    def losses(seed: int) -> list[float]:
        model = load_model(folder, Head("classification", 3))  # dropout 0.1, as configured
        initialise_head(model, derive_seeds(seed).head)
        torch.rand(3)  # noise in the global generator must not matter
        return list(train(model, encoded, labels, _settings(epochs=1), derive_seeds(seed)).losses)

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


def test_global_generator_is_left_alone(tmp_path: Path) -> None:
    folder = open_folder(_folder(tmp_path, "bert"))
    encoded, labels = _data()
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    model = load_model(folder, Head("classification", 3))
    initialise_head(model, 1)
    train(model, encoded, labels, _settings(), derive_seeds(0), max_steps=2)
    assert torch.equal(torch.rand(4), expected)


def test_divergence_is_recorded_with_its_evidence(tmp_path: Path) -> None:
    folder = open_folder(_folder(tmp_path, "bert"))
    encoded, labels = _data()
    model = load_model(folder, Head("classification", 3), NO_DROPOUT)
    initialise_head(model, 1)
    record = train(
        model,
        encoded,
        labels,
        _settings(learning_rate=1e30, warmup=0, clip_norm=None, epochs=8),
        derive_seeds(0),
    )
    assert record.divergence is not None
    assert not np.isfinite(record.losses[record.divergence.step])
    assert np.isfinite(record.losses[: record.divergence.step]).all()
    assert len(record.losses) == record.divergence.step + 1
    assert "learning rate" in record.divergence.sentence()


def test_bf16_stays_near_fp32(tmp_path: Path) -> None:
    folder = open_folder(_folder(tmp_path, "bert"))
    encoded, labels = _data()
    losses = {}
    for precision in ("fp32", "bf16"):
        model = load_model(folder, Head("classification", 3), NO_DROPOUT)
        initialise_head(model, 1)
        settings = _settings(precision=precision, learning_rate=1e-4)
        losses[precision] = train(model, encoded, labels, settings, derive_seeds(0), max_steps=5).losses
        assert next(model.parameters()).dtype == torch.float32
    assert not np.array_equal(losses["fp32"], losses["bf16"])
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], atol=0.02)
