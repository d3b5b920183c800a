"""The training loop: one architecture, one task, R replicas with weights, settings and seeds of their own."""

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
from multibench.training.arithmetic import set_arithmetic
from multibench.training.batching import rows_of_steps, steps_in_total
from multibench.training.encoder import Encoder
from multibench.training.masks import Masks
from multibench.training.optimizer import StackedAdam, learning_rate_at
from multibench.training.packing import Packed, packer_of, send
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
    max_steps: int | None = None,
) -> TrainingRecord:
    """Fine-tune ``model`` in place, head and all: the case of one of ``train_together``."""
    stack = Stack(model, 1, words_in(encoded.tokens), settings.precision)
    replica = Replica(settings, seeds)
    (record,) = train_together(model, stack, encoded, labels, [replica], on_step, max_steps)
    stack.store(0, model)
    return record


def train_together(
    model: PreTrainedModel,
    stack: Stack,
    encoded: Encoded,
    labels: Labels,
    replicas: Sequence[Replica],
    on_step: Step | None = None,
    max_steps: int | None = None,
) -> list[TrainingRecord]:
    """Fine-tune the models in ``stack``, all built like ``model``, and return what happened to each.

    ``labels`` is ``(n,)``, or for a span head ``(n, 2)``, the positions of start and end in the windows
    that ``encoded`` then holds; windows, not questions, make up batches and epochs, as in the published
    recipes. The settings of the ``replicas`` may differ in all but precision; one with fewer steps ends earlier.

    Each step's loss is the mean over its sequences. Only rounding depends on what is trained together. A replica that
    breaks down leaves the others alone. ``on_step(step, steps, loss)`` is called as losses become known, with their
    mean over the replicas. ``max_steps`` ends early, on the schedule of the full training.
    """
    started = time.perf_counter()
    device = stack.device
    set_arithmetic(stack.precision, device)
    steps = [_steps(encoded, replica.settings) for replica in replicas]
    runs = steps if max_steps is None else [min(n, max_steps) for n in steps]
    rates = [
        np.array([learning_rate_at(s, whole, r.settings) for s in range(run)])
        for r, whole, run in zip(replicas, steps, runs, strict=True)
    ]
    packer = packer_of(encoded, stack)
    encoder = Encoder(model, stack, packer.longest)
    optimizer = StackedAdam(stack, [replica.settings for replica in replicas])
    seeds = torch.tensor([r.seeds.dropout for r in replicas], device=device)
    masks = Masks(encoder.sites, seeds) if any(site.rate for site in encoder.sites) else None
    target = torch.from_numpy(labels if labels.dtype.kind == "i" else labels.astype(np.float32)).to(device)
    counter = torch.zeros((), dtype=torch.int64, device=device)
    ledger, last = Ledger(rates, device), max(runs) - 1
    for step, rows in enumerate(_rows(replicas, packer.lengths, runs)):
        packed = packer.pack(rows)
        kept = None if masks is None else masks.at(counter, packed.replica, packed.token)
        wanted = target[send([np.concatenate(rows)], device)[0]]
        losses = _losses(encoder(packed, kept), packed, wanted)
        scaled = losses if optimizer.scaling is None else losses * optimizer.scaling.scales
        scaled.sum().backward()  # type: ignore[no-untyped-call]
        active = [r for r, n in enumerate(runs) if step < n]
        norms = optimizer.step([float(rate[step]) if step < len(rate) else 0.0 for rate in rates], active)
        ledger.enter(step, losses.detach(), norms, packed.counts)
        counter += 1
        if (step + 1) % _READ_EVERY[device.type] == 0 or step == last:
            mean = ledger.read(step)
            if on_step is not None:
                on_step(step + 1, last + 1, float("nan") if mean is None else mean)
            if mean is None:
                break
    return ledger.records(stack.weights, time.perf_counter() - started)


def _steps(encoded: Encoded, settings: Hyperparameters) -> int:
    """Optimizer steps of a whole training."""
    return steps_in_total(
        len(encoded), settings.batch_size, settings.epochs, settings.drop_last, settings.shuffle_window
    )


def _rows(
    replicas: Sequence[Replica], lengths: NDArray[np.int64], steps: Sequence[int]
) -> Iterator[list[NDArray[np.int64]]]:
    """The example numbers of each step, a replica's from short to long; none where it has ended."""
    orders = [
        rows_of_steps(lengths, r.settings, n, r.seeds.order) for r, n in zip(replicas, steps, strict=True)
    ]
    nothing = np.zeros(0, dtype=np.int64)
    for _ in range(max(steps)):
        rows = [next(order, nothing) for order in orders]
        yield [own[lengths[own].argsort(kind="stable")] for own in rows]


def _losses(outputs: torch.Tensor, packed: Packed, wanted: torch.Tensor) -> torch.Tensor:
    """The mean of each replica's losses, ``(R,)``, 0 for one without sequences; ``outputs`` are the encoder's."""
    spans = wanted.ndim == 2
    each = per_window_loss(outputs, packed, wanted) if spans else per_example_loss(outputs, wanted)
    # Sums of rows of equal length are taken in the same order each time, sums by index on a GPU are not.
    own = packed.counts[0]
    padded = each.new_zeros(len(own) * packed.most).index_put((packed.slots,), each)
    shares = send([np.maximum(own, 1)], each.device)[0]
    return padded.view(-1, packed.most).sum(dim=1) / shares
