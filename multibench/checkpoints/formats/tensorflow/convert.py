"""Between a TensorFlow checkpoint of Google's BERT code and Hugging Face's names, every weight accounted for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from multibench.checkpoints.formats.config import ModelConfig, normalised_config
from multibench.checkpoints.formats.imported import (
    Imported,
    config_beside,
    left_out,
    parse_config,
    vocabulary_beside,
)
from multibench.checkpoints.formats.saved import vocabulary_of
from multibench.checkpoints.formats.tensorflow.bundle import Bundle, open_bundle, write_bundle
from multibench.checkpoints.formats.tensorflow.files import Files, is_archive
from multibench.checkpoints.formats.tensorflow.names import (
    Variable,
    bert_variables,
    head_variables,
    is_training_state,
)
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.checkpoints.formats.weights import canonical_name, unwrapped
from multibench.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    import torch

__all__ = [
    "describe_tensorflow",
    "import_tensorflow",
    "read_parameters",
    "read_tensorflow",
    "write_tensorflow",
]

Description = tuple[dict[str, Any], Vocabulary | None, tuple[str, ...]]

_PREFIX = "bert_model.ckpt"
# Google's code has it as a constant (layer_norm in modeling.py), so its configuration does not.
_LAYER_NORM_EPS = 1e-12
# What Google's bert_config.json holds, in its order.
_CONFIG_KEYS = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


def _accounted(bundle: Bundle, config: ModelConfig) -> dict[str, Variable]:
    """The model's variables by their names in ``bundle``, which may have a wrapper's prefix.

    None is missing, none unknown, each has the shape that ``config`` asks for.
    """
    encoder = bert_variables(config)
    known = encoder | head_variables(config)
    bare = {name: unwrapped(name.replace("/", ".")).replace(".", "/") for name in bundle.entries}
    unknown = [n for n in bundle.entries if bare[n] not in known and not is_training_state(n, bundle.entries)]
    if unknown:
        raise CheckpointError(
            f"{bundle.index} holds {_some(unknown)}, for which a BERT of its bert_config.json has no place."
        )
    missing = [name for name in encoder if name not in bare.values()]
    if missing:
        raise CheckpointError(f"{bundle.index} lacks {_some(missing)}, which its bert_config.json asks for.")
    found = {name: known[bare[name]] for name in bundle.entries if bare[name] in known}
    if len(set(map(id, found.values()))) < len(found):
        raise CheckpointError(
            f"{bundle.index} holds one tensor twice, under names that differ in a wrapper's prefix."
        )
    for name, variable in found.items():
        entry = bundle.entries[name]
        if not variable.holds(entry.shape):
            wanted = tuple("any" if size is None else size for size in variable.stored_shape)
            raise CheckpointError(
                f"{bundle.index}: {variable.name} has the shape {entry.shape}; bert_config.json asks for {wanted}. "
                "Weights and configuration belong to different models."
            )
        if "float" not in entry.dtype:
            raise CheckpointError(
                f"{bundle.index}: {variable.name} holds {entry.dtype}, where weights are expected."
            )
    return found


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{len(names)} tensors such as {shown}" if len(names) > 3 else shown


def read_parameters(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and value of each parameter of the checkpoint at ``path``, one by one in the order of the files.

    Names and shapes, (outputs, inputs) for a dense layer, are those of ``BertForPreTraining``. Raises
    ``CheckpointError`` before the first for an index that does not fit its configuration, and while reading for
    bytes that fail their checksum.
    """
    import torch

    bundle = open_bundle(path)
    variables = _accounted(bundle, normalised_config(_config(bundle), bundle.index))
    for name, array in bundle.read(variables):
        variable = variables[name]
        if bundle.entries[name].dtype == "bfloat16":
            tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        else:
            tensor = torch.from_numpy(array)
        yield variable.parameter, tensor.T.contiguous() if variable.transposed else tensor


def describe_tensorflow(path: Path, cased: bool | None = None) -> Description:
    """Configuration, vocabulary (None if there is none) and notes of the checkpoint at ``path``, weights unread.

    ``bert_config.json`` and ``vocab.txt`` may lie beside a zip archive. Without a ``tokenizer_config.json``, which
    Google never writes, and without ``cased``, what the catalogue says, a vocabulary with capitals is taken for
    a cased one. Raises ``CheckpointError`` as ``read_tensorflow`` does.
    """
    bundle = open_bundle(path)
    config = _config(bundle)
    _accounted(bundle, normalised_config(config, bundle.index))
    bundle.check_data()
    state = [name for name in bundle.entries if is_training_state(name, bundle.entries)]
    notes = left_out(state[:1], f"it and {len(state) - 1} more serve the optimizer") if state else []
    return config, _vocabulary(bundle.files, cased), tuple(notes)


