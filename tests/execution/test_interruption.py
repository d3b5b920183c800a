"""A suite that is stopped or killed loses nothing, repeats nothing, and ends in the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from multibench.execution.claims import _started
from tests.support.claims import dead_owner
from tests.support.command import REPOSITORY, environment, heed_interruptions
from tests.support.tiny import RECIPE, Bench, make_bench

pytestmark = pytest.mark.timeout(1200)  # each start of Python and torch takes seconds, on a busy machine many

RUNS = 40  # more than are trained while the first is stored, however slow the disk


def _suite(root: Path) -> Bench:
    bench = make_bench(root)
    bench.write(finetuning_seeds=f"0-{RUNS - 1}", keep_weights="last", recipe={**RECIPE, "epochs": 3})
    return bench


def _start(bench: Bench, workers: int = 1) -> subprocess.Popen[str]:
    # Each run alone: what is left after an interruption would be trained in other groups, and so be rounded otherwise.
    words = ["-m", "multibench", "run", str(bench.suite), *bench.options, "--threads", "1", "--replicas", "1"]
    words += ["--workers", str(workers)]
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env=environment(),
        preexec_fn=heed_interruptions,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _stored(bench: Bench) -> dict[str, tuple[int, int]]:
    """Inode and modification time of the files of every stored run: the same if nobody touched them."""
    return {
        path.relative_to(bench.store.runs).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(bench.store.runs.glob("*/**/*"))
        if path.is_file()
    }


def _wait(process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    limit = time.monotonic() + 500
    while not until():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"the command ended before it could be stopped ({process.returncode}): {out}{err}")
        time.sleep(0.001)


def _stop(process: subprocess.Popen[str], number: int) -> str:
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=300)
    return err


def _outputs(bench: Bench) -> dict[str, bytes]:
    return {
        run.run_id: run.store.predictions(run.run_id, "pairs.dev").outputs.tobytes()
        for run in bench.opened().stored
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The predictions of the suite made without interruption, in this process."""
    bench = _suite(tmp_path_factory.mktemp("undisturbed"))
    bench.run()
    return _outputs(bench)


@pytest.mark.slow
def test_a_suite_stopped_and_killed_again_and_again_ends_in_the_same_bits(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    bench = _suite(tmp_path)
    scratch = bench.store.folder / "tmp"

    # Ctrl-C while the second or third run trains
    process = _start(bench)
    _wait(process, lambda: len(bench.store.run_ids()) >= 1)
    said = _stop(process, signal.SIGINT)
    assert process.returncode == 130, said
    assert said.rstrip().endswith(
        "Stopped. Finished runs are stored; the same command goes on where it stopped."
    )
    assert "Traceback" not in said
    first = _stored(bench)
    assert 1 <= len(bench.store.run_ids()) < RUNS
    assert list((bench.store.folder / "claims").glob("[0-9a-f]*")) == []
    assert list(scratch.iterdir()) == []

    # SIGKILL while a run is being written
    process = _start(bench)
    _wait(process, lambda: any(scratch.iterdir()))
    _stop(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    second = _stored(bench)
    assert first.items() <= second.items()
    assert all(bench.store.damage(run_id) is None for run_id in bench.store.run_ids())

    # SIGKILL at the moment that one more run is stored
    process = _start(bench)
    count = len(bench.store.run_ids())
    _wait(process, lambda: len(bench.store.run_ids()) > count)
    _stop(process, signal.SIGKILL)
    third = _stored(bench)
    assert second.items() <= third.items()
    assert len(bench.store.run_ids()) < RUNS

    # The same command once more, to the end
    outcome = bench.run()
    assert outcome.failed == 0
    assert third.items() <= _stored(bench).items()  # nothing was done twice
    assert _outputs(bench) == undisturbed  # nothing was lost, and not a bit is different
    assert list(scratch.iterdir()) == []
    assert not (bench.store.folder / "damaged").exists()
    assert not (bench.store.folder / "replaced").exists()
    assert bench.run().made == {}


def _at_work(bench: Bench) -> set[int]:
    """Numbers of the processes that hold a claim, or held one when they were killed."""
    owners = set()
    for path in (bench.store.folder / "claims").glob("[0-9a-f]*"):
        with contextlib.suppress(OSError, ValueError):
            owners.add(int(json.loads(path.read_text())["pid"]))
    return owners


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_of_a_suite_outlives_the_first(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal interrupts all, others stop or kill the first alone: then all end, and leave nothing half done."""
    bench = make_bench(tmp_path)
    bench.write(finetuning_seeds="0-1999")  # never finished
    process = _start(bench, workers=2)
    _wait(process, lambda: bool(_at_work(bench) - {process.pid}))
    (other,) = _at_work(bench) - {process.pid}
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=300)
    else:
        said = _stop(process, number)
    assert process.returncode == (-number if number == signal.SIGKILL else 130), said
    assert said.count("Stopped.") == (number != signal.SIGKILL)
    assert "Traceback" not in said
    deadline = time.monotonic() + 120
    while _started(other) is not None:  # or dead, and nobody waits for it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Of the first one at most, which had no time: of the run that it trained, and of those that it stored.
    killed = {process.pid} if number == signal.SIGKILL else set()
    assert _at_work(bench) <= killed
    half_made = [left.name.split(".")[1] for left in (bench.store.folder / "tmp").glob("*")]
    assert {int(maker.split("-")[0]) for maker in half_made} <= killed
    assert len(half_made) <= 1  # one is stored at a time
    assert len(bench.store.run_ids()) < 2000
    assert all(bench.store.damage(run_id) is None for run_id in bench.store.run_ids())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_stopped_while_a_module_is_imported_ends_as_at_any_other_time(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Dataclasses ``exec`` texts; a plain KeyboardInterrupt that passes through one sets the exit code of SIGINT."""
    text = f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(60)"
    (tmp_path / "stopped.py").write_text(
        f"import typer\nfrom multibench.cli.running import _stopping\napp = typer.Typer()\n"
        f"@app.command()\ndef run() -> None:\n    with _stopping(quiet=False):\n        exec({text!r})\napp()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "stopped"],
        cwd=tmp_path,
        env=environment(),
        preexec_fn=heed_interruptions,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.count("Stopped.") == 1


@pytest.mark.slow
def test_a_suite_killed_at_random_moments_ends_in_the_same_bits(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    bench = _suite(tmp_path)
    rng = random.Random(7)
    kills = 0
    while len(bench.store.run_ids()) < RUNS:
        process = _start(bench)
        before = _stored(bench)
        # Once in four times it is killed at its start, else in one of the runs that follow the first.
        count = len(bench.store.run_ids())
        if rng.random() < 0.25:
            _wait(process, lambda number=process.pid: number in _at_work(bench))  # type: ignore[misc]
        else:
            _wait(process, lambda count=count: len(bench.store.run_ids()) > count)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is None:
            kills += 1
        _stop(process, signal.SIGKILL) if process.poll() is None else process.communicate()
        assert before.items() <= _stored(bench).items()
        assert kills < 60, "no progress"
    assert kills >= 3
    assert bench.run().failed == 0
    assert _outputs(bench) == undisturbed


def test_a_claim_of_a_dead_process_does_not_hold_the_run_up(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    (first, _) = [run.run_id for run in bench.plan().runs]
    assert first is not None
    claims = bench.store.folder / "claims"
    claims.mkdir(parents=True)
    (claims / first).write_text(json.dumps(dead_owner()))
    started = time.monotonic()
    bench.run()
    assert len(bench.store.run_ids()) == 2
    assert time.monotonic() - started < 200
    assert list(claims.glob("[0-9a-f]*")) == []
