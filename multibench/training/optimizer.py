"""Adam over a stack of models, each replica with its own settings, and the learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from multibench.recipes import Hyperparameters
from multibench.training.stack import Stack

__all__ = ["LossScaling", "StackedAdam", "learning_rate_at", "warmup_steps"]

# So many steps that Adam's corrections of bias, 1 - beta^steps, are 1.
_FOR_EVER = 1e9
_GROW_AFTER = 2_000


class StackedAdam:
    """Adam with decoupled weight decay, after clipping by each replica's own global norm.

    ``adamw``: ``m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = p - lr (m' / (sqrt(v') + eps) + wd p)`` with
    ``m' = m / (1 - b1^t)``, ``v' = v / (1 - b2^t)``. ``bert_adam``, as in Google's BERT code: ``m' = m``, ``v' = v``.
    Without the correction the first steps are larger: with the usual betas the very first one by
    ``(1 - b1) / sqrt(1 - b2)``, about 3.2 (Zhang et al. 2021, arXiv 2006.05987).
    """

    def __init__(self, stack: Stack, settings: Sequence[Hyperparameters]) -> None:
        self._stack, self._settings = stack, settings
        self._means = torch.zeros_like(stack.weights)
        self._squares = torch.zeros_like(stack.weights)
        device = stack.device
        self._counts = torch.zeros(len(settings), device=device)
        self._for_ever = torch.full((), _FOR_EVER, device=device)
        limits = [math.inf if s.clip_norm is None else s.clip_norm for s in settings]
        self._limits = torch.tensor(limits, device=device)
        self.scaling = LossScaling(len(settings), device) if stack.precision == "fp16" else None

    def step(self, rates: Sequence[float], active: Sequence[int] | None = None) -> torch.Tensor:
        """One update of each replica r in ``active`` (all) at ``rates[r]``; returns norms before clipping, ``(R,)``.

        The gradients of embeddings are zero afterwards, and the forward pass reads the new weights.
        """
        gradients = self._stack.gradients
        norms: torch.Tensor = torch.linalg.vector_norm(gradients, dim=1)
        scales = torch.ones_like(norms) if self.scaling is None else self.scaling.scales
        norms = norms / scales
        # torch.nn.utils.clip_grad_norm_ multiplies by the inverse of this.
        divisors = ((norms + 1e-6) / self._limits).clamp(min=1.0) * scales
        skipped = None
        if self.scaling is not None:
            skipped = self.scaling.skipped(norms)
            self._counts += 1 - skipped
        else:
            self._counts += 1
        for replica in range(len(rates)) if active is None else active:
            found = None if skipped is None else skipped[replica]
            self._update(replica, rates[replica], divisors[replica], found)
        self._stack.embedding_gradients.zero_()
        self._stack.refresh()
        return norms

    def _update(self, replica: int, rate: float, divisor: torch.Tensor, skipped: torch.Tensor | None) -> None:
        settings, stack, decaying = self._settings[replica], self._stack, self._stack.decaying
        count = self._counts[replica] if settings.optimizer == "adamw" else self._for_ever
        for columns, decay in ((slice(0, decaying), settings.weight_decay), (slice(decaying, None), 0.0)):
            torch._fused_adamw_(
                [stack.weights[replica, columns]],
                [stack.gradients[replica, columns]],
                [self._means[replica, columns]],
                [self._squares[replica, columns]],
                [],
                [count],
                lr=rate,
                beta1=settings.beta1,
                beta2=settings.beta2,
                weight_decay=decay,
                eps=settings.epsilon,
                amsgrad=False,
                maximize=False,
                grad_scale=divisor,
                found_inf=skipped,
            )
        # Of a step that is skipped the decay of words that training does not meet, some 1e-6, is not taken back.
        stack.shrink(replica, 1 - rate * settings.weight_decay)


class LossScaling:
    """What each replica's loss is multiplied by in fp16, so that small gradients do not vanish.

    As in Micikevicius et al. 2018 (arXiv 1710.03740): a step whose gradients are not finite is skipped, and halves the
    scale; 2,000 good ones in a row double it. All on the device.
    """

    def __init__(self, replicas: int, device: torch.device) -> None:
        self.scales = torch.full((replicas,), 65_536.0, device=device)
        self._good = torch.zeros(replicas, device=device)

    def skipped(self, norms: torch.Tensor) -> torch.Tensor:
        """1 for replicas whose step is to be skipped, else 0, float32 ``(R,)``; scales are the next step's then."""
        bad = (~torch.isfinite(norms)).float()
        self._good = (self._good + 1) * (1 - bad)
        grown = self._good >= _GROW_AFTER
        self._good = torch.where(grown, 0.0, self._good)
        self.scales = self.scales * (1 - 0.5 * bad) * torch.where(grown, 2.0, 1.0)
        return bad


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
