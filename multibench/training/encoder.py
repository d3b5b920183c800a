"""The forward pass of R models of one architecture at once: BERT, DistilBERT and Megatron-BERT.

Shapes: R replicas, B sequences, L tokens of the longest, A heads, H hidden size, D = H / A. Only what the head reads is
computed: above the last attention a classifier needs the first token of each sequence alone. Hidden
states between layers are float32 in either precision, as under autocast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.tasks.encode import Encoded
from multibench.training.architecture import architecture_of, rates_of
from multibench.training.dropout import Site, StepMasks
from multibench.training.kernels import add_dropped, attend_dropped, drop, linear, norm
from multibench.training.stack import Stack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Batch", "Encoder", "Tokens"]


@dataclass(frozen=True)
class Batch:
    """``words`` int64 ``(R, B, L)`` rows of the stack's embeddings; ``second`` 1 in the second text, else 0.

    ``padding`` ``(R, B, L)`` is minus infinity at padding, 0 elsewhere; None where there is none.
    """

    words: torch.Tensor
    second: torch.Tensor
    padding: torch.Tensor | None


class Tokens:
    """A split's token ids on the device of a stack, which has the words ``words`` (see ``stack.words_in``)."""

    def __init__(self, encoded: Encoded, words: NDArray[np.int64], stack: Stack) -> None:
        self.lengths = encoded.lengths
        self._rows_per_replica = stack.rows_per_replica
        device = stack.device
        places = np.searchsorted(words, encoded.tokens)
        self._places = torch.from_numpy(places).to(device)
        self._starts, self._lengths, self._second = (
            torch.from_numpy(array.astype(np.int64)).to(device)
            for array in (encoded.starts[:-1], self.lengths, encoded.second)
        )

    def batch(self, rows: NDArray[np.int64], longest: int) -> Batch:
        """The sequences ``rows`` ``(R, B)``, padded to ``longest`` tokens."""
        own = self.lengths[rows]
        device = self._places.device
        sequence = torch.from_numpy(rows).to(device, non_blocking=True)
        position = torch.arange(longest, device=device)
        length = self._lengths[sequence][..., None]
        words = self._places[self._starts[sequence][..., None] + torch.minimum(position, length - 1)]
        words += torch.arange(len(rows), device=device)[:, None, None] * self._rows_per_replica
        padding = None
        if int(own.min()) < longest:
            padding = torch.where(position < length, 0.0, -math.inf)
        second = (position >= self._second[sequence][..., None]).float()
        return Batch(words, second, padding)


