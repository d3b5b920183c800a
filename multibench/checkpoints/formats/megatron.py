"""Megatron's BERT: names and fused tensors of its checkpoints, in the words of ``MegatronBertModel``.

Query, key and value are one matrix of ``3 * hidden`` rows. In which order it holds projection (3), head and
unit of a head depends on the checkpoint's version; sources: the conversion script of transformers 4.40.2,
and NVIDIA/Megatron-LM v2.5, ``checkpointing.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multibench.checkpoints.formats.imported import heads_of, left_out
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["from_megatron", "is_megatron"]

# The axis of the projection among (projection, head, unit), by version; the other two keep their order.
_PROJECTION_AXIS = {0: 0, 1: 2, 2: 1, 3: 1}

_PARTS = {
    "language_model.embedding.word_embeddings": "bert.embeddings.word_embeddings",
    "language_model.embedding.position_embeddings": "bert.embeddings.position_embeddings",
    "language_model.embedding.tokentype_embeddings": "bert.embeddings.token_type_embeddings",
    "language_model.encoder.final_layernorm": "bert.encoder.ln",
    "language_model.pooler.dense": "bert.pooler.dense",
    "lm_head.dense": "cls.predictions.transform.dense",
    "lm_head.layernorm": "cls.predictions.transform.LayerNorm",
    "lm_head": "cls.predictions",
    "binary_head": "cls.seq_relationship",
    "classification_head": "classifier",
}
_LAYER_PARTS = {
    "input_layernorm": "attention.ln",
    "self_attention.dense": "attention.output.dense",
    "post_attention_layernorm": "ln",
    "mlp.dense_h_to_4h": "intermediate.dense",
    "mlp.dense_4h_to_h": "output.dense",
}
_LAYER = re.compile(r"language_model\.encoder\.layers\.(\d{1,4})\.(.+)")
# Copies of the word embeddings that the last stage of a pipeline keeps.
_COPIES = ("word_embeddings_for_head.weight", "word_embeddings.weight")

# Sizes that a configuration may not state, and the matrices whose rows show them.
_SIZES = {
    "vocab_size": "bert.embeddings.word_embeddings.weight",
    "max_position_embeddings": "bert.embeddings.position_embeddings.weight",
    "type_vocab_size": "bert.embeddings.token_type_embeddings.weight",
    "intermediate_size": "bert.encoder.layer.0.intermediate.dense.weight",
}
# Names of Megatron's arguments and of NeMo's configuration -> that of Hugging Face.
_SETTINGS = {
    "num_attention_heads": "num_attention_heads",
    "layernorm_epsilon": "layer_norm_eps",
    "layer_norm_eps": "layer_norm_eps",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
# What a configuration may say about the computation, and all that MegatronBertModel can compute.
_ONLY: dict[str, tuple[object, ...]] = {
    "transformer_block_type": ("pre_ln",),
    "normalization": ("layernorm", "LayerNorm"),
    "position_embedding_type": ("learned_absolute", "absolute"),
    "activation": ("gelu",),
    "hidden_act": ("gelu",),
    "apply_residual_connection_post_layernorm": (False,),
    "openai_gelu": (False,),
}


def is_megatron(weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether tensors have the names of Megatron's language model."""
    return any(name.startswith("language_model.") for name in weights)


def from_megatron(
    weights: dict[str, torch.Tensor],
    version: object,
    stated: Mapping[str, Any],
    where: Path,
    notes: list[str],
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and configuration of ``MegatronBertForPreTraining`` (or with a classifier) from Megatron's names.

    ``weights`` are flat: keys of nested dictionaries joined by dots. They are taken out, so that a fused tensor
    that nobody else holds goes once it is split. ``version`` is ``checkpoint_version``,
    0 where a file has none; ``stated`` are the arguments or configuration that it was trained with. ``notes``
    gets what a user should know. Raises ``CheckpointError`` for a version, a computation or shapes that
    ``MegatronBertModel`` does not have.
    """
    _require_computable(stated, where)
    axis = _projection_axis(version, where)
    older = {
        name.replace("language_model.transformer.", "language_model.encoder.", 1): weights.pop(name)
        for name in list(weights)
    }
    words = older.get("language_model.embedding.word_embeddings.weight")
    if words is None or words.dim() != 2:
        raise CheckpointError(f"{where} has no matrix of word embeddings: it holds no BERT of Megatron.")
    hidden = words.shape[1]
    heads = heads_of(hidden, stated.get("num_attention_heads"), where, notes)
    found: dict[str, torch.Tensor] = {}
    layers: set[int] = set()
    copies = [name for name in _COPIES if older.pop(name, None) is not None]
    for name in list(older):
        tensor = older.pop(name)
        layer = _LAYER.fullmatch(name)
        if layer is None:
            part, _, kind = name.rpartition(".")
            found[f"{_PARTS.get(part, part)}.{kind}"] = tensor
            continue
        layers.add(int(layer[1]))
        part, _, kind = layer[2].rpartition(".")
        part = re.sub(r"^attention\.", "self_attention.", part)
        prefix = f"bert.encoder.layer.{int(layer[1])}"
        if part == "self_attention.query_key_value":
            for projection, piece in zip(
                ("query", "key", "value"), _split(tensor, heads, axis, hidden, where), strict=True
            ):
                found[f"{prefix}.attention.self.{projection}.{kind}"] = piece
        else:
            found[f"{prefix}.{_LAYER_PARTS.get(part, part)}.{kind}"] = tensor
    notes += left_out(copies, "they repeat the word embeddings")
    sizes = {
        key: found[name].shape[0] for key, name in _SIZES.items() if name in found and found[name].dim() == 2
    }
    if len(sizes) < len(_SIZES):
        missing = next(name for key, name in _SIZES.items() if key not in sizes)
        raise CheckpointError(f"{where} has nothing that would be {missing}: it holds no BERT of Megatron.")
    config = {
        "model_type": "megatron-bert",
        **{theirs: stated[ours] for ours, theirs in _SETTINGS.items() if stated.get(ours) is not None},
        "num_attention_heads": heads,
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        **sizes,
    }
    return found, config


def _require_computable(stated: Mapping[str, Any], where: Path) -> None:
    for key, allowed in _ONLY.items():
        value = stated.get(key)
        if value is not None and value not in allowed:
            raise CheckpointError(
                f"{where} was trained with {key} = {value!r}; MegatronBertModel computes {allowed[0]!r} alone."
            )


def _projection_axis(version: object, where: Path) -> int:
    number = 0 if version is None else version
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number not in _PROJECTION_AXIS:
        raise CheckpointError(
            f"{where} states the checkpoint version {version!r}; multibench knows 0, 1, 2 and 3."
        )
    return _PROJECTION_AXIS[int(number)]


def _split(tensor: torch.Tensor, heads: int, axis: int, hidden: int, where: Path) -> list[torch.Tensor]:
    """Query, key and value, each ``(hidden, ...)``, from the fused ``(3 * hidden, ...)``."""
    if not tensor.dim() or tensor.shape[0] != 3 * hidden:
        raise CheckpointError(
            f"{where}: query, key and value have the shape {tuple(tensor.shape)}; expected {3 * hidden} rows."
        )
    order = [heads, hidden // heads]
    order.insert(axis, 3)
    parts = tensor.reshape(*order, *tensor.shape[1:]).movedim(axis, 0)
    return [part.reshape(hidden, *tensor.shape[1:]) for part in parts]
