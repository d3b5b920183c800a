"""Random numbers: independent streams for each block of draws, and fast multinomial counts."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from multibench.metrics.base import Array

__all__ = ["Rng", "Streams", "draw_counts", "pattern_counts"]

Rng: TypeAlias = "np.random.Generator | np.random.RandomState | int | None"

# Counts are made in pieces that stay in the cache of one core.
CACHE_CELLS = 2**16
# A pattern of more examples than this is drawn by one binomial rather than example by example.
COMMON = 24


class Streams:
    """Generators that depend on the seed, the purpose and the block, and on nothing else.

    So results do not depend on how many blocks are in memory or in which order they are worked on, and two
    analyses with one seed resample the same examples.
    """

    def __init__(self, rng: np.random.Generator | int | None) -> None:
        if isinstance(rng, np.random.Generator):
            entropy: int | None = int.from_bytes(rng.bytes(16), "little")
        else:
            entropy = None if rng is None else int(rng)
        self.entropy = int(np.random.SeedSequence(entropy).entropy)  # type: ignore[arg-type]

    def generator(self, purpose: int, block: int, test_set: int = 0) -> np.random.Generator:
        """The generator of one purpose, block and test set."""
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(purpose, test_set, block))
        return np.random.Generator(np.random.SFC64(sequence))


def draw_counts(rng: np.random.Generator, n_draws: int, n: int) -> Array:
    """``n`` draws with replacement out of ``n``, as counts ``(n_draws, n)``."""
    return pattern_counts(rng, n_draws, np.ones(n, dtype=np.int64))


def pattern_counts(rng: np.random.Generator, n_draws: int, sizes: Array) -> Array:
    """Counts ``(n_draws, n_patterns)`` of patterns in resamples of ``sizes.sum()`` examples.

    Exactly multinomial: common patterns by binomials, all others one example at a time.
    """
    n = int(sizes.sum())
    counts = np.zeros((n_draws, len(sizes)), dtype=np.int32)
    common = np.flatnonzero(sizes > COMMON)
    rare = np.flatnonzero(sizes <= COMMON)
    n_rare = int(sizes[rare].sum())
    if len(common):
        shares = np.append(sizes[common], n_rare) / n
        drawn = rng.multinomial(n, shares / shares.sum(), size=n_draws)
        counts[:, common] = drawn[:, :-1]
        left = drawn[:, -1]
    else:
        left = np.full(n_draws, n, dtype=np.int64)
    if n_rare == 0:
        return counts
    pattern = np.repeat(np.arange(len(rare)), sizes[rare]) if n_rare > len(rare) else None
    step = max(1, CACHE_CELLS // len(rare))
    for start in range(0, n_draws, step):
        size = left[start : start + step]
        index = rng.integers(0, n_rare, size=int(size.sum()))
        if pattern is not None:
            index = pattern[index]
        if len(size) > 1:
            index += np.repeat(np.arange(len(size)) * len(rare), size)
        found = np.bincount(index, minlength=len(size) * len(rare)).reshape(len(size), len(rare))
        if len(common):
            counts[start : start + step, rare] = found
        else:
            counts[start : start + step] = found
    return counts
