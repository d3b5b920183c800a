"""What a run records of the card it was made on."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

from multibench.execution import device_record as record_module
from multibench.execution import group as group_module
from multibench.execution.device_record import device_record
from multibench.results import provenance
from tests.support.cards import pretend_cards
from tests.support.tiny import make_bench

CARD = torch.device("cuda", 0)
ARITHMETIC = {
    "matmul_allow_tf32",
    "matmul_fp32_precision",
    "float32_matmul_precision",
    "cudnn_allow_tf32",
    "bf16_reduced_precision_reduction",
    "fp16_reduced_precision_reduction",
}


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    provenance.driver_version.cache_clear()
    yield
    provenance.driver_version.cache_clear()


def test_a_card_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_cards(monkeypatch, 1, "GPU-8932f937")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12080, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.11.0+cu130"))
    monkeypatch.setattr(record_module, "driver_version", lambda: "580.65.06")
    found = device_record(CARD)
    assert found["device"] == "cuda"
    assert found["accelerator"] == "Pretended"
    assert found["card"] == {
        "name": "Pretended",
        "uuid": "0000-0",
        "visible": "GPU-8932f937",
        "driver": "580.65.06",
        "driver_cuda": "12.8",
        "cuda": "13.0",
    }
    assert found["torch"] == "2.11.0+cu130"
    assert found["arithmetic"].keys() == ARITHMETIC
    assert found["arithmetic"]["matmul_allow_tf32"] is False
    assert found["arithmetic"]["float32_matmul_precision"] == "highest"
    assert found["arithmetic"]["bf16_reduced_precision_reduction"] is True
    assert json.loads(json.dumps(found)) == found


def test_what_cannot_be_known_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch without CUDA's functions, a card that no longer answers, no driver."""
    pretend_cards(monkeypatch, 1)

    def gone(device: torch.device) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "get_device_properties", gone)
    monkeypatch.setattr(torch.cuda, "get_device_name", gone)
    monkeypatch.delattr(torch._C, "_cuda_getDriverVersion", raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(record_module, "driver_version", lambda: None)
    found = device_record(CARD)
    assert set(found["card"].values()) == {None}
    assert found["accelerator"] is None


def test_switches_that_torch_refuses_to_tell_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        fp32_precision = "tf32"

        @property
        def allow_tf32(self) -> bool:
            raise RuntimeError("mix of the legacy and new APIs")

    pretend_cards(monkeypatch, 1)
    monkeypatch.setattr(torch.backends.cuda, "matmul", Refusing())
    found = device_record(CARD)["arithmetic"]
    assert (found["matmul_allow_tf32"], found["matmul_fp32_precision"]) == (None, "tf32")
    assert found["fp16_reduced_precision_reduction"] is None  # of an older torch


def test_the_switches_are_those_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cards(monkeypatch, 1)
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    try:
        for on in (True, False):
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = on
            assert device_record(CARD)["arithmetic"]["bf16_reduced_precision_reduction"] is on
    finally:
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = before


@pytest.mark.parametrize("fails", [False, True])
def test_each_run_has_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    bench = make_bench(tmp_path)
    if fails:
        failing = mock.Mock(side_effect=RuntimeError("no luck"))
        monkeypatch.setattr(group_module, "train_together", failing)
    bench.run("finetuning_seeds=[0]")
    (run,) = bench.opened().stored
    found = run.manifest["provenance"]
    assert {name: found[name] for name in ("device", "accelerator", "card", "arithmetic")} == {
        "device": "cpu",
        "accelerator": None,
        "card": None,
        "arithmetic": None,
    }
    assert found["torch"] == str(torch.__version__)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
            "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n",
            "550.54.15",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n",
            "580.65.06",
        ),
        ("NVRM version: NVIDIA UNIX aarch64 Kernel Module  535.86  Fri Jul  7\n", "535.86"),
        ("GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0)\n", None),
        ("NVRM version: of something else entirely\n", None),
        ("", None),
    ],
)
def test_the_kernel_says_which_driver_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, version: str | None
) -> None:
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(provenance, "_DRIVER", tmp_path / "version")
    monkeypatch.setattr(ctypes, "CDLL", mock.Mock(side_effect=OSError("no such library")))
    assert provenance.driver_version() == version


@pytest.mark.parametrize(("code", "version"), [(0, "580.65.06"), (9, None)])
def test_else_the_driver_s_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, version: str | None
) -> None:
    def say(text: Any, length: int) -> int:
        text.value = b"580.65.06"
        return code

    library = SimpleNamespace(nvmlInit_v2=lambda: 0, nvmlSystemGetDriverVersion=say, nvmlShutdown=lambda: 0)
    monkeypatch.setattr(provenance, "_DRIVER", tmp_path / "nowhere")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert provenance.driver_version() == version
    provenance.driver_version.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # too old to have these functions
    assert provenance.driver_version() is None