def _config(bundle: Bundle) -> dict[str, Any]:
    files = bundle.files
    for name in ("bert_config.json", "config.json"):
        if files.has(name):
            return parse_config(files.read(name), str(files.path / name))
    found = config_beside(files.path.parent) if is_archive(files.path) else {}
    if not found:
        raise CheckpointError(f"{files.path} holds no bert_config.json; put the checkpoint's own there.")
    return found


def _vocabulary(files: Files, cased: bool | None) -> Vocabulary | None:
    if not files.has("vocab.txt"):
        return vocabulary_beside(files.path.parent, cased=cased) if is_archive(files.path) else None

    def read(name: str) -> bytes | None:
        return files.read(name) if files.has(name) else None

    return vocabulary_of(read, files.path, cased, guess=True)


def import_tensorflow(path: Path, cased: bool | None = None) -> Imported:
    """The checkpoint at ``path`` with its vocabulary, as the other formats are read; see ``describe_tensorflow``."""
    return Imported(dict(read_parameters(path)), *describe_tensorflow(path, cased))


def read_tensorflow(path: Path) -> tuple[dict[str, torch.Tensor], ModelConfig]:
    """The parameters of the checkpoint at ``path``, as stored, and its configuration.

    ``path`` is a folder with ``bert_config.json``, a zip archive of one, an ``.index`` file, or the prefix that
    TensorFlow takes. Names are those of ``BertForPreTraining``; the decoder of its language model is not among
    them, since it is the word embeddings. The optimizer's slots and counters are left out. Raises
    ``CheckpointError`` for files that are missing or damaged and for tensors that are missing, unknown or of
    another shape than the configuration says.
    """
    bundle = open_bundle(path)
    return dict(read_parameters(path)), normalised_config(_config(bundle), bundle.index)


def write_tensorflow(
    weights: Mapping[str, torch.Tensor],
    config: ModelConfig,
    out: Path,
    vocabulary: Iterable[str] | None = None,
) -> Path:
    """Write a checkpoint that Google's BERT code reads: ``bert_model.ckpt.*``, ``bert_config.json`` and ``vocab.txt``.

    ``weights`` are those of ``BertModel``, ``BertForPreTraining`` or a BERT with a classifier or span head. The
    folder ``out`` must be new or empty; it appears whole or not at all. All is written as float32, which is what
    that code declares its variables as. Returns ``out``. Raises ``CheckpointError`` for weights without a place in
    the format, missing or of another shape, and ``StorageError`` if nothing can be written.
    """
    parameters = _sorted_out(weights, config)
    if config["layer_norm_eps"] != _LAYER_NORM_EPS:
        raise CheckpointError(
            f"The model has layer_norm_eps, for which the new format has no place, at {config['layer_norm_eps']}; "
            f"Google's code has {_LAYER_NORM_EPS}."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists already; name a new folder, nothing is overwritten.")

    def tensors() -> Iterator[tuple[str, NDArray[np.float32]]]:
        for name in sorted(parameters):
            variable, tensor = parameters[name]
            array = tensor.detach().cpu().float().numpy()
            yield name, array.T if variable.transposed else array

    temporary = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        try:
            if vocabulary is not None:
                (temporary / "vocab.txt").write_text(
                    "".join(f"{piece}\n" for piece in vocabulary), "utf-8", newline=""
                )
            stated = {key: config[key] for key in _CONFIG_KEYS}
            (temporary / "bert_config.json").write_text(json.dumps(stated, indent=2) + "\n", "utf-8")
            write_bundle(temporary, _PREFIX, tensors())
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error}.") from error
    return out


def _sorted_out(
    weights: Mapping[str, torch.Tensor], config: ModelConfig
) -> dict[str, tuple[Variable, torch.Tensor]]:
    """Each variable's name with its parameter's value; see ``write_tensorflow``."""
    import torch

    encoder = bert_variables(config)
    known = {canonical_name(v.parameter): v for v in (encoder | head_variables(config)).values()}
    named = {canonical_name(name): tensor for name, tensor in weights.items()}
    named.pop(None, None)
    # The language model's decoder is the word embeddings, and its bias the predictions' own.
    for copy, original in (
        ("cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ):
        if copy in named and original in named and torch.equal(named[copy], named[original]):
            del named[copy]
    unknown = [str(name) for name in named if name not in known]
    if unknown:
        raise CheckpointError(f"A TensorFlow checkpoint of BERT has no place for {_some(unknown)}.")
    missing = [v.parameter for v in encoder.values() if canonical_name(v.parameter) not in named]
    if missing:
        raise CheckpointError(f"The weights lack {_some(missing)}, which the configuration asks for.")
    found = {}
    for name, tensor in named.items():
        variable = known[name]
        shape = tuple(tensor.shape)
        if not variable.holds(shape[::-1] if variable.transposed else shape):
            raise CheckpointError(
                f"{name} has the shape {shape}; the configuration asks for {variable.shape}."
            )
        found[variable.name] = (variable, tensor)
    return found
