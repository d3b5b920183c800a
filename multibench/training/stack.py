"""The weights of R models of one architecture side by side, in one buffer; they may be of several checkpoints.

Shapes: R replicas, P numbers of one replica. A replica's row holds first the embeddings, of the words that training
can meet, of positions and of types; then all other matrices (all these decay), then biases and layer norms (which do
not). Query, key and value lie next to each other, so that one product makes all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.recipes import Precision
from multibench.training.architecture import architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["HALF", "Part", "Stack", "words_in"]

HALF: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What matrices and biases are read in, by precision; in the others they are read as they are."""
_ALIGNMENT = 16  # numbers: kernels are at their best where matrices begin at whole cache lines


@dataclass(frozen=True)
class Part:
    """One parameter of all replicas: what the forward pass reads, ``(R, *shape)``, and its gradient in float32."""

    value: torch.Tensor
    gradient: torch.Tensor

    def rows(self, start: int, end: int | None = None) -> Part:
        """Some of the outputs of a matrix or bias."""
        return Part(self.value[:, start:end], self.gradient[:, start:end])


@dataclass(frozen=True)
class _Place:
    names: tuple[str, ...]
    start: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.start + int(np.prod(self.shape))


def words_in(tokens: NDArray[np.int32]) -> NDArray[np.int64]:
    """The distinct token ids in ``tokens``, in order."""
    return np.flatnonzero(np.bincount(tokens)).astype(np.int64)


