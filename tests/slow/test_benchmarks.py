"""The scripts of ``benchmarks/`` run, small: how fast anything is, no test can know."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.card import require
from tests.support.command import REPOSITORY, environment
from tests.support.tiny import make_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def script(name: str, *words: object) -> str:
    """What ``benchmarks/NAME`` prints."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}", *map(str, words)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.shared
@pytest.mark.minilm
def test_a_grid_of_mrpc_with_random_weights(shared_dir: Path, minilm_dir: Path) -> None:
    contenders = ["Trainer, dynamic padding, bf16", "multibench, fp32", "multibench, bf16"]
    only = [word for name in contenders for word in ("--only", name)]
    small = ["--size", "tiny", "--rates", 2, "--seeds", 2, "--examples", 64, "--repeats", 1]
    data = ["--data", shared_dir / "data", "--model", minilm_dir]
    head, _, _, *lines = script("grid.py", "mrpc", *data, *small, *only).splitlines()
    assert head == "4 runs of mrpc, 3 epochs, medians of 1"
    assert [re.split(r"  +", line)[0] for line in lines[:3]] == contenders
    assert all(re.search(r"s +\d+\.\d%  \d+\.\d \(\d+\.\d\)$", line) for line in lines[:3]), lines
    assert lines[3].startswith("multibench, bf16 against Trainer, dynamic padding, bf16: ")


def test_a_grid_of_the_pocket_family() -> None:
    small = ["--rates", 1, "--seeds", 1, "--repeats", 1, "--only", "multibench, fp32"]
    assert "1 runs of pocket_inference" in script("grid.py", "pocket", *small)


@pytest.mark.shared
@pytest.mark.minilm
def test_every_way_on_one_device(shared_dir: Path, minilm_dir: Path) -> None:
    # torch.compile needs both on a CPU.
    compiler = shutil.which("g++") and Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    data = ["--data", shared_dir / "data", "--model", minilm_dir]
    small = ["--device", "cpu", "--sizes", "tiny", "--replicas", 1, 2, "--batch-size", 4, "--steps", 2]
    skip = [] if compiler else ["--skip", "compiled"]
    printed = script("gpu.py", *small, "--tasks", "mrpc", "mnli", *data, *skip)
    assert "Real texts: mrpc.\n" in printed
    rows = [line for line in printed.splitlines() if line.startswith("tiny")]
    assert len(rows) == 2 * 2 * (7 if compiler else 5)
    assert all(re.search(r" \d+ +\d+\.\d% +\d+\.\d%( +\d+\.\d\d)?$", row.rstrip()) for row in rows), rows


def test_ways_that_agree(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    ways = ["cpu-fp32-alone", "cpu-fp32-together", "cpu-bf16-alone"]
    printed = script(
        "agreement.py", bench.suite, "--data", bench.data, "--out", tmp_path / "out", "--ways", *ways
    )
    rows = [line.split() for line in printed.splitlines() if line.startswith("cpu")]
    assert [row[0] for row in rows] == ways
    assert rows[1][-2] == "100.0%"


def test_steps_recorded_without_a_card() -> None:
    require()
    head, row = script("recorded_steps.py", "--sizes", "tiny", "--replicas", 2).splitlines()
    assert head.split() == ["size", "R", "launches", "MB", "host,", "ms", "tokens", "computed"]
    size, replicas, *numbers = row.split()
    launches, megabytes, host, tokens, computed = (float(number.replace(",", "")) for number in numbers)
    assert (size, replicas) == ("tiny", "2")
    assert 20 < launches < 1000
    assert megabytes > 100
    assert host > 0
    assert 32 * 2 * 40 < tokens <= computed


def test_planning_storing_and_starting() -> None:
    assert "4,032 runs of 28 checkpoints" in script("plan.py", "--seeds", 1)
    assert "200 runs stored" in script("scores.py", "--runs", 200)
    assert "times faster than 0.3 s" in script("start.py", "--times", 1)
