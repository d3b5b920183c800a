"""Token ids kept in the user's cache, so that each process need not tokenize the same texts again.

A file's name is a digest of all that decides what is in it, and the file begins with a digest of its name and
content: one that is damaged, or lies under another name, is not believed and made again. Splits of a
few thousand examples are not kept, they take no time. ``MULTIBENCH_TOKEN_CACHE`` is the room for all files in
megabytes, 0 for none; those used longest ago make way.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from multibench.cache import cache_folder, keep
from multibench.errors import DataError
from multibench.tasks.data import Examples
from multibench.tasks.encode import ENCODING_VERSION, Encoded

__all__ = ["cached"]

T = TypeVar("T", bound=Encoded)

_ROOM = 2000
_WORTH_KEEPING = 4096
_DIGEST = hashlib.blake2b().digest_size


def cached(kind: type[T], examples: Examples, settings: tuple[object, ...], make: Callable[[], T]) -> T:
    """What ``make()`` gives, or gave when it was called before for the same.

    ``settings`` are, with the ``examples``, all that decides it: the vocabulary's digest and how texts are cut.
    Raises ``DataError`` if ``MULTIBENCH_TOKEN_CACHE`` is no number, and what ``make`` raises.
    """
    room = _room()
    if not room or len(examples) < _WORTH_KEEPING:
        return make()
    key = [ENCODING_VERSION, version("tokenizers"), kind.__name__, examples.fingerprint, *settings]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    path = cache_folder() / "tokens" / name
    found = _read(path, kind)
    if found is not None:
        return kind(**found)
    made = make()
    content = _packed(made)
    keep(path, _seal(name, content) + content)
    _make_room(path.parent, room)
    return made


def _room() -> int:
    """Bytes that all files may take."""
    given = os.environ.get("MULTIBENCH_TOKEN_CACHE") or str(_ROOM)
    if not given.isdecimal():
        raise DataError(
            f"MULTIBENCH_TOKEN_CACHE is {given!r}; expected the megabytes that kept token ids may take, such as "
            f"{_ROOM}, or 0 to keep none."
        )
    return int(given) * 1_000_000


def _seal(name: str, content: bytes) -> bytes:
    return hashlib.blake2b(content, key=bytes.fromhex(name)).digest()


def _packed(made: Encoded) -> bytes:
    """The fields that are not None, as arrays."""
    values: dict[str, Any] = {field.name: getattr(made, field.name) for field in fields(made)}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in values.items() if value is not None})
    return buffer.getvalue()


def _read(path: Path, kind: type[Encoded]) -> dict[str, Any] | None:
    """The fields of ``kind`` in ``path``, now the file used last; None if it is not there or not whole."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    seal, content = raw[:_DIGEST], raw[_DIGEST:]
    if seal != _seal(path.name, content):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        values = {name: array if array.ndim else array.item() for name, array in arrays.items()}
    return {field.name: values.get(field.name) for field in fields(kind)}


def _make_room(folder: Path, room: int) -> None:
    """Remove the files used longest ago until the rest take no more than ``room`` bytes."""
    with contextlib.suppress(OSError):
        by_use = sorted((stat.st_mtime_ns, stat.st_size, path) for path, stat in _files(folder))
        total = sum(size for _, size, _ in by_use)
        for _, size, path in by_use:
            if total <= room:
                break
            path.unlink(missing_ok=True)
            total -= size


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """All files; what another process removes meanwhile is left out."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat()))
    return found
