"""Which examples make which step, and how its sequences are cut into buckets of like lengths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multibench.recipes import Hyperparameters

__all__ = [
    "EXACT",
    "Grain",
    "cut_by_length",
    "grain_of",
    "rows_of_steps",
    "step_rows",
    "steps_in_total",
]

Rows = NDArray[np.int64]

# In bucketed mode so many batches are sorted by length together.
_POOL = 32


@dataclass(frozen=True)
class Grain:
    """Sizes are rounded up: buckets to so many sequences and tokens, the rows of a replica to so many."""

    sequences: int = 1
    tokens: int = 1
    rows: int = 1

    def padded(self, length: int, longest: int) -> int:
        """The length that sequences of ``length`` are padded to, where none has more than ``longest``."""
        return min(-(-length // self.tokens) * self.tokens, longest)


EXACT = Grain()


def grain_of(device: str, precision: str) -> Grain:
    """The grain on ``device``: on a CPU oneDNN compiles every product in half precision for each shape that it meets.

    Compiling takes longer than a small product, and what was compiled stays in memory, so there are few shapes.
    """
    return Grain(16, 16, 32) if device == "cpu" and precision in ("bf16", "fp16") else Grain(4, 1, 1)


def steps_in_total(
    examples: int, batch_size: int, epochs: float, drop_last: bool, window: int | None = None
) -> int:
    """Optimizer steps of a whole training: whole steps an epoch, times epochs, rounded.

    With a shuffle ``window`` examples stream across the ends of epochs, and the number is Google's:
    ``int(examples / batch_size * epochs)``.
    """
    if window is not None:
        return max(1, int(examples / batch_size * epochs))
    per_epoch = examples / batch_size
    whole = math.floor(per_epoch) if drop_last and examples >= batch_size else math.ceil(per_epoch)
    return max(1, round(whole * epochs))


def step_rows(
    examples: int, batch_size: int, steps: int, seed: int, window: int | None = None, drop_last: bool = False
) -> Iterator[Rows]:
    """The example numbers of each of ``steps`` steps, in the order that ``seed`` gives.

    Without ``window`` each epoch is a fresh permutation. With it, examples stream in file order,
    epoch after epoch, through a shuffle buffer of that many records, as in Google's BERT code
    (``repeat`` then ``shuffle``): batches then run across the ends of epochs.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    if window is not None:
        order = _windowed(examples, window, rng)
        for _ in range(steps):
            yield np.fromiter((next(order) for _ in range(batch_size)), dtype=np.int64, count=batch_size)
        return
    step = 0
    while True:
        permutation = rng.permutation(examples)
        last = examples - examples % batch_size if drop_last and examples >= batch_size else examples
        for start in range(0, last, batch_size):
            if step == steps:
                return
            yield permutation[start : min(start + batch_size, last)]
            step += 1


def rows_of_steps(
    lengths: NDArray[np.int64], settings: Hyperparameters, steps: int, seed: int
) -> Iterator[Rows]:
    """The example numbers of each of ``steps`` steps, as ``settings`` ask for; ``lengths`` ``(n,)`` of all examples."""
    if settings.batching == "bucketed":
        return _bucketed_rows(lengths, settings.batch_size, steps, seed, settings.drop_last)
    return step_rows(
        len(lengths), settings.batch_size, steps, seed, settings.shuffle_window, settings.drop_last
    )


def _bucketed_rows(
    lengths: NDArray[np.int64], batch_size: int, steps: int, seed: int, drop_last: bool
) -> Iterator[Rows]:
    """Batches of like lengths, out of pools of ``_POOL`` batches drawn at random.

    Which batch of a pool comes when is the same for every seed: so replicas have short batches in the same steps.
    """
    order = np.random.Generator(np.random.PCG64(0))
    batches = step_rows(len(lengths), batch_size, steps, seed, drop_last=drop_last)
    per_epoch = steps_in_total(len(lengths), batch_size, 1, drop_last)
    for epoch in range(0, steps, per_epoch):
        for first in range(epoch, epoch + per_epoch, _POOL):
            pool = list(itertools.islice(batches, min(_POOL, epoch + per_epoch - first)))
            if not pool:
                return
            rows = np.concatenate(pool)
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            ends = np.cumsum([len(batch) for batch in pool])[:-1]
            like = np.split(rows, ends)
            yield from (like[k] for k in order.permutation(len(like)))


def _windowed(examples: int, window: int, rng: np.random.Generator) -> Iterator[int]:
    buffer = [i % examples for i in range(window)]
    following = window
    while True:
        slot = int(rng.integers(window))
        yield buffer[slot]
        buffer[slot] = following % examples
        following += 1


def cut_by_length(lengths: NDArray[np.int64], overhead: int, grain: Grain = EXACT) -> list[slice]:
    """Sequences, sorted by length, cut into buckets of like lengths, so that little padding is computed.

    ``lengths`` ``(n,)``, ascending. Of all ways to cut them into consecutive buckets of this ``grain``, the one with
    the lowest cost is taken, where a bucket costs its padded tokens plus ``overhead`` tokens. Exact, by dynamic
    programming. The result depends on the arguments alone.
    """
    edges = np.append(np.arange(0, len(lengths), grain.sequences), len(lengths))
    best = np.zeros(len(edges))  # cost of the sequences before an edge
    cut = np.zeros(len(edges), dtype=np.int64)
    for end in range(1, len(edges)):
        longest = grain.padded(int(lengths[edges[end] - 1]), int(lengths[-1]))
        cost = best[:end] + (edges[end] - edges[:end]) * longest + overhead
        cut[end] = int(np.argmin(cost))
        best[end] = cost[cut[end]]
    groups: list[slice] = []
    end = len(edges) - 1
    while end > 0:
        groups.append(slice(int(edges[cut[end]]), int(edges[end])))
        end = int(cut[end])
    return groups[::-1]
