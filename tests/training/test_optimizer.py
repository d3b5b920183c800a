"""BERT's Adam by hand, the learning-rate schedules, and which weights decay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from multibench.recipes import Hyperparameters
from multibench.training.optimizer import BertAdam, build_optimizer, learning_rate_at


def test_bert_adam_equals_a_hand_computation() -> None:
    """Three steps of one weight, written out with plain floats."""
    gradients, rates = [0.3, -0.1, 0.25], [1e-2, 2e-2, 5e-3]
    weight, m, v = 0.5, 0.0, 0.0
    parameter = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = BertAdam([parameter], lr=1.0, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)
    for gradient, rate in zip(gradients, rates, strict=True):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        weight -= rate * (m / (math.sqrt(v) + 1e-6) + 0.01 * weight)
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        assert parameter.item() == pytest.approx(weight, abs=1e-14)


def test_bert_adam_first_step_is_larger_than_adamw_by_the_missing_correction() -> None:
    steps = []
    for cls in (BertAdam, torch.optim.AdamW):
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        parameter.grad = torch.ones(1, dtype=torch.float64)
        cls([parameter], lr=1.0, eps=1e-12, weight_decay=0.0).step()
        steps.append(-parameter.item())
    assert steps[0] / steps[1] == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-6)


def _settings(**changes: object) -> Hyperparameters:
    return Hyperparameters.model_validate({"learning_rate": 2e-5, "batch_size": 4, "epochs": 1, **changes})


def test_linear_schedule_equals_transformers() -> None:
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, 4, 40)
    for step in range(40):
        assert learning_rate_at(step, 40, _settings(warmup=0.1)) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        optimizer.step()
        schedule.step()


def test_other_schedules() -> None:
    rates = [learning_rate_at(s, 10, _settings(warmup=0.2, schedule="linear_from_start")) for s in range(10)]
    np.testing.assert_allclose(np.array(rates) / 2e-5, [0, 0.5, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    rates = [learning_rate_at(s, 4, _settings(schedule="square_root")) for s in range(4)]
    np.testing.assert_allclose(np.array(rates) / 2e-5, np.sqrt([1, 0.75, 0.5, 0.25]))
    rates = [learning_rate_at(s, 10, _settings(warmup_steps=2, schedule="constant")) for s in range(10)]
    np.testing.assert_allclose(np.array(rates) / 2e-5, [0, 0.5, *[1] * 8])


def test_biases_and_layer_norms_do_not_decay() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=20, **shape))
    optimizer = build_optimizer(model, _settings(weight_decay=0.01))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    names = {n: decay[id(p)] for n, p in model.named_parameters()}
    assert len(names) == len(decay)
    for name, value in names.items():
        assert value == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01), name
