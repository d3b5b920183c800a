"""A model's configuration, reduced to what decides its computation.

``config.json`` files differ in keys that change nothing (names, versions, defaults spelt out or left
out). Two folders of one model must count as one checkpoint, so the configuration is normalised
before it is hashed or used.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from multibench.checkpoints.formats.texts import read_json
from multibench.errors import CheckpointError

__all__ = ["ModelConfig", "normalised_config", "read_config"]

ModelConfig = dict[str, Any]

# Defaults of BertConfig, DistilBertConfig and MegatronBertConfig in transformers 5.
_DEFAULTS: dict[str, ModelConfig] = {
    "bert": {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "classifier_dropout": None,
    },
    "distilbert": {
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "sinusoidal_pos_embds": False,
        "n_layers": 6,
        "n_heads": 12,
        "dim": 768,
        "hidden_dim": 3072,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation": "gelu",
        "initializer_range": 0.02,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "pad_token_id": 0,
    },
    "megatron-bert": {
        "vocab_size": 29056,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    },
}


# Building takes time and memory for each layer before any weight is looked at. No BERT has more than a few dozen.
_MOST_LAYERS = 256


def read_config(folder: Path) -> ModelConfig:
    """The normalised configuration of the checkpoint in ``folder``, with ``model_type``.

    Keys that transformers knows under two names are brought to one; keys that change no
    computation are dropped. Raises ``CheckpointError`` for a missing or malformed file and for an
    architecture that is not supported.
    """
    path = folder / "config.json"
    if not path.exists():
        raise CheckpointError(f"{folder} holds no config.json, so it is no checkpoint folder.")
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return normalised_config(raw, path)


def normalised_config(raw: dict[str, Any], path: Path) -> ModelConfig:
    """``raw``, as ``config.json`` holds it, reduced as ``read_config`` says; ``path`` names it in errors.

    Raises ``CheckpointError`` for an architecture that is not supported and for values that are none.
    """
    model_type = raw.get("model_type", "bert" if "hidden_size" in raw else None)
    if not isinstance(model_type, str) or model_type not in _DEFAULTS:
        raise CheckpointError(
            f"{path} names the architecture '{model_type}'; multibench fine-tunes {', '.join(_DEFAULTS)}."
        )
    if raw.get("auto_map"):
        raise CheckpointError(f"{path} points to code of its own (auto_map), which multibench never runs.")
    if raw.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(
            f"{path} asks for '{raw['position_embedding_type']}' position embeddings, which transformers 5 "
            "would silently treat as absolute ones."
        )
    defaults = _DEFAULTS[model_type]
    config = {key: raw.get(key, default) for key, default in defaults.items()}
    for key, default in defaults.items():
        _check(key, config[key], default, path)
    layers = config["n_layers" if model_type == "distilbert" else "num_hidden_layers"]
    if layers not in range(_MOST_LAYERS + 1):
        raise CheckpointError(
            f"{path} asks for {layers} layers; no BERT has so many (up to {_MOST_LAYERS} are built)."
        )
    labels = raw.get("id2label")
    return {"model_type": model_type, **config, "id2label": labels if isinstance(labels, dict) else None}


def _check(key: str, value: object, default: object, path: Path) -> None:
    """Raise ``CheckpointError`` if ``value`` is not of the kind that ``default`` is."""
    if isinstance(default, (bool, str)):
        if not isinstance(value, type(default)):
            raise CheckpointError(f"{path}: {key} is {value!r}, where {default!r} would be expected.")
    elif isinstance(default, int):
        least = 0 if key in {"pad_token_id", "type_vocab_size"} else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise CheckpointError(f"{path}: {key} is {value!r}, not a count of {least} or more.")
    elif value is not None or default is not None:  # a rate, which may be left to the model
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:  # type: ignore[operator]
            raise CheckpointError(f"{path}: {key} is {value!r}, not a number of 0 or more.")
