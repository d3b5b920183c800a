"""The training loop: one model, one task, one set of hyperparameters, three seeds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.recipes import Hyperparameters
from multibench.seeds import Seeds
from multibench.tasks.encode import Encoded
from multibench.training.batching import micro_batches, step_rows, steps_in_total
from multibench.training.optimizer import build_optimizer, learning_rate_at
from multibench.training.spans import per_window_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Divergence", "TrainingRecord", "forward", "logits_of", "per_example_loss", "train"]

Step = Callable[[int, int, float], None]

# What one more micro-batch costs, in tokens. Measured on two CPU cores with a 6-layer model of hidden
# size 384; on a GPU a launch is worth many more tokens than a batch has, so steps stay whole there.
_OVERHEAD_TOKENS = {"cpu": 64, "cuda": 100_000}
_READ_EVERY = {"cpu": 1, "cuda": 25}


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

    ``gradient_norms`` are before clipping. ``tokens`` counts real tokens, ``computed_tokens`` those
    with padding. ``seconds`` is wall time.
    """

    losses: NDArray[np.float64]
    learning_rates: NDArray[np.float64]
    gradient_norms: NDArray[np.float64]
    examples: int
    tokens: int
    computed_tokens: int
    seconds: float
    divergence: Divergence | None


class _WordEmbeddings:
    """The rows of the embedding table that one step uses, as a leaf of their own.

    Looked up in the table itself, every micro-batch would fill and add a gradient of the table's
    full size (30,522 rows, of which a step uses some hundreds).
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._table: torch.nn.Parameter = model.get_input_embeddings().weight
        self._gradient = torch.zeros_like(self._table)
        self._used = torch.empty(0, dtype=torch.long, device=self._table.device)
        self._rows = self._table.detach()
        self._ids = np.empty(0, dtype=np.int64)

    def begin(self, encoded: Encoded, rows: NDArray[np.int64]) -> None:
        """Gather the rows for a step over the examples ``rows``."""
        self._gradient[self._used] = 0.0  # what the step before left; all else is zero already
        parts = [encoded.tokens[encoded.starts[r] : encoded.starts[r + 1]] for r in rows]
        self._ids = np.unique(np.concatenate([*parts, [encoded.pad_id]])).astype(np.int64)
        self._used = torch.from_numpy(self._ids).to(self._table.device)
        self._rows = self._table.detach()[self._used].requires_grad_()

    def look_up(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """Embeddings ``(rows, longest, hidden)`` of token ids of the step."""
        places = torch.from_numpy(np.searchsorted(self._ids, ids)).to(self._table.device)
        return torch.nn.functional.embedding(places, self._rows)

    def end(self) -> None:
        """Give the table its gradient."""
        assert self._rows.grad is not None
        self._gradient[self._used] = self._rows.grad
        self._table.grad = self._gradient


def forward(
    model: PreTrainedModel,
    encoded: Encoded,
    rows: NDArray[np.int64],
    embeddings: _WordEmbeddings | None = None,
) -> Any:
    """The model's output object for ``rows``, padded to the longest of them."""
    ids, mask, types = encoded.padded(rows)
    lengths = encoded.lengths[rows]
    inputs: dict[str, torch.Tensor] = {}
    if embeddings is None:
        inputs["input_ids"] = torch.from_numpy(ids).to(model.device)
    else:
        inputs["inputs_embeds"] = embeddings.look_up(ids)
    if lengths.min() != lengths.max():  # without padding there is nothing to mask
        inputs["attention_mask"] = torch.from_numpy(mask).to(model.device)
    if model.config.model_type != "distilbert":
        inputs["token_type_ids"] = torch.from_numpy(types).to(model.device)
    return model(**inputs)


def logits_of(
    model: PreTrainedModel,
    encoded: Encoded,
    rows: NDArray[np.int64],
    embeddings: _WordEmbeddings | None = None,
) -> torch.Tensor:
    """Outputs of a classification or regression head for ``rows``, ``(len(rows), outputs)``."""
    logits: torch.Tensor = forward(model, encoded, rows, embeddings).logits
    return logits


