"""A card that no longer answers ends the process; what fails on one that answers is a failed run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multibench.errors import BrokenDeviceError
from multibench.execution import breakage
from multibench.execution import group as group_module
from multibench.execution.breakage import describe, probe, raise_if_broken, usable_cards
from multibench.training.loop import train_together
from tests.support.cards import pretend_cards
from tests.support.command import multibench
from tests.support.tiny import Bench, make_bench

CARD = torch.device("cuda", 0)
ASSERTED = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
Product = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """A card that computes on the CPU, by the function given, or raises the error given."""
    pretend_cards(monkeypatch, 1)
    right, to = breakage._product, torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda a, where, *more: a if where == CARD else to(a, where, *more)
    )

    def is_(answer: Any) -> None:
        calls: list[None] = []

        def product(a: torch.Tensor) -> torch.Tensor:
            calls.append(None)
            if len(calls) % 2:  # what is expected is computed first
                return right(a)
            if isinstance(answer, Exception):
                raise answer
            found: torch.Tensor = answer(right(a))
            return found

        monkeypatch.setattr(breakage, "_product", product)

    return is_


def test_a_small_product_is_one_and_exact() -> None:
    a = torch.arange(64.0).remainder(7).reshape(8, 8)
    assert torch.equal(breakage._product(a), a @ a)
    assert breakage._trouble(torch.device("cpu"), 10) is None


def test_a_card_that_answers_passes(card: Callable[[Any], None]) -> None:
    card(lambda right: right)
    probe(CARD)
    raise_if_broken(CARD, RuntimeError(ASSERTED))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (torch.AcceleratorError(ASSERTED), "AcceleratorError: CUDA error: device-side assert triggered"),
        (
            RuntimeError("CUDA error: unspecified launch failure"),
            "RuntimeError: CUDA error: unspecified launch",
        ),
        (AssertionError(), "AssertionError"),
        (lambda right: right + 1, "a small product is wrong"),
        (lambda right: right * float("nan"), "a small product is wrong"),
        (lambda right: right[:4], "a small product is wrong"),
    ],
)
def test_a_card_that_does_not_is_named(card: Callable[[Any], None], answer: Any, said: str) -> None:
    card(answer)
    with pytest.raises(BrokenDeviceError) as refused:
        probe(CARD)
    assert str(refused.value).startswith(f"The card cuda:0 (Pretended, GPU-0000-0) does not answer: {said}")
    with pytest.raises(BrokenDeviceError) as broken:
        raise_if_broken(CARD, torch.AcceleratorError(ASSERTED))
    text = str(broken.value)
    assert "no longer answers after AcceleratorError: CUDA error: device-side assert triggered. " in text
    assert "The same command goes on" in text
    assert broken.value.exit_code == 3


def test_a_card_that_is_silent_is_given_up_on(
    card: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    card(lambda right: time.sleep(1) or right)
    monkeypatch.setattr(breakage, "_PROBE_SECONDS", 0.05)
    with pytest.raises(BrokenDeviceError, match=r"it has not answered for 0\.05 seconds"):
        probe(CARD)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
    ],
)
def test_whoever_says_that_memory_is_short_answers(card: Callable[[Any], None], error: Exception) -> None:
    card(error)
    probe(CARD)
    raise_if_broken(CARD, error)


def test_out_of_memory_and_a_cpu_are_not_asked(card: Callable[[Any], None]) -> None:
    card(torch.AcceleratorError(ASSERTED))
    raise_if_broken(CARD, torch.OutOfMemoryError("CUDA out of memory."))
    raise_if_broken(torch.device("cpu"), RuntimeError(ASSERTED))
    probe(torch.device("cpu"))


def test_a_card_is_named_as_far_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was asked before it broke has the name that it had."""

    def gone(device: torch.device) -> None:
        raise RuntimeError(ASSERTED)

    name = "The card cuda:0 of CUDA_VISIBLE_DEVICES=GPU-8932f937"
    pretend_cards(monkeypatch, 1, "GPU-8932f937")
    monkeypatch.setattr(breakage, "_trouble", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "get_device_properties", gone)
        assert describe(CARD) == name
    probe(CARD)
    monkeypatch.setattr(torch.cuda, "get_device_properties", gone)
    assert describe(CARD) == f"{name} (Pretended, GPU-0000-0)"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Four runs that go together."""
    made = make_bench(tmp_path)
    made.write(finetuning_seeds="0-3")
    return made


def _breaking(monkeypatch: pytest.MonkeyPatch, after: int, answers: bool) -> None:
    """Let the training after ``after`` meet an error of CUDA, as on a card that ``answers`` afterwards, or does not."""
    trained: list[int] = []

    def train(model: Any, stack: Any, encoded: Any, labels: Any, replicas: Any, on_step: Any) -> Any:
        if len(trained) >= after:
            raise torch.AcceleratorError(ASSERTED)
        trained.append(len(replicas))
        return train_together(model, stack, encoded, labels, replicas, on_step)

    monkeypatch.setattr(group_module, "train_together", train)
    monkeypatch.setattr(group_module, "raise_if_broken", lambda _, error: raise_if_broken(CARD, error))
    monkeypatch.setattr(breakage, "_trouble", lambda *_: None if answers else "it is gone")


@pytest.mark.parametrize("replicas", [1, "auto"])
def test_a_broken_card_ends_the_command_and_stores_no_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, replicas: Any
) -> None:
    with monkeypatch.context() as patch:
        _breaking(patch, after=2 if replicas == 1 else 0, answers=False)
        ended = multibench("run", bench.suite, *bench.options, "--threads", 1, "--replicas", replicas)
    assert ended.code == 3
    assert "multibench: The card cuda:0 no longer answers after AcceleratorError: CUDA error" in ended.err
    assert "Traceback" not in ended.err
    stored = [run.fields["status"] for run in bench.opened().stored] if replicas == 1 else []
    assert (
        len(stored) == len(bench.store.run_ids()) == (2 if replicas == 1 else 0)
    )  # what was made before stays
    assert "failed" not in stored
    assert not list((bench.store.folder / "claims").glob("[!.]*"))
    assert not list((bench.store.folder / "tmp").glob("*"))
    # The same command goes on.
    assert multibench("run", bench.suite, *bench.options, "--threads", 1, "--replicas", replicas).code == 0
    assert len(bench.store.run_ids()) == 4


def test_an_error_of_a_card_that_answers_fails_the_run_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _breaking(monkeypatch, after=3, answers=True)
    ended = multibench("run", bench.suite, *bench.options, "--threads", 1, "--replicas", 1)
    assert ended.code == 1
    failed = [run for run in bench.opened().stored if run.fields["status"] == "failed"]
    assert len(failed) == 1
    assert failed[0].manifest["reason"] == "AcceleratorError: CUDA error: device-side assert triggered"
    assert failed[0].manifest["provenance"]["device"] == "cpu"
    assert len(bench.store.run_ids()) == 4


def test_a_card_that_breaks_in_an_evaluation_ends_the_command_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError(ASSERTED)

    _breaking(monkeypatch, after=9, answers=False)
    monkeypatch.setattr("multibench.execution.trained.predict_together", breaks)
    with pytest.raises(BrokenDeviceError, match="no longer answers after RuntimeError"):
        bench.run()
    assert bench.store.run_ids() == []
    assert not list((bench.store.folder / "claims").glob("[!.]*"))


def test_a_card_that_breaks_while_weights_are_kept_ends_the_command_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError(ASSERTED)

    bench.write(keep_weights="last")
    _breaking(monkeypatch, after=9, answers=False)
    monkeypatch.setattr("multibench.execution.trained.TrainedGroup.save", breaks)
    with pytest.raises(BrokenDeviceError, match="no longer answers after RuntimeError"):
        bench.run()
    assert bench.store.run_ids() == []


def test_the_one_card_is_asked_here(card: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    card(lambda right: right)
    assert [found.name for found in usable_cards("auto", "auto", print)] == ["cuda:0"]
    card(RuntimeError(ASSERTED))
    with pytest.raises(BrokenDeviceError, match="does not answer"):
        usable_cards("auto", "auto", print)
    pretend_cards(monkeypatch, 4)
    card(lambda right: right)
    assert [found.name for found in usable_cards("cuda", 1, print)] == ["cuda:0"]
    assert usable_cards("cpu", "auto", print) == ()


def _python(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_several_are_asked_by_a_process_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Python answers on two cards, says what is wrong on one, and dies on one."""
    pretend_cards(monkeypatch, 4, "GPU-a,GPU-b,GPU-c,GPU-d")
    case = (
        'case $CUDA_VISIBLE_DEVICES in GPU-b) echo "It does not answer." >&2; exit 3;; GPU-c) exit 9;; esac'
    )
    monkeypatch.setattr(sys, "executable", _python(tmp_path / "python", case))
    said: list[str] = []
    assert [card.name for card in usable_cards("cuda", "auto", said.append)] == ["cuda:0", "cuda:3"]
    assert said == [
        "cuda:1 is left out: It does not answer.",
        "cuda:2 is left out: asking it ended with code 9.",
    ]
    assert [card.name for card in usable_cards("cuda", 2, said.append)] == ["cuda:0"]
    assert [card.name for card in usable_cards("cuda:3", 2, said.append)] == ["cuda:3"]
    with pytest.raises(BrokenDeviceError, match="No GPU answers: cuda:2"):
        usable_cards("cuda:2", 2, said.append)


def test_a_process_that_asks_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], card: Callable[[Any], None]
) -> None:
    card(lambda right: right)
    breakage._main()
    card(RuntimeError(ASSERTED))
    with pytest.raises(SystemExit) as ended:
        breakage._main()
    assert ended.value.code == 3
    assert "does not answer: RuntimeError: CUDA error" in capsys.readouterr().err
    pretend_cards(monkeypatch, 0)
    with pytest.raises(SystemExit) as ended:
        breakage._main()
    assert ended.value.code == 2
