"""Workers on cards: started anew where a card breaks, a few times; then the others make its runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from multibench.errors import BrokenDeviceError, MultibenchError
from multibench.execution import breakage, supervision
from multibench.execution.devices import Card
from multibench.execution.supervision import RESTARTS, Crew
from tests.support.cards import pretend_cards
from tests.support.command import multibench
from tests.support.tiny import Bench, make_bench

CARDS = [Card(0, "GPU-a"), Card(1, "GPU-b")]


class Ended:
    """A worker that has ended, and how."""

    pid = 0

    def __init__(self, code: int) -> None:
        self.returncode = code

    def poll(self) -> int:
        return self.returncode

    wait = poll

    def terminate(self) -> None:
        """Nothing is left to be told."""


def _crew(
    codes: dict[str, Sequence[int]], said: list[str], cards: Sequence[Card] = CARDS
) -> tuple[Crew, list[str]]:
    """Workers that end at once, with the codes given for the entry of their card, in turn."""
    started: list[str] = []
    left = {entry: iter(each) for entry, each in codes.items()}

    def start(card: Card) -> Any:
        started.append(card.entry)
        return Ended(next(left[card.entry]))

    return Crew(cards, start, said.append), started


def _to_the_end(crew: Crew, more: bool = True) -> None:
    with crew:
        for _ in range(50):
            if not crew.look(more):
                return
    pytest.fail("workers are started for ever")


def test_a_worker_is_started_anew_and_then_its_card_is_left_out() -> None:
    said: list[str] = []
    crew, started = _crew({"GPU-a": [0], "GPU-b": [3] * 9}, said)
    _to_the_end(crew)
    assert started == ["GPU-a", "GPU-b", *["GPU-b"] * RESTARTS]
    assert RESTARTS == 3
    assert crew.left_out == [CARDS[1]]
    assert said == [
        *(
            f"A worker on cuda:1 ended, as the card no longer answers; it is started anew ({k} of 3 times)."
            for k in (1, 2, 3)
        ),
        "A worker on cuda:1 ended, as the card no longer answers, for the 4th time; the card is left out.",
    ]


def test_a_worker_that_comes_back_goes_on() -> None:
    said: list[str] = []
    crew, started = _crew({"GPU-a": [0], "GPU-b": [3, 3, 0]}, said)
    _to_the_end(crew)
    assert (started.count("GPU-b"), crew.left_out, crew.codes) == (3, [], {0, 3})


@pytest.mark.parametrize("code", [-9, -11, -6, 134, 7])
def test_a_worker_that_is_killed_is_started_anew_too(code: int) -> None:
    said: list[str] = []
    crew, started = _crew({"GPU-a": [0], "GPU-b": [code, 0]}, said)
    _to_the_end(crew)
    assert started == ["GPU-a", "GPU-b", "GPU-b"]
    assert said == [
        f"A worker on cuda:1 ended, as its exit code is {code}; it is started anew (1 of 3 times)."
    ]


@pytest.mark.parametrize(
    ("code", "said"), [(0, []), (1, []), (2, []), (130, ["The worker on cuda:1 was told to stop."])]
)
def test_others_are_not_started_anew(code: int, said: list[str]) -> None:
    told: list[str] = []
    crew, started = _crew({"GPU-a": [0], "GPU-b": [code]}, told)
    _to_the_end(crew)
    assert (started, told, crew.left_out) == (["GPU-a", "GPU-b"], said, [])


def test_nothing_is_started_for_no_runs() -> None:
    said: list[str] = []
    crew, started = _crew({"GPU-a": [0], "GPU-b": [3]}, said)
    _to_the_end(crew, more=False)
    assert started == ["GPU-a", "GPU-b"]
    assert said == ["A worker on cuda:1 ended, as the card no longer answers; no run is left."]


def test_the_workers_of_a_card_share_its_restarts() -> None:
    said: list[str] = []
    crew, started = _crew({"GPU-a": [3] * 20}, said, [CARDS[0]] * 2)
    _to_the_end(crew)
    assert len(started) == 2 + RESTARTS
    assert crew.left_out == [CARDS[0]] * 2


def test_none_is_left_when_the_block_ends() -> None:
    """Real processes, of which the second cannot be started, or which an interruption meets."""
    workers: list[subprocess.Popen[bytes]] = []

    def start(card: Card) -> subprocess.Popen[bytes]:
        if card.index == 1 and refusing:
            raise OSError("no more processes")
        workers.append(subprocess.Popen(["sleep", "60"]))
        return workers[-1]

    refusing = True
    with pytest.raises(OSError, match="no more processes"), Crew(CARDS, start, print):
        pass
    refusing = False
    with contextlib.suppress(KeyboardInterrupt), Crew(CARDS, start, print) as crew:
        assert crew.look(True)
        raise KeyboardInterrupt
    assert [worker.poll() for worker in workers] == [-15] * 3


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Four runs, each a group of its own when made alone."""
    made = make_bench(tmp_path)
    made.write(finetuning_seeds="0-3")
    return made


