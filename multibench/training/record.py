"""What happened in a training, step by step, and how it broke down if it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Divergence", "Ledger", "TrainingRecord"]


@dataclass(frozen=True)
class Divergence:
    """Evidence that training broke down: the first step (from 0) whose loss was no number."""

    step: int
    loss: float
    last_finite_loss: float
    learning_rate: float

    def sentence(self) -> str:
        """What happened, for a person."""
        return (
            f"the loss became {self.loss} in step {self.step + 1} at learning rate {self.learning_rate:.3g} "
            f"(before that it was {self.last_finite_loss:.4g})"
        )


@dataclass(frozen=True)
class TrainingRecord:
    """What happened in each optimizer step; arrays are ``(steps,)``.

    ``gradient_norms`` are before clipping. ``tokens`` counts real tokens, ``computed_tokens`` the rows of products,
    with those that nobody reads. ``seconds`` is wall time; of replicas trained together, each one's share of it by
    tokens.
    """

    losses: NDArray[np.float64]
    learning_rates: NDArray[np.float64]
    gradient_norms: NDArray[np.float64]
    examples: int
    tokens: int
    computed_tokens: int
    seconds: float
    divergence: Divergence | None


class Ledger:
    """The steps of R replicas; what a GPU computes stays on it until ``read``.

    ``rates[r]`` ``(steps of r,)`` are the learning rates: those of a replica with fewer steps end earlier.
    """

    def __init__(self, rates: Sequence[NDArray[np.float64]], device: torch.device) -> None:
        self._rates = rates
        shape = len(rates), max(map(len, rates))
        self._losses = torch.full(shape, float("nan"), dtype=torch.float64, device=device)
        self._norms = torch.full_like(self._losses, float("nan"))
        self._counts = np.zeros((3, *shape), dtype=np.int64)
        self._read = 0
        self.divergences: list[Divergence | None] = [None] * len(rates)

    def enter(self, step: int, losses: torch.Tensor, norms: torch.Tensor, counts: NDArray[np.int64]) -> None:
        """A step's losses and norms ``(R,)``; ``counts`` ``(3, R)`` its sequences, tokens, and tokens computed."""
        self._losses[:, step] = losses
        self._norms[:, step] = norms
        self._counts[:, :, step] = counts

    def read(self, step: int) -> float | None:
        """Look at all steps up to ``step``: the mean of the last losses, None once no replica goes on."""
        known = self._losses[:, : step + 1].cpu().numpy()
        for replica, losses in enumerate(known):
            if self.divergences[replica] is None:
                self.divergences[replica] = self._first_divergence(replica, losses)
        self._read = step + 1
        going = [
            losses[-1]
            for losses, rates, d in zip(known, self._rates, self.divergences, strict=True)
            if d is None and len(rates) > step
        ]
        return float(np.mean(going)) if going else None

    def _first_divergence(self, replica: int, losses: NDArray[np.float64]) -> Divergence | None:
        for step in range(self._read, min(len(losses), len(self._rates[replica]))):
            if not np.isfinite(losses[step]):
                before = losses[step - 1] if step else float("nan")
                rate = float(self._rates[replica][step])
                return Divergence(step, float(losses[step]), float(before), rate)
        return None

    def records(self, weights: torch.Tensor, seconds: float) -> list[TrainingRecord]:
        """One for each replica; ``weights`` ``(R, P)`` are what the last step left, ``seconds`` the time of all."""
        losses, norms = self._losses.cpu().numpy(), self._norms.cpu().numpy()
        finite = torch.isfinite(weights).all(dim=1).tolist()
        tokens = self._counts[2].sum(axis=1)
        share = tokens / max(1, tokens.sum())
        found = []
        for replica, divergence in enumerate(self.divergences):
            steps = min(self._read, len(self._rates[replica])) if divergence is None else divergence.step + 1
            if divergence is None and not finite[replica]:
                # The last update itself broke the weights; no later loss was there to show it.
                rate = float(self._rates[replica][steps - 1])
                divergence = Divergence(steps - 1, float("nan"), float(losses[replica, steps - 1]), rate)
            examples, real, computed = self._counts[:, replica, :steps].sum(axis=1).tolist()
            found.append(
                TrainingRecord(
                    losses=losses[replica, :steps],
                    learning_rates=self._rates[replica][:steps],
                    gradient_norms=norms[replica, :steps],
                    examples=examples,
                    tokens=real,
                    computed_tokens=computed,
                    seconds=seconds * float(share[replica]),
                    divergence=divergence,
                )
            )
        return found