def per_example_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy for class labels (integers), squared error for scores; ``(n,)`` in float32."""
    if labels.is_floating_point():
        return torch.nn.functional.mse_loss(logits.float().squeeze(-1), labels, reduction="none")
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def train(
    model: PreTrainedModel,
    encoded: Encoded,
    labels: NDArray[np.int64] | NDArray[np.float64],
    settings: Hyperparameters,
    seeds: Seeds,
    on_step: Step | None = None,
    overhead_tokens: int | None = None,
    max_steps: int | None = None,
) -> TrainingRecord:
    """Fine-tune ``model`` in place and return what happened.

    ``labels`` is ``(n,)``, or for a span head ``(n, 2)``, the positions of start and end in the windows
    that ``encoded`` then holds; windows, not questions, make up batches and epochs, as in the published
    recipes. Each step's loss is the mean over its sequences, however the step is cut into
    micro-batches: gradients of the parts are weighted and summed, so only rounding (and, with dropout,
    which mask falls on which example) depends on the cut. ``on_step(step, steps, loss)`` is called as
    losses become known. ``max_steps`` ends early, on the schedule of the full training.
    """
    device = model.device
    kind = "cuda" if device.type == "cuda" else "cpu"
    overhead = _OVERHEAD_TOKENS[kind] if overhead_tokens is None else overhead_tokens
    steps = steps_in_total(
        len(encoded), settings.batch_size, settings.epochs, settings.drop_last, settings.shuffle_window
    )
    run_steps = steps if max_steps is None else min(steps, max_steps)
    target = torch.from_numpy(labels if labels.dtype.kind == "i" else labels.astype(np.float32)).to(device)
    optimizer = build_optimizer(model, settings)
    embeddings = _WordEmbeddings(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    losses = torch.full((run_steps,), float("nan"), dtype=torch.float64, device=device)
    norms = torch.full((run_steps,), float("nan"), dtype=torch.float64, device=device)
    rates = np.array([learning_rate_at(step, steps, settings) for step in range(run_steps)])
    lengths = encoded.lengths
    tokens = computed = examples = read = 0
    divergence: Divergence | None = None
    started = time.perf_counter()
    model.train()
    with torch.random.fork_rng(devices=[device] if kind == "cuda" else []):
        torch.manual_seed(seeds.dropout)
        order = step_rows(
            len(encoded),
            settings.batch_size,
            run_steps,
            seeds.order,
            settings.shuffle_window,
            settings.drop_last,
        )
        for step, rows in enumerate(order):
            for group in optimizer.param_groups:
                group["lr"] = float(rates[step])
            optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), dtype=torch.float64, device=device)
            embeddings.begin(encoded, rows)
            for part in micro_batches(rows, lengths[rows], overhead):
                with torch.autocast(kind, torch.bfloat16, enabled=settings.precision == "bf16"):
                    output = forward(model, encoded, part, embeddings)
                wanted = target[torch.from_numpy(part).to(device)]
                if wanted.ndim == 2:
                    each = per_window_loss(output.start_logits, output.end_logits, wanted, lengths[part])
                else:
                    each = per_example_loss(output.logits, wanted)
                loss = each.sum() / len(rows)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
                computed += len(part) * int(lengths[part].max())
            embeddings.end()
            limit = settings.clip_norm if settings.clip_norm is not None else float("inf")
            norms[step] = torch.nn.utils.clip_grad_norm_(parameters, limit)
            losses[step] = total
            optimizer.step()
            tokens += int(lengths[rows].sum())
            examples += len(rows)
            if (step + 1) % _READ_EVERY[kind] == 0 or step + 1 == run_steps:
                known = losses[read : step + 1].tolist()
                divergence = _first_divergence(losses[: step + 1].tolist(), read, rates)
                read = step + 1
                if on_step is not None:
                    on_step(step + 1, run_steps, known[-1])
                if divergence is not None:
                    break
    model.eval()
    if divergence is None and not all(bool(torch.isfinite(p).all()) for p in parameters):
        # The last update itself broke the weights; no later loss was there to show it.
        last = read - 1
        divergence = Divergence(last, float("nan"), float(losses[last]), float(rates[last]))
    return TrainingRecord(
        losses=losses[:read].cpu().numpy(),
        learning_rates=rates[:read],
        gradient_norms=norms[:read].cpu().numpy(),
        examples=examples,
        tokens=tokens,
        computed_tokens=computed,
        seconds=time.perf_counter() - started,
        divergence=divergence,
    )


def _first_divergence(losses: list[float], start: int, rates: NDArray[np.float64]) -> Divergence | None:
    for step in range(start, len(losses)):
        if not np.isfinite(losses[step]):
            before = losses[step - 1] if step else float("nan")
            return Divergence(step, losses[step], before, float(rates[step]))
    return None
