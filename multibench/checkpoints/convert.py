"""From any checkpoint that multibench reads to a format that other tools read, read back before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import uuid4

from multibench import network
from multibench.cache import expanded
from multibench.checkpoints.catalogue.lookup import find
from multibench.checkpoints.download.locate import fetch
from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.checkpoints.formats.foreign import is_there
from multibench.checkpoints.formats.imported import without_copies
from multibench.checkpoints.formats.tensorflow import write_tensorflow
from multibench.checkpoints.formats.writers import Written, write_huggingface, write_nemo
from multibench.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    import torch

__all__ = ["Conversion", "Target", "convert"]

Target = Literal["huggingface", "tensorflow", "nemo"]
_Writer = Callable[[CheckpointFolder, "Mapping[str, torch.Tensor]", Path, str], Written]
# Settings that do not change what the pretrained weights compute.
_IDLE = {"id2label", "classifier_dropout", "initializer_range", "pad_token_id"}


@dataclass(frozen=True)
class Conversion:
    """A checkpoint in its new format."""

    path: Path
    """What a suite or another tool can be pointed to: a folder, or the file in it."""
    weights: int
    """How many tensors were written, read back and found equal."""
    notes: tuple[str, ...]
    """What was left out on either side, assumed, or found untrained."""

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return {"path": str(self.path), "weights": self.weights, "notes": list(self.notes)}


def _write_tensorflow(
    source: CheckpointFolder, weights: Mapping[str, torch.Tensor], out: Path, _: str
) -> Written:
    if source.config["model_type"] != "bert":
        raise CheckpointError(
            f"{source.path} is a {source.config['model_type']} model; Google's TensorFlow code has BERT alone."
        )
    write_tensorflow(weights, source.config, out, source.vocabulary.pieces)
    said = (
        "The format does not say that this vocabulary keeps case: give Google's code --do_lower_case=False."
    )
    return Written(notes=() if source.vocabulary.lower_case else (said,))


_WRITERS: dict[Target, _Writer] = {
    "huggingface": write_huggingface,
    "tensorflow": _write_tensorflow,
    "nemo": write_nemo,
}


def convert(
    checkpoint: str | Path, to: Target, out: Path, checkpoints: Path | None = None, *, offline: bool = False
) -> Conversion:
    """Write ``checkpoint``, an id of the catalogue or a path in any format that is read, into the folder ``out``.

    ``out`` must be new or empty, and appears whole or not at all; for ``nemo`` it gets one ``.nemo`` file.
    ``checkpoints`` is where folders of the catalogue's checkpoints are looked for first; ``offline`` forbids to
    fetch one. Every tensor is read back and compared. Raises ``CheckpointError`` for a checkpoint that cannot be
    read or has no place in the format, ``UnavailableError`` if it is not on this machine and cannot be fetched,
    ``StorageError`` if nothing can be written.
    """
    if to not in _WRITERS:
        raise CheckpointError(f"'{to}' is no format to convert to; use one of {', '.join(get_args(Target))}.")
    out = expanded(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists already; name a new folder, nothing is overwritten.")
    if offline:
        network.go_offline()
    source = _opened(checkpoint, checkpoints)
    weights = without_copies(source.weights(), "embeddings.word_embeddings.weight")
    name = source.path.stem if source.path.is_file() else source.path.name
    temporary = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        try:
            written = _WRITERS[to](source, weights, temporary, name)
            kept = {n: tensor for n, tensor in weights.items() if n not in written.left_out}
            _read_back(temporary, source, kept)
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}.") from error
    path = out / f"{name}.nemo" if to == "nemo" else out
    return Conversion(path, len(kept), (*source.notes, *written.notes))


def _opened(checkpoint: str | Path, root: Path | None) -> CheckpointFolder:
    given = expanded(checkpoint)
    if is_there(given):
        return open_folder(given)
    if root is not None and is_there(root / given):
        return open_folder(root / given)
    known = find(str(checkpoint))
    return open_folder(fetch(known, root), known.cased)


def _read_back(path: Path, source: CheckpointFolder, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise ``CheckpointError`` unless the checkpoint at ``path`` is ``source`` with ``weights``.

    Values may have become float32, which is what TensorFlow's format holds.
    """
    import torch

    again = open_folder(path, cased=not source.vocabulary.lower_case)
    lost = [key for key, value in source.config.items() if key not in _IDLE and again.config[key] != value]
    if again.vocabulary.pieces != source.vocabulary.pieces:
        lost.append("the vocabulary")
    if again.vocabulary.added != source.vocabulary.added:
        lost.append("added tokens")
    if again.vocabulary.pipeline != source.vocabulary.pipeline:
        lost.append("a tokenizer of its own")
    stored = again.weights()
    for name, tensor in weights.items():
        if name not in stored or not torch.equal(stored[name].to(tensor.dtype), tensor):
            lost.append(name)
    if lost:
        raise CheckpointError(
            f"{source.path} has {', '.join(sorted(lost)[:5])}, for which the new format has no place; nothing was kept."
        )
