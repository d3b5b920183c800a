"""What runs cost: tokens, floating-point operations, hours, disk. Estimates, and called so."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from multibench.checkpoints import Architecture
from multibench.recipes import Hyperparameters
from multibench.tasks import Task

__all__ = ["Cost", "machine_speed", "run_cost"]

# Share of the matrix-multiplication rate that fine-tuning reaches; measured with a 6-layer, hidden-384
# BERT on two CPU cores. Replaced by the measured rate as soon as one run of the suite is finished.
_CPU_EFFICIENCY = 0.55
_BYTES_PER_OUTPUT = 4.5
_BYTES_PER_EXAMPLE = 6
_BYTES_PER_RUN = 12_000


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


def _forward_flops_per_token(architecture: Architecture, length: float) -> float | None:
    """Two operations a weight of the layers, plus attention scores and sums over ``length`` tokens."""
    if architecture.intermediate is None:
        return None
    h = architecture.hidden
    layer = 4 * h * h + 2 * h * architecture.intermediate
    return float(architecture.layers * (2 * layer + 4 * length * h))


def run_cost(
    architecture: Architecture,
    task: Task,
    evaluations: Iterable[tuple[Task, str]],
    settings: Hyperparameters,
    trains: bool,
) -> Cost:
    """Expected cost of one run: a backward pass costs two forward passes, padding is not computed."""
    length = min(task.mean_tokens, settings.max_length)
    per_token = _forward_flops_per_token(architecture, length)
    trained = task.splits["train"].rows * settings.epochs * length if trains else 0.0
    evaluated = examples = 0.0
    size = float(_BYTES_PER_RUN)
    for other, split in evaluations:
        rows = other.splits[split].rows
        evaluated += rows * min(other.mean_tokens, settings.max_length)
        examples += rows
        size += rows * (_BYTES_PER_EXAMPLE + _BYTES_PER_OUTPUT * other.outputs)
    flops = None if per_token is None else per_token * (3 * trained + evaluated)
    return Cost(trained + evaluated, flops, size)


def machine_speed(manifests: Iterable[dict[str, Any]]) -> tuple[float, str]:
    """Floating-point operations a second that fine-tuning may expect here, and where the figure is from.

    The median of finished runs made on this machine if there are any; else a guess from a short
    matrix multiplication on the CPU.
    """
    import socket
    from statistics import median

    rates = [
        m["training"]["flops_per_second"]
        for m in manifests
        if m.get("training", {}).get("flops_per_second") and m["provenance"]["host"] == socket.gethostname()
    ]
    if rates:
        return float(median(rates)), f"measured in {len(rates)} finished runs on this machine"
    return _matmul_rate() * _CPU_EFFICIENCY, "guessed from a short matrix multiplication on this CPU"


def _matmul_rate() -> float:
    import numpy as np

    a = np.ones((768, 768), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * 768**3 / best
