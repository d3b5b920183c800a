"""Dropout masks by counter: equal wherever they are made, and as good as random."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from multibench.training.masks import Masks, Site, StepMasks

SEED, STEP, BITS = 0x9E3779B97F4A7C15, 2**64, 2**64 - 1


def _mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
    return z ^ (z >> 31)


def _one(seed: int, step: int, site: int, token: int, unit: int, rate: float) -> bool:
    """Whether one number is kept: the definition, in plain integers without sign."""
    key = _mixed((seed + SEED) & BITS)
    key = _mixed((key + step) & BITS)
    key = _mixed((key + (site + 1) * SEED) & BITS)
    key = _mixed((key + token * SEED) & BITS)
    z = (key >> 32) ^ (_mixed((unit // 2 * SEED) & BITS) & 0xFFFFFFFF)
    z = (z * ((key & 0xFFFFFFFF) | 1)) & 0xFFFFFFFF
    z = ((z ^ (z >> 15)) * 0x9E3779B1) & 0xFFFFFFFF
    z ^= z >> 16
    half = (z >> 16 if unit % 2 else z) & 0xFFFF
    signed = half - 2**16 if half >= 2**15 else half
    return signed >= round(rate * 2**16) - 2**15


def _at(masks: Masks, step: int, replica: list[int], token: list[int]) -> StepMasks:
    return masks.at(torch.tensor(step), torch.tensor(replica), torch.tensor(token))


SITES = [Site(0.3, 7), Site(0.0, 7), Site(0.4, 9, heads=3), Site(0.5, 6)]


def test_masks_are_what_plain_integers_say() -> None:
    seeds = [2**62 + 12345, 7]
    masks = _at(Masks(SITES, torch.tensor(seeds)), 17, [0, 1, 1], [4, 0, 99_999])
    hidden, none, attention, last = masks.take(), masks.take(), masks.attention(), masks.take()
    assert none is None
    assert hidden is not None
    assert attention is not None
    assert last is not None
    rows = [(seeds[0], 4), (seeds[1], 0), (seeds[1], 99_999)]
    for n, (seed, token) in enumerate(rows):
        assert hidden[n].tolist() == [_one(seed, 17, 0, token, u, 0.3) for u in range(7)]
        assert last[n].tolist() == [_one(seed, 17, 3, token, u, 0.5) for u in range(6)]
    found = attention.kept(torch.tensor([[1, 2], [0, 0]]), 5)
    assert found.shape == (2, 3, 2, 5)
    for head in range(3):
        expected = [_one(seeds[1], 17, 2, 99_999, head * 2**16 + key, 0.4) for key in range(5)]
        assert found[0, head, 1].tolist() == expected


@pytest.mark.gpu
def test_masks_on_a_gpu_are_those_of_the_processor() -> None:
    """Bit for bit, hidden numbers and attention weights, of seeds and tokens at the ends of their ranges."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    found = []
    for device in ("cpu", "cuda"):
        seeds = torch.tensor([2**63 - 1, 0, 20261127], device=device)
        replica, token = (torch.arange(999, device=device) % 3, torch.arange(999, device=device) * 77)
        masks = Masks([Site(0.1, 77), Site(0.1, 64, heads=12), Site(0.37, 768)], seeds)
        at = masks.at(torch.tensor(2**20, device=device), replica, token)
        hidden, attention, last = at.take(), at.attention(), at.take()
        assert attention is not None
        kept = attention.kept(torch.arange(60, device=device).view(3, 20), 20)
        found.append([part.cpu() for part in (hidden, kept, last) if part is not None])
    assert len(found[0]) == 3
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_masks_of_some_rows_are_rows_of_the_masks() -> None:
    masks = Masks([Site(0.3, 40)], torch.tensor([5, 6]))
    whole = _at(masks, 3, [0, 0, 1, 1], [0, 1, 0, 1]).take()
    assert whole is not None
    assert torch.equal(_at(masks, 3, [0, 0, 1, 1], [0, 1, 0, 1]).take(torch.tensor([2])), whole[2:3])  # type: ignore[arg-type]
    alone = _at(Masks([Site(0.3, 40)], torch.tensor([6])), 3, [0, 0], [0, 1]).take()
    assert torch.equal(alone, whole[2:])  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_masks_keep_the_share_that_is_asked_for(rate: float) -> None:
    kept = _field(rate, steps=4, tokens=400, width=128)
    share, n = float(kept.mean()), kept.size
    assert abs(share - (1 - rate)) < 4 * math.sqrt(rate * (1 - rate) / n) + 1 / 2**16
    # So does each unit, each token, each step and each site, as often as chance has it.
    for axes in ((0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 2, 3)):
        means = kept.mean(axis=axes)
        count = n / means.size
        z = (means - (1 - rate)) / math.sqrt(rate * (1 - rate) / count)
        assert (z**2).sum() < means.size + 5 * math.sqrt(2 * means.size)
        assert np.abs(z).max() < 4.5


def test_masks_of_neighbours_are_independent() -> None:
    """Along every axis, at distances of powers of two, and of two units at two tokens (four numbers at a time)."""
    x = (_field(0.5, steps=4, tokens=512, width=256) - 0.5) * 2
    for axis in range(4):
        for distance in (1, 2, 4, 8, 16, 32, 64, 128):
            if distance < x.shape[axis]:
                size = x.shape[axis] - distance
                first, second = x.take(range(size), axis), x.take(range(distance, distance + size), axis)
                assert abs(float((first * second).mean())) < 4.5 / math.sqrt(first.size), (axis, distance)
    for token, unit in ((1, 1), (1, 2), (2, 64), (64, 1)):
        square = (
            x[:, :, :-token, :-unit]
            * x[:, :, token:, :-unit]
            * x[:, :, :-token, unit:]
            * x[:, :, token:, unit:]
        )
        assert abs(float(square.mean())) < 4.5 / math.sqrt(square.size)
    spectrum = np.abs(np.fft.rfft2(x[0, 0])) ** 2 / x[0, 0].size
    assert spectrum[1:].max() < 2 * math.log(spectrum.size) + 6


def _field(rate: float, steps: int, tokens: int, width: int) -> np.ndarray:
    """Kept or not as floats, ``(steps, 3 sites, tokens, width)``."""
    masks = Masks([Site(rate, width)] * 3, torch.tensor([20261127]))
    found = []
    for step in range(steps):
        at = _at(masks, step, [0] * tokens, list(range(tokens)))
        found.append(np.stack([at.take().numpy() for _ in range(3)]))  # type: ignore[union-attr]
    return np.stack(found).astype(np.float64)
