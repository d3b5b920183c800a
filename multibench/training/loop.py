"""The training loop: one checkpoint, one task, R replicas with rates and seeds of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.recipes import Hyperparameters
from multibench.seeds import Seeds
from multibench.tasks.encode import Encoded
from multibench.training.batching import (
    grain_of,
    micro_batches,
    overhead_in_tokens,
    rows_of_steps,
    steps_in_total,
)
from multibench.training.dropout import StepMasks
from multibench.training.encoder import Encoder, Tokens
from multibench.training.optimizer import StackedAdam, learning_rate_at
from multibench.training.record import Ledger, TrainingRecord
from multibench.training.spans import per_window_loss
from multibench.training.stack import Stack, words_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Replica", "per_example_loss", "train", "train_together"]

Step = Callable[[int, int, float], None]
Labels = NDArray[np.int64] | NDArray[np.float64]

# Reading a loss waits for a GPU, so that there it is done now and then only.
_READ_EVERY = {"cpu": 1, "cuda": 25}


@dataclass(frozen=True)
class Replica:
    """The settings and seeds of one of the runs that are trained together."""

    settings: Hyperparameters
    seeds: Seeds


def per_example_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy for class labels (integers), squared error for scores; ``(n,)`` in float32."""
    if labels.is_floating_point():
        return torch.nn.functional.mse_loss(logits.float().squeeze(-1), labels, reduction="none")
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def train(
    model: PreTrainedModel,
    encoded: Encoded,
    labels: Labels,
    settings: Hyperparameters,
    seeds: Seeds,
    on_step: Step | None = None,
    overhead_tokens: int | None = None,
    max_steps: int | None = None,
) -> TrainingRecord:
    """Fine-tune ``model`` in place, head and all: the case of one of ``train_together``."""
    stack = Stack(model, 1, words_in(encoded.tokens), half=settings.precision == "bf16")
    replica = Replica(settings, seeds)
    (record,) = train_together(model, stack, encoded, labels, [replica], on_step, overhead_tokens, max_steps)
    stack.store(0, model)
    return record


def train_together(
    model: PreTrainedModel,
    stack: Stack,
    encoded: Encoded,
    labels: Labels,
    replicas: Sequence[Replica],
    on_step: Step | None = None,
    overhead_tokens: int | None = None,
    max_steps: int | None = None,
) -> list[TrainingRecord]:
    """Fine-tune the models in ``stack``, made of ``model``, and return what happened to each.

    ``labels`` is ``(n,)``, or for a span head ``(n, 2)``, the positions of start and end in the windows
    that ``encoded`` then holds; windows, not questions, make up batches and epochs, as in the published
    recipes. The settings of the ``replicas`` may differ in what leaves the shape of a step alone: rates, schedules,
    decay, clipping, the constants of Adam.

    Each step's loss is the mean over its sequences, however the step is cut into micro-batches: gradients of the
    parts are weighted and summed, so only rounding depends on the cut, on padding, and on what is trained
    together. A replica that breaks down leaves the others alone. ``on_step(step, steps, loss)`` is called
    as losses become known, with their mean over the replicas. ``max_steps`` ends early, on the schedule of the
    full training.
    """
    started = time.perf_counter()
    device, shape = stack.device, replicas[0].settings
    tokens = Tokens(encoded, words_in(encoded.tokens), stack)
    steps = steps_in_total(
        len(encoded), shape.batch_size, shape.epochs, shape.drop_last, shape.shuffle_window
    )
    run_steps = steps if max_steps is None else min(steps, max_steps)
    rates = np.array([[learning_rate_at(s, steps, r.settings) for s in range(run_steps)] for r in replicas])
    ledger = Ledger(rates, device)
    longest, grain = int(tokens.lengths.max()), grain_of(device.type, shape.precision)
    encoder = Encoder(model, stack, longest)
    optimizer = StackedAdam(stack, [replica.settings for replica in replicas])
    target = torch.from_numpy(labels if labels.dtype.kind == "i" else labels.astype(np.float32)).to(device)
    generators = [torch.Generator(device).manual_seed(r.seeds.dropout) for r in replicas]
    if overhead_tokens is None:
        hidden = model.config.hidden_size
        overhead_tokens = overhead_in_tokens(device.type, hidden, len(replicas), shape.precision)
    for step, rows in enumerate(_rows(replicas, tokens.lengths, run_steps)):
        lengths = tokens.lengths[rows]
        masks = StepMasks(encoder.sites, generators, lengths)
        losses = torch.zeros(len(replicas), dtype=torch.float64, device=device)
        computed = 0
        for columns in micro_batches(lengths.max(axis=0), overhead_tokens, grain):
            part, own = rows[:, columns], lengths[:, columns]
            padded = grain.padded(int(own.max()), longest)
            masks.begin(columns, padded)
            wanted = target[torch.from_numpy(part).to(device, non_blocking=True)]
            outputs = encoder(tokens.batch(part, padded), masks)
            loss = _losses(outputs, wanted, own) / rows.shape[1]
            loss.sum().backward()
            losses += loss.detach()
            computed += own.shape[1] * padded
        ledger.enter(step, losses, optimizer.step(rates[:, step].tolist()), lengths, computed)
        if (step + 1) % _READ_EVERY[device.type] == 0 or step + 1 == run_steps:
            mean = ledger.read(step)
            if on_step is not None:
                on_step(step + 1, run_steps, float("nan") if mean is None else mean)
            if mean is None:
                break
    return ledger.records(stack.weights, time.perf_counter() - started)


def _rows(replicas: Sequence[Replica], lengths: NDArray[np.int64], steps: int) -> Iterator[NDArray[np.int64]]:
    """The example numbers of each step, ``(R, B)``, those of a replica from short to long."""
    orders = [rows_of_steps(lengths, r.settings, steps, r.seeds.order) for r in replicas]
    for rows in map(np.stack, zip(*orders, strict=True)):
        yield np.take_along_axis(rows, lengths[rows].argsort(axis=1, kind="stable"), axis=1)


def _losses(outputs: torch.Tensor, wanted: torch.Tensor, lengths: NDArray[np.int64]) -> torch.Tensor:
    """The sum of each replica's losses, ``(R,)``; ``outputs`` are the encoder's, ``lengths`` ``(R, B)``."""
    flat, target = outputs.flatten(0, 1), wanted.flatten(0, 1)
    if target.ndim == 2:
        each = per_window_loss(flat[..., 0], flat[..., 1], target, lengths.ravel())
    else:
        each = per_example_loss(flat, target)
    return each.view(lengths.shape).sum(dim=1)
