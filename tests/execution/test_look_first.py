"""A device that cannot be used is refused before anything is fetched, and by its name before torch is loaded."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch

from multibench import network
from multibench.execution import breakage
from multibench.tasks import sources
from tests.support.cards import pretend_cards
from tests.support.command import Outcome, multibench
from tests.support.hub import Hub
from tests.support.tiny import Bench, make_bench, make_checkpoint

CHECKPOINT = "google/multiberts-seed_0-step_20k"


@pytest.fixture
def bench(tmp_path: Path, hub: Hub) -> Bench:
    """A suite whose checkpoint the Hub has."""
    made = make_bench(tmp_path)
    made.write(checkpoints=[{"ids": [CHECKPOINT]}])
    hub.add(CHECKPOINT, make_checkpoint(tmp_path / "served"))
    return made


def _run(bench: Bench, *words: str) -> Outcome:
    return multibench("run", bench.suite, *bench.options, "--threads", 1, *words)


@pytest.mark.parametrize(
    ("cards", "device", "said"),
    [
        (0, "cuda", "torch finds no CUDA device"),
        (0, "cuda:0", "torch finds no CUDA device"),
        (2, "cuda:2", "what torch finds are cuda:0 to cuda:1"),
        (2, "cuda:two", "--device is 'cuda:two'"),
    ],
)
def test_a_wrong_device_is_refused_before_weights_are_fetched(
    bench: Bench, hub: Hub, monkeypatch: pytest.MonkeyPatch, cards: int, device: str, said: str
) -> None:
    pretend_cards(monkeypatch, cards)
    assert said in _run(bench, "--device", device).refusal()
    assert not hub.asked


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_broken_card_is_refused_before_weights_are_fetched(
    bench: Bench, hub: Hub, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    pretend_cards(monkeypatch, 1)
    monkeypatch.setattr(breakage, "_trouble", lambda *_: "it is gone")
    ended = _run(bench, "--device", device)
    assert ended.code == 3
    assert ended.err.startswith(
        "multibench: The card cuda:0 (Pretended, GPU-0000-0) does not answer: it is gone."
    )
    assert not hub.asked


def test_a_wrong_device_is_refused_before_data_are_fetched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = mock.Mock(side_effect=OSError("nothing is fetched in tests"))
    monkeypatch.setattr(sources, "_datasets_loader", lambda: load)
    pretend_cards(monkeypatch, 0)
    bench.write(tasks=["rte"])
    assert "torch finds no CUDA device" in _run(bench, "--device", "cuda").refusal()
    assert not load.called
    assert "nothing is fetched in tests" in _run(bench, "--device", "cpu").refusal()
    assert load.called


def test_what_is_right_is_fetched_and_made(bench: Bench, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cards(monkeypatch, 0)
    assert _run(bench).code == 0
    assert hub.bytes_sent_for("model.safetensors") == 1
    assert network._before_fetching == []
    hub.asked.clear()
    with monkeypatch.context() as patch:  # all is done: no device is looked at
        patch.setattr(torch.cuda, "is_available", mock.Mock(side_effect=AssertionError))
        assert "Nothing to do" in _run(bench).err


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_what_is_no_device_is_refused_by_each_verb(bench: Bench, verb: str) -> None:
    words = [verb, *([bench.suite] if verb == "run" else []), "--device", "gpu:1"]
    assert "--device is 'gpu:1'; give auto, cpu, cuda" in multibench(*words).refusal()
