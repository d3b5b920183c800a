"""Dropout masks by counter: each bit is a function of what it stands for, of nothing else.

A number is kept by the hash of (the replica's seed, step, site, token, unit). So a mask is the same on every device,
alone and together, whatever is computed before it, however tokens lie in memory; and it can be made where it is used.

A *site* is a place with dropout, counted in the order of the forward pass. A *token* is counted among those of a
replica's step, its sequences from short to long. A *unit* is a hidden number; of attention weights a head and a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["AttentionMasks", "Masks", "Site", "StepMasks"]

# The increment and the multipliers of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_WORD = 0x9E3779B1 - 2**32  # a prime near 2^32 over the golden ratio
# A number is kept if 16 bits, read as a signed integer, are at least a bound: rates are met to 1 in 65,536.
_BITS = 16
# Units of attention weights: head h and key k are unit h x 2^16 + k.
_KEYS = 2**16


@dataclass(frozen=True)
class Site:
    """A place with dropout: ``width`` numbers a row; of ``heads`` attention weights to ``width`` keys at most."""

    rate: float
    width: int
    heads: int | None = None


def _mixed(z: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finalizer, in place: int64 as unsigned."""
    z ^= (z >> 30).bitwise_and_(2**34 - 1)
    z *= _FIRST
    z ^= (z >> 27).bitwise_and_(2**37 - 1)
    z *= _SECOND
    z ^= (z >> 31).bitwise_and_(2**33 - 1)
    return z


class Masks:
    """The masks of a whole training at ``sites``; ``seeds`` int64 ``(R,)`` are the replicas', on the device."""

    def __init__(self, sites: Sequence[Site], seeds: torch.Tensor) -> None:
        self.sites, self.seeds = sites, seeds
        self.numbers = torch.arange(1, len(sites) + 1, device=seeds.device)[:, None] * _STEP
        known = {site: _units_of(site, seeds.device) for site in set(sites)}
        self.units = [known[site] for site in sites]

    def at(self, step: torch.Tensor, replica: torch.Tensor, token: torch.Tensor) -> StepMasks:
        """Those of a step, int64 without dimensions; rows are tokens ``token`` of ``replica``, int64 ``(N,)``."""
        own = _mixed(_mixed(_mixed(self.seeds + _STEP) + step) + self.numbers)
        return StepMasks(self, _mixed(own[:, replica].add_(token * _STEP)))


class StepMasks:
    """The masks of one step, for the rows of all replicas; ``keys`` int64 ``(sites, N)``, a key a site and row."""

    def __init__(self, masks: Masks, keys: torch.Tensor) -> None:
        self._masks = masks
        self._high, self._low = (keys >> 32).to(torch.int32), keys.to(torch.int32).bitwise_or_(1)
        self._next = 0

    def take(self, rows: torch.Tensor | None = None) -> torch.Tensor | None:
        """The mask of the next site, true where a number is kept: of all rows or of ``rows``, ``(N, width)``.

        None keeps all.
        """
        number = self._following()
        site = self._masks.sites[number]
        if site.rate == 0:
            return None
        high, low = self._high[number], self._low[number]
        if rows is not None:
            high, low = high[rows], low[rows]
        return _kept(high[:, None], low[:, None], self._masks.units[number], site)[:, : site.width]

    def attention(self) -> AttentionMasks | None:
        """Those of attention weights at the next site; None keeps all."""
        number = self._following()
        site = self._masks.sites[number]
        if site.rate == 0:
            return None
        return AttentionMasks(site, self._masks.units[number], self._high[number], self._low[number])

    def _following(self) -> int:
        self._next += 1
        return self._next - 1


@dataclass(frozen=True)
class AttentionMasks:
    """The masks of one site of attention weights; keys, their two halves ``(N,)``, are those of the rows that ask."""

    site: Site
    units: torch.Tensor
    high: torch.Tensor
    low: torch.Tensor

    def kept(self, rows: torch.Tensor, longest: int) -> torch.Tensor:
        """For queries at ``rows`` ``(n, T)``, and as many keys as ``longest``: ``(n, heads, T, longest)``."""
        units = self.units[:, :, : -(-longest // 2)]
        high, low = (half[rows][:, None, :, None] for half in (self.high, self.low))
        return _kept(high, low, units, self.site)[..., :longest]


def _units_of(site: Site, device: torch.device) -> torch.Tensor:
    """Keys of pairs of units, int32: ``(width / 2,)``, of attention weights ``(heads, 1, width / 2)``."""
    pairs = torch.arange(-(-site.width // 2), device=device)
    if site.heads is not None:
        pairs = torch.arange(site.heads, device=device)[:, None, None] * (_KEYS // 2) + pairs
    return _mixed(pairs * _STEP).to(torch.int32)


def _kept(high: torch.Tensor, low: torch.Tensor, units: torch.Tensor, site: Site) -> torch.Tensor:
    """Whether each number is kept: a hash of 32 bits for each key and pair of units, 16 bits for each unit."""
    z = high ^ units
    z *= low
    z ^= (z >> 15).bitwise_and_(2**17 - 1)
    z *= _WORD
    z ^= (z >> 16).bitwise_and_(2**16 - 1)
    bound = round(site.rate * 2**_BITS) - 2 ** (_BITS - 1)
    kept: torch.Tensor = z.view(torch.int16) >= bound
    return kept
