"""Adam over a stack against torch's and by hand, the learning-rate schedules, and which weights decay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification

from multibench.recipes import Hyperparameters
from multibench.training.optimizer import LossScaling, StackedAdam, learning_rate_at
from multibench.training.stack import Stack

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
RATES = (1e-2, 2e-2, 5e-3)


def _settings(**changes: object) -> Hyperparameters:
    return Hyperparameters.model_validate({"learning_rate": 2e-5, "batch_size": 4, "epochs": 1, **changes})


def _model(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(BertConfig(vocab_size=20, **SHAPE))


def _gradients(model: BertForSequenceClassification, step: int, scale: float) -> None:
    """Random gradients; of the word embeddings, only words 2 to 11 have any."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    table = model.get_input_embeddings().weight
    table.grad[:2] = table.grad[12:] = 0.0


def _give(stack: Stack, replica: int, model: BertForSequenceClassification) -> None:
    """Let the replica's gradients be those of ``model``: through a copy whose weights are the gradients."""
    carrier = _model()
    carrier.load_state_dict({name: p.grad for name, p in model.named_parameters()}, strict=False)
    whole = Stack(carrier, 1, WORDS)
    stack.gradients[replica] = whole.weights[0]


WORDS = np.arange(2, 12)


def test_replicas_equal_torchs_adamw_and_clipping_each_with_its_own_settings() -> None:
    """Three steps of three replicas, against one optimizer each: rates, decay, clipping, betas and epsilon differ."""
    each = [
        _settings(weight_decay=0.0, clip_norm=None),
        _settings(weight_decay=0.1, clip_norm=0.7),
        _settings(weight_decay=0.02, clip_norm=1e9, beta1=0.8, beta2=0.95, epsilon=1e-4),
    ]
    base, models = _model(), [_model() for _ in each]
    stack = Stack(base, len(each), WORDS)
    adam = StackedAdam(stack, each)
    reference = []
    for model, settings in zip(models, each, strict=True):
        decayed = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
        others = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        betas = (settings.beta1, settings.beta2)
        reference.append(torch.optim.AdamW(groups, betas=betas, eps=settings.epsilon))
    for step, rate in enumerate(RATES):
        rates = [rate, 2 * rate, 3 * rate]
        expected = []
        for r, (model, settings) in enumerate(zip(models, each, strict=True)):
            _gradients(model, step, scale=0.1 * (r + 1))
            _give(stack, r, model)
            limit = settings.clip_norm or math.inf
            expected.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit)))
            for group in reference[r].param_groups:
                group["lr"] = rates[r]
            reference[r].step()
        np.testing.assert_allclose(adam.step(rates).numpy(), expected, rtol=1e-5)
        assert not stack.embedding_gradients.any()
    for r, model in enumerate(models):
        stack.store(r, base)
        for (name, mine), theirs in zip(base.named_parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=0, msg=name)


def test_bert_adam_equals_a_hand_computation() -> None:
    """Three steps of one weight, written out with plain floats."""
    base, model = _model(), _model()
    settings = _settings(optimizer="bert_adam", weight_decay=0.01, clip_norm=None)
    stack = Stack(base, 1, WORDS)
    adam = StackedAdam(stack, [settings])
    assert settings.epsilon == 1e-6
    weight, m, v = float(model.classifier.weight[0, 3].detach()), 0.0, 0.0
    for step, rate in enumerate(RATES):
        _gradients(model, step, scale=0.3)
        _give(stack, 0, model)
        adam.step([rate])
        gradient = float(model.classifier.weight.grad[0, 3])
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        weight -= rate * (m / (math.sqrt(v) + 1e-6) + 0.01 * weight)
        stack.store(0, base)
        assert float(base.classifier.weight[0, 3].detach()) == pytest.approx(weight, abs=1e-6)


def test_bert_adams_first_step_is_larger_than_adamws_by_the_missing_correction() -> None:
    moved = []
    for optimizer in ("bert_adam", "adamw"):
        base, model = _model(), _model()
        stack = Stack(base, 1, WORDS)
        _gradients(model, 0, scale=1.0)
        _give(stack, 0, model)
        StackedAdam(stack, [_settings(optimizer=optimizer, epsilon=1e-12, clip_norm=None)]).step([1.0])
        stack.store(0, base)
        moved.append((base.classifier.weight - model.classifier.weight).detach().abs())
    torch.testing.assert_close(moved[0] / moved[1], torch.full_like(moved[0], 0.1 / math.sqrt(0.001)))


