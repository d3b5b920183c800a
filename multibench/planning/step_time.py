"""How long a training step of R replicas takes on a card: a prediction from sizes, not a measurement.

``device = launches * gap + bytes / copying + operations / products`` and ``step = max(host, device)``: a card works
through the kernels of a step one after the other, each bound by its launch, by memory, or by products, while one core
of the host launches them. The constants are counts of the operators that training dispatched when it was recorded with
tensors of real shapes; see docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from multibench.checkpoints import Architecture
from multibench.planning.cards import Card, Precision

__all__ = ["StepTime", "StepWork", "forward_time", "step_time"]

# Kernels that a step launches, beside those of its layers and in each of them; forward pass, backward pass and update.
_LAUNCHES, _LAUNCHES_PER_LAYER = 171, 109
# And for each replica: the update of parameters that decay, and of those that do not; and in each layer, since replicas
# with more tokens than others have products of their own.
_LAUNCHES_PER_REPLICA, _LAUNCHES_PER_REPLICA_LAYER = 2, 5
# Seconds: of one core for each launch, and of the card between two kernels.
_HOST_PER_LAUNCH, _GAP = 12e-6, 2e-6
# The share of a forward pass in what is launched, copied and multiplied for training, without the update.
_FORWARD = 1 / 3

# Bytes that a step reads and writes, inputs and outputs of kernels, in half precision.
_PER_HIDDEN, _PER_INNER = 408.0, 28.0  # a token, layer, and unit of the hidden or the inner size
_PER_SCORE = 67.0  # a token, layer, head, and token attended to
_OUTSIDE_LAYERS = 350.0  # a token and hidden unit: embeddings, their gradients, the masks there
# A trained number: gradient added and cleared, norm, moments, weight, and the half copy made and read.
_PER_WEIGHT = 54.0
# How much more is copied between layers where products are of float32, too.
_FLOAT32_COPIES = 1.55
_SCORES_FLOAT32_COPIES = 2.0
# The part of the word embeddings that a task's texts meet, roughly: only these are trained.
_WORDS_MET = 0.5


@dataclass(frozen=True)
class StepWork:
    """What one replica computes in a step: ``tokens``, padding included, each of which attends to ``attended``."""

    tokens: float
    attended: float


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of all replicas, by what they are spent on."""

    host: float
    """One core launches the kernels."""
    launching: float
    """The card passes from one kernel to the next."""
    copying: float
    """The card reads and writes its memory."""
    products: float
    """The card multiplies matrices."""

    @property
    def device(self) -> float:
        """Seconds that the card works."""
        return self.launching + self.copying + self.products

    @property
    def total(self) -> float:
        """Seconds that a step takes: the host launches ahead of the card, so the slower of the two counts."""
        return max(self.host, self.device)

    @property
    def bound_by(self) -> str:
        """``host``, ``memory`` or ``products``: what a faster one would help most."""
        if self.host >= self.device:
            return "host"
        return "products" if self.products > self.copying else "memory"


def step_time(
    architecture: Architecture, replicas: int, work: StepWork, card: Card, precision: Precision
) -> StepTime | None:
    """Seconds of one training step of ``replicas`` stacked models, each with ``work``.

    None where a size of the architecture is unknown, or where the card has no units for ``precision``.
    """
    passes = _pass_time(architecture, replicas, work, card, precision)
    if passes is None:
        return None
    own = _LAUNCHES_PER_REPLICA * replicas
    own += _LAUNCHES_PER_REPLICA_LAYER * architecture.layers * (replicas - 1)
    updating = replicas * _PER_WEIGHT * _trained_numbers(architecture) / card.copying_reached
    return StepTime(
        passes.host + own * _HOST_PER_LAUNCH,
        passes.launching + own * _GAP,
        passes.copying + updating,
        passes.products,
    )


def forward_time(
    architecture: Architecture, replicas: int, work: StepWork, card: Card, precision: Precision
) -> StepTime | None:
    """Seconds of one forward pass, as in evaluation; None as in ``step_time``."""
    both = _pass_time(architecture, replicas, work, card, precision)
    if both is None:
        return None
    parts = (both.host, both.launching, both.copying, both.products)
    return StepTime(*(_FORWARD * part for part in parts))


def _pass_time(
    architecture: Architecture, replicas: int, work: StepWork, card: Card, precision: Precision
) -> StepTime | None:
    """Seconds of a forward and a backward pass."""
    rate, inner = card.products_reached(precision), architecture.intermediate
    if rate is None or inner is None:
        return None
    layers, hidden = architecture.layers, architecture.hidden
    launches = _LAUNCHES + _LAUNCHES_PER_LAYER * layers
    operations = 6 * layers * (4 * hidden**2 + 2 * hidden * inner + 2 * hidden * work.attended) * work.tokens
    return StepTime(
        launches * _HOST_PER_LAUNCH,
        launches * _GAP,
        replicas * _pass_bytes(architecture, inner, work, precision) / card.copying_reached,
        replicas * operations / rate,
    )


def _pass_bytes(architecture: Architecture, inner: int, work: StepWork, precision: Precision) -> float:
    half = precision in ("bf16", "fp16")
    states = (1.0 if half else _FLOAT32_COPIES) * (_PER_HIDDEN * architecture.hidden + _PER_INNER * inner)
    heads = architecture.heads or max(1, architecture.hidden // 64)
    scores = (1.0 if half else _SCORES_FLOAT32_COPIES) * _PER_SCORE * heads * work.attended
    outside = _OUTSIDE_LAYERS * architecture.hidden
    return work.tokens * (architecture.layers * (states + scores) + outside)


def _trained_numbers(architecture: Architecture) -> float:
    hidden, inner = architecture.hidden, architecture.intermediate or 0
    words = _WORDS_MET * (architecture.vocab_size or 0) * hidden
    return words + architecture.layers * (4 * hidden**2 + 2 * hidden * inner)
