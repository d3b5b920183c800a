"""The weights of R models of one architecture side by side, in one buffer.

Shapes: R replicas, P numbers of one replica. A replica's row holds first the word embeddings that training
can meet, then all other matrices (both decay), then biases and layer norms (which do not). Query, key
and value lie next to each other, so that one product makes all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.training.architecture import architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Part", "Stack", "words_in"]

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
    gradient, so weight decay is all that happens to it: see ``shrink``. With ``half`` the forward pass
    reads matrices and biases in bfloat16; ``refresh`` brings them up to date.
    """

    def __init__(
        self, model: PreTrainedModel, replicas: int, words: NDArray[np.int64], half: bool = False
    ) -> None:
        self.replicas = replicas
        self.device = model.device
        self._table = model.get_input_embeddings().weight.detach()
        self._words = torch.from_numpy(words).to(self.device)
        self._others = torch.ones(len(self._table), dtype=torch.bool, device=self.device)
        self._others[self._words] = False
        self._unmet = self._table[self._others]
        self._shrunk = [1.0] * replicas
        hidden = self._table.shape[1]
        named = {n: p for n, p in model.named_parameters() if p is not model.get_input_embeddings().weight}
        self.table = len(words) * hidden
        self._places: dict[str, _Place] = {}
        end = self._lay_out(named, _blocks(model, named, decaying=True), self.table)
        self.decaying = end
        end = self._lay_out(named, _blocks(model, named, decaying=False), end)
        # Words can be addressed across replicas if what a replica has is a whole number of rows of the table.
        total = -(-end // np.lcm(hidden, _ALIGNMENT)) * int(np.lcm(hidden, _ALIGNMENT))
        self.rows_per_replica = total // hidden
        self.weights = torch.zeros(replicas, total, device=self.device)
        self.gradients = torch.zeros_like(self.weights)
        self._half = self.weights[:, self.table :].to(torch.bfloat16) if half else None
        for replica in range(replicas):
            self.load(replica, model)

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
            value = self._half[:, place.start - self.table : place.end - self.table].view(shape)
        return Part(value, self.gradients[:, place.start : place.end].view(shape))

    def linear(self, name: str) -> tuple[Part, Part]:
        """Weight and bias of a linear layer."""
        return self.part(f"{name}.weight"), self.part(f"{name}.bias")

    def norm(self, name: str) -> tuple[Part, Part]:
        """Weight and bias of a layer norm."""
        return self.part(f"{name}.weight", full=True), self.part(f"{name}.bias", full=True)

    @property
    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and gradients ``(rows, hidden)``: word k of replica r is row ``r rows_per_replica + k``."""
        shape = (self.replicas * self.rows_per_replica, -1)
        return self.weights.view(shape), self.gradients.view(shape)

    def refresh(self) -> None:
        """Let the forward pass read the present weights."""
        if self._half is not None:
            self._half.copy_(self.weights[:, self.table :])

    def shrink(self, replica: int, factor: float) -> None:
        """Multiply the embeddings of all words that training does not meet."""
        self._shrunk[replica] *= factor

    def load(self, replica: int, model: PreTrainedModel) -> None:
        """Take the weights of ``model``, but for words that training does not meet, as those of ``replica``."""
        named = dict(model.named_parameters())
        row = self.weights[replica]
        with torch.no_grad():
            row[: self.table] = self._table[self._words].view(-1)
            for name, place in self._each():
                row[place].view(named[name].shape).copy_(named[name])
        self.refresh()

    def store(self, replica: int, model: PreTrainedModel) -> None:
        """Give ``model`` (the one that this was made of) the weights of ``replica``."""
        named = dict(model.named_parameters())
        row = self.weights[replica]
        with torch.no_grad():
            self._table[self._words] = row[: self.table].view(len(self._words), -1)
            self._table[self._others] = self._unmet * self._shrunk[replica]
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
