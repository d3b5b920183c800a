"""Single PyTorch files of NVIDIA: ``.pt`` of DeepLearningExamples, and ``model_optim_rng.pt`` of Megatron-LM.

DeepLearningExamples keeps BERT under the key ``model``, calls linear layers that end in an activation
``dense_act``, and pads the vocabulary to a multiple of 8 (source: ``PyTorch/LanguageModeling/BERT/modeling.py``
of NVIDIA/DeepLearningExamples). Megatron-LM nests dictionaries, and keeps the arguments of the training.
"""

from __future__ import annotations

import argparse
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from multibench.checkpoints.formats.archives import copy_unfolded, unnamed_file
from multibench.checkpoints.formats.imported import (
    Imported,
    bert_config,
    config_beside,
    vocabulary_beside,
    without_copies,
    without_prefixes,
)
from multibench.checkpoints.formats.megatron import from_megatron, is_megatron
from multibench.checkpoints.formats.pickles import load_pickle, model_in, tensors_in
from multibench.checkpoints.formats.weights import canonical_name
from multibench.errors import CheckpointError

__all__ = ["find_pytorch", "read_pytorch"]

_MEGATRON = "model_optim_rng.pt"
_ENDINGS = (".pt", ".pth", ".bin", ".ckpt")
# What trainers leave beside the weights.
_NO_WEIGHTS = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
_TOKENIZER_CASES = {"BertWordPieceLowerCase": False, "BertWordPieceCase": True}


def find_pytorch(path: Path) -> Path | None:
    """The PyTorch file that ``path`` is or holds, as far as names tell; None if there is none.

    A folder counts if it has the folders of Megatron-LM, or one single ``.pt`` or ``.pth``. Raises
    ``CheckpointError`` if there are several, or the model is split over several files.
    """
    if path.is_file():
        if path.suffix == ".zip":
            return path if _zipped(path) else None
        return path if path.suffix in _ENDINGS else None
    for folder in (path, path / "release"):
        ranks = sorted(folder.glob(f"mp_rank_*/{_MEGATRON}"))
        if len(ranks) > 1:
            raise CheckpointError(f"{folder} holds a model split over {len(ranks)} files; merge them first.")
        if ranks:
            return ranks[0]
    if not path.is_dir():
        return None
    files = [p for p in sorted(path.iterdir()) if p.suffix in {".pt", ".pth"} and p.name not in _NO_WEIGHTS]
    if len(files) > 1:
        raise CheckpointError(
            f"{path} holds {len(files)} files of weights ({', '.join(p.name for p in files)}); name the one to use."
        )
    return files[0] if files else None


def read_pytorch(path: Path, cased: bool | None = None) -> Imported:
    """The BERT in the PyTorch file that ``path`` is or holds, or in the zip that NVIDIA publishes Megatron's in.

    ``config.json`` or ``bert_config.json``, and ``vocab.txt``, are looked for beside the file and in ``path``;
    what no configuration says is taken from the shapes of the weights. ``cased`` is what the catalogue says.
    Raises ``CheckpointError`` for what cannot be read, or is no BERT.
    """
    file = find_pytorch(path)
    if file is None:
        raise CheckpointError(f"{path} is no PyTorch file, and holds none.")
    tree, size = _load(file)
    version, said = _training(tree)
    weights = without_prefixes(tensors_in(model_in(tree), size, str(file)))
    del tree  # which would hold every tensor, and an optimizer's, until the end
    folders = (path, file.parent) if path.is_dir() else (file.parent,)
    stated = config_beside(*folders)
    notes: list[str] = []
    if is_megatron(weights):
        found, config = from_megatron(weights, version, {**said, **stated}, file, notes)
        cased = _TOKENIZER_CASES.get(str(said.get("tokenizer_type"))) if cased is None else cased
    else:
        found = {name: tensor for old, tensor in weights.items() if (name := _name(old)) is not None}
        if len(found) < sum(_name(name) is not None for name in weights):
            raise CheckpointError(f"{file} gives one weight under two names.")
        config = bert_config(found, stated, file, notes)
    return Imported(
        without_copies(found, "bert.embeddings.word_embeddings.weight"),
        config,
        vocabulary_beside(*folders, cased=cased),
        tuple(notes),
    )


def _training(tree: Any) -> tuple[object, dict[str, str | int | float]]:
    """What Megatron-LM keeps beside the weights: the version of the checkpoint, and arguments of the training."""
    if not isinstance(tree, dict):
        return 0, {}
    arguments = tree.get("args")
    given = vars(arguments) if isinstance(arguments, argparse.Namespace) else {}
    said = {key: value for key, value in given.items() if isinstance(value, (str, int, float))}
    return tree.get("checkpoint_version", 0), said


def _name(name: str) -> str | None:
    canonical = canonical_name(name.replace(".dense_act.", ".dense."))
    if canonical is None:
        return None
    inner = canonical.startswith(("embeddings.", "encoder.", "pooler."))
    return f"bert.{canonical}" if inner else canonical


def _load(file: Path) -> tuple[Any, int]:
    """What the file holds, and its size in bytes."""
    try:
        if file.suffix != ".zip":
            with file.open("rb") as opened:
                return load_pickle(opened, str(file)), file.stat().st_size
        with (
            zipfile.ZipFile(file) as archive,
            archive.open(_zipped(file)[0]) as member,
            unnamed_file(file) as content,
        ):
            size = copy_unfolded(cast(BinaryIO, member), content, file)
            return load_pickle(content, str(file)), size
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise CheckpointError(f"{file} cannot be read: {str(error).rstrip('.')}.") from error


def _zipped(path: Path) -> list[str]:
    """Megatron's files in a zip. Raises ``CheckpointError`` if there are several."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.rpartition("/")[2] == _MEGATRON]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []
    if len(names) > 1:
        raise CheckpointError(f"{path} holds a model split over {len(names)} files; merge them first.")
    return names
