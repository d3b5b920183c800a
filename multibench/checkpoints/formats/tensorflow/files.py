"""The files of one checkpoint by name: in a folder, or in one folder of a zip archive that is never unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from multibench.errors import CheckpointError

__all__ = ["Files", "holds_index", "is_archive", "open_files"]

_MIB = 1 << 20
# Configurations, vocabularies and tokenizers are far smaller; so is the table of contents of a zip archive.
_LARGEST_TEXT = 64 * _MIB
_LARGEST_CONTENTS = 16 * _MIB
# Deflate makes weights a tenth smaller. A file that grows by more than this is no file of weights.
_LARGEST_GROWTH = 200
_FAILURES = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    KeyError,
    IndexError,
)


class Files(ABC):
    """What of a checkpoint lies together under names without folders."""

    path: Path

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all files, sorted."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes that reading the file gives."""

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The file for reading; ``seek`` goes forward."""

    def read(self, name: str, limit: int = _LARGEST_TEXT) -> bytes:
        """All bytes of a file; raises ``CheckpointError`` if there are more than ``limit``."""
        with self.open(name) as file:
            content = file.read(min(limit, self.size(name)) + 1)
        if len(content) > limit:
            raise CheckpointError(
                f"{self.path / name} is larger than {limit // _MIB} MiB, far more than such a file needs."
            )
        return content


@dataclass(frozen=True)
class _Folder(Files):
    path: Path

    def names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.path.iterdir() if entry.is_file())
        except OSError as error:
            raise CheckpointError(f"The folder {self.path} cannot be read: {error}.") from error

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        try:
            with (self.path / name).open("rb") as file:
                yield file
        except OSError as error:
            raise CheckpointError(f"{self.path / name} cannot be read: {error.strerror or error}.") from error


class _Guarded(FileIO):
    """Never reads more at once than a sound archive needs, whatever its fields say."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_CONTENTS:
            raise zipfile.BadZipFile("its table of contents is too large")
        return super().read(-1 if size is None else size) or b""


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with _Guarded(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except _FAILURES as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(f"{path} cannot be read as a zip archive: {why}.") from error


@dataclass(frozen=True)
class _Archive(Files):
    """The one folder of a zip archive that holds a TensorFlow checkpoint."""

    path: Path

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        with _opened(self.path) as archive:
            infos = [
                i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX/")
            ]
        paths = [PurePosixPath(info.filename) for info in infos]
        if len(set(paths)) < len(paths):
            raise CheckpointError(f"{self.path} holds two files of one name.")
        for info, path in zip(infos, paths, strict=True):
            self._check(info, path)
        folders = sorted({str(path.parent) for path in paths if path.suffix == ".index"})
        if len(folders) != 1:
            what = (
                f"TensorFlow checkpoints in {', '.join(folders[:5])}" if folders else "none (no file *.index)"
            )
            raise CheckpointError(
                f"{self.path} should hold one folder with a TensorFlow checkpoint, but holds {what}. Unpack it, and "
                "name the folder of one checkpoint."
            )
        return {
            path.name: info for info, path in zip(infos, paths, strict=True) if str(path.parent) == folders[0]
        }

    def _check(self, info: zipfile.ZipInfo, path: PurePosixPath) -> None:
        name = info.filename
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
            raise CheckpointError(f"{self.path} holds a file that points out of the archive: {name!r}.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise CheckpointError(f"{self.path} holds a link, {name!r}, where a file is expected.")
        if info.flag_bits & 1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise CheckpointError(
                f"{self.path}: {name!r} is encrypted or packed in a way other than deflate."
            )
        if info.file_size > _MIB + _LARGEST_GROWTH * info.compress_size:
            raise CheckpointError(
                f"{self.path}: {name!r} would grow more than {_LARGEST_GROWTH}-fold, as no weights do."
            )

    def names(self) -> list[str]:
        return sorted(self._members)

    def has(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        return self._members[name].file_size

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with _opened(self.path) as archive, archive.open(self._members[name]) as file:
            yield cast(BinaryIO, file)


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a zip archive, as far as its name tells."""
    return path.suffix == ".zip" and path.is_file()


def holds_index(path: Path) -> bool:
    """Whether a zip archive holds the index of a TensorFlow checkpoint; raises ``CheckpointError`` if it is damaged."""
    with _opened(path) as archive:
        return any(name.endswith(".index") for name in archive.namelist())


def open_files(path: Path) -> Files:
    """The files of the checkpoint at ``path``, a folder or a zip archive of a TensorFlow checkpoint."""
    return _Archive(path) if is_archive(path) else _Folder(path)
