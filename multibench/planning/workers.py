"""How many processes share the runs of a suite, and how many threads each of them has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from multibench.planning.machine import Device, cores
from multibench.planning.plan import Plan, PlannedRun
from multibench.planning.together import Replicas, groups_of, training_bytes

__all__ = ["WorkerChoice", "Workers", "choose_workers"]

Workers = int | Literal["auto"]

# Share of a training step that more threads do not make faster. On two cores a step of a 6-layer, hidden-384 BERT took
# 1.5 (fp32) and 1.7 (bf16) times less time with two threads than with one; two processes of one thread each did not
# slow each other down.
_SERIAL = 0.25
# Rough seconds of one core: for an operation, for a token (all that is no matrix product), and for starting a process.
_PER_OPERATION, _PER_TOKEN, _START = 1e-11, 1e-5, 4.0
# Python, torch and data, before any model.
_PROCESS_BYTES = 1_000_000_000
_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class WorkerChoice:
    """How many processes, each with how many threads (None: as many as torch takes), and why."""

    workers: int
    threads: int | None
    reason: str


def choose_workers(
    plan: Plan,
    device: Device,
    workers: Workers = "auto",
    threads: int | None = None,
    replicas: Replicas = "auto",
) -> WorkerChoice:
    """The processes for ``plan`` on ``device``.

    The choice follows from the suite and the machine, not from what is stored already: repeated, a command gives the
    same bits. On GPUs ``workers`` is the number of all processes, spread over the cards; ``auto`` is one a card.
    """
    available = cores()
    if device.kind == "cuda":
        return _on_cards(device.cards, workers, threads)
    if workers != "auto":
        share = max(1, available // workers) if workers > 1 else None
        return WorkerChoice(workers, threads or share, "as asked for")
    if threads is not None:
        return WorkerChoice(1, threads, "as many threads as asked for")
    if os.environ.get("OMP_NUM_THREADS"):
        return WorkerChoice(1, None, "OMP_NUM_THREADS is set")
    groups = groups_of(plan.runs, replicas, device)
    if available == 1 or len(groups) < 2:
        return WorkerChoice(1, available, "one core" if available == 1 else "all in one group")
    largest = max(training_bytes(group[0], device, len(group)) for group in groups)
    room = int(_MEMORY_SHARE * device.memory / (_PROCESS_BYTES + largest))
    most = max(1, min(available, len(groups), room))
    work = _group_seconds(groups)
    best = min(range(1, most + 1), key=lambda count: _seconds(work, count, available // count))
    if best > 1:
        reason = f"processes share {available} cores better than threads do"
    elif most == 1:
        reason = "half of the memory holds no more"
    else:
        reason = f"too little work to start more, or too few groups of runs ({len(groups)}) to share"
    return WorkerChoice(best, available // best, reason)


def _on_cards(cards: int, workers: Workers, threads: int | None) -> WorkerChoice:
    """A process keeps a GPU busy, and needs little of the CPU: the processes share its cores."""
    count = cards if workers == "auto" else workers
    if threads is None and count > 1 and not os.environ.get("OMP_NUM_THREADS"):
        threads = max(1, cores() // count)
    reason = "one process keeps a GPU busy" if cards == 1 else f"one process for each of {cards} GPUs"
    return WorkerChoice(count, threads, reason if workers == "auto" else "as asked for")


def _group_seconds(groups: Sequence[Sequence[PlannedRun]]) -> list[float]:
    """Estimated time of each group on one core."""
    known: dict[tuple[int, ...], float] = {}
    seconds = []
    for group in groups:
        run = group[0]
        key = id(run.checkpoint.architecture), id(run.evaluations), id(run.settings)
        if key not in known:
            cost = run.cost
            known[key] = _PER_OPERATION * (cost.flops or 0.0) + _PER_TOKEN * cost.tokens
        seconds.append(len(group) * known[key])
    return seconds


def _seconds(work: Sequence[float], workers: int, threads: int) -> float:
    """Estimated time of groups that take ``work`` seconds each on one core: whole rounds, or the longest one alone."""
    rounds = -(-len(work) // workers)
    longest = max(sum(work) * rounds / len(work), max(work))
    return longest * (_SERIAL + (1 - _SERIAL) / threads) + _START * (workers > 1)
