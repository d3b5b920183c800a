"""Which examples make which step, and how a step is cut into micro-batches of like lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["micro_batches", "step_rows", "steps_in_total"]

Rows = NDArray[np.int64]


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


def _windowed(examples: int, window: int, rng: np.random.Generator) -> Iterator[int]:
    buffer = [i % examples for i in range(window)]
    following = window
    while True:
        slot = int(rng.integers(window))
        yield buffer[slot]
        buffer[slot] = following % examples
        following += 1


def micro_batches(rows: Rows, lengths: NDArray[np.int64], overhead: int) -> list[Rows]:
    """``rows`` cut into groups of like lengths, so that little padding is computed.

    ``lengths`` ``(len(rows),)``. Of all ways to cut the rows, sorted by length, into consecutive
    groups, the one with the lowest cost is taken, where a group costs its padded tokens plus
    ``overhead`` tokens (what starting one more forward and backward pass is worth). Exact, by
    dynamic programming. The result depends on the arguments alone.
    """
    order = np.argsort(lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    n = len(rows)
    best = np.zeros(n + 1)  # cost of the first k rows
    cut = np.zeros(n + 1, dtype=np.int64)
    sizes = np.arange(n, -1, -1)
    for end in range(1, n + 1):
        cost = best[:end] + sizes[n - end : n] * lengths[end - 1] + overhead
        cut[end] = int(np.argmin(cost))
        best[end] = cost[cut[end]]
    groups: list[Rows] = []
    end = n
    while end > 0:
        groups.append(rows[cut[end] : end])
        end = int(cut[end])
    return groups[::-1]