Work = Callable[[Bench], int]


@pytest.fixture
def started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Work]]]:
    """What workers do, in turn, by the entry of their card; they do it at once, in this process, on its CPU."""
    doing: dict[str, list[Work]] = {}
    words: list[Sequence[str]] = []
    pretend_cards(monkeypatch, 2, "GPU-a,GPU-b")

    def start(command: Sequence[str], changes: dict[str, str]) -> Any:
        words.append(command)
        assert changes["OMP_NUM_THREADS"] == "1"
        return Ended(doing[changes["CUDA_VISIBLE_DEVICES"]].pop(0)(bench))

    monkeypatch.setattr(breakage, "_answering", lambda cards, say: tuple(cards))
    monkeypatch.setattr(supervision, "start_python", start)
    monkeypatch.setattr(supervision, "_POLL_SECONDS", 0.0)
    yield doing
    for command in words:
        assert list(command[:3]) == ["-m", "multibench", "run"]
        options = dict(pairwise(command))
        assert (options["--device"], options["--workers"], options["--threads"]) == ("cuda", "1", "1")
        assert "--quiet" in command


def _all(bench: Bench) -> int:
    outcome = bench.run(device="cpu")
    return int(outcome.failed > 0)


def _breaks(bench: Bench) -> int:
    return 3


def _run(bench: Bench, *words: str) -> Any:
    return multibench("run", bench.suite, *bench.options, "--threads", 1, "--replicas", 1, *words)


def test_each_card_has_a_worker_and_the_command_tells_what_they_made(
    bench: Bench, started: dict[str, list[Work]]
) -> None:
    started.update({"GPU-a": [_all], "GPU-b": [_all]})
    ended = _run(bench)
    assert ended.code == 0, ended.err
    assert "[4/4]" in ended.err
    assert {run.fields["status"] for run in bench.opened().stored} <= {"finished", "collapsed"}
    assert started == {"GPU-a": [], "GPU-b": []}


def test_the_others_make_the_runs_of_a_broken_card(bench: Bench, started: dict[str, list[Work]]) -> None:
    """One comes back the third time that it is started anew, the other never does."""
    started.update({"GPU-a": [_breaks, _breaks, _breaks, _all], "GPU-b": [_breaks] * 4})
    ended = _run(bench)
    assert ended.code == 0, ended.err
    assert (
        "A worker on cuda:0 ended, as the card no longer answers; it is started anew (3 of 3 times)."
        in ended.err
    )
    assert len(bench.store.run_ids()) == 4


def test_without_a_card_the_command_ends_with_its_code(bench: Bench, started: dict[str, list[Work]]) -> None:
    started.update({"GPU-a": [_breaks] * 4, "GPU-b": [_breaks] * 4})
    ended = _run(bench)
    assert ended.code == 3
    (last,) = [line for line in ended.err.splitlines() if line.startswith("multibench: ")]
    assert last.startswith("multibench: 4 runs are left, and no card: the workers on cuda:")
    assert "cuda:0" in last
    assert "cuda:1" in last
    assert started == {"GPU-a": [], "GPU-b": []}
    assert bench.store.run_ids() == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (2, "a worker met what it cannot use"),
        (130, "though every worker has ended"),
        (1, "though every worker"),
    ],
)
def test_workers_that_leave_runs_are_told(
    bench: Bench, started: dict[str, list[Work]], code: int, said: str
) -> None:
    started.update({"GPU-a": [lambda _: code], "GPU-b": [lambda _: code]})
    ended = _run(bench)
    assert ended.code == 2
    assert said in ended.err


