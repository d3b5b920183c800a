"""Order of examples, number of steps, and the cut of its sequences into buckets."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from multibench.planning.buckets import overhead_in_tokens
from multibench.recipes import Hyperparameters
from multibench.training.batching import (
    Grain,
    cut_by_length,
    grain_of,
    rows_of_steps,
    step_rows,
    steps_in_total,
)


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


def _bucketed(lengths: np.ndarray, seed: int, steps: int, drop_last: bool = False) -> list[np.ndarray]:
    settings = Hyperparameters(
        learning_rate=1e-3, batch_size=4, epochs=1, batching="bucketed", drop_last=drop_last
    )
    return list(rows_of_steps(lengths, settings, steps, seed))


def test_bucketed_epochs_are_permutations_in_batches_of_like_lengths() -> None:
    lengths = np.random.default_rng(3).integers(4, 128, size=407)
    batches = _bucketed(lengths, seed=5, steps=204)
    for epoch in (batches[:102], batches[102:]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(407))
        assert sorted(map(len, epoch)) == [3] + [4] * 101
    exact = list(step_rows(407, 4, 204, seed=5))

    def padded(found: list[np.ndarray]) -> int:
        return sum(len(rows) * int(lengths[rows].max()) for rows in found)

    assert padded(batches) < 0.7 * padded(exact)
    assert all(len(rows) == 4 for rows in _bucketed(lengths, 5, 202, drop_last=True))


def test_bucketed_batches_differ_by_seed_but_not_in_how_long_they_are() -> None:
    """So that what is trained together needs little padding in the same steps."""
    lengths = np.random.default_rng(3).integers(4, 128, size=2000)
    one, other = _bucketed(lengths, 5, 500), _bucketed(lengths, 6, 500)
    assert all(len(a) == len(b) for a, b in zip(one, other, strict=True))
    assert sum(np.array_equal(np.sort(a), np.sort(b)) for a, b in zip(one, other, strict=True)) < 5
    means = [[lengths[rows].mean() for rows in batches] for batches in (one, other)]
    assert np.corrcoef(means)[0, 1] > 0.9
    assert (
        np.abs(np.corrcoef(means[0][:-1], means[0][1:])[0, 1]) < 0.15
    )  # short and long ones alternate freely


def test_buckets_are_all_sequences() -> None:
    lengths = np.sort(np.random.default_rng(0).integers(5, 128, size=32))
    parts = cut_by_length(lengths, overhead=40)
    assert np.concatenate([np.arange(32)[part] for part in parts]).tolist() == list(range(32))
    assert len(cut_by_length(lengths, overhead=10**9)) == 1
    assert len(cut_by_length(lengths, overhead=0)) == len(set(lengths.tolist()))


def test_a_grain_leaves_few_shapes() -> None:
    """Multiples of four sequences and 16 tokens, but for what is left and for the longest that can come."""
    rng = np.random.default_rng(2)
    grain = Grain(4, 16)
    for n in (32, 30, 3):
        lengths = np.sort(rng.integers(5, 125, size=n))
        parts = cut_by_length(lengths, 20, grain)
        assert np.concatenate([np.arange(n)[part] for part in parts]).tolist() == list(range(n))
        assert all((part.stop - part.start) % 4 == 0 for part in parts[:-1])
    assert [grain.padded(length, 125) for length in (1, 16, 17, 112, 113, 125)] == [16, 16, 32, 112, 125, 125]
    few = grain_of("cpu", "bf16")
    assert few == grain_of("cpu", "fp16") != grain_of("cpu", "fp32") == grain_of("cuda", "bf16")
    assert few.rows > 1 == grain_of("cpu", "fp32").rows


def test_buckets_are_the_cheapest_of_all_cuts() -> None:
    """Brute force over every way to cut eight sorted sequences."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        ordered = np.sort(rng.integers(1, 60, size=8))

        def cost(cuts: tuple[int, ...], ordered: np.ndarray = ordered) -> int:
            ends = [*cuts, 8]
            starts = [0, *cuts]
            return sum((e - s) * int(ordered[e - 1]) + 20 for s, e in zip(starts, ends, strict=True))

        best = min(cost(c) for k in range(8) for c in itertools.combinations(range(1, 8), k))
        parts = cut_by_length(ordered, overhead=20)
        assert sum(len(ordered[p]) * int(ordered[p].max()) + 20 for p in parts) == best


def test_a_bucket_is_worth_more_tokens_where_tokens_are_cheap() -> None:
    assert overhead_in_tokens("cpu", 64) > 10 * overhead_in_tokens("cpu", 768)
    # On a GPU the sequences of one small model are in one bucket, those of many large ones are worth cutting.
    assert 20 * 32 * 128 > overhead_in_tokens("cuda", 768) > 32 * 128
