"""The layers of an encoder for R replicas at once, each with its own weights, on packed rows.

Shapes: R replicas, N rows (tokens), I inputs, O outputs. The gradient of a weight is written to where the optimizer
reads it, in float32, by the one product of a step that makes it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from multibench.training.masks import AttentionMasks
from multibench.training.packing import Bucket, Layout, Segment
from multibench.training.stack import Part

__all__ = ["add_dropped", "attend", "drop", "linear", "norm"]


def linear(x_NI: torch.Tensor, weight: Part, bias: Part, layout: Layout) -> torch.Tensor:
    """``x W' + b``, ``(N, O)`` in the precision of the weights; weight ``(R, O, I)``, bias ``(R, O)``."""
    out: torch.Tensor = _Linear.apply(x_NI, weight, bias, layout)  # type: ignore[no-untyped-call]
    return out


def norm(x_NI: torch.Tensor, weight: Part, bias: Part, epsilon: float, layout: Layout) -> torch.Tensor:
    """Layer norm of float32 rows; weight and bias ``(R, I)``."""
    out: torch.Tensor = _Norm.apply(x_NI, weight, bias, epsilon, layout)  # type: ignore[no-untyped-call]
    return out


def add_dropped(
    residual: torch.Tensor, x: torch.Tensor, keep: torch.Tensor | None, rate: float
) -> torch.Tensor:
    """``residual + dropout(x)`` in float32; ``keep`` is true where ``x`` is kept, None keeps all."""
    if keep is None:
        return residual + x
    out: torch.Tensor = _AddDropped.apply(residual, x, keep, 1.0 / (1.0 - rate))  # type: ignore[no-untyped-call]
    return out


def drop(x: torch.Tensor, keep: torch.Tensor | None, rate: float) -> torch.Tensor:
    """``dropout(x)``."""
    if keep is None:
        return x
    out: torch.Tensor = _Drop.apply(x, keep, 1.0 / (1.0 - rate))  # type: ignore[no-untyped-call]
    return out


def attend(
    q: torch.Tensor | None,
    kv: torch.Tensor,
    buckets: tuple[Bucket, ...],
    heads: int,
    masks: AttentionMasks | None,
) -> torch.Tensor:
    """``dropout(softmax(q k' / sqrt(D))) v`` within each sequence.

    Without ``q``, ``kv`` ``(N, 3 H)`` holds queries, keys and values, and what comes out is ``(N, H)``; rows that no
    sequence has are zero. With ``q`` ``(S, H)`` the first token of each sequence alone asks, ``kv`` is ``(N, 2 H)``,
    and what comes out ``(S, H)``.
    """
    out: torch.Tensor = _Attend.apply(q, kv, buckets, heads, masks)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    """See ``attend``. Of each bucket the queries, keys, values, weights and masks are kept for the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor | None,
        kv: torch.Tensor,
        buckets: tuple[Bucket, ...],
        heads: int,
        masks: AttentionMasks | None,
    ) -> torch.Tensor:
        hidden = kv.shape[1] // (3 if q is None else 2)
        rows = len(kv) if q is None else len(q)
        out = kv.new_zeros(rows + 1, hidden)  # the last one is where padding goes
        saved: list[torch.Tensor | None] = []
        for bucket in buckets:
            asking, targets = _queries(bucket, q is not None)
            parts = _gather(kv, bucket.rows, heads, hidden)
            own = parts[0] if q is None else _gather(q, bucket.which[:, None], heads, hidden)[0]
            k, v = parts[-2:]
            weights = _weights(own, k, bucket.padding, heads)
            keep = None if masks is None else masks.kept(asking, k.shape[1]).view(weights.shape)
            used = weights if keep is None else weights * keep.to(weights.dtype)
            context = torch.bmm(used, v)
            if masks is not None:
                context.mul_(1.0 / (1.0 - masks.site.rate))
            out.index_copy_(0, targets.flatten(), _joined([context], heads))
            saved += [own, k, v, weights, keep]
        ctx.save_for_backward(*saved)
        ctx.given = (q is not None, len(kv), hidden, buckets, heads, masks)
        return out[:rows]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g_out,) = grads
        apart, rows, hidden, buckets, heads, masks = ctx.given
        scale = 1.0 if masks is None else 1.0 / (1.0 - masks.site.rate)
        g_q = g_out.new_zeros(len(g_out), hidden) if apart else None
        g_kv = g_out.new_zeros(rows + 1, (2 if apart else 3) * hidden)
        for number, bucket in enumerate(buckets):
            own, k, v, weights, keep = ctx.saved_tensors[5 * number : 5 * number + 5]
            asking = bucket.which[:, None] if apart else bucket.rows
            g = g_out.index_select(0, asking.flatten()).view(*asking.shape, hidden)
            if bucket.padding is not None and not apart:
                g.masked_fill_(bucket.padding[..., None], 0.0)
            g = g.view(*asking.shape, heads, -1).transpose(1, 2).reshape(own.shape).mul_(scale)
            parts = _attention_gradients(g, own, k, v, weights, keep)
            if g_q is not None:
                g_q.index_copy_(0, bucket.which, _joined(parts[:1], heads))
                parts = parts[1:]
            g_kv.index_copy_(0, bucket.targets.flatten(), _joined(parts, heads))
        return g_q, g_kv[:rows], None, None, None


def _attention_gradients(
    g: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    weights: torch.Tensor,
    keep: torch.Tensor | None,
) -> list[torch.Tensor]:
    """Those of queries, keys and values."""
    g_scores = torch.bmm(g, v.transpose(1, 2))
    used = weights
    if keep is not None:
        kept = keep.to(weights.dtype)
        g_scores.mul_(kept)
        used = kept.mul_(weights)
    if _in_float32(weights):
        g_float = torch._softmax_backward_data(g_scores.float(), weights.float(), -1, torch.float32)
        g_scores = g_float.to(weights.dtype)
    else:
        g_scores = torch._softmax_backward_data(g_scores, weights, -1, weights.dtype)
    g_scores.mul_(q.shape[-1] ** -0.5)
    return [
        torch.bmm(g_scores, k),
        torch.bmm(g_scores.transpose(1, 2), q),
        torch.bmm(used.transpose(1, 2), g),
    ]


def _queries(bucket: Bucket, first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that ask, ``(n, T)``, and where their answers go."""
    return (bucket.rows[:, :1], bucket.which) if first else (bucket.rows, bucket.targets)


