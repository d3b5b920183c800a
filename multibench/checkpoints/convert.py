"""From any checkpoint that multibench reads to a format that other tools read, read back before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from uuid import uuid4

from multibench.checkpoints.catalog import find
from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.checkpoints.imported import without_copies
from multibench.checkpoints.locate import fetch
from multibench.checkpoints.tensorflow import write_tensorflow
from multibench.checkpoints.writers import write_huggingface, write_nemo
from multibench.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    import torch

__all__ = ["Conversion", "Target", "convert"]

Target = Literal["huggingface", "tensorflow", "nemo"]
_Writer = Callable[[CheckpointFolder, "Mapping[str, torch.Tensor]", Path, str], list[str]]


@dataclass(frozen=True)
class Conversion:
    """A checkpoint in its new format."""

    path: Path
    """What a suite or another tool can be pointed to: a folder, or the file in it."""
    weights: int
    """How many tensors were written, read back and found equal."""
    notes: tuple[str, ...]
    """What was left out on either side, assumed, or found untrained."""


def _write_tensorflow(
    source: CheckpointFolder, weights: Mapping[str, torch.Tensor], out: Path, _: str
) -> list[str]:
    if source.config["model_type"] != "bert":
        raise CheckpointError(
            f"{source.path} is a {source.config['model_type']} model; Google's TensorFlow code has BERT alone."
        )
    write_tensorflow(weights, source.config, out, source.vocabulary.pieces)
    return []


_WRITERS: dict[Target, _Writer] = {
    "huggingface": write_huggingface,
    "tensorflow": _write_tensorflow,
    "nemo": write_nemo,
}


def convert(checkpoint: str | Path, to: Target, out: Path, checkpoints: Path | None = None) -> Conversion:
    """Write ``checkpoint``, an id of the catalogue or a path in any format that is read, into the folder ``out``.

    ``out`` must be new or empty, and appears whole or not at all; for ``nemo`` it gets one ``.nemo`` file.
    ``checkpoints`` is where folders of the catalogue's checkpoints are looked for first. Every tensor is read back
    and compared. Raises ``CheckpointError`` for a checkpoint that cannot be read or has no place in the format,
    ``UnavailableError`` if it is not on this machine and cannot be fetched, ``StorageError`` if nothing can be
    written.
    """
    if to not in _WRITERS:
        raise CheckpointError(f"'{to}' is no format to convert to; use one of {', '.join(get_args(Target))}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists already; name a new folder, nothing is overwritten.")
    source = _opened(checkpoint, checkpoints)
    weights = without_copies(source.weights(), "embeddings.word_embeddings.weight")
    name = source.path.stem if source.path.is_file() else source.path.name
    temporary = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        try:
            notes = _WRITERS[to](source, weights, temporary, name)
            equal = _read_back(temporary, source, weights, exempt=notes)
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}.") from error
    path = out / f"{name}.nemo" if to == "nemo" else out
    return Conversion(path, equal, (*source.notes, *notes))


def _opened(checkpoint: str | Path, root: Path | None) -> CheckpointFolder:
    given = Path(checkpoint).expanduser()
    if given.exists():
        return open_folder(given)
    known = find(str(checkpoint))
    return open_folder(fetch(known, root), known.cased)


def _read_back(
    path: Path, source: CheckpointFolder, weights: Mapping[str, torch.Tensor], exempt: list[str]
) -> int:
    """How many tensors of ``weights`` the checkpoint at ``path`` holds, bit for bit or as float32.

    Raises ``CheckpointError`` if one is not there or another, and ``exempt`` does not name it.
    """
    import torch

    again = open_folder(path)
    stored = again.weights()
    named = " ".join(exempt)
    for name, tensor in weights.items():
        if name not in stored and name in named:
            continue
        if name not in stored or not torch.equal(stored[name].to(tensor.dtype), tensor):
            raise CheckpointError(
                f"{name} did not survive the conversion of {source.path}; nothing was kept."
            )
    if again.vocabulary.pieces != source.vocabulary.pieces:
        raise CheckpointError(
            f"The vocabulary did not survive the conversion of {source.path}; nothing was kept."
        )
    return len(weights.keys() & stored.keys())
