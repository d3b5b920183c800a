"""The layers of an encoder for R replicas at once, each with its own weights.

Shapes: R replicas, N rows (tokens), I inputs, O outputs. Gradients of weights are added in float32 to
where the optimizer reads them, across micro-batches, so none of them is ever made twice.
"""

from __future__ import annotations

from typing import Any

import torch

from multibench.training.stack import Part

__all__ = ["add_dropped", "linear", "norm"]


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
    """``residual + dropout(x)`` in float32; ``keep`` has 1 where ``x`` is kept, 0 elsewhere, None keeps all."""
    if keep is None:
        return residual + x
    out: torch.Tensor = _AddDropped.apply(residual, x, keep, 1.0 / (1.0 - rate))  # type: ignore[no-untyped-call]
    return out


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
        return torch.add(residual, x * keep, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (g,) = grads
        (keep,) = ctx.saved_tensors
        return g, (g.to(ctx.dtype) * keep).mul_(ctx.scale), None, None
