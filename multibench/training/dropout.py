"""Dropout masks drawn from a generator of each replica's own.

A step's masks are drawn for the real tokens of a replica, its sequences sorted by length, one place of the
network after the other. So they depend on the replica's own seed and examples alone: neither padding, nor the cut
into micro-batches, nor what is trained beside it changes a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Site", "StepMasks"]

# A number is kept if 16 random bits, read as a signed integer, are at least a bound: rates are met to 1 in 65,536.
_BITS = 16
_PER_WORD = 64 // _BITS


@dataclass(frozen=True)
class Site:
    """A place with dropout: ``width`` numbers for each token, or for the first one of each sequence alone.

    With ``heads`` it drops attention weights: so many rows for each token, and ``width`` is the longest
    sequence that can come.
    """

    rate: float
    width: int
    heads: int | None = None
    first_only: bool = False


class StepMasks:
    """The masks of one step, at every site, for R replicas of B sequences.

    ``lengths`` ``(R, B)`` are the tokens of each sequence, ascending in each replica. ``generators`` are the
    replicas' own, on the device.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        generators: Sequence[torch.Generator],
        lengths: NDArray[np.int64],
    ) -> None:
        self._sites = sites
        self._device = generators[0].device
        tokens, count = lengths.sum(axis=1), lengths.shape[1]
        starts = np.cumsum(lengths.ravel()).reshape(lengths.shape) - lengths
        self._starts = torch.from_numpy(starts).to(self._device, non_blocking=True)
        self._last = torch.from_numpy(lengths - 1).to(self._device, non_blocking=True)
        self._kept = []
        for site in sites:
            units = [count] * len(lengths) if site.first_only else tokens.tolist()
            self._kept.append(self._draw(site, generators, [(site.heads or 1) * n for n in units]))
        self._next = 0
        self._columns, self._longest = slice(0), 0

    def _draw(
        self, site: Site, generators: Sequence[torch.Generator], rows: list[int]
    ) -> torch.Tensor | None:
        if site.rate == 0:
            return None
        words = -(-site.width // _PER_WORD)
        bits = torch.empty(sum(rows), words, dtype=torch.int64, device=self._device)
        first = 0
        for count, generator in zip(rows, generators, strict=True):
            bits[first : first + count].random_(-(2**63), None, generator=generator)
            first += count
        bound = round(site.rate * 2**_BITS) - 2 ** (_BITS - 1)
        kept: torch.Tensor = bits.view(torch.int16)[:, : site.width] >= bound
        return kept

    def begin(self, columns: slice, longest: int) -> None:
        """Go to a micro-batch: these of each replica's sequences, padded to ``longest`` tokens."""
        self._columns, self._longest, self._next = columns, longest, 0

    def take(self) -> torch.Tensor | None:
        """The mask of the next site: true where a number is kept, anything at padding; None keeps all.

        ``(R, b, tokens, width)``, where tokens is 1 at sites of first tokens; of attention weights
        ``(R, b, heads, tokens, longest)``.
        """
        site, kept = self._sites[self._next], self._kept[self._next]
        self._next += 1
        if kept is None:
            return None
        last = self._last[:, self._columns]
        if site.first_only:
            number = torch.arange(self._last.numel(), device=self._device).view(self._last.shape)
            units = number[:, self._columns, None]
        else:
            position = torch.arange(self._longest, device=self._device)
            units = self._starts[:, self._columns, None] + torch.minimum(position, last[:, :, None])
        if site.heads is not None:
            head = torch.arange(site.heads, device=self._device)
            units = units[:, :, None, :] * site.heads + head[:, None]
            kept = kept[:, : self._longest]
        return kept.index_select(0, units.flatten()).view(*units.shape, -1)
