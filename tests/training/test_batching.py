"""Order of examples, number of steps, and the cut of a step into micro-batches."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from multibench.training.batching import micro_batches, step_rows, steps_in_total


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "drop_last", "steps"),
    [
        (10, 4, 3, False, 9),
        (10, 4, 3, True, 6),
        (8, 4, 1, True, 2),
        (3, 4, 2, True, 2),
        (10, 4, 0.5, False, 2),
    ],
)
def test_steps(examples: int, batch: int, epochs: float, drop_last: bool, steps: int) -> None:
    assert steps_in_total(examples, batch, epochs, drop_last) == steps


def test_each_epoch_is_a_permutation() -> None:
    batches = list(step_rows(11, 4, 9, seed=5))
    assert [len(b) for b in batches] == [4, 4, 3] * 3
    epochs = [np.concatenate(batches[i : i + 3]).tolist() for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    again = list(step_rows(11, 4, 9, seed=5))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(batches, step_rows(11, 4, 9, seed=6), strict=True))


def test_dropped_last_batches() -> None:
    batches = list(step_rows(11, 4, 4, seed=5, drop_last=True))
    assert [len(b) for b in batches] == [4, 4, 4, 4]
    assert len(set(np.concatenate(batches[:2]).tolist())) == 8


def test_windowed_shuffle_moves_records_little() -> None:
    """A buffer of w records lets record i out at position i - w + 1 at the earliest."""
    order = np.concatenate(list(step_rows(1000, 10, 100, seed=1, window=100)))
    positions = np.arange(1000)
    assert (order - positions < 100).all()
    seen = Counter(np.concatenate(list(step_rows(50, 10, 50, seed=1, window=7))).tolist())
    assert set(seen) == set(range(50))
    assert max(seen.values()) - min(seen.values()) <= 3
    assert np.array_equal(np.concatenate(list(step_rows(20, 5, 4, seed=1, window=1))), np.arange(20))


def test_micro_batches_partition_the_step() -> None:
    rng = np.random.default_rng(0)
    rows = rng.permutation(100)[:32]
    lengths = rng.integers(5, 128, size=32)
    parts = micro_batches(rows, lengths, overhead=40)
    assert sorted(np.concatenate(parts).tolist()) == sorted(rows.tolist())
    assert len(micro_batches(rows, lengths, overhead=10**9)) == 1
    assert len(micro_batches(rows, lengths, overhead=0)) == len(set(lengths.tolist()))


def test_micro_batches_are_the_cheapest_of_all_cuts() -> None:
    """Brute force over every way to cut eight sorted rows."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        lengths = rng.integers(1, 60, size=8)
        ordered = np.sort(lengths)

        def cost(cuts: tuple[int, ...], ordered: np.ndarray = ordered) -> int:
            ends = [*cuts, 8]
            starts = [0, *cuts]
            return sum((e - s) * int(ordered[e - 1]) + 20 for s, e in zip(starts, ends, strict=True))

        best = min(cost(c) for k in range(8) for c in itertools.combinations(range(1, 8), k))
        parts = micro_batches(np.arange(8), lengths, overhead=20)
        assert sum(len(p) * int(lengths[p].max()) + 20 for p in parts) == best
