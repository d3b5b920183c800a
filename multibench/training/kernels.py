"""The layers of an encoder for R replicas at once, each with its own weights.

Shapes: R replicas, N rows (tokens), I inputs, O outputs. Gradients of weights are added in float32 to
where the optimizer reads them, across micro-batches, so none of them is ever made twice.
"""

from __future__ import annotations

from typing import Any

import torch

from multibench.training.stack import Part

__all__ = ["add_dropped", "attend_dropped", "drop", "linear", "norm"]


def linear(x_RNI: torch.Tensor, weight: Part, bias: Part) -> torch.Tensor:
    """``x W' + b``, ``(R, N, O)`` in the precision of the weights; weight ``(R, O, I)``, bias ``(R, O)``."""
    out: torch.Tensor = _Linear.apply(x_RNI, weight, bias)  # type: ignore[no-untyped-call]
    return out


def norm(x_RNI: torch.Tensor, weight: Part, bias: Part, epsilon: float) -> torch.Tensor:
    """Layer norm of float32 rows; weight and bias ``(R, I)``."""
    out: torch.Tensor = _Norm.apply(x_RNI, weight, bias, epsilon)  # type: ignore[no-untyped-call]
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
    return x if keep is None else x * (keep.to(x.dtype) * (1.0 / (1.0 - rate)))


def attend_dropped(
    q_NTD: torch.Tensor,
    k_NLD: torch.Tensor,
    v_NLD: torch.Tensor,
    padding: torch.Tensor | None,
    keep: torch.Tensor,
    rate: float,
) -> torch.Tensor:
    """``dropout(softmax(q k' / sqrt(D) + padding)) v``, ``(N, T, D)``: no fused kernel takes masks of dropout.

    N sequences and heads, T queries, L keys; ``keep`` ``(N, T, L)``; ``padding`` can be added to the scores.
    """
    out: torch.Tensor = _AttendDropped.apply(q_NTD, k_NLD, v_NLD, padding, keep, 1.0 / (1.0 - rate))  # type: ignore[no-untyped-call]
    return out


class _AttendDropped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        padding: torch.Tensor | None,
        keep: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(q.shape[-1] ** -0.5)
        if padding is not None:
            scores.view(*padding.shape[:1], -1, *scores.shape[1:]).add_(padding)
        weights = torch.softmax(scores, dim=-1)
        ctx.scale = scale
        ctx.save_for_backward(q, k, v, weights, keep)
        return torch.bmm(weights * keep.to(weights.dtype), v).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q, k, v, weights, keep = ctx.saved_tensors
        g = grads[0] * ctx.scale
        kept = keep.to(weights.dtype)
        g_scores = torch.bmm(g, v.transpose(1, 2)).mul_(kept)
        g_scores = torch._softmax_backward_data(g_scores, weights, -1, weights.dtype)
        g_scores.mul_(q.shape[-1] ** -0.5)
        g_v = torch.bmm(kept.mul_(weights).transpose(1, 2), g)
        return torch.bmm(g_scores, k), torch.bmm(g_scores.transpose(1, 2), q), g_v, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Part, bias: Part) -> torch.Tensor:
        ctx.parts, ctx.dtype = (weight, bias), x.dtype
        x = x.to(weight.value.dtype)
        ctx.save_for_backward(x)
        if x.shape[0] == 1:
            return torch.nn.functional.linear(x[0], weight.value[0], bias.value[0]).unsqueeze(0)
        return torch.bmm(x, weight.value.transpose(1, 2)).add_(bias.value.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        (x,) = ctx.saved_tensors
        weight, bias = ctx.parts
        bias.gradient.add_(g.sum(1, dtype=torch.float32))
        if g.dtype == torch.float32:
            weight.gradient.baddbmm_(g.transpose(1, 2), x)
        else:
            weight.gradient.add_(torch.bmm(g.transpose(1, 2), x))
        return torch.bmm(g, weight.value).to(ctx.dtype), None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Part, bias: Part, epsilon: float) -> torch.Tensor:
        shape = (x.shape[-1],)
        normal, mean, scale = torch.native_layer_norm(x, shape, None, None, epsilon)
        ctx.parts = (weight, bias)
        ctx.save_for_backward(x, mean, scale, normal)
        return torch.addcmul(bias.value.unsqueeze(1), normal, weight.value.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        x, mean, scale, normal = ctx.saved_tensors
        weight, bias = ctx.parts
        bias.gradient.add_(g.sum(1))
        weight.gradient.add_(normal.mul_(g).sum(1))
        inner = torch.ops.aten.native_layer_norm_backward(
            g * weight.value.unsqueeze(1), x, (x.shape[-1],), mean, scale, None, None, (True, False, False)
        )[0]
        return inner, None, None, None


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