class Stack:
    """R copies of ``model``: ``weights`` and ``gradients``, float32 ``(R, P)``; the first ``decaying`` columns decay.

    ``words`` are the token ids that training can meet, ascending. No other row of the embedding table has a
    gradient, so weight decay is all that happens to it: see ``shrink``. In half precision the forward pass
    reads matrices and biases rounded; ``refresh`` brings them up to date.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        replicas: int,
        words: NDArray[np.int64],
        precision: Precision = "fp32",
    ) -> None:
        self.replicas, self.precision = replicas, precision
        self.device = model.device
        table = model.get_input_embeddings().weight
        self.words = words
        self._words = torch.from_numpy(words).to(self.device)
        self._others = torch.ones(len(table), dtype=torch.bool, device=self.device)
        self._others[self._words] = False
        # Of each replica the rows of words that training does not meet; one tensor for all that begin alike.
        self._unmet: list[torch.Tensor] = [table.detach()[:0]] * replicas
        self._shrunk = [1.0] * replicas
        self._last: PreTrainedModel | None = None
        self._begun = table.detach()[:0]
        self.hidden = hidden = table.shape[1]
        named = {n: p for n, p in model.named_parameters() if p is not table}
        self._places: dict[str, _Place] = {}
        end = len(words) * hidden
        for name in [name for name in named if ".embeddings." in name and named[name].ndim > 1]:
            rows = named.pop(name).shape[0]
            self._places[name] = place = _Place((name,), end, (rows, hidden))
            end = place.end
        self._table = end
        end = self._lay_out(named, _blocks(model, named, decaying=True), end)
        self.decaying = end
        end = self._lay_out(named, _blocks(model, named, decaying=False), end)
        # Rows of embeddings can be addressed across replicas if a replica is a whole number of them.
        total = -(-end // np.lcm(hidden, _ALIGNMENT)) * int(np.lcm(hidden, _ALIGNMENT))
        self.rows_per_replica = total // hidden
        self.weights = torch.zeros(replicas, total, device=self.device)
        self.gradients = torch.zeros_like(self.weights)
        half = HALF.get(precision)
        self._half = None if half is None else self.weights[:, self._table :].to(half)
        self.load(0, model)
        self.weights[1:] = self.weights[:1]
        self._unmet = self._unmet[:1] * replicas
        self.refresh()

    def _lay_out(
        self, named: dict[str, torch.nn.Parameter], blocks: list[tuple[str, ...]], start: int
    ) -> int:
        for names in blocks:
            first = named[names[0]]
            shape = (len(names) * first.shape[0], *first.shape[1:])
            start = -(-start // _ALIGNMENT) * _ALIGNMENT
            self._places[names[0]] = place = _Place(names, start, tuple(shape))
            start = place.end
        return start

    def part(self, name: str, full: bool = False) -> Part:
        """A parameter by its name in the model (of query, key and value: the query's); ``full`` in float32 always."""
        place = self._places[name]
        shape = (self.replicas, *place.shape)
        value = self.weights[:, place.start : place.end].view(shape)
        if self._half is not None and not full:
            value = self._half[:, place.start - self._table : place.end - self._table].view(shape)
        return Part(value, self.gradients[:, place.start : place.end].view(shape))

    def linear(self, name: str) -> tuple[Part, Part]:
        """Weight and bias of a linear layer."""
        return self.part(f"{name}.weight"), self.part(f"{name}.bias")

    def norm(self, name: str) -> tuple[Part, Part]:
        """Weight and bias of a layer norm."""
        return self.part(f"{name}.weight", full=True), self.part(f"{name}.bias", full=True)

    @property
    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and gradients ``(rows, hidden)``: row k of replica r is row ``r rows_per_replica + k``."""
        shape = (self.replicas * self.rows_per_replica, self.hidden)
        return self.weights.view(shape), self.gradients.view(shape)

    @property
    def embedding_gradients(self) -> torch.Tensor:
        """Those of all embeddings, ``(R, numbers)``: the ones that a step adds to, so that they begin at zero."""
        return self.gradients[:, : self._table]

    def first_row(self, name: str) -> int:
        """Where the table of positions or types begins among the rows of a replica."""
        return int(self._places[name].start // self.hidden)

    def words_of(self, words: NDArray[np.int64]) -> torch.Tensor:
        """The embeddings of any words, ascending, whether training meets them or not, ``(R, words, hidden)``."""
        met = len(self.words)
        wanted = torch.from_numpy(words).to(self.device)
        found = torch.empty(self.replicas, len(words), self.hidden, device=self.device)
        known = torch.full((len(self._others),), -1, dtype=torch.int64, device=self.device)
        known[self._words] = torch.arange(met, device=self.device)
        known[self._others] = torch.arange(len(self._others) - met, device=self.device)
        unmet, row = self._others[wanted], known[wanted]
        for replica in range(self.replicas):
            own = self.weights[replica, : met * self.hidden].view(met, self.hidden)
            found[replica, ~unmet] = own[row[~unmet]]
            found[replica, unmet] = self._unmet[replica][row[unmet]] * self._shrunk[replica]
        return found

    def refresh(self) -> None:
        """Let the forward pass read the present weights."""
        if self._half is not None:
            self._half.copy_(self.weights[:, self._table :])

    def shrink(self, replica: int, factor: float) -> None:
        """Multiply the embeddings of all words that training does not meet."""
        self._shrunk[replica] *= factor

    def load(self, replica: int, model: PreTrainedModel) -> None:
        """Take the weights of ``model`` as those of ``replica``."""
        named = dict(model.named_parameters())
        table = model.get_input_embeddings().weight.detach()
        row = self.weights[replica]
        if self._last is not model:
            self._begun = table[self._others]
        self._last, self._unmet[replica], self._shrunk[replica] = model, self._begun, 1.0
        with torch.no_grad():
            row[: self._words.numel() * self.hidden] = table[self._words].view(-1)
            for name, place in self._each():
                row[place].view(named[name].shape).copy_(named[name])
        if self._half is not None:
            self._half[replica].copy_(row[self._table :])

    def store(self, replica: int, model: PreTrainedModel) -> None:
        """Give ``model``, of this architecture, the weights of ``replica``."""
        self._last = None
        named = dict(model.named_parameters())
        row = self.weights[replica]
        table = model.get_input_embeddings().weight
        with torch.no_grad():
            table[self._words] = row[: self._words.numel() * self.hidden].view(-1, self.hidden)
            table[self._others] = self._unmet[replica] * self._shrunk[replica]
            for name, place in self._each():
                named[name].copy_(row[place].view(named[name].shape))

    def _each(self) -> Iterator[tuple[str, slice]]:
        for place in self._places.values():
            size = (place.end - place.start) // len(place.names)
            for k, name in enumerate(place.names):
                yield name, slice(place.start + k * size, place.start + (k + 1) * size)


def _blocks(
    model: PreTrainedModel, named: dict[str, torch.nn.Parameter], decaying: bool
) -> list[tuple[str, ...]]:
    """Names of the parameters that decay (matrices) or do not (biases and layer norms), joined ones together."""
    query, key, value = architecture_of(model).query_key_value
    blocks = []
    for name, parameter in named.items():
        if (parameter.ndim > 1) is not decaying or f".{key}." in name or f".{value}." in name:
            continue
        if f".{query}." in name:
            blocks.append(tuple(name.replace(query, other) for other in (query, key, value)))
        else:
            blocks.append((name,))
    return blocks
