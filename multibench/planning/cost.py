"""What runs cost: tokens, floating-point operations, hours, disk. Estimates, and called so."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from multibench.checkpoints import Architecture
from multibench.planning.machine import cores
from multibench.recipes import Hyperparameters
from multibench.tasks import Task
from multibench.tasks.spans import SPECIAL_TOKENS, window_starts

__all__ = ["Cost", "Sequences", "machine_speed", "run_cost", "sequences"]

# Share of the matrix-multiplication rate that fine-tuning reaches; measured with a 6-layer, hidden-384
# BERT on two CPU cores. Replaced by the measured rate as soon as one run of the suite is finished.
_CPU_EFFICIENCY = 0.55

# Sizes of stored runs, measured: what each has, a step of its history, an example's scores, an answer with its texts,
# and the number of an example's cluster.
_BYTES_PER_RUN = 6_000
_BYTES_PER_STEP = 62
_BYTES_PER_EXAMPLE = 2
_BYTES_PER_OUTPUT = 3.8
_BYTES_PER_ANSWER = 22
_BYTES_PER_CLUSTER = 1.6


@dataclass(frozen=True)
class Cost:
    """Estimated cost of some runs. ``flops`` is None where an architecture is not fully known."""

    tokens: float
    flops: float | None
    result_bytes: float

    def __add__(self, other: Cost) -> Cost:
        flops = None if self.flops is None or other.flops is None else self.flops + other.flops
        return Cost(self.tokens + other.tokens, flops, self.result_bytes + other.result_bytes)

    def times(self, count: int) -> Cost:
        """The cost of ``count`` such runs."""
        flops = None if self.flops is None else count * self.flops
        return Cost(count * self.tokens, flops, count * self.result_bytes)

    def hours(self, flops_per_second: float | None) -> float | None:
        """Wall time at a given rate."""
        if self.flops is None or not flops_per_second:
            return None
        return self.flops / flops_per_second / 3600


@dataclass(frozen=True)
class Sequences:
    """What a model is given: how many sequences, their tokens, and the sum of their squared lengths."""

    number: float
    tokens: float
    squares: float

    @classmethod
    def of(cls, length: float, number: float = 1.0) -> Sequences:
        """``number`` sequences of ``length`` tokens."""
        return cls(number, number * length, number * length**2)

    def __add__(self, other: Sequences) -> Sequences:
        return Sequences(self.number + other.number, self.tokens + other.tokens, self.squares + other.squares)

    def times(self, factor: float) -> Sequences:
        """``factor`` times as many."""
        return Sequences(factor * self.number, factor * self.tokens, factor * self.squares)


def sequences(task: Task, settings: Hyperparameters) -> Sequences:
    """The mean over the examples of ``task``, from the lengths in its facts: nothing is tokenized.

    Contexts of span tasks that do not fit are read through several windows. Questions, and where the facts have
    no ``context_tokens`` contexts, are taken to be equally long.
    """
    if task.kind != "span":
        return Sequences.of(min(task.mean_tokens, settings.max_length))
    contexts = task.context_tokens or {round(task.mean_tokens) - SPECIAL_TOKENS: 1}
    examples = sum(contexts.values())
    mean = sum(length * count for length, count in contexts.items()) / examples
    beside = SPECIAL_TOKENS + min(
        max(0, round(task.mean_tokens - SPECIAL_TOKENS - mean)), settings.max_question_length
    )
    overlap = settings.window_overlap or 0
    room = max(settings.max_length - beside, overlap + 1)
    windows = (
        Sequences.of(beside + min(room, context - start), count / examples)
        for context, count in contexts.items()
        for start in window_starts(context, room, settings.doc_stride, overlap)
    )
    return sum(windows, Sequences(0.0, 0.0, 0.0))


def _forward_flops(architecture: Architecture, given: Sequences) -> float | None:
    """Two operations a weight of the layers and token, plus attention scores and sums over each sequence."""
    if architecture.intermediate is None:
        return None
    h = architecture.hidden
    layer = 4 * h * h + 2 * h * architecture.intermediate
    return architecture.layers * (2 * layer * given.tokens + 4 * h * given.squares)


def run_cost(
    architecture: Architecture,
    task: Task,
    evaluations: Iterable[tuple[Task, str]],
    settings: Hyperparameters,
    trains: bool,
) -> Cost:
    """Expected cost of one run: a backward pass costs two forward passes, padding is not computed."""
    total = Cost(0.0, 0.0, float(_BYTES_PER_RUN))
    if trains:
        trained = sequences(task, settings).times(task.splits["train"].rows * settings.epochs)
        forward = _forward_flops(architecture, trained)
        steps = trained.number / settings.batch_size
        total += Cost(trained.tokens, None if forward is None else 3 * forward, steps * _BYTES_PER_STEP)
    for other, split in evaluations:
        rows = other.splits[split].rows
        scored = sequences(other, settings).times(rows)
        answer = _BYTES_PER_EXAMPLE + _BYTES_PER_OUTPUT * other.outputs
        size = rows * (_BYTES_PER_ANSWER if other.kind == "span" else answer)
        size += rows * _BYTES_PER_CLUSTER * (other.cluster is not None)
        total += Cost(scored.tokens, _forward_flops(architecture, scored), size)
    return total


def machine_speed(manifests: Iterable[dict[str, Any]]) -> tuple[float, str]:
    """Floating-point operations a second that fine-tuning may expect of this machine's CPU, and where that is from.

    The median of finished runs made on this CPU if there are any, as if all cores were at work as theirs were;
    else a guess from a short matrix multiplication. Runs made on a GPU of this machine say nothing about it.
    """
    from statistics import median

    available = cores()
    rates = [
        m["training"]["flops_per_second"] * _processes(m["provenance"], available)
        for m in manifests
        if m.get("training", {}).get("flops_per_second") and _made_on_this_cpu(m["provenance"])
    ]
    if rates:
        return float(median(rates)), f"measured in {len(rates)} finished runs on this machine"
    return _matmul_rate() * _CPU_EFFICIENCY, "guessed from a short matrix multiplication on this CPU"


def _made_on_this_cpu(provenance: Mapping[str, Any]) -> bool:
    return (provenance["host"], provenance["device"]) == (socket.gethostname(), "cpu")


def _processes(provenance: Mapping[str, Any], available: int) -> int:
    """How many processes like the one that made a run the ``available`` cores hold."""
    return max(1, available // int(provenance["threads"]))


def _matmul_rate() -> float:
    import numpy as np

    a = np.ones((768, 768), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * 768**3 / best
