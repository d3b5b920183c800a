"""The stacked layers' own backward passes against torch's automatic ones, and the masks of dropout."""

from __future__ import annotations

import math

import numpy as np
import torch

from multibench.training.dropout import Site, StepMasks
from multibench.training.kernels import add_dropped, attend_dropped, linear, norm
from multibench.training.stack import Part


def _leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def _part(values: torch.Tensor) -> Part:
    return Part(values.detach(), torch.ones_like(values))  # gradients are added to what is there


def test_linear_and_norm_add_their_gradients_to_what_is_there() -> None:
    x, weight, bias = _leaf(3, 7, 5), _leaf(3, 4, 5, seed=1), _leaf(3, 4, seed=2)
    scale, shift = _leaf(3, 4, seed=3), _leaf(3, 4, seed=4)
    g = _leaf(3, 7, 4, seed=5).detach()
    plain = torch.einsum("rni,roi->rno", x, weight) + bias[:, None]
    plain = torch.nn.functional.layer_norm(plain, (4,), eps=1e-3) * scale[:, None] + shift[:, None]
    expected = torch.autograd.grad(plain, (x, weight, bias, scale, shift), g)
    parts = [_part(each) for each in (weight, bias, scale, shift)]
    own = norm(linear(x, parts[0], parts[1]), parts[2], parts[3], 1e-3)
    own.backward(g)
    torch.testing.assert_close(own, plain)
    torch.testing.assert_close(x.grad, expected[0])
    for part, wanted in zip(parts, expected[1:], strict=True):
        torch.testing.assert_close(part.gradient, wanted + 1, atol=1e-5, rtol=1e-5)


def test_dropped_attention_equals_its_formula() -> None:
    """Two replicas of three sequences, two heads, five keys of which the last ones of a sequence are padding."""
    q, k, v = _leaf(12, 4, 6), _leaf(12, 5, 6, seed=1), _leaf(12, 5, 6, seed=2)
    padding = torch.zeros(6, 1, 1, 5)
    padding[1, ..., 3:] = padding[4, ..., 1:] = -math.inf
    keep = torch.rand(12, 4, 5, generator=torch.Generator().manual_seed(3)) > 0.3
    scores = (q @ k.transpose(1, 2) / math.sqrt(6)).view(6, 2, 4, 5) + padding
    plain = (torch.softmax(scores, dim=-1).view(12, 4, 5) * keep / 0.7) @ v
    g = _leaf(12, 4, 6, seed=4).detach()
    own = attend_dropped(q, k, v, padding, keep, 0.3)
    torch.testing.assert_close(own, plain)
    for mine, theirs in zip(
        torch.autograd.grad(own, (q, k, v), g), torch.autograd.grad(plain, (q, k, v), g), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_dropped_sum_equals_its_formula() -> None:
    residual, x = _leaf(2, 3, 4), _leaf(2, 3, 4, seed=1)
    keep = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(3)) > 0.3
    plain, own = residual + x * keep / 0.7, add_dropped(residual, x, keep, 0.3)
    g = _leaf(2, 3, 4, seed=4).detach()
    torch.testing.assert_close(own, plain)
    for mine, theirs in zip(
        torch.autograd.grad(own, (residual, x), g), torch.autograd.grad(plain, (residual, x), g), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


LENGTHS = np.sort(np.random.default_rng(0).integers(3, 20, size=(2, 6)), axis=1)


def _masks(sites: list[Site], seeds: tuple[int, ...], lengths: np.ndarray = LENGTHS) -> StepMasks:
    return StepMasks(sites, [torch.Generator().manual_seed(seed) for seed in seeds], lengths)


def test_masks_keep_the_share_that_is_asked_for() -> None:
    lengths = np.full((1, 64), 40)
    for rate in (0.1, 0.5, 0.01):
        masks = _masks([Site(rate, 64)], (1,), lengths)
        masks.begin(slice(0, 64), 40)
        (kept,) = [masks.take()]
        assert kept is not None
        n = kept.numel()
        assert abs(float(kept.float().mean()) - (1 - rate)) < 5 * math.sqrt(rate * (1 - rate) / n)
        # Neighbours are independent of each other.
        pairs = kept[..., 1:].float() * kept[..., :-1].float()
        assert abs(float(pairs.mean()) - (1 - rate) ** 2) < 0.01


def test_masks_belong_to_tokens_and_to_a_replica_alone() -> None:
    sites = [Site(0.3, 6), Site(0.0, 6), Site(0.4, 24, heads=3), Site(0.5, 6, first_only=True)]
    whole, parts, alone = _masks(sites, (1, 2)), _masks(sites, (1, 2)), _masks(sites, (2,), LENGTHS[1:])
    longest = int(LENGTHS.max())
    whole.begin(slice(0, 6), longest)
    hidden, none, attention, first = (whole.take() for _ in sites)
    assert none is None
    assert hidden is not None
    assert attention is not None
    assert first is not None
    assert hidden.shape == (2, 6, longest, 6)
    assert attention.shape == (2, 6, 3, longest, longest)
    assert first.shape == (2, 6, 1, 6)
    alone.begin(slice(0, 6), longest)
    assert torch.equal(alone.take()[0], hidden[1])  # type: ignore[index]
    for columns in (slice(0, 2), slice(2, 6)):
        short = int(LENGTHS[:, columns].max())
        parts.begin(columns, short)
        found, _, weights, start = (parts.take() for _ in sites)
        assert torch.equal(start, first[:, columns])  # type: ignore[arg-type]
        for r in range(2):
            for j, b in enumerate(range(6)[columns]):
                n = int(LENGTHS[r, b])
                assert torch.equal(found[r, j, :n], hidden[r, b, :n])  # type: ignore[index]
                assert torch.equal(weights[r, j, :, :n, :n], attention[r, b, :, :n, :n])  # type: ignore[index]
