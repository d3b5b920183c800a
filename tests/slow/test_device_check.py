"""The dry run of the check of a GPU, whole, on a processor."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device_check import inputs
from benchmarks.device_check.boxes import BOXES
from benchmarks.device_check.check import NAME
from benchmarks.device_check.page import section
from tests.support.command import REPOSITORY, environment

pytestmark = [pytest.mark.slow, pytest.mark.minilm, pytest.mark.timeout(600)]


def texts_in(folder: Path) -> Path:
    """Rows of both tasks in the layout of the official files."""
    rows = {
        "RTE": ["index\tsentence1\tsentence2\tlabel"],
        "MRPC": ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"],
    }
    for i in range(40):
        one, other = f"The {i} dogs run home.", f"Some {i % 7} dogs are at home by now."
        rows["RTE"].append(f"{i}\t{one}\t{other}\t{'entailment' if i % 2 else 'not_entailment'}")
        rows["MRPC"].append(f"{i % 3 % 2}\t{i}\t{1000 + i}\t{one}\t{other}")
    for task, lines in rows.items():
        (folder / "glue" / task).mkdir(parents=True)
        for name in ("train.tsv", "dev.tsv"):
            (folder / "glue" / task / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def out(minilm_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the dry run left."""
    root = tmp_path_factory.mktemp("check")
    inputs.make(texts_in(root / "data"), root / "in", minilm_dir, wheels=False)
    words = ["--inputs", root / "in", "--out", root / "out", "--device", "cpu", "--small"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.device_check", *map(str, words)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
    )
    log = root / "out" / "log.txt"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text("utf-8") if log.exists() else "")
    return root / "out"


@pytest.fixture(scope="module")
def found(out: Path) -> dict[str, Any]:
    """The file of JSON."""
    told: dict[str, Any] = json.loads((out / NAME).read_text("utf-8"))
    return told


def test_every_stage_ends_well_and_finds_something(found: dict[str, Any]) -> None:
    assert list(found["stages"]) == list(BOXES)
    assert {name: (stage["rc"], stage["cut"]) for name, stage in found["stages"].items()} == dict.fromkeys(
        BOXES, (0, False)
    )
    assert all(stage["figures"] for stage in found["stages"].values())
    assert (found["format"], found["small"], found["device"], found["card"]) == (1, True, "cpu", None)
    assert found["code"]["sources"]
    assert found["versions"]["torch"]


def test_figures_are_those_of_the_same_computation(found: dict[str, Any]) -> None:
    figures = {name: stage["figures"] for name, stage in found["stages"].items()}
    assert figures["tests"][-1]["passed"] == 1
    for line in figures["steps"]:
        if line["what"] == "fp32":  # the device is the processor
            assert line["bits_repeat"]
            assert line["loss_from_host"] == line["norm_from_host"] == 0
        else:
            assert 0 < line["loss_from_fp32"] < 0.05
            assert line["loss_from_company"] < 0.05
    (run,) = figures["runs"]
    assert (run["rc"], list(run["scores"]), len(run["scores"]["rte.dev"])) == (0, ["rte.dev"], 1)
    assert [(line["who"], line["made"], line["runs"]) for line in figures["grid"]] == [
        ("multibench", 1, 1),
        ("Trainer", 1, 1),
    ]
    assert [line["replicas"] for line in figures["speed"]] == [0, 1, 2]
    assert all(line["examples"] > 0 for line in figures["speed"])
    (profile,) = figures["profile"]
    assert profile["busy_ms"] > 0
    assert profile["most"]


def test_what_is_left_can_be_read(out: Path, found: dict[str, Any]) -> None:
    assert {path.name for path in out.iterdir()} == {NAME, "log.txt", "runs.tar.gz", "profile-tiny-2.txt"}
    with tarfile.open(out / "runs.tar.gz") as archive:
        assert any(name.endswith("run.json") for name in archive.getnames())
    text = section([found])
    assert all(f"| {name} | done |" in text for name in BOXES)
    assert text.count("**") == 2 * 6