class Encoder:
    """The forward pass of ``stack``, whose models are built like ``model``.

    ``longest`` is the longest sequence that can come. ``sites`` are the places with dropout, in the order in
    which the pass meets them.
    """

    def __init__(self, model: PreTrainedModel, stack: Stack, longest: int) -> None:
        from transformers.activations import get_activation

        config = model.config
        self._stack = stack
        self._names = names = architecture_of(model)
        self._prefix = model.base_model_prefix + "."
        self._heads, self._layers = config.num_attention_heads, config.num_hidden_layers
        self._hidden = config.hidden_size
        self._epsilon = float(getattr(config, "layer_norm_eps", 1e-12))  # DistilBERT's has no name there
        distilled = config.model_type == "distilbert"
        self._activation = get_activation(config.activation if distilled else config.hidden_act)
        self._pool_activation = get_activation(names.pool_activation)
        self._spans = hasattr(model, "qa_outputs")
        self.rates = rates = rates_of(model)
        hidden = Site(rates.hidden, self._hidden)
        self.sites = [hidden]
        for layer in range(self._layers):
            first = self._first_only(layer)
            self.sites.append(Site(rates.attention, longest, self._heads, first_only=first))
            self.sites += [Site(rates.hidden, self._hidden, first_only=first)] * (1 + names.drops_attended)
        self.sites.append(Site(rates.head, self._hidden, first_only=not self._spans))

    def _first_only(self, layer: int) -> bool:
        """Whether only the first token's state is needed behind a layer's attention."""
        return layer == self._layers - 1 and not self._spans

    def __call__(self, batch: Batch, masks: StepMasks | None = None) -> torch.Tensor:
        """Outputs ``(R, B, outputs)``; of a span head ``(R, B, L, 2)``. Without ``masks`` nothing is dropped."""
        names = self._names
        x = self._embed(batch)
        if names.embedding_norm is not None:
            x = self._norm(x, self._prefix + names.embedding_norm)
        x = drop(x, _take(masks), self.rates.hidden)
        for layer in range(self._layers):
            x = self._layer(layer, x, batch, masks)
        if names.last_norm is not None:
            x = self._norm(x, self._prefix + names.last_norm)
        if self._spans:
            return self._linear(drop(x, _take(masks), self.rates.head), "qa_outputs")
        pooled = self._pool_activation(self._linear(x, names.pool))
        return self._linear(drop(pooled, _take(masks), self.rates.head), "classifier").squeeze(2)

    def _layer(self, layer: int, x: torch.Tensor, batch: Batch, masks: StepMasks | None) -> torch.Tensor:
        names, rate = self._names, self.rates.hidden
        place = f"{self._prefix}{names.layers}.{layer}."
        attention_norm, output_norm = place + names.attention_norm, place + names.output_norm
        first = self._first_only(layer)
        attended = self._attend(
            self._norm(x, attention_norm) if names.norm_first else x, place, batch, masks, first
        )
        x = x[:, :, :1] if first else x
        keep = _take(masks) if names.drops_attended else None
        x = add_dropped(x, self._linear(attended, place + names.attended), keep, rate)
        if not names.norm_first:
            x = self._norm(x, attention_norm)
        inner = self._norm(x, output_norm) if names.norm_first else x
        inner = self._linear(self._activation(self._linear(inner, place + names.up)), place + names.down)
        x = add_dropped(x, inner, _take(masks), rate)
        return x if names.norm_first else self._norm(x, output_norm)

    def _attend(
        self, x_RBLH: torch.Tensor, place: str, batch: Batch, masks: StepMasks | None, first: bool
    ) -> torch.Tensor:
        """Attention of all tokens, or of the first ones only, to all: ``(R, B, L or 1, H)``."""
        r, b, length, h = x_RBLH.shape
        weight, bias = self._stack.linear(place + self._names.query_key_value[0])
        flat = x_RBLH.reshape(r, b * length, h)
        if first:
            start = x_RBLH[:, :, 0]
            query = linear(start, weight.rows(0, h), bias.rows(0, h)).view(r * b, 1, h)
            both = linear(flat, weight.rows(h), bias.rows(h)).view(r * b, length, 2, h)
            q, k, v = query, both[:, :, 0], both[:, :, 1]
        else:
            q, k, v = linear(flat, weight, bias).view(r * b, length, 3, h).unbind(2)
        q, k, v = (self._by_head(part) for part in (q, k, v))
        keep = _take(masks)
        padding = None if batch.padding is None else batch.padding.view(r * b, 1, 1, length)
        if padding is not None:
            padding = padding.to(q.dtype)
        if keep is None:
            context = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=padding)
        else:
            context = attend_dropped(
                q.flatten(0, 1),
                k.flatten(0, 1),
                v.flatten(0, 1),
                padding,
                keep.flatten(0, 2),
                self.rates.attention,
            ).view(q.shape)
        return context.transpose(1, 2).reshape(r, b, -1, h)

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """``(R B, L, H)`` as ``(R B, A, L, D)``."""
        return x.view(*x.shape[:2], self._heads, -1).transpose(1, 2)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """A linear layer of ``(R, B, L, inputs)``."""
        weight, bias = self._stack.linear(name)
        return linear(x.reshape(len(x), -1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._stack.norm(name)
        return norm(x.reshape(len(x), -1, x.shape[-1]), weight, bias, self._epsilon).view(x.shape)

    def _embed(self, batch: Batch) -> torch.Tensor:
        """Sums of word, position and type embeddings, ``(R, B, L, H)``: a leaf that hands its gradient on."""
        table, gradients = self._stack.embeddings
        r, _, length = batch.words.shape
        positions = self._stack.part(self._prefix + "embeddings.position_embeddings.weight", full=True)
        x = table.index_select(0, batch.words.flatten()).view(*batch.words.shape, -1)
        x += positions.value[:, None, :length]
        types = None
        if self._names.types:
            types = self._stack.part(self._prefix + "embeddings.token_type_embeddings.weight", full=True)
            x += types.value[:, :1, None]
            x.addcmul_(batch.second[..., None], (types.value[:, 1:2] - types.value[:, :1])[:, :, None])
        if not torch.is_grad_enabled():
            return x

        def hand_on(g: torch.Tensor) -> None:
            g_rows = g.reshape(-1, g.shape[-1])
            if g.device.type == "cpu":
                gradients.index_add_(0, batch.words.flatten(), g_rows)
            else:  # adds in a fixed order there, which index_add_ does not
                gradients.index_put_((batch.words.flatten(),), g_rows, accumulate=True)
            by_position = g.sum(1)
            positions.gradient[:, :length] += by_position
            if types is not None:
                of_second = torch.bmm(batch.second.view(r, 1, -1), g.reshape(r, -1, g.shape[-1]))
                types.gradient[:, 1:2] += of_second
                types.gradient[:, :1] += by_position.sum(1, keepdim=True) - of_second

        x.requires_grad_().register_hook(hand_on)  # type: ignore[no-untyped-call]
        return x


def _take(masks: StepMasks | None) -> torch.Tensor | None:
    return None if masks is None else masks.take()
