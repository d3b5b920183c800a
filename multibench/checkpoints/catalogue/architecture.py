"""The shape of a pretrained encoder, and how many parameters a model of that shape has."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from multibench.errors import CheckpointError

__all__ = ["MODEL_TYPES", "Architecture"]

# The names that Hugging Face configurations give these architectures under `model_type`.
MODEL_TYPES = ("bert", "distilbert", "megatron-bert")


@dataclass(frozen=True)
class Architecture:
    """Sizes of an encoder without a task head. ``None`` is a size that no source gives."""

    model_type: str
    layers: int
    hidden: int
    heads: int | None
    intermediate: int | None
    vocab_size: int | None
    max_positions: int = 512
    type_vocab: int = 2

    def __post_init__(self) -> None:
        if self.model_type not in MODEL_TYPES:
            raise CheckpointError(
                f"The architecture '{self.model_type}' is not supported; use one of {', '.join(MODEL_TYPES)}."
            )
        if self.model_type == "distilbert" and self.type_vocab:
            raise CheckpointError("DistilBERT has no token-type embeddings: set type_vocab to 0.")
        if self.heads is not None and self.hidden % self.heads:
            raise CheckpointError(f"{self.hidden} hidden units do not divide into {self.heads} heads.")

    def parameters(self) -> int | None:
        """Parameters of embeddings, encoder and pooler, without any head; ``None`` if a size is unknown.

        With V the vocabulary, P positions, T token types, H hidden, I intermediate and L layers::

            embeddings  V*H + P*H + T*H + 2*H
            one layer   4*(H*H + H) + (H*I + I) + (I*H + H) + 4*H
            pooler      H*H + H

        DistilBERT has neither token types (T = 0) nor a pooler. Megatron-BERT normalises before each
        block: it has no LayerNorm after the embeddings but one after the last layer, so the sum is the same.
        """
        if self.intermediate is None or self.vocab_size is None:
            return None
        h, i = self.hidden, self.intermediate
        embeddings = (self.vocab_size + self.max_positions + self.type_vocab + 2) * h
        layer = 4 * (h * h + h) + (h * i + i) + (i * h + h) + 4 * h
        pooler = 0 if self.model_type == "distilbert" else h * h + h
        return embeddings + self.layers * layer + pooler

    def to_dict(self) -> dict[str, str | int | None]:
        """All sizes by name, ready for JSON."""
        return asdict(self)
