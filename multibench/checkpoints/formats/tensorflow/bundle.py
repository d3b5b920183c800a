"""TensorFlow's "tensor bundle": an index of names, and files with the bytes of all tensors one after another.

``PREFIX.index`` is a sorted table. Its empty key holds a ``BundleHeaderProto`` (1 number of data files, 2 byte order),
each other key is a tensor's name with a ``BundleEntryProto`` (1 type, 2 shape, 3 data file, 4 offset, 5 size,
6 masked CRC-32C, 7 slices). ``PREFIX.data-00001-of-00003`` is the second of three data files.

Source: core/protobuf/tensor_bundle.proto, core/framework/types.proto and core/util/tensor_bundle of TensorFlow.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from multibench.checkpoints.formats.tensorflow.files import Files, holds_index, is_archive, open_files
from multibench.checkpoints.formats.tensorflow.table import (
    crc32c,
    extend_crc32c,
    masked,
    read_table,
    read_varint,
    varint,
    write_table,
)
from multibench.errors import CheckpointError

__all__ = [
    "DTYPES",
    "Bundle",
    "TensorEntry",
    "find_tensorflow",
    "is_prefix",
    "open_bundle",
    "read_index",
    "write_bundle",
]

# TensorFlow's number of a type -> its name, and the type that numpy holds it in (bfloat16 as bits).
_TYPES: dict[int, tuple[str, str]] = {
    1: ("float32", "<f4"),
    2: ("float64", "<f8"),
    3: ("int32", "<i4"),
    4: ("uint8", "u1"),
    5: ("int16", "<i2"),
    6: ("int8", "i1"),
    9: ("int64", "<i8"),
    10: ("bool", "?"),
    14: ("bfloat16", "<u2"),
    19: ("float16", "<f2"),
}
DTYPES = dict(_TYPES.values())
"""Name of a type -> what numpy holds it in; bfloat16, which numpy lacks, as 16 bits."""
_NUMBERS = {name: number for number, (name, _) in _TYPES.items()}

_LARGEST_INDEX = 16 << 20
_MOST_SHARDS = 1 << 12
_CHUNK = 1 << 20
_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclass(frozen=True)
class TensorEntry:
    """What the index says of one tensor."""

    dtype: str
    """One of ``DTYPES``."""
    shape: tuple[int, ...]
    shard: int
    """Number of the data file, from 0."""
    offset: int
    """Bytes before it in that file."""
    size: int
    """In bytes."""
    crc: int
    """CRC-32C of its bytes, masked as stored."""


@dataclass(frozen=True)
class Bundle:
    """One checkpoint: its index, read and checked, and the data files beside it."""

    files: Files
    prefix: str
    shards: int
    entries: Mapping[str, TensorEntry]

    @property
    def index(self) -> Path:
        """The index, for messages."""
        return self.files.path / f"{self.prefix}.index"

    @property
    def data(self) -> list[str]:
        """Names of the data files."""
        return [_data_name(self.prefix, number, self.shards) for number in range(self.shards)]

    def check_data(self) -> None:
        """Raise ``CheckpointError`` if a data file is missing or too short for what the index says of it."""
        for number, name in enumerate(self.data):
            needed = max((e.offset + e.size for e in self.entries.values() if e.shard == number), default=0)
            if not self.files.has(name):
                raise CheckpointError(
                    f"{self.files.path} lacks {name}, which holds the tensors of {self.index.name}."
                )
            size = self.files.size(name)
            if size < needed:
                raise CheckpointError(
                    f"{self.files.path / name} is cut off: it has {size} bytes, its index says {needed}."
                )

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The tensors ``names`` one by one, in the order in which they are stored.

        Raises ``CheckpointError`` for data files that are missing or cut off, and for bytes that fail their checksum.
        """
        self.check_data()
        wanted = sorted(names, key=lambda n: (self.entries[n].shard, self.entries[n].offset, n))
        data = self.data
        with ExitStack() as stack:
            current, file = -1, None
            for name in wanted:
                entry = self.entries[name]
                if file is None or entry.shard != current:
                    stack.close()
                    current, file = entry.shard, stack.enter_context(self.files.open(data[entry.shard]))
                yield name, self._tensor(file, name, entry)

    def _tensor(self, file: BinaryIO, name: str, entry: TensorEntry) -> NDArray[Any]:
        raw, crc = np.empty(entry.size, np.uint8), 0
        file.seek(entry.offset)
        for start in range(0, entry.size, _CHUNK):
            part = file.read(min(_CHUNK, entry.size - start))
            crc = extend_crc32c(crc, part)
            if len(part) < min(_CHUNK, entry.size - start):
                break
            raw[start : start + len(part)] = np.frombuffer(part, np.uint8)
        if masked(crc) != entry.crc:
            raise CheckpointError(
                f"{self.files.path / self.data[entry.shard]} is damaged: {name} fails its checksum. Fetch it again."
            )
        return raw.view(DTYPES[entry.dtype]).reshape(entry.shape)


