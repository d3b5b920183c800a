"""Members of archives, copied to where the caller says: nothing is unpacked, and no member decides where it goes."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from multibench.errors import CheckpointError, StorageError

__all__ = ["copy_tar", "copy_unfolded", "unnamed_file"]

_MOST_MEMBERS = 1000
# Weights compress by a few per cent. What unfolds further than this was made to fill a memory.
_GROWTH, _ALLOWANCE = 20, 64 << 20
_PIECE = 1 << 20


def _most(path: Path) -> int:
    """How many bytes the archive ``path`` may unfold to."""
    return _ALLOWANCE + _GROWTH * path.stat().st_size


class _Bounded:
    """A stream that ends with an error once more than ``most`` bytes were read from it."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, _PIECE))
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError
        return data


class _TooLargeError(Exception):
    """More than the limit came out of an archive."""


@contextmanager
def unnamed_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file that nobody else sees and nothing is left of, to unfold a part of the archive ``path`` into.

    Raises ``StorageError`` if there can be none.
    """
    try:
        # Without a buffer, which would try to write the rest when it is closed on a full disk.
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed below; what is done with it raises errors of its own
    except OSError as error:
        raise _no_room(path, error) from error
    with file:
        yield cast(BinaryIO, file)


def copy_tar(path: Path, place: Callable[[str, int], BinaryIO | None]) -> None:
    """Copy each member of a tar, gzipped or not, to the stream that ``place(name, size in bytes)`` gives for it.

    A member for which it gives None is passed over. Names lose a leading ``./``. Raises ``CheckpointError`` for a
    damaged archive, one that unfolds to over 20 times its size, and one with links, devices, sparse or repeated
    members, or names that lead out of it; ``StorageError`` if a stream on disk finds no room.
    """
    names: set[str] = set()
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            unzipped = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
            stream = cast(BinaryIO, _Bounded(unzipped, _most(path)))
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
                while (member := archive.next()) is not None:
                    name = _checked(member, names, path)
                    if (
                        not 0 <= member.size <= _most(path)
                    ):  # tarfile would go through all of it in small steps
                        raise _TooLargeError
                    target = place(name, member.size) if member.isfile() else None
                    content = None if target is None else archive.extractfile(member)
                    if target is None or content is None:
                        continue
                    if _copy(cast(BinaryIO, content), target, path) != member.size:
                        raise tarfile.ReadError("unexpected end of data")
    except _TooLargeError:
        raise _too_large(path) from None
    except (
        tarfile.TarError,
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(f"{path} is no whole tar archive: {why}.") from error


def copy_unfolded(member: BinaryIO, target: BinaryIO, path: Path) -> int:
    """Copy a member of the archive ``path`` to ``target``, and give its size in bytes.

    Raises ``CheckpointError`` if it unfolds to over 20 times the archive's size, and ``StorageError`` if ``target``
    finds no room.
    """
    try:
        return _copy(cast(BinaryIO, _Bounded(member, _most(path))), target, path)
    except _TooLargeError:
        raise _too_large(path) from None


def _too_large(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} unfolds to over {_GROWTH} times its size, as no weights do; it was not read further."
    )


def _no_room(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} has to be unfolded to be read, and the folder of temporary files has no room for it: "
        f"{error.strerror or error}. Make room, or set TMPDIR to another folder."
    )


def _copy(source: BinaryIO, target: BinaryIO, path: Path) -> int:
    size = 0
    while piece := source.read(_PIECE):
        size += len(piece)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[target.write(rest) :]
        except OSError as error:
            raise _no_room(path, error) from error
    target.seek(0)
    return size


def _checked(member: tarfile.TarInfo, names: set[str], path: Path) -> str:
    pure = PurePosixPath(member.name)
    name = str(pure)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise CheckpointError(f"{path} has a member {member.name!r}, which leads out of it; it was not read.")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise CheckpointError(f"{path}: {name!r} is neither a plain file nor a folder; it was not read.")
    if name in names or len(names) >= _MOST_MEMBERS:
        raise CheckpointError(
            f"{path} has {name!r} twice, or more than {_MOST_MEMBERS} members; it was not read."
        )
    names.add(name)
    return name