def _gather(x: torch.Tensor, rows: torch.Tensor, heads: int, hidden: int) -> tuple[torch.Tensor, ...]:
    """The parts of ``x`` ``(N, parts H)`` at ``rows`` ``(n, T)``, each ``(n heads, T, D)``."""
    n, length = rows.shape
    found = x.index_select(0, rows.flatten()).view(n, length, -1, heads, hidden // heads)
    return found.permute(2, 0, 3, 1, 4).reshape(-1, n * heads, length, hidden // heads).unbind(0)


def _joined(parts: list[torch.Tensor], heads: int) -> torch.Tensor:
    """Parts, each ``(n heads, T, D)``, side by side as rows ``(n T, parts H)``."""
    length = parts[0].shape[1]
    found = [part.view(-1, heads, length, part.shape[-1]).transpose(1, 2) for part in parts]
    if len(found) == 1:
        return found[0].reshape(-1, heads * parts[0].shape[-1])
    return torch.stack(found, dim=2).view(-1, len(parts) * heads * parts[0].shape[-1])


def _weights(q: torch.Tensor, k: torch.Tensor, padding: torch.Tensor | None, heads: int) -> torch.Tensor:
    """The softmax over the keys of each sequence, ``(n heads, T, L)``."""
    scores = torch.bmm(q, k.transpose(1, 2)).mul_(q.shape[-1] ** -0.5)
    if padding is not None:
        scores.view(len(padding), -1, scores.shape[-1]).masked_fill_(padding[:, None], -math.inf)
    if _in_float32(scores):
        return torch.softmax(scores.float(), dim=-1).to(scores.dtype)
    return torch.softmax(scores, dim=-1)


def _in_float32(weights: torch.Tensor) -> bool:
    """Whether a softmax of half precision is better taken in float32: a CPU is slow at short rows of halves."""
    return weights.device.type == "cpu" and weights.dtype != torch.float32 and weights.shape[-1] < 64


def _of(x: torch.Tensor, segment: Segment) -> torch.Tensor:
    """The rows of a segment, ``(replicas, rows, columns)``."""
    return x[segment.rows].view(segment.last - segment.first, segment.each, x.shape[-1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Part, bias: Part, layout: Layout) -> torch.Tensor:
        ctx.given, ctx.dtype = (weight, bias, layout), x.dtype
        x = x.to(weight.value.dtype)
        ctx.save_for_backward(x)
        out = x.new_empty(layout.rows, weight.value.shape[1])
        for segment in layout.segments:
            if segment.last - segment.first == 1:
                r, rows = segment.first, segment.rows
                torch.addmm(bias.value[r], x[rows], weight.value[r].t(), out=out[rows])
                continue
            w, b = weight.value[segment.replicas].transpose(1, 2), bias.value[segment.replicas].unsqueeze(1)
            torch.baddbmm(b, _of(x, segment), w, out=_of(out, segment))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        (x,) = ctx.saved_tensors
        weight, bias, layout = ctx.given
        g_x = torch.empty_like(x)
        if layout.owners is not None:
            torch.mm(layout.owners.indicator, g.float(), out=bias.gradient)
        for segment in layout.segments:
            if segment.last - segment.first == 1:
                r, g_one = segment.first, g[segment.rows]
                if layout.owners is None:
                    torch.sum(g_one, 0, dtype=torch.float32, out=bias.gradient[r])
                _write_product(g_one.t(), x[segment.rows], weight.gradient[r])
                torch.mm(g_one, weight.value[r], out=g_x[segment.rows])
                continue
            of, g_own = segment.replicas, _of(g, segment)
            if layout.owners is None:
                torch.sum(g_own, 1, dtype=torch.float32, out=bias.gradient[of])
            _write_product(g_own.transpose(1, 2), _of(x, segment), weight.gradient[of])
            torch.bmm(g_own, weight.value[of], out=_of(g_x, segment))
        return g_x.to(ctx.dtype), None, None, None


def _write_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    """``out = a b``, of one replica or of each, summed in float32, and in float32 where the device can write it so."""
    multiply = torch.mm if a.ndim == 2 else torch.bmm
    if a.dtype == torch.float32:
        multiply(a, b, out=out)
    elif a.device.type == "cuda":
        multiply(a, b, out_dtype=torch.float32, out=out)
    else:
        out.copy_(multiply(a, b))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: Part, bias: Part, epsilon: float, layout: Layout
    ) -> torch.Tensor:
        normal, mean, scale = torch.native_layer_norm(x, x.shape[-1:], None, None, epsilon)
        ctx.given = (weight, bias, layout)
        ctx.save_for_backward(x, mean, scale)
        if layout.owners is not None:
            w, b = (part.value.index_select(0, layout.owners.replica) for part in (weight, bias))
            return torch.addcmul(b, normal, w)
        out = torch.empty_like(x)
        for segment in layout.segments:
            of = segment.replicas
            w, b = weight.value[of].unsqueeze(1), bias.value[of].unsqueeze(1)
            torch.addcmul(b, _of(normal, segment), w, out=_of(out, segment))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        x, mean, scale = ctx.saved_tensors
        weight, bias, layout = ctx.given
        if layout.owners is not None:
            normal = (x - mean).mul_(scale).mul_(g)
            torch.mm(layout.owners.indicator, g, out=bias.gradient)
            torch.mm(layout.owners.indicator, normal, out=weight.gradient)
            scaled = weight.value.index_select(0, layout.owners.replica).mul_(g)
            return _through_norm(scaled, x, mean, scale), None, None, None, None
        g_x = torch.empty_like(x)
        for segment in layout.segments:
            of, rows = segment.replicas, segment.rows
            if segment.last - segment.first == 1:
                own, g_w, g_b = torch.ops.aten.native_layer_norm_backward(
                    g[rows],
                    x[rows],
                    x.shape[-1:],
                    mean[rows],
                    scale[rows],
                    weight.value[segment.first],
                    bias.value[segment.first],
                    (True, True, True),
                )
                g_x[rows] = own
                weight.gradient[segment.first] = g_w
                bias.gradient[segment.first] = g_b
                continue
            g_own = _of(g, segment)
            normal = (_of(x, segment) - _of(mean, segment)).mul_(_of(scale, segment))
            torch.sum(g_own, 1, out=bias.gradient[of])
            torch.sum(normal.mul_(g_own), 1, out=weight.gradient[of])
            torch.mul(g_own, weight.value[of].unsqueeze(1), out=_of(g_x, segment))
            g_x[rows] = _through_norm(g_x[rows], x[rows], mean[rows], scale[rows])
        return g_x, None, None, None, None


def _through_norm(g: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The gradient before a norm without weights."""
    found: torch.Tensor = torch.ops.aten.native_layer_norm_backward(
        g, x, x.shape[-1:], mean, scale, None, None, (True, False, False)
    )[0]
    return found


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, keep: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.scale = scale
        ctx.save_for_backward(keep)
        return (x * keep.to(x.dtype)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        (keep,) = ctx.saved_tensors
        return keep.to(g.dtype).mul_(g).mul_(ctx.scale), None, None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, residual: torch.Tensor, x: torch.Tensor, keep: torch.Tensor, scale: float
    ) -> torch.Tensor:
        ctx.scale, ctx.dtype = scale, x.dtype
        ctx.save_for_backward(keep)
        return torch.add(residual, x * keep.to(x.dtype), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        (keep,) = ctx.saved_tensors
        return g, keep.to(ctx.dtype).mul_(g).mul_(ctx.scale), None, None