def _data_name(prefix: str, number: int, shards: int) -> str:
    return f"{prefix}.data-{number:05d}-of-{shards:05d}"


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protocol buffer message."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        kind, size = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
        if kind == 0:
            value, at = read_varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = read_varint(message, at)
        elif not size:
            raise ValueError("a record has a field of an unknown kind")
        if at + size > len(message):
            raise ValueError("a record is cut off")
        part = message[at : at + size]
        at += size
        yield tag >> 3, part if kind == 2 else int.from_bytes(part, "little")


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes) or value >= 1 << 62:
        raise ValueError("a record holds something that is no count")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a record holds a number where it should hold a record")
    return value


def _shape(message: bytes) -> tuple[int, ...]:
    """Source: TensorShapeProto, whose field 2 is a dimension with its size in field 1."""
    sizes = []
    for number, value in _fields(message):
        if number == 2:
            sizes.append(next((_number(v) for n, v in _fields(_message(value)) if n == 1), 0))
    if len(sizes) > 8 or math.prod(max(size, 1) for size in sizes) >= 1 << 48:
        raise ValueError("its shape is that of no tensor")
    return tuple(sizes)


def _entry(message: bytes) -> TensorEntry:
    values: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    for number, value in _fields(message):
        if number == 7:
            raise ValueError("it is stored in slices (a partitioned variable); save it whole")
        if number == 2:
            shape = _shape(_message(value))
        elif number in {1, 3, 4, 5, 6}:
            values[number] = _number(value)
    if values.get(1) not in _TYPES:
        raise ValueError(f"its type, number {values.get(1)} of TensorFlow, is no type of numbers")
    name, code = _TYPES[values[1]]
    size = values.get(5, 0)
    if math.prod(shape) * np.dtype(code).itemsize != size:
        raise ValueError(f"{size} bytes are no {name} of the shape {shape}")
    return TensorEntry(name, shape, values.get(3, 0), values.get(4, 0), size, values.get(6, 0))


def _parse(content: bytes) -> tuple[int, dict[str, TensorEntry]]:
    """Number of data files and all entries; ``ValueError`` with a clause for what is wrong."""
    table = read_table(content)
    if _OBJECT_GRAPH in table:
        raise ValueError(
            "it is an object graph of TensorFlow 2, whose names depend on the program that wrote it; expected the "
            "variables by name, as Google's BERT code and TensorFlow 1's Saver write them"
        )
    if b"" not in table:
        raise ValueError("it lacks its header")
    header = {n: _number(v) for n, v in _fields(table.pop(b"")) if n in {1, 2}}
    shards = header.get(1, 0)
    if header.get(2, 0):
        raise ValueError("its bytes are in big-endian order")
    if not 0 < shards <= _MOST_SHARDS:
        raise ValueError(f"it speaks of {shards} data files")
    entries = {}
    for key, message in table.items():
        if key.startswith(b"\0"):  # a slice of a variable, which the variable's own entry speaks of
            continue
        name = key.decode("utf-8")
        try:
            entries[name] = _entry(message)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if entries[name].shard >= shards:
            raise ValueError(f"{name} lies in data file {entries[name].shard} of {shards}")
    return shards, entries


def is_prefix(path: Path) -> bool:
    """Whether ``path`` is what TensorFlow calls a checkpoint: the name that its files share, and no file itself."""
    return not path.exists() and path.name != "" and path.with_name(f"{path.name}.index").is_file()


