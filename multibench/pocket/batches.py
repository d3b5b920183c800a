"""Pretraining examples: sentence pairs for next-sentence prediction, masked for language modelling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multibench.pocket import vocabulary
from multibench.pocket.corpus import VOLUME, documents

__all__ = ["Batch", "batches", "encoded_corpus"]

CORPUS_SEED, CORPUS_DOCUMENTS = 0, 30_000
IGNORED = -100  # the label of a position that is not predicted
OWN_VOLUME = 0.95  # of random sentences: a few words of the same small lexicon tell nothing
SHORT_SHARE, LONG_TOKENS = 0.85, 112  # most pairs are two sentences; the rest fill up to this many


@dataclass(frozen=True)
class Batch:
    """Arrays (examples, positions), but ``is_random`` (examples,): 1 if B does not follow A."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    attended: NDArray[np.int64]
    labels: NDArray[np.int64]
    is_random: NDArray[np.int64]


def encoded_corpus(count: int = CORPUS_DOCUMENTS) -> list[list[list[int]]]:
    """The corpus as documents of sentences of token ids. The same for every pretraining seed."""
    known = vocabulary.load()
    return [
        [vocabulary.encode(sentence, known) for sentence in document]
        for document in documents(CORPUS_SEED, count)
    ]


def batches(
    corpus: list[list[list[int]]], rng: np.random.Generator, batch_size: int, steps: int
) -> Iterator[Batch]:
    """``steps`` batches of pairs of similar length, with fresh pairs and masks in every epoch.

    Nearly all documents take their random sentences from their own volume, which makes next-sentence
    prediction a matter of who did what.
    """
    left = steps
    while left > 0:
        volumes = [corpus[start : start + VOLUME] for start in range(0, len(corpus), VOLUME)]
        pairs = [
            pair
            for volume in volumes
            for document in volume
            for pair in _pairs(document, volume if rng.random() < OWN_VOLUME else corpus, rng)
        ]
        shuffled = rng.permutation(len(pairs)).tolist()
        order = sorted(shuffled, key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        # Neighbours in length share a batch; where each batch begins shifts from epoch to epoch.
        first = int(rng.integers(batch_size))
        groups = [order[i : i + batch_size] for i in range(first, len(order) - batch_size, batch_size)]
        for index in rng.permutation(len(groups))[:left]:
            yield _batch([pairs[i] for i in groups[index]], rng)
        left -= len(groups)


Pair = tuple[list[int], list[int], bool]


def _pairs(document: list[list[int]], others: list[list[list[int]]], rng: np.random.Generator) -> list[Pair]:
    found: list[Pair] = []
    if len(document) < 2:
        return found
    if rng.random() > SHORT_SHARE:
        split = 1 + int(rng.random() * (len(document) - 1))
        found.append(_pair(document[:split], document[split:], others, rng))
    else:
        # Every other boundary, so that each sentence is seen about once in an epoch.
        for index in range(int(rng.random() < 0.5), len(document) - 1, 2):
            found.append(_pair([document[index]], [document[index + 1]], others, rng))
    return found


def _pair(
    first: list[list[int]], second: list[list[int]], others: list[list[list[int]]], rng: np.random.Generator
) -> Pair:
    """Half of the pairs are real; else B comes from one of ``others``."""
    is_random = bool(rng.random() < 0.5)
    if is_random:
        other = others[int(rng.random() * len(others))]
        start = int(rng.random() * len(other))
        second = other[start : start + len(second)]
    a, b = [t for s in first for t in s], [t for s in second for t in s]
    half = (LONG_TOKENS - 3) // 2
    return a[-half:], b[:half], is_random


def _batch(pairs: list[Pair], rng: np.random.Generator) -> Batch:
    known = vocabulary.load()
    cls, sep, mask = known["[CLS]"], known["[SEP]"], known["[MASK]"]
    longest = max(len(a) + len(b) + 3 for a, b, _ in pairs)
    ids = np.zeros((len(pairs), longest), dtype=np.int64)
    types, attended = np.zeros_like(ids), np.zeros_like(ids)
    for row, (a, b, _) in enumerate(pairs):
        tokens = [cls, *a, sep, *b, sep]
        ids[row, : len(tokens)] = tokens
        attended[row, : len(tokens)] = 1
        types[row, len(a) + 2 : len(tokens)] = 1
    can_mask = (attended == 1) & (ids != cls) & (ids != sep)
    masked = can_mask & (rng.random(ids.shape) < 0.15)
    labels = np.where(masked, ids, IGNORED)
    way = rng.random(ids.shape)
    noise = rng.integers(mask + 1, len(known), ids.shape)
    ids = np.where(masked & (way < 0.8), mask, np.where(masked & (way > 0.9), noise, ids))
    return Batch(ids, types, attended, labels, np.array([r for _, _, r in pairs], dtype=np.int64))
