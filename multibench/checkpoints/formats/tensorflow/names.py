"""The variables of Google's BERT code beside the parameters of Hugging Face's ``BertForPreTraining``.

One model, two spellings: scopes are divided by ``/`` instead of ``.``, ``layer.3`` is ``layer_3``, LayerNorm has
``gamma`` and ``beta``, and a dense layer's ``kernel`` is its ``weight`` transposed.

Source: modeling.py, run_pretraining.py, run_classifier.py and run_squad.py of google-research/bert.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from multibench.checkpoints.formats.config import ModelConfig
from multibench.errors import CheckpointError

__all__ = ["Variable", "bert_variables", "head_variables", "is_training_state"]

Shape = tuple[int | None, ...]

# What stands beside the weights in a checkpoint of a training that goes on; slots are found by their weight's name.
_COUNTERS = {"global_step", "beta1_power", "beta2_power", "loss_scale", "current_loss_scale", "good_steps"}
# The output layers, which Google's code declares by hand, so without a dense layer's names and transposition.
_BY_HAND = {
    "cls.predictions.bias": "cls/predictions/output_bias",
    "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
    "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
}


@dataclass(frozen=True)
class Variable:
    """One weight in both spellings."""

    name: str
    """In TensorFlow."""
    parameter: str
    """In ``BertForPreTraining``, or in the model with the head in question."""
    shape: Shape
    """Of the parameter; None where any size will do."""

    @property
    def transposed(self) -> bool:
        """Whether the variable is the parameter with rows and columns exchanged."""
        return self.name.endswith("/kernel")

    @property
    def stored_shape(self) -> Shape:
        """Of the variable."""
        return self.shape[::-1] if self.transposed else self.shape

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether ``shape`` is that of the variable."""
        wanted = self.stored_shape
        return len(shape) == len(wanted) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))


def _variable_name(parameter: str) -> str:
    if parameter in _BY_HAND:
        return _BY_HAND[parameter]
    scope, _, kind = parameter.rpartition(".")
    scope = re.sub(r"\blayer\.", "layer_", scope).replace(".", "/")
    if scope.endswith("embeddings"):
        return scope
    if scope.endswith("LayerNorm"):
        return f"{scope}/{'gamma' if kind == 'weight' else 'beta'}"
    return f"{scope}/{'kernel' if kind == 'weight' else kind}"


def _by_name(parameters: Mapping[str, Shape]) -> dict[str, Variable]:
    made = (Variable(_variable_name(name), name, shape) for name, shape in parameters.items())
    return {variable.name: variable for variable in made}


def _dense(scope: str, inputs: int, outputs: int | None) -> dict[str, Shape]:
    return {f"{scope}.weight": (outputs, inputs), f"{scope}.bias": (outputs,)}


def _norm(scope: str, size: int) -> dict[str, Shape]:
    return {f"{scope}.LayerNorm.weight": (size,), f"{scope}.LayerNorm.bias": (size,)}


def bert_variables(config: ModelConfig) -> dict[str, Variable]:
    """The variables of the encoder with its pooler that ``config`` describes, by name.

    Raises ``CheckpointError`` for another architecture than BERT, and for more than 1,000 layers.
    """
    if config["model_type"] != "bert":
        raise CheckpointError(
            f"Google's TensorFlow checkpoints are of BERT; there are no names in them for {config['model_type']}."
        )
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, Shape] = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        **_norm("bert.embeddings", hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        scope = f"bert.encoder.layer.{layer}"
        for part in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ):
            found |= _dense(f"{scope}.{part}", hidden, hidden)
        found |= _norm(f"{scope}.attention.output", hidden)
        found |= _dense(f"{scope}.intermediate.dense", hidden, inner)
        found |= _dense(f"{scope}.output.dense", inner, hidden)
        found |= _norm(f"{scope}.output", hidden)
    return _by_name(found | _dense("bert.pooler.dense", hidden, hidden))


def head_variables(config: ModelConfig) -> dict[str, Variable]:
    """The variables of pretraining and fine-tuning that a checkpoint may hold beside the encoder, by name."""
    hidden = config["hidden_size"]
    return _by_name(
        {
            **_dense("cls.predictions.transform.dense", hidden, hidden),
            **_norm("cls.predictions.transform", hidden),
            "cls.predictions.bias": (config["vocab_size"],),
            **_dense("cls.seq_relationship", hidden, 2),
            **_dense("classifier", hidden, None),
            **_dense("qa_outputs", hidden, 2),
        }
    )


def is_training_state(name: str, names: Collection[str]) -> bool:
    """Whether a variable serves the optimizer: a counter, or a slot, which is named ``WEIGHT/SLOT``."""
    return name in _COUNTERS or name.rpartition("/")[0] in names
