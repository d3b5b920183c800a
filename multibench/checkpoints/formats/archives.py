"""Members of tar archives, kept in memory: nothing is unpacked, and no member decides where anything goes."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from multibench.errors import CheckpointError

__all__ = ["read_tar"]

_MOST_MEMBERS = 1000
# Weights compress by a few per cent. What unfolds further than this was made to fill a memory.
_GROWTH, _ALLOWANCE = 20, 64 << 20
_PIECE = 1 << 20


class _Bounded:
    """A stream that ends with an error once more was read from it than is allowed."""

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


def read_tar(path: Path, wanted: Callable[[str, int], bool]) -> dict[str, bytes]:
    """Content of the members of a tar, or gzipped tar, for which ``wanted(name, size in bytes)`` holds.

    Names lose a leading ``./``. Raises ``CheckpointError`` for a damaged archive, one that unfolds to over
    20 times its size, and one with links, devices, sparse or repeated members, or names that lead out of it.
    """
    found: dict[str, bytes] = {}
    names: set[str] = set()
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            most = _ALLOWANCE + _GROWTH * path.stat().st_size
            unzipped = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
            stream = cast(BinaryIO, _Bounded(unzipped, most))
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
                while (member := archive.next()) is not None:
                    name = _checked(member, names, path)
                    if member.isfile() and wanted(name, member.size):
                        content = archive.extractfile(member)
                        found[name] = b"" if content is None else content.read()
                        if len(found[name]) != member.size:
                            raise tarfile.ReadError("unexpected end of data")
    except _TooLargeError:
        raise CheckpointError(
            f"{path} unfolds to over {_GROWTH} times its size, as no weights do; it was not read further."
        ) from None
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
    return found


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
