"""Optimizers and learning-rate schedules of the fine-tuning recipes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from multibench.recipes import Hyperparameters

__all__ = ["BertAdam", "build_optimizer", "learning_rate_at", "warmup_steps"]


class BertAdam(torch.optim.Optimizer):
    """Adam as in Google's BERT code: decoupled weight decay and no bias correction.

    ``m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = p - lr (m / (sqrt(v) + eps) + wd p)``

    Without the correction the first steps are larger than AdamW's: with the usual betas the very
    first one by ``(1 - b1) / sqrt(1 - b2)``, about 3.2 (Zhang et al. 2021, arXiv 2006.05987).
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients; takes no closure."""
        if closure is not None:
            raise ValueError("BertAdam takes no closure.")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p] = {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
            means = [self.state[p]["m"] for p in params]
            squares = [self.state[p]["v"] for p in params]
            beta1, beta2 = group["betas"]
            torch._foreach_lerp_(means, grads, 1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
            denominator = torch._foreach_sqrt(squares)
            torch._foreach_add_(denominator, group["eps"])
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_addcdiv_(params, means, denominator, -group["lr"])


def _decays(name: str) -> bool:
    """Biases and layer norms are not decayed (BERT's and everybody's rule)."""
    return not (name.endswith("bias") or "LayerNorm" in name or "layer_norm" in name)


def build_optimizer(model: torch.nn.Module, settings: Hyperparameters) -> torch.optim.Optimizer:
    """The optimizer that ``settings`` asks for over all trainable parameters of ``model``."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in named if _decays(name)], "weight_decay": settings.weight_decay},
        {"params": [p for name, p in named if not _decays(name)], "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    if settings.optimizer == "bert_adam":
        return BertAdam(groups, lr=settings.learning_rate, betas=betas, eps=settings.epsilon)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.epsilon, fused=True)


def warmup_steps(settings: Hyperparameters, steps: int) -> int:
    """Steps until the peak learning rate: the fixed number if there is one, else the fraction of all."""
    if settings.warmup_steps is not None:
        return min(settings.warmup_steps, steps)
    return int(settings.warmup * steps)


def learning_rate_at(step: int, steps: int, settings: Hyperparameters) -> float:
    """Learning rate of ``step`` (from 0) of ``steps``.

    Warm-up is a line from 0. ``linear`` then falls from the peak to 0; ``linear_from_start`` joins the
    line that fell from the peak at step 0, as Google's BERT code does (after 10 % warm-up it
    enters at 90 % of the peak); ``square_root`` is ``peak sqrt(1 - step / steps)``, NeMo's
    SquareRootAnnealing; ``constant`` stays.
    """
    peak, warm = settings.learning_rate, warmup_steps(settings, steps)
    if step < warm:
        return peak * step / warm
    if settings.schedule == "constant":
        return peak
    if settings.schedule == "linear_from_start":
        return peak * (1 - step / steps)
    if settings.schedule == "square_root":
        return peak * math.sqrt(1 - step / steps)
    return peak * (steps - step) / max(1, steps - warm)
