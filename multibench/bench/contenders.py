"""The same training steps by several means, timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from multibench.bench.hardware import now
from multibench.bench.sizes import LONGEST, SIZES, model_of, sequences
from multibench.recipes import Hyperparameters
from multibench.seeds import derive_seeds
from multibench.tasks import find_task
from multibench.tasks.encode import Encoded
from multibench.training.batching import step_rows
from multibench.training.loop import Replica, train_together
from multibench.training.stack import Stack, words_in

__all__ = ["Case", "Speed", "plain", "together"]


@dataclass(frozen=True)
class Case:
    """What is trained: a size of ``SIZES`` on ``texts`` of ``task``, or random ones as long, ``steps`` steps."""

    size: str
    task: str
    precision: Literal["fp32", "bf16"]
    device: torch.device
    batch_size: int = 32
    steps: int = 10
    texts: Encoded | None = None

    @cached_property
    def encoded(self) -> Encoded:
        """The sequences."""
        return self.texts or sequences(find_task(self.task).mean_tokens)

    @cached_property
    def labels(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Their labels, 0 or 1."""
        return np.random.default_rng(1).integers(0, 2, len(self.encoded))

    @property
    def settings(self) -> Hyperparameters:
        """A common recipe."""
        return Hyperparameters.model_validate(
            {
                "learning_rate": 2e-5,
                "batch_size": self.batch_size,
                "epochs": 3,
                "warmup": 0.1,
                "weight_decay": 0.01,
                "precision": self.precision,
            }
        )


@dataclass(frozen=True)
class Speed:
    """What was found; rates are of all runs together.

    ``tokens`` are real ones a second, without padding. ``memory`` is the largest in use, in bytes, on a GPU.
    """

    examples: float
    tokens: float
    memory: float | None

    def share_of(self, products: float, case: Case) -> float:
        """The share of the rate ``products`` that the operations of real tokens make up."""
        return self.tokens * SIZES[case.size].operations_per_token / products

    def copied(self, copying: float, case: Case) -> float:
        """The share of the rate ``copying`` that reading and writing the weights and AdamW's moments makes up."""
        return self.examples / case.batch_size * SIZES[case.size].bytes_per_step / copying


def together(case: Case, replicas: int, warm: Callable[[], object] = lambda: None) -> Speed:
    """So many runs trained by multibench as one computation; 1: a run alone. ``warm`` is called before timing."""
    model = model_of(SIZES[case.size], case.device)
    each = [Replica(case.settings, derive_seeds(k)) for k in range(replicas)]
    stack = Stack(model, replicas, words_in(case.encoded.tokens), case.precision)
    train_together(model, stack, case.encoded, case.labels, each, max_steps=case.steps)
    warm()
    clock = _begin(case.device)
    records = train_together(model, stack, case.encoded, case.labels, each, max_steps=case.steps)
    return _speed(case.device, clock, sum(r.examples for r in records), sum(r.tokens for r in records))


def plain(case: Case, padding: Literal["max", "longest"], compiled: str | None = None) -> Speed:
    """The loop of any script: transformers' model, autocast for bfloat16, torch's AdamW, clipping, a schedule.

    Each batch is padded to ``max``, 128 tokens, or to its longest sequence. ``compiled`` is a mode of
    ``torch.compile``; ``reduce-overhead`` makes CUDA graphs.
    """
    model = model_of(SIZES[case.size], case.device).train()
    forward: Any = model if compiled is None else torch.compile(model, mode=compiled)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 1e6)
    labels = torch.from_numpy(case.labels).to(case.device)

    def steps() -> tuple[int, int]:
        examples = tokens = 0
        for rows in step_rows(len(case.encoded), case.batch_size, case.steps, seed=0):
            inputs = case.encoded.padded(rows, LONGEST if padding == "max" else None)
            ids, mask, types = (torch.from_numpy(part).to(case.device) for part in inputs)
            with torch.autocast(case.device.type, torch.bfloat16, enabled=case.precision == "bf16"):
                loss = forward(
                    input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels[rows]
                ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            examples += len(rows)
            tokens += int(case.encoded.lengths[rows].sum())
        return examples, tokens

    steps()
    clock = _begin(case.device)
    return _speed(case.device, clock, *steps())


def _begin(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return now(device)


def _speed(device: torch.device, clock: float, examples: int, tokens: int) -> Speed:
    seconds = now(device) - clock
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Speed(examples / seconds, tokens / seconds, memory)
