"""How many processes share a suite: from its work, its groups, the cores and the memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from multibench.planning import Device, Workers, choose_workers, machine, workers
from multibench.planning.plan import Plan
from tests.support.cards import pretend_cards
from tests.support.command import multibench
from tests.support.tiny import Bench, make_bench

GB = 10**9
CPU = Device("cpu", 1000 * GB)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Eight groups of one run each, if replicas are 1."""
    plan = make_bench(tmp_path).plan("finetuning_seeds=0-7")
    assert len(plan.runs) == 8
    return plan


def _machine(monkeypatch: pytest.MonkeyPatch, cores: int, start: float = 0.0) -> None:
    monkeypatch.setattr(workers, "cores", lambda: cores)
    monkeypatch.setattr(workers, "_START", start)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("cores", "processes", "threads"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1), (8, 8, 1), (16, 8, 2)]
)
def test_cores_are_shared(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, threads: int
) -> None:
    _machine(monkeypatch, cores)
    chosen = choose_workers(plan, CPU, replicas=1)
    assert (chosen.workers, chosen.threads) == (processes, threads)


def test_the_last_round_counts(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs on two cores: two rounds of one thread take longer than three runs of two threads."""
    _machine(monkeypatch, 2)
    three = Plan(plan.suite, plan.runs[:3], ())
    assert choose_workers(three, CPU, replicas=1).workers == 1
    four = Plan(plan.suite, plan.runs[:4], ())
    assert choose_workers(four, CPU, replicas=1).workers == 2


def test_the_longest_group_counts(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long group and a short one: on a thread of its own the long one alone takes longer than both on all threads."""
    _machine(monkeypatch, 2)
    one, other = plan.runs[:2]
    longer = replace(one, settings=one.settings.model_copy(update={"epochs": 100}))
    unequal = Plan(plan.suite, (longer, other), ())
    assert choose_workers(unequal, CPU, replicas=1).workers == 1
    assert choose_workers(Plan(plan.suite, (one, other), ()), CPU, replicas=1).workers == 2


def test_what_is_together_is_not_shared(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 8)
    assert choose_workers(plan, CPU).reason == "all in one group"


def test_memory_bounds_processes(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 8)
    assert choose_workers(plan, Device("cpu", 5 * GB), replicas=1).workers == 2
    chosen = choose_workers(plan, Device("cpu", GB), replicas=1)
    assert (chosen.workers, chosen.reason) == (1, "half of the memory holds no more")


def test_little_work_is_done_in_one_process(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 8, start=8.0)
    chosen = choose_workers(plan, CPU, replicas=1)
    assert chosen.workers == 1
    assert chosen.reason.startswith("too little work")


def test_what_was_asked_for_is_done(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 8)
    assert choose_workers(plan, CPU, workers=3, replicas=1).threads == 2
    assert choose_workers(plan, CPU, workers=3, threads=4, replicas=1).threads == 4
    assert choose_workers(plan, CPU, workers=1, replicas=1).threads is None
    one = choose_workers(plan, CPU, threads=4, replicas=1)
    assert (one.workers, one.threads) == (1, 4)
    assert choose_workers(plan, Device("cuda", GB), replicas=1).workers == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    chosen = choose_workers(plan, CPU, replicas=1)
    assert (chosen.workers, chosen.threads, chosen.reason) == (1, None, "OMP_NUM_THREADS is set")


def test_the_choice_does_not_follow_from_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(tmp_path)
    bench.run("finetuning_seeds=0-2")
    plan = bench.plan("finetuning_seeds=0-3")
    assert plan.count("missing") == 1
    _machine(monkeypatch, 2)
    assert choose_workers(plan, CPU, replicas=1).workers == 2


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for control groups, of which this process is in ``/job/step`` (version 2) and ``/slot`` (version 1)."""
    own = tmp_path / "own"
    own.write_text("7:cpu,cpuacct:/slot\n5:memory:/slot\n1:name=systemd:/a\n0::/job/step\n")
    monkeypatch.setattr(machine, "_OWN_GROUPS", own)
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    for folder in ("job/step", "cpu,cpuacct/slot", "memory/slot"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_cores_are_those_that_this_process_may_use(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight logical processors of four cores, less what a container or a batch system allows."""
    for cpu in range(8):
        folder = groups / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(machine, "_CPUS", groups)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert machine.cores() == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4})
    assert machine.cores() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    for where in ("job/step", "job", "."):  # of the group itself, of one around it, of a container
        (groups / where / "cpu.max").write_text("150000 100000\n")
        assert machine.cores() == 2
        (groups / where / "cpu.max").write_text("max 100000\n")
        assert machine.cores() == 3
    old = groups / "cpu,cpuacct" / "slot"
    (old / "cpu.cfs_period_us").write_text("100000\n")
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    assert machine.cores() == 3
    (old / "cpu.cfs_quota_us").write_text("50000\n")
    assert machine.cores() == 1


def test_memory_is_that_which_this_process_may_have(groups: Path) -> None:
    physical = machine.memory()
    assert physical > GB
    (groups / "job" / "memory.max").write_text("max\n")
    (groups / "memory" / "slot" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    assert machine.memory() == physical
    (groups / "job" / "memory.max").write_text("2000000\n")
    assert machine.memory() == 2_000_000
    (groups / "memory" / "memory.limit_in_bytes").write_text("1000000\n")
    assert machine.memory() == 1_000_000


def test_nothing_is_needed_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_GROUPS", "_OWN_GROUPS", "_CPUS"):
        monkeypatch.setattr(machine, name, tmp_path / "nowhere")
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.cores() == os.cpu_count()
    assert machine.memory() > GB


def test_a_plan_says_how_cores_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 2)
    bench: Bench = make_bench(tmp_path)
    bench.write(tasks=[bench.task("pairs"), bench.task("tones")])
    shown = multibench("plan", bench.suite, *bench.options, "--explain").out
    assert "2 processes, 1 thread each (processes share 2 cores better than threads do)" in shown


@pytest.mark.parametrize(
    ("cards", "asked", "processes", "threads", "reason"),
    [
        (1, "auto", 1, None, "one process keeps a GPU busy"),
        (4, "auto", 4, 2, "one process for each of 4 GPUs"),
        (16, "auto", 16, 1, "one process for each of 16 GPUs"),
        (4, 8, 8, 1, "as asked for"),
        (4, 1, 1, None, "as asked for"),
        (1, 3, 3, 2, "as asked for"),
    ],
)
def test_each_card_has_a_process_if_not_told_otherwise(
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    cards: int,
    asked: Workers,
    processes: int,
    threads: int | None,
    reason: str,
) -> None:
    _machine(monkeypatch, 8)
    device = Device("cuda", 80 * GB, cards)
    chosen = choose_workers(plan, device, workers=asked)
    assert (chosen.workers, chosen.threads, chosen.reason) == (processes, threads, reason)
    assert choose_workers(plan, device, workers=asked, threads=5).threads == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (
        choose_workers(plan, device, workers=asked).threads is None
    )  # the variable says it to every process


def test_a_plan_says_that_every_card_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 8)
    pretend_cards(monkeypatch, 2)
    bench = make_bench(tmp_path)
    shown = multibench("plan", bench.suite, *bench.options, "--explain").out
    assert "2 processes, 4 threads each (one process for each of 2 GPUs)" in shown
