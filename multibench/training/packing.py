"""The sequences of a step, packed: rows of tokens one after the other, without padding.

Shapes: R replicas, S sequences, N rows. A replica's rows lie together, its sequences from short to long. Layers that
work token by token see rows alone. Attention sees sequences of like lengths in *buckets*, padded to the longest there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.planning.buckets import overhead_in_tokens
from multibench.tasks.encode import Encoded
from multibench.training.batching import EXACT, Grain, cut_by_length, grain_of
from multibench.training.stack import Stack

__all__ = ["Bucket", "Layout", "Packed", "Packer", "Segment", "packer_of", "send"]

Numbers = NDArray[np.int64]

# Products of several replicas at once save the start of many small ones on a GPU; a CPU gains nothing by them.
_SLACK = {"cpu": 0.0, "cuda": 0.05}
_FEW_SEGMENTS = 2


@dataclass(frozen=True)
class Segment:
    """Replicas ``first`` to ``last`` (without), each with ``each`` rows, together the rows ``start`` to ``end``."""

    first: int
    last: int
    each: int
    start: int

    @property
    def replicas(self) -> slice:
        """Which replicas."""
        return slice(self.first, self.last)

    @property
    def rows(self) -> slice:
        """Their rows."""
        return slice(self.start, self.start + self.each * (self.last - self.first))


@dataclass(frozen=True)
class Owners:
    """Whose each row is: ``replica`` int64 ``(N,)``, and as 0 and 1, float32 ``(R, N)``."""

    replica: torch.Tensor
    indicator: torch.Tensor

    @classmethod
    def of(cls, replica: torch.Tensor, replicas: int) -> Owners:
        """From the replica of each row."""
        indicator = torch.zeros(replicas, len(replica), device=replica.device)
        return cls(replica, indicator.scatter_(0, replica[None], 1.0))


@dataclass(frozen=True)
class Layout:
    """Where each replica's rows are: ``starts`` int64 ``(R,)``, of ``rows`` in all.

    A segment is a batched product of equal sizes; a replica with fewer rows than that has some that nobody reads.
    """

    segments: tuple[Segment, ...]
    starts: Numbers
    rows: int
    owners: Owners | None = None
    """On a GPU, where there are many segments: what spares launches for each of them."""

    def each(self, replicas: int) -> Numbers:
        """The rows of each replica, ``(R,)``."""
        found = np.zeros(replicas, dtype=np.int64)
        for segment in self.segments:
            found[segment.replicas] = segment.each
        return found

    @classmethod
    def of(cls, counts: Sequence[int], grain: int = 1, slack: float = 0.0) -> Layout:
        """Replicas with ``counts`` rows, rounded up to ``grain``; none has a segment if it has no rows.

        Neighbours share a segment as long as its rows are at most ``1 + slack`` times those of its replicas.
        """
        segments: list[Segment] = []
        starts = np.zeros(len(counts), dtype=np.int64)
        start = 0
        for (first, last), each in _shared(counts, grain, slack):
            segments.append(Segment(first, last, each, start))
            starts[first:last] = start + each * np.arange(last - first)
            start += each * (last - first)
        return cls(tuple(segments), starts, start)


def _shared(counts: Sequence[int], grain: int, slack: float) -> list[tuple[tuple[int, int], int]]:
    """Ranges of neighbours that share a segment, and the rows of each of them."""
    found: list[tuple[tuple[int, int], int]] = []
    rows = 0
    for r, count in enumerate(counts):
        if count == 0:
            continue
        each = -(-count // grain) * grain
        if found and found[-1][0][1] == r:
            (first, _), before = found[-1]
            longest = max(before, each)
            if longest * (r + 1 - first) <= (rows + count) * (1 + slack):
                found[-1], rows = ((first, r + 1), longest), rows + count
                continue
        found.append(((r, r + 1), each))
        rows = count
    return found


@dataclass(frozen=True)
class Bucket:
    """Sequences of like lengths, padded to T tokens.

    ``rows`` int64 ``(n, T)`` are where their tokens are, at padding where the last one is. ``targets`` are ``rows``,
    but N at padding. ``padding`` bool ``(n, T)`` is None where there is none. ``which`` int64 ``(n,)`` are sequences.
    """

    rows: torch.Tensor
    targets: torch.Tensor
    padding: torch.Tensor | None
    which: torch.Tensor


@dataclass(frozen=True)
class Packed:
    """A step on its device.

    Of each row, int64 ``(N,)``: ``replica``, ``token`` (its number in the replica), ``word`` (its row in the table of
    words), ``position``, and ``second``, 1 in the second text. ``first`` int64 ``(S,)`` are the rows of first tokens,
    one a sequence, with the layout ``sequences``; ``slots`` int64 ``(S,)`` number the sequences ``(R, most)``, and
    ``sizes`` are their tokens. On the host, ``counts`` int64 ``(3, R)`` are sequences, tokens, and rows of replicas,
    ``longest`` the most tokens of a sequence, and ``places`` the rows of all tokens, sequence after sequence.
    """

    layout: Layout
    sequences: Layout
    buckets: tuple[Bucket, ...]
    replica: torch.Tensor
    token: torch.Tensor
    word: torch.Tensor
    position: torch.Tensor
    second: torch.Tensor
    first: torch.Tensor
    slots: torch.Tensor
    sizes: torch.Tensor
    longest: int
    counts: Numbers
    places: Numbers

    @property
    def rows(self) -> int:
        """N."""
        return self.layout.rows

    @property
    def most(self) -> int:
        """The most sequences of a replica."""
        return int(self.counts[0].max())


class Packer:
    """Packs sequences of ``encoded`` for ``device``; the table of words has the ids ``words``, ascending.

    ``grain`` rounds sizes of products, ``slack`` is that of the layout, ``overhead`` what a bucket costs, in tokens.
    """

    def __init__(
        self,
        encoded: Encoded,
        words: Numbers,
        device: torch.device,
        grain: Grain = EXACT,
        slack: float = 0.0,
        overhead: int = 0,
    ) -> None:
        self.lengths = encoded.lengths
        self.longest = int(self.lengths.max())
        self._starts, self._second = encoded.starts, encoded.second.astype(np.int64)
        self._words = np.searchsorted(words, encoded.tokens)
        self._device = device
        self._grain, self._slack, self._overhead = grain, slack, overhead

    def pack(self, rows: Sequence[Numbers]) -> Packed:
        """The sequences ``rows[r]``, from short to long, for each replica r; none where it is empty."""
        own = np.array([len(part) for part in rows])
        which = np.concatenate(rows)
        lengths = self.lengths[which]
        replica = np.repeat(np.arange(len(rows)), own)
        tokens = np.bincount(replica, weights=lengths, minlength=len(rows)).astype(np.int64)
        layout = Layout.of(tokens.tolist(), self._grain.rows, self._slack)
        # Of each sequence: its first token among all, in its replica, and in memory.
        begins = np.cumsum(lengths) - lengths
        number = begins - np.repeat(np.cumsum(tokens) - tokens, own)
        first = layout.starts[replica] + number
        position = np.arange(lengths.sum()) - np.repeat(begins, lengths)
        place = np.repeat(first, lengths) + position
        columns = np.zeros((5, layout.rows), dtype=np.int64)
        columns[0, place] = np.repeat(replica, lengths)
        columns[1, place] = np.repeat(number, lengths) + position
        columns[2, place] = self._words[np.repeat(self._starts[which], lengths) + position]
        columns[3, place] = position
        columns[4, place] = position >= np.repeat(self._second[which], lengths)
        slots = replica * int(own.max()) + np.arange(len(which)) - np.repeat(np.cumsum(own) - own, own)
        buckets = self._buckets(lengths, first, layout.rows)
        on_host = [columns, first, slots, lengths, *itertools.chain.from_iterable(buckets)]
        of_rows, first_sent, slots_sent, sizes, *parts = send(on_host, self._device)
        replica_sent, token, word, at, second = of_rows.unbind(0)
        if self._device.type == "cuda" and len(layout.segments) > _FEW_SEGMENTS:
            layout = replace(layout, owners=Owners.of(replica_sent, len(rows)))
        return Packed(
            layout=layout,
            sequences=Layout.of(own.tolist()),
            buckets=tuple(
                _bucket(parts[3 * k : 3 * k + 3], layout.rows, bool((one[1] == layout.rows).any()))
                for k, one in enumerate(buckets)
            ),
            replica=replica_sent,
            token=token,
            word=word,
            position=at,
            second=second,
            first=first_sent,
            slots=slots_sent,
            sizes=sizes,
            longest=int(lengths.max()),
            counts=np.stack([own, tokens, layout.each(len(rows))]),
            places=place,
        )

    def _buckets(self, lengths: Numbers, first: Numbers, rows: int) -> list[tuple[Numbers, Numbers, Numbers]]:
        """Of each bucket the rows, the targets, and which sequences it holds."""
        order = np.argsort(lengths, kind="stable")
        found = []
        for part in cut_by_length(lengths[order], self._overhead, self._grain):
            which = order[part]
            longest = self._grain.padded(int(lengths[which[-1]]), self.longest)
            position = np.arange(longest)
            inside = position < lengths[which, None]
            read = first[which, None] + np.minimum(position, lengths[which, None] - 1)
            found.append((read, np.where(inside, read, rows), which))
        return found


def _bucket(parts: Sequence[torch.Tensor], count: int, padded: bool) -> Bucket:
    rows, targets, which = parts
    return Bucket(rows, targets, targets == count if padded else None, which)


def send(arrays: Sequence[Numbers], device: torch.device) -> list[torch.Tensor]:
    """The arrays on the device, by one copy for which nothing waits."""
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        flat = flat.pin_memory().to(device, non_blocking=True)
    parts = torch.split(flat, [array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def packer_of(encoded: Encoded, stack: Stack, words: Numbers | None = None) -> Packer:
    """The packer for what ``stack`` computes, or for another table of ``words`` than its own."""
    kind = stack.device.type
    return Packer(
        encoded,
        stack.words if words is None else words,
        stack.device,
        grain_of(kind, stack.precision),
        _SLACK[kind],
        overhead_in_tokens(kind, stack.hidden),
    )