def test_a_replica_without_numbers_leaves_the_others_alone() -> None:
    alone, together = Stack(_model(), 1, WORDS), Stack(_model(), 2, WORDS)
    settings = _settings(weight_decay=0.1)
    optimizers = [StackedAdam(alone, [settings]), StackedAdam(together, [settings, settings])]
    for step in range(3):
        model = _model()
        _gradients(model, step, scale=0.1)
        _give(alone, 0, model)
        _give(together, 0, model)
        together.gradients[1] = float("nan")
        optimizers[0].step([1e-2])
        norms = optimizers[1].step([1e-2, 1e-2])
        assert torch.isfinite(norms).tolist() == [True, False]
    assert torch.equal(alone.weights[0], together.weights[0])
    assert torch.isnan(together.weights[1]).any()


def test_a_stack_gives_back_what_it_was_given() -> None:
    base = _model()
    stack = Stack(base, 2, WORDS)
    given = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    with torch.no_grad():
        base.classifier.weight.add_(1.0)
    stack.load(1, base)
    stack.store(0, base)
    assert all(torch.equal(tensor, given[name]) for name, tensor in base.state_dict().items())
    stack.store(1, base)
    assert torch.equal(base.classifier.weight, given["classifier.weight"] + 1.0)


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


@pytest.mark.parametrize("architecture", ["Bert", "DistilBert", "MegatronBert"])
def test_biases_and_layer_norms_do_not_decay(architecture: str) -> None:
    shape = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32} if architecture[0] == "D" else SHAPE
    config = getattr(transformers, f"{architecture}Config")(vocab_size=20, **shape)
    base = getattr(transformers, f"{architecture}ForSequenceClassification")(config)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    stack = Stack(base, 1, WORDS)
    StackedAdam(stack, [_settings(weight_decay=0.5)]).step([0.1])  # no gradient: decay is all there is
    stack.store(0, base)
    norms = {n for n, module in base.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    for name, tensor in base.named_parameters():
        kept = name.endswith("bias") or name.rpartition(".")[0] in norms
        torch.testing.assert_close(tensor, before[name] * (1.0 if kept else 0.95), msg=name)


def test_loss_scaling_skips_and_halves_then_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multibench.training.optimizer._GROW_AFTER", 3)
    scaling = LossScaling(2, torch.device("cpu"))
    assert scaling.scales.tolist() == [65_536.0, 65_536.0]
    assert scaling.skipped(torch.tensor([1.0, math.inf])).tolist() == [0, 1]
    assert scaling.scales.tolist() == [65_536.0, 32_768.0]
    assert scaling.skipped(torch.tensor([1.0, math.nan])).tolist() == [0, 1]
    assert scaling.skipped(torch.tensor([1.0, 2.0])).tolist() == [0, 0]
    assert scaling.scales.tolist() == [131_072.0, 16_384.0]  # three good ones, and two bad ones


def test_a_step_that_overflows_in_fp16_is_skipped_by_its_replica_alone() -> None:
    """The other replica moves as without the first: scaled gradients give the update of plain ones."""
    settings = _settings(weight_decay=0.1, clip_norm=0.7)
    stack = Stack(_model(), 2, WORDS, "fp16")
    plain = Stack(_model(), 1, WORDS)
    adam, expected = StackedAdam(stack, [settings] * 2), StackedAdam(plain, [settings])
    gradients = torch.randn(plain.weights.shape, generator=torch.Generator().manual_seed(0))
    begun = stack.weights[0].clone()
    for step in range(2):
        plain.gradients.copy_(gradients)
        stack.gradients[1] = gradients[0] * 65_536
        stack.gradients[0] = gradients[0] * (math.inf if step == 0 else 32_768)
        norms = adam.step([1e-3, 1e-3])
        assert torch.isfinite(norms).tolist() == [step == 1, True]
        torch.testing.assert_close(norms[1], expected.step([1e-3])[0])
        torch.testing.assert_close(stack.weights[1], plain.weights[0], atol=1e-7, rtol=0)
        if step == 0:
            assert torch.equal(stack.weights[0], begun)
            first = plain.weights[0].clone()
    # Its first step that counts is the first of the other one: the skipped one was not counted.
    torch.testing.assert_close(stack.weights[0], first, atol=1e-7, rtol=0)
