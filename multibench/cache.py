"""The user's cache: files that can be made again, each written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import uuid4

__all__ = ["cache_folder", "expanded", "keep", "remembered_digest", "stamp"]


def cache_folder() -> Path:
    """``MULTIBENCH_CACHE``, or the user's cache folder; without a home a place where nothing can be kept."""
    given = os.environ.get("MULTIBENCH_CACHE")
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multibench"
    except RuntimeError:  # no HOME, and a user whom the system does not know
        return Path(os.devnull) / "multibench"


def expanded(path: str | Path) -> Path:
    """``path`` with ``~`` as the user's home, or as it is where there is no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def keep(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` under a name of its own and rename it, so that no reader sees half of it.

    A cache that cannot be written costs time, nothing else: such errors are passed over.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def stamp(path: Path) -> list[int]:
    """Size, modification time, change time (both in nanoseconds) and inode of a file.

    Whether a file is still the same shows in these: copies keep size and modification time, change time and
    inode they do not keep. Raises ``OSError``.
    """
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def remembered_digest(kind: str, files: Iterable[Path], make: Callable[[], str]) -> str:
    """The hexadecimal digest that ``make()`` gives, or gave when it was called for these very files.

    Whether they are the same shows in paths and stamps. ``kind`` tells digests of one file apart. What is kept is
    sealed, so that a bit that changed on the disk makes it worthless, not another digest.
    """
    stats = [(str(path.resolve()), *stamp(path)) for path in files]
    cached = cache_folder() / "digests" / hashlib.sha256(json.dumps([kind, stats]).encode()).hexdigest()
    with contextlib.suppress(OSError):  # not there
        raw = cached.read_bytes()
        digest, _, seal = raw.partition(b"\n")
        if seal == _seal(cached.name, digest):
            return digest.decode("ascii")
    made = make()
    keep(cached, made.encode("ascii") + b"\n" + _seal(cached.name, made.encode("ascii")))
    return made


def _seal(name: str, content: bytes) -> bytes:
    """A checksum of what is kept under a name, in hexadecimal digits."""
    return hashlib.blake2b(content, key=bytes.fromhex(name), digest_size=32).hexdigest().encode("ascii")
