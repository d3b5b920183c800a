"""What stages of the check of a GPU make of what they find, where no card is needed to know it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.autograd import DeviceType

from benchmarks.device_check import inputs
from benchmarks.device_check.stages import grid, profile
from benchmarks.device_check.stages.__main__ import _finite
from benchmarks.grid import Grid, Measured


def event(key: str, device: float, cpu: float, calls: int, kind: DeviceType = DeviceType.CPU) -> Any:
    return SimpleNamespace(
        key=key, self_device_time_total=device, self_cpu_time_total=cpu, count=calls, device_type=kind
    )


def test_a_kernel_counts_once_though_its_operator_repeats_its_time() -> None:
    def recorded(steps: int) -> list[Any]:
        before = 500.0
        return [
            event("aten::mm", before + 800.0 * steps, 90.0 * steps, 2 * steps),
            event("gemm", before + 800.0 * steps, 0.0, 1 + 2 * steps, DeviceType.CUDA),
            event("cudaLaunchKernel", 0.0, 10.0, 1 + 2 * steps),
            event("cuLaunchKernelEx", 0.0, 10.0, 3 * steps),
            event("cudaDeviceSynchronize", 0.0, 10.0, 1),
        ]

    few, more = recorded(2), recorded(6)
    spent = profile._less(profile._times(more, True), profile._times(few, True))
    assert spent == {"gemm": (pytest.approx(0.8), 2.0)}  # milliseconds of one step
    assert profile._calls(more) - profile._calls(few) == 4 * 5
    on_cpu = profile._less(profile._times(more, False), profile._times(few, False))
    assert on_cpu["aten::mm"] == (pytest.approx(0.09), 2.0)


def test_two_processes_are_scaled_to_twenty() -> None:
    found = grid.figures(Measured(30.0, 8.0, [0.5, 0.6]), 2, 20)
    assert (found["made"], found["runs"], found["seconds"], found["without_start"]) == (2, 20, 300, 80)
    assert grid.figures(Measured(30.0, 8.0, [], 5), 20, 20)["seconds"] == 30


def test_a_contender_that_fails_leaves_the_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(own: Grid, precision: str, how: str) -> Measured:
        raise subprocess.CalledProcessError(1, ["trainer"], stderr="ImportError: no accelerate")

    monkeypatch.setattr(grid, "trainer", fail)
    monkeypatch.setattr(grid, "multibench", lambda own, precision, how: Measured(4.0, 2.0, [0.5], 9))
    told: list[dict[str, Any]] = []
    assert not grid._pair(tmp_path, tmp_path, "tiny", False, lambda **figures: told.append(figures))
    assert [line["who"] for line in told] == ["multibench", "Trainer"]
    assert told[0]["seconds"] == 4
    assert told[1]["error"] == "exit code 1: ImportError: no accelerate"


def test_the_beginning_of_files_keeps_their_head(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "glue" / "RTE"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text("head\n" + "".join(f"{i}\r\n" for i in range(9)), "utf-8", newline="")
    inputs.beginning(tmp_path / "all", tmp_path / "few", "RTE", 2)
    assert (tmp_path / "few/glue/RTE/dev.tsv").read_bytes() == b"head\n0\r\n1\r\n"


def test_what_is_no_number_becomes_none() -> None:
    assert _finite({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": True}, "e": "nan"}) == {
        "a": None,
        "b": [None, 1.5],
        "c": {"d": True},
        "e": "nan",
    }