def find_tensorflow(path: Path) -> Path | None:
    """The folder or zip archive with a TensorFlow checkpoint that ``path`` is, holds or lies in; None if there is none.

    Names alone decide. Raises ``CheckpointError`` for a damaged archive and a folder with several.
    """
    if is_prefix(path):
        return path.parent
    if path.is_file():
        if path.suffix == ".index":
            return path.parent
        return path if is_archive(path) and holds_index(path) else None
    if not path.is_dir():
        return None
    inside = sorted(path.glob("*"))
    if any(entry.suffix == ".index" and entry.is_file() for entry in inside):
        return path
    archives = [entry for entry in inside if is_archive(entry) and holds_index(entry)]
    if len(archives) > 1:
        raise CheckpointError(f"{path} holds {len(archives)} archives of checkpoints; name the one to use.")
    return archives[0] if archives else None


def _prefix(files: Files) -> str:
    """Of several checkpoints it is the one that the file ``checkpoint`` names as the latest."""
    found = [name.removesuffix(".index") for name in files.names() if name.endswith(".index")]
    if len(found) == 1:
        return found[0]
    if files.has("checkpoint"):
        state = files.read("checkpoint").decode("utf-8", "replace")
        latest = re.search(r'^model_checkpoint_path: "([^"\n]*)"', state, re.MULTILINE)
        name = latest.group(1).rpartition("/")[2] if latest else ""
        if name in found:
            return name
    raise CheckpointError(
        f"{files.path} holds several TensorFlow checkpoints ({', '.join(found[:5])}) and no file `checkpoint` that "
        "names one of them. Leave only the files of one."
    )


def _locate(path: Path) -> tuple[Files, str]:
    if path.suffix == ".index" and path.is_file():
        return open_files(path.parent), path.name.removesuffix(".index")
    if path.with_name(f"{path.name}.index").is_file():
        return open_files(path.parent), path.name
    found = find_tensorflow(path)
    if found is None:
        raise CheckpointError(f"There is no TensorFlow checkpoint {path}: no file with the ending .index.")
    files = open_files(found)
    return files, _prefix(files)


def open_bundle(path: Path) -> Bundle:
    """The checkpoint at ``path``: a folder, a zip archive, an ``.index`` file, or the prefix that TensorFlow takes.

    Raises ``CheckpointError`` for an index that is missing, damaged, or of TensorFlow 2's object graphs.
    """
    files, prefix = _locate(path)
    name = f"{prefix}.index"
    try:
        shards, entries = _parse(files.read(name, _LARGEST_INDEX))
    except ValueError as error:
        raise CheckpointError(f"{files.path / name} is no index that can be used: {error}.") from error
    return Bundle(files, prefix, shards, entries)


def read_index(path: Path) -> dict[str, TensorEntry]:
    """Name -> entry of every tensor of the checkpoint at ``path``, which are not read themselves.

    ``path`` and errors are those of ``open_bundle``.
    """
    return dict(open_bundle(path).entries)


def _field(number: int, value: int | bytes) -> bytes:
    """A field as protocol buffers write it: numbers that are 0 are left out."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value) if value else b""


def _record(entry: TensorEntry) -> bytes:
    dimensions = b"".join(_field(2, _field(1, size)) for size in entry.shape)
    parts = [
        _field(1, _NUMBERS[entry.dtype]),
        _field(2, dimensions),
        *(_field(n, v) for n, v in ((3, entry.shard), (4, entry.offset), (5, entry.size))),
    ]
    return b"".join(parts) + (struct.pack("<BI", 6 << 3 | 5, entry.crc) if entry.crc else b"")


def write_bundle(folder: Path, prefix: str, tensors: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
    """Write ``tensors``, sorted by name, as one data file and its index, the index last.

    The bytes are those that TensorFlow's own ``Saver`` writes for the same tensors.
    """
    entries, offset = {}, 0
    with (folder / _data_name(prefix, 0, 1)).open("wb") as file:
        for name, array in tensors:
            raw = array.astype("<f4", copy=False).tobytes()
            entries[name] = TensorEntry("float32", array.shape, 0, offset, len(raw), masked(crc32c(raw)))
            file.write(raw)
            offset += len(raw)
    # One data file, and the version of the format since its first release.
    table = {b"": _field(1, 1) + _field(3, _field(1, 1))}
    table |= {name.encode(): _record(entry) for name, entry in entries.items()}
    (folder / f"{prefix}.index").write_bytes(write_table(table))
