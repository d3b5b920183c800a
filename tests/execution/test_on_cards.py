"""The command on emulated cards, from its start to its exit code: all of them used, one of them broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import REPOSITORY
from tests.support.required import missing
from tests.support.tiny import Bench, make_bench

card = pytest.importorskip("tests.support.card")

pytestmark = pytest.mark.timeout(600)  # each process has to start
BREAKS = 3000  # launches, which are several runs' worth


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Six runs, each a group of its own when made alone."""
    reason = card.lacking()
    if reason is not None:
        missing("card", reason)
    made = make_bench(tmp_path)
    made.write(finetuning_seeds="0-5")
    return made


def _run(bench: Bench, *words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multibench", "run", str(bench.suite), *bench.options, "--replicas", "1"]
    told = {**card.environment(**settings), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*command, *words], cwd=REPOSITORY, env=told, capture_output=True, text=True, check=False
    )


def _cards(bench: Bench) -> list[str]:
    """The UUID of the card that made each run."""
    found = [json.loads(path.read_text()) for path in bench.store.runs.glob("*/run.json")]
    assert {run["status"] for run in found} <= {"finished", "collapsed"}
    return [run["provenance"]["card"]["uuid"] for run in found]


def _assert_nothing_is_held(bench: Bench) -> None:
    assert not list((bench.store.folder / "claims").glob("[!.]*"))
    assert not list((bench.store.folder / "tmp").glob("*"))


def test_a_card_that_breaks_ends_the_command(bench: Bench) -> None:
    ended = _run(bench, break_after=BREAKS)
    assert ended.returncode == 3, ended.stderr
    assert "multibench: The card cuda:0 (Emulated CUDA card, GPU-" in ended.stderr
    assert (
        "no longer answers after AcceleratorError: CUDA error: device-side assert triggered" in ended.stderr
    )
    assert "Traceback" not in ended.stderr
    assert len(_cards(bench)) < 6
    _assert_nothing_is_held(bench)
    bench.run(device="cpu")  # the rest of it
    assert len(bench.store.run_ids()) == 6


@pytest.mark.slow
def test_one_card_is_picked(bench: Bench) -> None:
    assert _run(bench, "--device", "cuda:1", "--set", "finetuning_seeds=[0]", cards=2).returncode == 0
    (uuid,) = _cards(bench)
    refused = _run(bench, "--device", "cuda:2", cards=2)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert _run(bench, "--device", "cuda:0", "--set", "finetuning_seeds=[1]", cards=2).returncode == 0
    assert len({uuid, *_cards(bench)}) == 2


@pytest.mark.slow
def test_every_card_has_a_worker(bench: Bench) -> None:
    bench.write(finetuning_seeds="0-39")
    ended = _run(bench, cards=2)
    assert ended.returncode == 0, ended.stderr
    assert "[40/40]" in ended.stderr
    assert len(set(_cards(bench))) == 2
    _assert_nothing_is_held(bench)


@pytest.mark.slow
def test_a_worker_is_started_anew_on_a_card_that_broke_once(bench: Bench, tmp_path: Path) -> None:
    bench.write(finetuning_seeds="0-79")
    ended = _run(bench, cards=2, break_after=BREAKS, break_once=tmp_path / "broken")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("as the card no longer answers") == 1
    assert "(1 of 3 times)" in ended.stderr
    assert len(_cards(bench)) == 80
    _assert_nothing_is_held(bench)


@pytest.mark.slow
def test_without_a_card_that_lasts_the_command_ends(bench: Bench) -> None:
    ended = _run(bench, cards=2, break_after=BREAKS // 10)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.count("the card is left out") == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("multibench: 6 runs are left, and no card: the workers on cuda:")
    assert _cards(bench) == []
    _assert_nothing_is_held(bench)
