"""TensorFlow checkpoints that TensorFlow wrote, and variations of them."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow

from multibench.checkpoints.formats.tensorflow.table import crc32c, masked, read_varint, varint

GOLDEN = Path(__file__).parents[1] / "golden" / "tensorflow"


def copied(name: str, to: Path) -> Path:
    """A copy of one of the checkpoints that may be changed."""
    shutil.copytree(GOLDEN / name, to)
    return to


def archive(
    folder: Path,
    to: Path,
    inside: str,
    packed: int = zipfile.ZIP_DEFLATED,
    without: Collection[str] = (),
) -> Path:
    """A zip archive ``to`` of the files of ``folder``, each under the name ``inside`` + its own."""
    with zipfile.ZipFile(to, "w", packed) as file:
        for path in sorted(folder.iterdir()):
            if path.name not in without:
                file.write(path, f"{inside}{path.name}")
    return to


def with_snappy(table: bytes) -> bytes:
    """The same table with its blocks compressed, the data block and the one that says where it lies."""
    return rebuilt(table, lambda block: (1, pyarrow.compress(block, codec="snappy", asbytes=True)))


def rebuilt(table: bytes, change: Callable[[bytes], tuple[int, bytes]]) -> bytes:
    """A table of one data block whose blocks went through ``change``, which gives their kind and bytes.

    Checksums are sound. The block that says where the data block lies is compressed as that one is.
    """
    footer = table[-48:]
    _, at = read_varint(footer, 0)
    _, at = read_varint(footer, at)
    offset, at = read_varint(footer, at)
    size, _ = read_varint(footer, at)
    index = table[offset : offset + size]
    # One entry: three lengths, the key, and the place of the data block.
    _, at = read_varint(index, 0)
    new, at = read_varint(index, at)
    length, at = read_varint(index, at)
    key, place = index[at : at + new], index[at + new : at + new + length]
    data_size = read_varint(place, read_varint(place, 0)[1])[0]
    out, handles = bytearray(), []

    def add(block: bytes) -> None:
        kind, content = change(block)
        handles.append(varint(len(out)) + varint(len(content)))
        sealed = content + bytes([kind])
        out.extend(sealed + struct.pack("<I", masked(crc32c(sealed))))

    add(table[:data_size])
    add(bytes(4) + b"\1\0\0\0")
    entry = varint(0) + varint(len(key)) + varint(len(handles[0])) + key + handles[0]
    add(entry + bytes(4) + b"\1\0\0\0")
    return bytes(out) + (handles[1] + handles[2]).ljust(40, b"\0") + footer[-8:]
