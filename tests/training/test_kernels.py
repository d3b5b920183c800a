"""The stacked layers' own backward passes against torch's automatic ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from multibench.tasks.encode import Encoded
from multibench.training.batching import Grain
from multibench.training.kernels import add_dropped, attend, linear, norm
from multibench.training.masks import Masks, Site
from multibench.training.packing import Layout, Owners, Packer
from multibench.training.stack import Part


def _leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def _part(values: torch.Tensor) -> Part:
    return Part(values.detach(), torch.full_like(values, math.nan))  # gradients are written


# Replicas of 7 rows, of none, and two of 6 rows that share a segment, one of them with a row that nobody reads.
LAYOUT = Layout.of([7, 0, 6, 5], slack=0.2)
OWNER = np.repeat([0, 2, 3], [7, 6, 6])


def test_a_layout_has_rows_for_all_and_joins_neighbours() -> None:
    assert [(s.first, s.last, s.each, s.start) for s in LAYOUT.segments] == [(0, 1, 7, 0), (2, 4, 6, 7)]
    assert LAYOUT.rows == 19
    assert LAYOUT.starts.tolist() == [0, 0, 7, 13]
    assert LAYOUT.each(4).tolist() == [7, 0, 6, 6]
    assert Layout.of([7, 0, 6, 5], grain=4).each(4).tolist() == [8, 0, 8, 8]


@pytest.mark.parametrize("owned", [False, True])
def test_linear_and_norm_write_their_gradients(owned: bool) -> None:
    """By segments, and by what spares launches for each of them on a GPU."""
    owners = Owners.of(torch.from_numpy(OWNER), 4) if owned else None
    layout = replace(LAYOUT, owners=owners)
    x, weight, bias = _leaf(19, 5), _leaf(4, 4, 5, seed=1), _leaf(4, 4, seed=2)
    scale, shift = _leaf(4, 4, seed=3), _leaf(4, 4, seed=4)
    g = _leaf(19, 4, seed=5).detach()
    plain = torch.einsum("ni,noi->no", x, weight[OWNER]) + bias[OWNER]
    plain = torch.nn.functional.layer_norm(plain, (4,), eps=1e-3) * scale[OWNER] + shift[OWNER]
    expected = torch.autograd.grad(plain, (x, weight, bias, scale, shift), g)
    parts = [_part(each) for each in (weight, bias, scale, shift)]
    own = norm(linear(x, parts[0], parts[1], layout), parts[2], parts[3], 1e-3, layout)
    own.backward(g)
    torch.testing.assert_close(own, plain)
    torch.testing.assert_close(x.grad, expected[0])
    for part, wanted in zip(parts, expected[1:], strict=True):
        for r in (0, 2, 3):
            torch.testing.assert_close(part.gradient[r], wanted[r], atol=1e-5, rtol=1e-5)
        # Of a replica without rows nothing is written, or zero.
        assert not part.gradient[1].nan_to_num().any()


SIZES = np.array([3, 1, 4, 2, 4])
SEQUENCES = Encoded(
    np.arange(14, dtype=np.int32), np.append(0, np.cumsum(SIZES)), np.ones(5, np.int32), pad_id=0
)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("overhead", [0, 10**6])
def test_attention_equals_its_formula(first: bool, overhead: int) -> None:
    """Five sequences of two replicas, two heads, all in one bucket or one bucket a length."""
    packer = Packer(SEQUENCES, np.arange(14), torch.device("cpu"), Grain(rows=5), overhead=overhead)
    packed = packer.pack([np.array([1, 0]), np.array([3, 2, 4])])
    site = Site(0.3, 4, heads=2)
    masks = Masks([site], torch.tensor([1, 2])).at(torch.tensor(3), packed.replica, packed.token).attention()
    assert masks is not None
    hidden, rows = 6, packed.rows
    qkv = _leaf(rows, 3 * hidden)
    q = _leaf(5, hidden, seed=1) if first else None
    own = attend(q, qkv[:, hidden:] if first else qkv, packed.buckets, 2, masks)
    pieces = []
    plain = torch.zeros_like(own)
    for s, (begin, size) in enumerate(zip(packed.first.tolist(), packed.sizes.tolist(), strict=True)):
        at = torch.arange(begin, begin + size)
        asks = q[s : s + 1] if q is not None else qkv[at, :hidden]
        keep = masks.kept(at[None, :1] if first else at[None], size)[0]
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            k, v = qkv[at, hidden : 2 * hidden][:, part], qkv[at, 2 * hidden :][:, part]
            weights = torch.softmax(asks[:, part] @ k.T / math.sqrt(3), dim=-1) * keep[head] / 0.7
            places = torch.tensor([s]) if first else at
            plain = plain.index_put((places[:, None], torch.arange(6)[None, part]), weights @ v)
        pieces.append(at)
    read = torch.arange(5) if first else torch.cat(pieces)
    torch.testing.assert_close(own[read], plain[read])
    g = torch.zeros_like(own)
    g[read] = _leaf(len(read), hidden, seed=4).detach()
    leaves = [qkv] if q is None else [q, qkv]
    for mine, theirs in zip(
        torch.autograd.grad(own, leaves, g), torch.autograd.grad(plain, leaves, g), strict=True
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
