"""Suites killed in the middle: nothing lost, nothing done twice, predictions bit-identical."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import environment, heed_interruptions
from tests.support.tiny import Bench, make_bench

RUNS = 12


def _bench(root: Path) -> Bench:
    bench = make_bench(root)
    # Some seconds of work in a dozen runs, so that a kill can fall anywhere.
    bench.write(finetuning_seeds=list(range(RUNS // 2)), tasks=[bench.task("pairs"), bench.task("tones")])
    return bench


def _start(bench: Bench, workers: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "multibench", "run", str(bench.suite), *bench.options]
    command += ["--threads", "1", "--quiet", "--replicas", "1", "--workers", str(workers)]
    return subprocess.Popen(command, env=environment(), start_new_session=True)


def _finish(bench: Bench, workers: int = 1) -> None:
    assert _start(bench, workers).wait(240) == 0


def _kill_everything(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)  # workers too: they share the session
    process.wait(30)


def _stored(bench: Bench) -> dict[str, tuple[int, int]]:
    """Run id -> inode and modification time of its run.json: changes if the run is made again."""
    found = {}
    for run_id in bench.store.run_ids():
        stat = (bench.store.path(run_id) / "run.json").stat()
        found[run_id] = (stat.st_ino, stat.st_mtime_ns)
    return found


def _wait_for_runs(bench: Bench, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while len(bench.store.run_ids()) < count:
        assert process.poll() is None, "the suite ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _assert_same_predictions(one: Bench, other: Bench) -> None:
    assert one.store.run_ids() == other.store.run_ids()
    assert len(one.store.run_ids()) == RUNS
    for run_id in one.store.run_ids():
        assert one.store.damage(run_id) is None
        evaluations = one.store.manifest(run_id)["evaluations"]
        assert evaluations
        for name in evaluations:
            mine, theirs = (bench.store.predictions(run_id, name) for bench in (one, other))
            assert mine.ids == theirs.ids
            assert np.array_equal(mine.outputs.view(np.uint32), theirs.outputs.view(np.uint32))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = _bench(tmp_path_factory.mktemp("undisturbed"))
    _finish(bench)
    return bench


def _killed_and_resumed(root: Path, undisturbed: Bench, kills: int, workers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bench = _bench(root)
    for kill in range(kills):
        process = _start(bench, workers)
        _wait_for_runs(bench, min(RUNS - 1, 1 + kill * (RUNS - 2) // kills), process)
        time.sleep(float(rng.uniform(0, 0.3)))  # anywhere in the next run: training, storing, between runs
        _kill_everything(process)
        before = _stored(bench)
        assert before, "nothing was stored before the kill"
        if kill + 1 == kills:
            _finish(bench, workers)
            after = _stored(bench)
            assert {run_id: after[run_id] for run_id in before} == before  # none was made again
    _assert_same_predictions(bench, undisturbed)
    assert not list((bench.store.folder / "claims").glob("[!.]*"))


@pytest.mark.slow
def test_one_worker_killed_in_mid_suite(tmp_path: Path, undisturbed: Bench) -> None:
    _killed_and_resumed(tmp_path, undisturbed, kills=2, workers=1, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_killed_in_mid_suite(tmp_path: Path, undisturbed: Bench) -> None:
    _killed_and_resumed(tmp_path, undisturbed, kills=5, workers=2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_workers_killed_twenty_times(tmp_path: Path, undisturbed: Bench) -> None:
    for round_ in range(4):
        _killed_and_resumed(tmp_path / str(round_), undisturbed, kills=5, workers=2, seed=10 + round_)


@pytest.mark.timeout(600)
def test_two_commands_on_one_suite_make_each_run_once(tmp_path: Path, undisturbed: Bench) -> None:
    bench = _bench(tmp_path)
    processes = [_start(bench), _start(bench)]
    assert [process.wait(240) for process in processes] == [0, 0]
    _assert_same_predictions(bench, undisturbed)
    makers = {bench.store.manifest(run_id)["provenance"]["started"] for run_id in bench.store.run_ids()}
    assert makers
    assert not list((bench.store.folder / "tmp").iterdir())
    assert not (bench.store.folder / "replaced").exists()


def test_an_interruption_says_how_to_go_on(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    bench.write(finetuning_seeds="0-199")  # more than are trained while the first is stored
    command = [sys.executable, "-m", "multibench", "run", str(bench.suite), *bench.options, "--threads", "1"]
    command += [
        "--replicas",
        "1",
    ]  # together, all are trained when the first is stored, and so all are stored
    process = subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=heed_interruptions
    )
    _wait_for_runs_text(bench, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    stored = _stored(bench)
    assert 1 <= len(stored) < 200
    assert not list((bench.store.folder / "claims").glob("[!.]*"))
    assert not list((bench.store.folder / "tmp").iterdir())


def _wait_for_runs_text(bench: Bench, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not bench.store.run_ids():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
