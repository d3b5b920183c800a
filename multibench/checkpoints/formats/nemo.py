"""NVIDIA's ``.nemo``: a tar, gzipped or not, with ``model_config.yaml``, ``model_weights.ckpt`` and artifacts.

Names of weights are those of NeMo 1.0.0 (``bert_model.`` around a ``BertModel`` or Megatron's language model,
heads beside it) and of the later ``MegatronBertModel`` (``model.`` around Megatron's). Source: NVIDIA/NeMo
v1.0.0, ``core/classes/modelPT.py`` and ``collections/nlp``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import ExitStack
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from multibench.checkpoints.formats.archives import copy_tar, unnamed_file
from multibench.checkpoints.formats.imported import (
    Imported,
    bert_config,
    left_out,
    parse_config,
    vocabulary_beside,
    without_copies,
    without_prefixes,
)
from multibench.checkpoints.formats.megatron import from_megatron, is_megatron
from multibench.checkpoints.formats.pickles import load_pickle, model_in, tensors_in
from multibench.checkpoints.formats.vocabulary import Vocabulary, make_vocabulary, parse_pieces
from multibench.checkpoints.formats.weights import canonical_name
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["CONFIG", "HEADS", "WEIGHTS", "find_nemo", "read_nemo"]

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
_VERSION = "megatron_checkpoint_version.json"
# Vocabularies and configurations beside the weights; anything larger is none.
_LARGEST_ARTIFACT = 16 << 20

# NeMo's heads that compute what a head of Hugging Face does: head -> its weights -> Hugging Face's names.
# The first layer of the next-sentence head is BERT's pooler under another name: tanh of one layer on the first token.
HEADS = {
    "mlm_classifier": {
        "dense.weight": "cls.predictions.transform.dense.weight",
        "dense.bias": "cls.predictions.transform.dense.bias",
        "norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "mlp.layer0.weight": "cls.predictions.decoder.weight",
        "mlp.layer0.bias": "cls.predictions.bias",
    },
    "nsp_classifier": {
        "mlp.layer0.weight": "bert.pooler.dense.weight",
        "mlp.layer0.bias": "bert.pooler.dense.bias",
        "mlp.layer2.weight": "cls.seq_relationship.weight",
        "mlp.layer2.bias": "cls.seq_relationship.bias",
    },
    "classifier": {
        "mlp.layer0.weight": "qa_outputs.weight",
        "mlp.layer0.bias": "qa_outputs.bias",
    },
}


def find_nemo(path: Path) -> Path | None:
    """The ``.nemo`` file, or folder with its unpacked members, that ``path`` is or holds; None if there is none.

    Raises ``CheckpointError`` for a folder with several.
    """
    if path.is_file():
        return path if path.suffix == ".nemo" else None
    if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        return path
    files = sorted(path.glob("*.nemo"))
    if len(files) > 1:
        raise CheckpointError(
            f"{path} holds {len(files)} archives ({', '.join(p.name for p in files)}); name the one to use."
        )
    return files[0] if files else None


def read_nemo(path: Path, cased: bool | None = None) -> Imported:
    """The encoder, and heads that Hugging Face has, of the ``.nemo`` archive that ``path`` is or holds.

    A vocabulary in the archive comes before a ``vocab.txt`` beside it; ``cased`` is what the catalogue says.
    Raises ``CheckpointError`` for what cannot be read, is split over several files, or holds no BERT.
    """
    file = find_nemo(path)
    if file is None:
        raise CheckpointError(f"{path} is no .nemo archive, and holds none.")
    with ExitStack() as stack:
        members, weights_file = _members(file, stack)
        if CONFIG not in members or weights_file is None:
            raise CheckpointError(f"{file} cannot be used: {_lacking(members)}.")
        where = f"{file}: {WEIGHTS}"
        size = weights_file.seek(0, SEEK_END)
        weights = without_prefixes(tensors_in(model_in(load_pickle(weights_file, where)), size, where))
    settings = parse_config(members[CONFIG], f"{file}: {CONFIG}")
    notes: list[str] = []
    found, config = _converted(weights, settings, members, file, notes)
    folder = file if file.is_dir() else file.parent
    vocabulary = _vocabulary(settings, members, file, cased) or vocabulary_beside(folder, cased=cased)
    return Imported(found, config, vocabulary, tuple(notes))


def _members(file: Path, stack: ExitStack) -> tuple[dict[str, bytes], BinaryIO | None]:
    """The small members by name, and the weights as an open file, which lives as long as ``stack``.

    Weights in an archive are copied to a temporary file without a name, so that they are in memory once, as tensors.
    """
    if file.is_dir():
        try:
            paths = [p for p in sorted(file.iterdir()) if p.is_file() and p.name != WEIGHTS]
            texts = {p.name: p.read_bytes() for p in paths if p.stat().st_size <= _LARGEST_ARTIFACT}
            return texts, stack.enter_context((file / WEIGHTS).open("rb"))
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from error
    unfolded = stack.enter_context(unnamed_file(file))
    found: dict[str, BinaryIO] = {}

    def place(name: str, size: int) -> BinaryIO | None:
        if name == WEIGHTS or size <= _LARGEST_ARTIFACT:
            found[name] = unfolded if name == WEIGHTS else io.BytesIO()
        return found.get(name)

    copy_tar(file, place)
    weights = found.pop(WEIGHTS, None)
    return {name: stream.read() for name, stream in found.items()}, weights


def _lacking(members: Mapping[str, bytes]) -> str:
    if CONFIG not in members:
        return f"it lacks {CONFIG}"
    if any(name.endswith(f"/{WEIGHTS}") for name in members):
        return "its model is split over several files; merge them first"
    return f"it lacks {WEIGHTS}"


def _converted(
    weights: dict[str, torch.Tensor],
    settings: dict[str, Any],
    members: Mapping[str, bytes],
    file: Path,
    notes: list[str],
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    if is_megatron(weights):
        # Written by the later MegatronBertModel, which keeps Megatron's first order only if it is told to.
        version = 0 if settings.get("megatron_legacy") else 2
        return from_megatron(weights, version, settings, file, notes)
    own = [name for name in weights if name.startswith("bert_model.")]
    encoder = {name.removeprefix("bert_model."): weights.pop(name) for name in own}
    if not encoder:
        raise CheckpointError(
            f"{file} holds no BERT: no weight is named bert_model.* or language_model.* "
            f"(its target is {settings.get('target', 'not stated')})."
        )
    stated = _encoder_settings(settings, members, file)
    if is_megatron(encoder):
        name = _artifact(members, None, _VERSION)
        said = parse_config(members[name], f"{file}: {name}") if name else {}
        found, config = from_megatron(encoder, said.get("checkpoint_version"), stated, file, notes)
        if "bert.pooler.dense.weight" not in found:
            notes.append("There is no pooler: NeMo builds Megatron's encoder without one.")
        return found | _heads(weights, found, settings, notes), config
    prefix = "distilbert." if any(name.startswith("transformer.layer.") for name in encoder) else "bert."
    found = {prefix + n: t for n, t in encoder.items() if canonical_name(n) is not None}
    heads = _heads(weights, found, settings, notes)
    if "bert.pooler.dense.weight" in found and "cls.seq_relationship.weight" not in heads:
        notes.append(
            "The pooler is untrained, unless it came from elsewhere: NeMo's encoder passes on the outputs of tokens "
            "alone, so that bert_model.pooler gets no gradient. (What a next-sentence head learnt in its place is in "
            "nsp_classifier.mlp.layer0.)"
        )
    config = bert_config(found, stated, file, notes)
    return without_copies(found | heads, f"{prefix}embeddings.word_embeddings.weight"), config


def _heads(
    weights: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
    notes: list[str],
) -> dict[str, torch.Tensor]:
    """Heads by the names of Hugging Face; ``notes`` names those that compute something else, and are left out."""
    import torch

    taken: dict[str, torch.Tensor] = {}
    span = settings.get("token_classifier")
    spans = isinstance(span, dict) and not span.get("log_softmax")
    others = set(weights)
    for head, names in HEADS.items():
        own = {name.removeprefix(f"{head}."): t for name, t in weights.items() if name.startswith(f"{head}.")}
        theirs = {names[name]: tensor for name, tensor in own.items() if name in names}
        same = all(torch.equal(found[name], theirs[name]) for name in found.keys() & theirs.keys())
        if own.keys() == names.keys() and same and (spans or head != "classifier"):
            taken |= theirs
            others -= {f"{head}.{name}" for name in own}
    notes += left_out(others, "no head of Hugging Face computes what these do in NeMo")
    return taken


def _encoder_settings(
    settings: Mapping[str, Any], members: Mapping[str, bytes], file: Path
) -> dict[str, Any]:
    """The encoder's own configuration: a JSON file in the archive, or a part of ``model_config.yaml``."""
    model = settings.get("language_model")
    model = model if isinstance(model, dict) else {}
    name = _artifact(members, model.get("config_file"), "_encoder_config.json")
    if name:
        stated = parse_config(members[name], f"{file}: {name}")
    else:
        inner = model.get("config")
        stated = inner if isinstance(inner, dict) else {}
    return {key.replace("-", "_"): value for key, value in stated.items() if isinstance(key, str)}