def test_workers_is_the_number_of_all(bench: Bench, started: dict[str, list[Work]]) -> None:
    started.update({"GPU-a": [_all, _all], "GPU-b": [_all]})
    assert _run(bench, "--workers", "3").code == 0
    assert started == {"GPU-a": [], "GPU-b": []}


def test_no_more_workers_than_groups(bench: Bench, started: dict[str, list[Work]]) -> None:
    bench.write(finetuning_seeds="0-1")
    started.update({"GPU-a": [_all, _breaks], "GPU-b": [_all, _breaks]})
    assert _run(bench, "--workers", "9").code == 0
    assert started == {"GPU-a": [_breaks], "GPU-b": [_breaks]}


def test_failed_runs_give_their_code(
    bench: Bench, started: dict[str, list[Work]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(bench: Bench) -> int:
        from multibench.execution import group

        def fails(*_: Any) -> None:
            raise RuntimeError("no luck")

        with monkeypatch.context() as patch:
            patch.setattr(group, "train_together", fails)
            return _all(bench)

    started.update({"GPU-a": [failing], "GPU-b": [lambda _: 1]})
    ended = _run(bench)
    assert ended.code == 1
    assert "4 failed" in ended.err
    assert ended.err.count("FAILED") == 4


def test_a_damaged_run_that_is_made_again_is_seen(bench: Bench, started: dict[str, list[Work]]) -> None:
    bench.run(device="cpu")
    damaged = bench.store.run_ids()[0]
    next((bench.store.path(damaged) / "predictions").iterdir()).write_bytes(b"not as it was")

    def more(bench: Bench) -> int:
        return int(bench.run("finetuning_seeds=0-4", device="cpu").failed)

    started.update({"GPU-a": [more], "GPU-b": [more]})
    ended = _run(bench, "--set", "finetuning_seeds=0-4")  # and one that was not there
    assert ended.code == 0, ended.err
    assert "[5/5]" in ended.err
    assert bench.store.damage(damaged) is None


def test_a_damaged_run_that_is_left_is_not_taken_for_made(
    bench: Bench, started: dict[str, list[Work]]
) -> None:
    bench.run(device="cpu")
    for run_id in bench.store.run_ids()[:2]:
        next((bench.store.path(run_id) / "predictions").iterdir()).write_bytes(b"not as it was")
    started.update({"GPU-a": [lambda _: 0], "GPU-b": [lambda _: 0]})
    ended = _run(bench)
    assert ended.code == 2
    assert "2 runs are left, though every worker has ended" in ended.err


def test_an_instance_that_this_process_does_not_see_has_a_worker(
    bench: Bench, started: dict[str, list[Work]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cards(monkeypatch, 1, "MIG-a,MIG-b")
    started.update({"MIG-b": [_all]})
    assert _run(bench, "--device", "cuda:1").code == 0
    assert started == {"MIG-b": []}


def test_a_real_worker_has_its_card_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Python writes down what it was started with."""
    bench = make_bench(tmp_path)
    script = tmp_path / "python"
    script.write_text(
        f'#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $*" >> {tmp_path}/started\nexit 3\n'
    )
    script.chmod(0o755)
    pretend_cards(monkeypatch, 2, "1,0")
    monkeypatch.setattr(breakage, "_answering", lambda cards, say: tuple(cards))
    monkeypatch.setattr(supervision, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    clock = time.monotonic()
    with pytest.raises(BrokenDeviceError, match="2 runs are left, and no card"):
        bench.run()
    assert time.monotonic() - clock < 60
    lines = (tmp_path / "started").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == ["0"] * 4 + ["1"] * 4
    assert all(" 1 -P -m multibench run " in line for line in lines)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == "1,0"  # of this process it stays


def test_what_is_kept_counts_as_failed(bench: Bench) -> None:
    crew, _ = _crew({"GPU-a": [1], "GPU-b": [1]}, [])
    _to_the_end(crew)
    bench.run(device="cpu")
    (run, *_) = bench.plan().runs
    assert supervision._kept([run], crew) == 1
    assert supervision._kept([], crew) == 0
    (missing, *_) = bench.plan("finetuning_seeds=9").runs
    with pytest.raises(MultibenchError, match="2 runs are left"):
        supervision._kept([run, missing], crew)
