"""A few steps at real shapes: does the card compute what the processor does, and the same twice?

Of base the processor does three steps only. Differences of losses are the largest of the steps that both did.
"""

from __future__ import annotations

import numpy as np

from multibench.training.record import TrainingRecord

from ..options import Given
from ..training import train_some
from . import Say


def run(given: Given, say: Say) -> None:
    for size, own, of_host in [("tiny", 3, 3)] if given.small else [("minilm", 12, 12), ("base", 12, 3)]:
        _exact(given.device, size, own, of_host, say)
        _rounded(given.device, size, own, say)


def _exact(device: str, size: str, steps: int, of_host: int, say: Say) -> None:
    """fp32: the device twice, and against the processor, without dropout and with it."""
    for dropout in (0.0, 0.1):
        first, again = (train_some(size, 1, "fp32", device, steps, dropout)[0] for _ in range(2))
        (host,) = train_some(size, 1, "fp32", "cpu", of_host, dropout)
        k = min(len(host.losses), len(first.losses))
        norms = np.abs(first.gradient_norms[:k] / host.gradient_norms[:k] - 1)
        say(
            what="fp32",
            size=size,
            dropout=dropout,
            steps=k,
            bits_repeat=_bits(first) == _bits(again),
            loss_from_host=_apart(first, host),
            norm_from_host=float(norms.max()),
        )


def _rounded(device: str, size: str, steps: int, say: Say) -> None:
    """bf16: against fp32, and a run alone against the same one in company."""
    (exact,) = train_some(size, 1, "fp32", device, steps, 0.0)
    (half,) = train_some(size, 1, "bf16", device, steps, 0.0)
    (alone,) = train_some(size, 1, "bf16", device, steps)
    together = train_some(size, 3, "bf16", device, steps)
    say(
        what="bf16",
        size=size,
        steps=len(half.losses),
        loss_from_fp32=_apart(half, exact),
        loss_from_company=_apart(alone, together[0]),
    )


def _bits(record: TrainingRecord) -> bytes:
    return record.losses.tobytes() + record.gradient_norms.tobytes()


def _apart(one: TrainingRecord, other: TrainingRecord) -> float:
    k = min(len(one.losses), len(other.losses))
    return float(np.abs(one.losses[:k] - other.losses[:k]).max())
