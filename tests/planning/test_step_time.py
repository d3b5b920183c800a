"""The time of a step on a card: near an independent prediction, and bound by what it should be bound by."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from multibench.checkpoints import Architecture
from multibench.planning.cards import PRECISIONS, cards
from multibench.planning.step_time import StepWork, forward_time, step_time

# Milliseconds that a card works on a step of BERT on MRPC, batch 32, bf16: alone on an H100; a replica of 20 on an H100
# and an H200. Source: predicted from recorded operators, each bound by its launch, bytes or operations, at real lengths
# (2,628 computed tokens alone, 2,171 a replica of 20); not measured on a card.
PREDICTED = {
    "tiny": ((2, 128, 2), 0.98, 0.256, 0.202),
    "mini": ((4, 256, 4), 1.76, 0.748, 0.580),
    "minilm": ((6, 384, 12), 3.41, 2.00, 1.56),
    "medium": ((8, 512, 8), 5.06, 3.26, 2.54),
    "base": ((12, 768, 12), 12.2, 8.71, 6.83),
}
ALONE, TOGETHER = StepWork(2628, 82), StepWork(2171, 68)
H100, H200 = cards()["h100"], cards()["h200"]


def _bert(layers: int, hidden: int, heads: int) -> Architecture:
    return Architecture("bert", layers, hidden, heads, 4 * hidden, 30522)


def _within(found: float, predicted: float, factor: float = 1.5) -> bool:
    return predicted / factor < found < predicted * factor


@pytest.mark.parametrize("size", PREDICTED)
def test_a_step_takes_what_its_recorded_operators_predict(size: str) -> None:
    shape, alone, h100, h200 = PREDICTED[size]
    bert = _bert(*shape)
    assert _within(1e3 * step_time(bert, 1, ALONE, H100, "bf16").device, alone)
    assert _within(1e3 * step_time(bert, 20, TOGETHER, H100, "bf16").device / 20, h100)
    assert _within(1e3 * step_time(bert, 20, TOGETHER, H200, "bf16").device / 20, h200)


def test_the_host_takes_what_was_estimated() -> None:
    """4.0 ms of a core for two layers alone, 17.8 for twelve: estimated with the above, without a card."""
    assert _within(step_time(_bert(2, 128, 2), 1, ALONE, H100, "bf16").host, 4.0e-3, 1.2)
    assert _within(step_time(_bert(12, 768, 12), 1, ALONE, H100, "bf16").host, 17.8e-3, 1.2)


def test_small_steps_are_bound_by_the_host_and_large_ones_by_the_card() -> None:
    alone = step_time(_bert(2, 128, 2), 1, ALONE, H100, "bf16")
    assert (alone.bound_by, alone.total) == ("host", alone.host)
    many = step_time(_bert(12, 768, 12), 20, TOGETHER, H100, "bf16")
    assert (many.bound_by, many.total) == ("memory", many.device)
    plain = step_time(_bert(24, 1024, 16), 8, TOGETHER, cards()["t4"], "fp32")
    assert plain.bound_by == "products"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_more_work_takes_longer(precision: str) -> None:
    bert = _bert(4, 256, 4)
    times = [
        step_time(bert, replicas, StepWork(tokens, attended), H100, precision).device
        for replicas, tokens, attended in ((1, 500, 40), (1, 900, 40), (1, 900, 80), (2, 900, 80))
    ]
    assert times == sorted(times)
    deeper = step_time(replace(bert, layers=5), 2, StepWork(900, 80), H100, precision)
    assert deeper.host > step_time(bert, 2, StepWork(900, 80), H100, precision).host
    # Twice as many replicas take less than twice as long: launches are shared.
    assert times[3] < 2 * times[2]


def test_finer_numbers_take_longer() -> None:
    base = _bert(12, 768, 12)
    times = [step_time(base, 20, TOGETHER, H100, p).total for p in ("fp32", "tf32", "bf16", "fp16")]
    assert times[0] > times[1] > times[2] == times[3]


def test_a_faster_card_takes_less() -> None:
    base = _bert(12, 768, 12)
    order = [
        step_time(base, 8, TOGETHER, cards()[n], "bf16").total for n in ("l4", "l40s", "a100", "h100", "h200")
    ]
    assert all(slower > faster for slower, faster in itertools.pairwise(order))


def test_a_forward_pass_is_a_third_without_the_update() -> None:
    base = _bert(12, 768, 12)
    step, forward = (time(base, 4, TOGETHER, H100, "bf16") for time in (step_time, forward_time))
    assert forward.products == pytest.approx(step.products / 3)
    assert forward.copying < step.copying / 3


def test_what_is_not_known_is_not_predicted() -> None:
    base = _bert(12, 768, 12)
    for time in (step_time, forward_time):
        assert time(replace(base, intermediate=None), 1, ALONE, H100, "bf16") is None
        assert time(base, 1, ALONE, cards()["t4"], "bf16") is None
        assert time(base, 1, ALONE, cards()["v100"], "tf32") is None
        assert time(base, 1, ALONE, cards()["v100"], "fp16") is not None
        assert time(replace(base, heads=None), 1, ALONE, H100, "bf16") == time(base, 1, ALONE, H100, "bf16")
