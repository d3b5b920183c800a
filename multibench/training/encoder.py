"""The forward pass of R models of one architecture at once: BERT, DistilBERT and Megatron-BERT.

Shapes: R replicas, S sequences, N rows of packed tokens (see ``packing``), A heads, H hidden size. Only what the head
reads is computed: above the last attention a classifier needs the first token of each sequence alone. Hidden
states between layers are float32 in every precision, as under autocast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from multibench.training.architecture import architecture_of, rates_of
from multibench.training.kernels import add_dropped, attend, drop, linear, norm
from multibench.training.masks import Site, StepMasks
from multibench.training.packing import Layout, Packed
from multibench.training.stack import Stack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Encoder"]


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
        for _ in range(self._layers):
            self.sites.append(Site(rates.attention, longest, self._heads))
            self.sites += [hidden] * (1 + names.drops_attended)
        self.sites.append(Site(rates.head, self._hidden))

    def _first_only(self, layer: int) -> bool:
        """Whether only the first token's state is needed behind a layer's attention."""
        return layer == self._layers - 1 and not self._spans

    def __call__(
        self, packed: Packed, masks: StepMasks | None = None, table: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Outputs ``(S, outputs)``; of a span head ``(N, 2)``. Without ``masks`` nothing is dropped.

        ``table`` ``(R, words, H)`` holds other words than those that the stack was made for.
        """
        names = self._names
        x = self._embed(packed, table)
        if names.embedding_norm is not None:
            x = self._norm(x, self._prefix + names.embedding_norm, packed.layout)
        x = drop(x, None if masks is None else masks.take(), self.rates.hidden)
        for layer in range(self._layers):
            x = self._layer(layer, x, packed, masks)
        layout = packed.layout if self._spans else packed.sequences
        if names.last_norm is not None:
            x = self._norm(x, self._prefix + names.last_norm, layout)
        if not self._spans:
            x = self._pool_activation(self._linear(x, names.pool, layout))
        rows = None if self._spans else packed.first
        x = drop(x, None if masks is None else masks.take(rows), self.rates.head)
        return self._linear(x, "qa_outputs" if self._spans else "classifier", layout)

    def _layer(self, layer: int, x: torch.Tensor, packed: Packed, masks: StepMasks | None) -> torch.Tensor:
        names, rate = self._names, self.rates.hidden
        place = f"{self._prefix}{names.layers}.{layer}."
        attention_norm, output_norm = place + names.attention_norm, place + names.output_norm
        before = self._norm(x, attention_norm, packed.layout) if names.norm_first else x
        first = self._first_only(layer)
        attended = self._attend(before, place, packed, masks, first)
        layout, rows = packed.layout, None
        if first:
            layout, rows = packed.sequences, packed.first
            x = x.index_select(0, rows)
        keep = masks.take(rows) if masks is not None and names.drops_attended else None
        x = add_dropped(x, self._linear(attended, place + names.attended, layout), keep, rate)
        if not names.norm_first:
            x = self._norm(x, attention_norm, layout)
        inner = self._norm(x, output_norm, layout) if names.norm_first else x
        inner = self._activation(self._linear(inner, place + names.up, layout))
        inner = self._linear(inner, place + names.down, layout)
        x = add_dropped(x, inner, None if masks is None else masks.take(rows), rate)
        return x if names.norm_first else self._norm(x, output_norm, layout)

    def _attend(
        self, x: torch.Tensor, place: str, packed: Packed, masks: StepMasks | None, first: bool
    ) -> torch.Tensor:
        """Attention of all tokens ``(N, H)``, or of the first ones only ``(S, H)``, to all."""
        weight, bias = self._stack.linear(place + self._names.query_key_value[0])
        kept = None if masks is None else masks.attention()
        if not first:
            qkv = linear(x, weight, bias, packed.layout)
            return attend(None, qkv, packed.buckets, self._heads, kept)
        h = self._hidden
        start = x.index_select(0, packed.first)
        q = linear(start, weight.rows(0, h), bias.rows(0, h), packed.sequences)
        kv = linear(x, weight.rows(h), bias.rows(h), packed.layout)
        return attend(q, kv, packed.buckets, self._heads, kept)

    def _linear(self, x: torch.Tensor, name: str, layout: Layout) -> torch.Tensor:
        weight, bias = self._stack.linear(name)
        return linear(x, weight, bias, layout)

    def _norm(self, x: torch.Tensor, name: str, layout: Layout) -> torch.Tensor:
        weight, bias = self._stack.norm(name)
        return norm(x, weight, bias, self._epsilon, layout)

    def _embed(self, packed: Packed, words: torch.Tensor | None) -> torch.Tensor:
        """Sums of word, position and type embeddings, ``(N, H)``: a leaf that hands its gradient on."""
        table, gradients = self._stack.embeddings
        begin = packed.replica * self._stack.rows_per_replica
        position = self._stack.first_row(self._prefix + "embeddings.position_embeddings.weight")
        parts = [begin + packed.word, begin + packed.position + position]
        if self._names.types:
            types = self._stack.first_row(self._prefix + "embeddings.token_type_embeddings.weight")
            parts.append(begin + packed.second + types)
        if words is None:
            x = table.index_select(0, parts[0])
        else:
            x = words.flatten(0, 1).index_select(0, packed.replica * words.shape[1] + packed.word)
        for part in parts[1:]:
            x += table.index_select(0, part)
        if not torch.is_grad_enabled():
            return x

        def hand_on(g: torch.Tensor) -> None:
            for part in parts:
                if g.device.type == "cpu":
                    gradients.index_add_(0, part, g)
                else:  # adds in a fixed order there, which index_add_ does not
                    gradients.index_put_((part,), g, accumulate=True)

        x.requires_grad_().register_hook(hand_on)  # type: ignore[no-untyped-call]
        return x
