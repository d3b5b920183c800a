"""How much of a card's memory a group of R runs takes: an estimate from sizes alone.

Of each replica: the numbers that it trains (weights, gradients, two moments, a half copy), and the tensors of one step
that the backward pass reads. A step holds its real tokens next to each other, without padding; only attention pads,
to the longest sequence of each bucket of like lengths. Constants count the tensors of a layer; they have names so that
they can be set by a measured peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from multibench.checkpoints import Architecture
from multibench.planning.buckets import padded_length

__all__ = ["GroupMemory", "PackedStep", "group_memory"]

# Bytes of a trained number: weight, gradient and two moments in float32; and the half copy of it.
_TRAINED, _HALF_COPY = 16, 2
# The checkpoint itself stays on the card beside its replicas, in float32.
_MODEL = 4

# Numbers kept of each token in each layer, in units of the hidden size, in the precision of products:
_BEFORE_ATTENTION = 4.0  # the input of query, key and value, and these
_AFTER_ATTENTION = 2.0  # the inputs of the attention's and the feed-forward part's first product
_INNER = 2.0  # before and after the activation, in units of the inner size
# in float32: the input of each of the two layer norms
_NORMS = 2.0
# and in bytes: the masks of the two places with dropout behind products, where they are kept.
_MASKS = 2.0
# Behind the embeddings: the input of the layer norm in float32 (numbers), and a mask (bytes).
_EMBEDDED, _EMBEDDED_MASK = 1.0, 1.0
# Numbers kept of each pair of tokens that attend to each other, in each head: weights; and bytes of the mask there.
_SCORES, _SCORES_MASK = 1.0, 1.0
# What one layer's backward pass holds beside what was kept: gradients of the states in float32, those of the inner ones
# and of the scores in the precision of products.
_PASSING_HIDDEN, _PASSING_INNER, _PASSING_SCORES = 3.0, 2.0, 3.0

# Lengths of texts spread by this share of their mean (measured: 0.4 to 0.6 of sentence pairs); the largest of the steps
# of a training, and the longest of the texts of a step, lie about so many standard deviations above the mean.
_SPREAD, _LARGEST = 0.5, 3.0
# What the context of CUDA and the libraries of products hold, which no allocator counts.
_CONTEXT = 1.0e9


@dataclass(frozen=True)
class PackedStep:
    """What one replica reads in a step: ``sequences``, their real ``tokens``, and ``pairs``.

    ``pairs`` is the sum of the squared lengths that the sequences are padded to for attention.
    """

    sequences: float
    tokens: float
    pairs: float

    @classmethod
    def largest(
        cls, sequences: int, mean: float, longest: int, replicas: int = 1, overhead: int = 1
    ) -> PackedStep:
        """The largest step that a training is likely to meet, a replica, where ``replicas`` step together.

        ``mean`` is the mean length of its texts, cut to ``longest``. The more sequences there are in all, the closer
        their sum is to its mean. ``overhead`` is what a bucket costs, see ``buckets``.
        """
        mean = min(mean, float(longest))
        length = min(mean * (1 + _LARGEST * _SPREAD / math.sqrt(sequences * replicas)), float(longest))
        tokens = sequences * length
        at_most = min(mean * (1 + _LARGEST * _SPREAD), float(longest))
        padded = padded_length(sequences * replicas, length, max(at_most, length), overhead)
        square = min(max(padded**2, length * padded * (1 + _SPREAD**2)), float(longest) ** 2)
        return cls(float(sequences), tokens, sequences * square)


@dataclass(frozen=True)
class GroupMemory:
    """Bytes that a group takes: of all replicas together, by what they are for."""

    trained: float
    """Weights, gradients, moments and half copies."""
    kept: float
    """Tensors of the forward pass that the backward pass reads."""
    passing: float
    """Gradients on their way, at their most."""
    model: float
    """The checkpoint that the replicas were made of."""
    context: float = _CONTEXT
    """What the driver and its libraries hold; no allocator counts it."""

    @property
    def allocated(self) -> float:
        """Bytes that the allocator of torch counts at its peak."""
        return self.trained + self.kept + self.passing + self.model

    @property
    def total(self) -> float:
        """Bytes of the card."""
        return self.allocated + self.context


def group_memory(
    architecture: Architecture,
    replicas: int,
    step: PackedStep,
    precision: str,
    words: int | None = None,
    spans: bool = False,
) -> GroupMemory | None:
    """Bytes of ``replicas`` runs of ``architecture`` that are trained together, each with ``step``.

    ``precision`` is that of products: bf16 and fp16 keep half as much as fp32 and tf32. ``words`` are the rows of the
    word embeddings that are trained, all if not given. With ``spans`` every token is read by the head, otherwise the
    first of each sequence. None where a size of the architecture is unknown.
    """
    parameters, inner = architecture.parameters(), architecture.intermediate
    if parameters is None or inner is None or architecture.vocab_size is None:
        return None
    half = precision in ("bf16", "fp16")
    number = 2 if half else 4
    rows = architecture.vocab_size if words is None else min(words, architecture.vocab_size)
    trained = parameters - (architecture.vocab_size - rows) * architecture.hidden
    copied = (parameters - architecture.vocab_size * architecture.hidden) if half else 0
    return GroupMemory(
        trained=float(replicas * (_TRAINED * trained + _HALF_COPY * copied)),
        kept=replicas * _kept(architecture, inner, step, number, spans),
        passing=replicas * _passing(architecture, inner, step, number),
        model=float(_MODEL * parameters),
    )


def _kept(architecture: Architecture, inner: int, step: PackedStep, number: int, spans: bool) -> float:
    """Bytes of one replica that the backward pass reads; ``number`` is the size of a number in products.

    Above the last attention a head for classes reads the first token of each sequence alone.
    """
    hidden, heads = architecture.hidden, _heads(architecture)
    before = _BEFORE_ATTENTION * number * hidden
    after = number * (_AFTER_ATTENTION * hidden + _INNER * inner) + (4 * _NORMS + _MASKS) * hidden
    pairs = (_SCORES * number + _SCORES_MASK) * heads
    full = architecture.layers if spans else architecture.layers - 1
    kept = full * (step.tokens * (before + after) + step.pairs * pairs)
    if not spans:
        attended = step.pairs / step.tokens  # of the first token of a sequence
        kept += step.tokens * before + step.sequences * (after + attended * pairs)
    return kept + step.tokens * hidden * (4 * _EMBEDDED + _EMBEDDED_MASK)


def _passing(architecture: Architecture, inner: int, step: PackedStep, number: int) -> float:
    """Bytes of one replica that one layer's backward pass holds beside what was kept."""
    states = step.tokens * (4 * _PASSING_HIDDEN * architecture.hidden + number * _PASSING_INNER * inner)
    return states + step.pairs * _PASSING_SCORES * number * _heads(architecture)


def _heads(architecture: Architecture) -> int:
    return architecture.heads or max(1, architecture.hidden // 64)
