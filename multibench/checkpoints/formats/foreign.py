"""Checkpoints in formats that are not Hugging Face's: which there are, and which one a path is.

A format is told by the names of files alone, before anything is read. A folder with a configuration and
weights of Hugging Face is never taken for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multibench.checkpoints.formats.huggingface import has_weights
from multibench.checkpoints.formats.imported import Imported
from multibench.checkpoints.formats.nemo import find_nemo, read_nemo
from multibench.checkpoints.formats.pytorch import find_pytorch, read_pytorch
from multibench.checkpoints.formats.saved import TOKENIZER_FILES
from multibench.checkpoints.formats.tensorflow import (
    describe_tensorflow,
    find_tensorflow,
    import_tensorflow,
    is_prefix,
    read_parameters,
)
from multibench.checkpoints.formats.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

__all__ = ["FORMATS", "ForeignFile", "Format", "find_foreign", "is_there"]

Description = tuple[dict[str, Any], Vocabulary | None, tuple[str, ...]]


@dataclass(frozen=True)
class Format:
    """One foreign format."""

    name: str
    find: Callable[[Path], Path | None]
    """The file or folder of this format that a path is or holds; None if there is none."""
    read: Callable[[Path, bool | None], Imported]
    """What it holds; the second argument says whether the catalogue knows it as cased."""
    describe: Callable[[Path, bool | None], Description] | None = None
    """What ``read`` gives but the weights, where that takes less than reading all."""
    tensors: Callable[[Path], Iterator[tuple[str, torch.Tensor]]] | None = None
    """The weights that ``read`` gives, one by one, where the format allows it; no two are one by canonical name."""


FORMATS = (
    Format(".nemo", find_nemo, read_nemo),
    Format(
        "TensorFlow",
        find_tensorflow,
        import_tensorflow,
        describe=describe_tensorflow,
        tensors=read_parameters,
    ),
    Format("PyTorch file of NVIDIA", find_pytorch, read_pytorch),
)


@dataclass(frozen=True)
class ForeignFile:
    """A checkpoint of a foreign format at ``path``, as it was given; ``found`` is the file or folder itself."""

    path: Path
    found: Path
    format: Format

    def files(self) -> list[Path]:
        """Every file that the weights depend on."""
        return (
            [p for p in sorted(self.found.iterdir()) if p.is_file()] if self.found.is_dir() else [self.found]
        )

    def read(self, cased: bool | None = None) -> Imported:
        """Weights and all."""
        return self.format.read(self.path, cased)

    def description(self, cased: bool | None) -> Description:
        """Configuration, vocabulary and notes.

        Remembered while the files stay as they are: most formats have to be read whole for them.
        """
        beside = self.path if self.path.is_dir() else self.path.parent
        texts = [beside / name for name in ("config.json", "bert_config.json", *TOKENIZER_FILES)]
        stats = [
            (str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in (*self.files(), *texts) if p.is_file()
        ]
        described: Description = _described(self, cased, tuple(stats))
        return described


@lru_cache(maxsize=64)
def _described(file: ForeignFile, cased: bool | None, _: object) -> Any:
    describe = file.format.describe
    return file.read(cased)[1:] if describe is None else describe(file.path, cased)


def is_there(path: Path) -> bool:
    """Whether ``path`` is a file, a folder, or the prefix that the files of a TensorFlow checkpoint share."""
    return path.exists() or is_prefix(path)


def find_foreign(path: Path) -> ForeignFile | None:
    """The checkpoint of a foreign format that ``path`` is or holds; None if there is none.

    Raises ``CheckpointError`` if there are several.
    """
    if has_weights(path):
        return None
    for format_ in FORMATS:
        found = format_.find(path)
        if found is not None:
            return ForeignFile(path, found, format_)
    return None
