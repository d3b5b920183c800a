"""Streams that are full or closed, a home that is none, names that are no UTF-8: no training is lost."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multibench import api
from multibench.cache import cache_folder, expanded
from multibench.execution.progress import BarProgress, LineProgress
from multibench.messages import Messages
from tests.support.command import environment, multibench
from tests.support.tiny import Bench, make_bench


class _Broken(io.StringIO):
    """A stream that takes ``room`` characters and then fails as the system does."""

    def __init__(self, error: OSError, room: int = 0, terminal: bool = False) -> None:
        super().__init__()
        self._error, self._room, self._terminal = error, room, terminal

    def write(self, text: str) -> int:
        self._room -= len(text)
        if self._room < 0:
            raise self._error
        return len(text)

    def flush(self) -> None:
        if self._room < 0:
            raise self._error

    def isatty(self) -> bool:
        return self._terminal


BROKEN = {
    "a reader that is gone": BrokenPipeError(32, "Broken pipe"),
    "a full disk": OSError(28, "No space left on device"),
    "a terminal that is gone": OSError(5, "Input/output error"),
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize("error", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("room", [0, 30])
def test_no_training_is_lost_with_standard_error(
    bench: Bench, error: OSError, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", _Broken(error, room))
    outcome = api.run(bench.suite, bench.results, bench.data, threads=1, workers=1)
    assert outcome.made == {"finished": 2}
    assert len(bench.store.run_ids()) == 2


def test_no_training_is_lost_with_a_terminal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", _Broken(BROKEN["a terminal that is gone"], 50, terminal=True))
    api.run(bench.suite, bench.results, bench.data, threads=1, workers=1)
    assert len(bench.store.run_ids()) == 2
    progress = BarProgress()
    with progress:
        progress.say("x" * 100)


@pytest.mark.parametrize("stream", [None, _Broken(BROKEN["a full disk"])])
def test_what_cannot_be_said_is_not_said(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Messages(stream)
    assert said.write("text") == 4
    said.flush()
    assert not said.isatty()
    monkeypatch.setattr(sys, "stderr", stream)
    LineProgress().say("text")
    assert multibench("show", "task", "no_such_task").code == 2


def test_what_can_be_said_is_said() -> None:
    stream = io.StringIO()
    said = Messages(stream)
    said.write("é")
    print("text", file=said)
    assert stream.getvalue() == "étext\n"
    assert said.encoding
    assert said.writable()


@pytest.mark.parametrize("name", ["r\udcff", "\udce4\udcf6", "r\udcc3("])
@pytest.mark.parametrize("keep_weights", ["none", "last"])
def test_results_may_lie_under_any_name(bench: Bench, name: str, keep_weights: str) -> None:
    results = bench.root / name
    bench.write(finetuning_seeds=[0], keep_weights=keep_weights)
    api.run(bench.suite, results, bench.data, threads=1, workers=1, quiet=True)
    printed = multibench("scores", results)
    assert printed.code == 0
    assert "pairs.dev" in printed.out
    assert multibench("verify", "results", results).code == 0
    for words in (("status", results), ("scores", results, "--format", "json")):
        assert multibench(*words).code == 0
    assert api.plan(bench.suite, results, bench.data).todo() == []


def test_a_user_without_a_home_keeps_nothing_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "MULTIBENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def nowhere(*_: Any) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert not cache_folder().exists()
    assert expanded("~/x") == Path("~/x")
    bench.run()
    assert len(bench.store.run_ids()) == 2
    assert multibench("verify", "checkpoint", bench.root / "bert").code in (0, 1)


READERS = {
    "one that is gone": "list checkpoints --json | head -c 1",
    "one that is gone from a table": "list checkpoints | true",
    "no standard error": "list recipes 2>&-",
    "no streams": "list recipes <&- >&- 2>&-",
}


@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_readers_that_are_gone_are_no_error(words: str) -> None:
    command = f"set -o pipefail; {sys.executable} -m multibench {words}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", ["list recipes", "list recipes --json"])
def test_a_full_standard_output_is_told(words: str) -> None:
    command = [sys.executable, "-m", "multibench", *words.split()]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert done.returncode == 2
    assert done.stderr == b"multibench: Standard output cannot be written: No space left on device.\n"


def test_files_get_no_number_of_a_stream() -> None:
    """What is opened first would be standard error, and everything that is said would end in it."""
    code = "from multibench.messages import patient_streams\nimport os\nwith patient_streams():\n"
    code += (
        "    print(os.open(os.devnull, os.O_RDONLY) > 2)\n    print('said', file=__import__('sys').stderr)"
    )
    command = f'{sys.executable} -c "{code}" 2>&-'
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"True"])
    assert os.fstat(2)