def _vocabulary(
    settings: Mapping[str, Any], members: Mapping[str, bytes], file: Path, cased: bool | None
) -> Vocabulary | None:
    """The vocabulary in the archive; names of tokenizer and model tell its casing, where the catalogue does not."""
    tokenizer, model = (
        part if isinstance(part, dict) else {}
        for part in (settings.get("tokenizer"), settings.get("language_model"))
    )
    name = _artifact(members, tokenizer.get("vocab_file"), "vocab.txt", "tokenizer.vocab_file")
    if name is None:
        return None
    called = f"{tokenizer.get('tokenizer_name')} {model.get('pretrained_model_name')}".lower()
    lower = True if "uncased" in called else False if "cased" in called else None
    return make_vocabulary(
        parse_pieces(members[name], f"{file}: {name}"), str(file), cased, {"do_lower_case": lower}
    )


def _artifact(members: Mapping[str, bytes], stated: object, *endings: str) -> str | None:
    """The member that a configuration names (``nemo:`` before it, or folders of the machine that wrote it).

    Else the first member with one of ``endings``; NeMo puts a random prefix before names.
    """
    name = stated.removeprefix("nemo:").rpartition("/")[2] if isinstance(stated, str) else ""
    if name in members:
        return name
    known = (name, *endings) if name else endings
    return next((n for ending in known for n in sorted(members) if n.endswith(ending)), None)
