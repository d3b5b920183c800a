"""Where transformers' models keep what: the names of an architecture's parts, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Architecture", "Rates", "architecture_of", "rates_of"]


@dataclass(frozen=True)
class Architecture:
    """Names below the encoder's prefix (``layer`` names are below ``layers.<number>``), and what differs.

    ``norm_first``: layer norms stand before attention and feed-forward part, and one more at the end (Megatron).
    ``drops_attended``: the attention's output has dropout of its own.
    """

    layers: str
    query_key_value: tuple[str, str, str]
    attended: str
    attention_norm: str
    up: str
    down: str
    output_norm: str
    pool: str
    """What the first token's state goes through before the classifier; full name in the task model."""
    pool_activation: str
    types: bool = True
    embedding_norm: str | None = "embeddings.LayerNorm"
    last_norm: str | None = None
    norm_first: bool = False
    drops_attended: bool = True


_BERT_ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value")
_ARCHITECTURES = {
    "bert": Architecture(
        layers="encoder.layer",
        query_key_value=_BERT_ATTENTION,
        attended="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        up="intermediate.dense",
        down="output.dense",
        output_norm="output.LayerNorm",
        pool="bert.pooler.dense",
        pool_activation="tanh",
    ),
    "megatron-bert": Architecture(
        layers="encoder.layer",
        query_key_value=_BERT_ATTENTION,
        attended="attention.output.dense",
        attention_norm="attention.ln",
        up="intermediate.dense",
        down="output.dense",
        output_norm="ln",
        pool="bert.pooler.dense",
        pool_activation="tanh",
        embedding_norm=None,
        last_norm="encoder.ln",
        norm_first=True,
    ),
    "distilbert": Architecture(
        layers="transformer.layer",
        query_key_value=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attended="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        output_norm="output_layer_norm",
        pool="pre_classifier",
        pool_activation="relu",
        types=False,
        drops_attended=False,
    ),
}


def architecture_of(model: PreTrainedModel) -> Architecture:
    """The architecture of a task model of transformers."""
    return _ARCHITECTURES[model.config.model_type]


@dataclass(frozen=True)
class Rates:
    """Dropout rates: of hidden states, attention weights, and before the task's last layer."""

    hidden: float
    attention: float
    head: float


def rates_of(model: PreTrainedModel) -> Rates:
    """The rates that ``model`` was built with."""
    config = model.config
    distilled = config.model_type == "distilbert"
    head = getattr(model, "dropout", None)  # BERT has none before its span scores
    return Rates(
        hidden=float(config.dropout if distilled else config.hidden_dropout_prob),
        attention=float(config.attention_dropout if distilled else config.attention_probs_dropout_prob),
        head=0.0 if head is None else float(head.p),
    )
