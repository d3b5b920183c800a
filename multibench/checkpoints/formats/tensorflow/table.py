"""LevelDB's sorted tables, which TensorFlow keeps the index of a checkpoint in.

Data blocks, a block that says where they lie, and a footer of 48 bytes with the place of that block and a magic
number. In a block each key is given by how much of the key before it remains and what follows; after the
entries stand "restarts", offsets of entries with a whole key. Each block is followed by its compression (0 none, 1
Snappy) and the masked CRC-32C of both.

Source: doc/table_format.md of google/leveldb, and core/lib/io/table_options.h of TensorFlow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

__all__ = ["crc32c", "extend_crc32c", "masked", "read_table", "read_varint", "varint", "write_table"]

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5
_RESTART_INTERVAL = 16
# The index of a BERT-large with its optimizer's slots takes 20 kB and 1,200 entries of at most 90 characters.
_LARGEST_CONTENT = 16 << 20
_MOST_ENTRIES = 1 << 16
_LONGEST_KEY = 1 << 10


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of ``data``."""
    return extend_crc32c(0, data)


def extend_crc32c(crc: int, data: bytes) -> int:
    """CRC-32C of what gave ``crc`` followed by ``data``."""
    import google_crc32c

    return int(google_crc32c.extend(crc, data))


def masked(crc: int) -> int:
    """The form that checksums are stored in, so that data with checksums in them can be checked, too."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """``value`` in groups of seven bits, the lowest first; all but the last byte have the top bit set."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at ``at``, below 2**64, and where the next thing starts; else ``ValueError``."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number in it has no end")


def _unpacked(data: bytes) -> bytes:
    import pyarrow

    size, _ = read_varint(data, 0)
    if size > _LARGEST_CONTENT:
        raise ValueError("a block is too large")
    try:
        content = pyarrow.Codec("snappy").decompress(data, decompressed_size=size, asbytes=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError("a block is not the Snappy data that it says") from error
    return bytes(content)


def _block(table: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER > len(table) - _FOOTER:
        raise ValueError("it is cut off, or its blocks lie outside")
    kind, stored = struct.unpack_from("<BI", table, end)
    if masked(crc32c(table[offset : end + 1])) != stored:
        raise ValueError("a block fails its checksum")
    if kind not in {0, 1}:
        raise ValueError(f"a block is compressed in the unknown way {kind}")
    return _unpacked(table[offset:end]) if kind else table[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError("a block lacks its end")
    at, key = 0, b""
    while at < end:
        kept, at = read_varint(block, at)
        new, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if kept > len(key) or kept + new > _LONGEST_KEY or at + new + size > end:
            raise ValueError("an entry reaches beyond its block or its key is too long")
        key = key[:kept] + block[at : at + new]
        at += new + size
        yield key, block[at - size : at]


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Offset and size of a block, and what follows."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return offset, size, at


def read_table(table: bytes) -> dict[bytes, bytes]:
    """All entries in their order.

    Work and memory are bounded whatever the bytes say. Raises ``ValueError`` with a clause that says what is wrong.
    """
    footer = table[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise ValueError("it does not end as a table does, so it is cut off or something else")
    _, _, at = _handle(footer, 0)  # a block with statistics, which TensorFlow leaves empty
    offset, size, _ = _handle(footer, at)
    found: dict[bytes, bytes] = {}
    last, content = None, 0
    for _, place in _entries(_block(table, offset, size)):
        block = _block(table, *_handle(place, 0)[:2])
        content += len(block)
        for key, value in _entries(block):
            if last is not None and key <= last:
                raise ValueError("its keys are not in order")
            found[key] = value
            last = key
        if content > _LARGEST_CONTENT or len(found) > _MOST_ENTRIES:
            raise ValueError("it holds far more than a checkpoint needs")
    return found


def _packed(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    block, restarts, last = bytearray(), [0], b""
    for number, (key, value) in enumerate(entries):
        kept = 0
        if number % _RESTART_INTERVAL:
            while kept < min(len(key), len(last)) and key[kept] == last[kept]:
                kept += 1
        elif number:
            restarts.append(len(block))
        block += varint(kept) + varint(len(key) - kept) + varint(len(value)) + key[kept:] + value
        last = key
    return bytes(block) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def write_table(entries: dict[bytes, bytes]) -> bytes:
    """A table of ``entries`` with one data block, uncompressed, as TensorFlow writes small ones."""
    keys = sorted(entries)
    table, handles = bytearray(), []

    def add(block: bytes) -> None:
        handles.append(varint(len(table)) + varint(len(block)))
        table.extend(block + b"\0" + struct.pack("<I", masked(crc32c(block + b"\0"))))

    add(_packed((key, entries[key]) for key in keys))
    add(_packed([]))
    add(_packed([(_successor(keys[-1]), handles[0])]))
    footer = handles[1] + handles[2]
    return bytes(table) + footer.ljust(_FOOTER - len(_MAGIC), b"\0") + _MAGIC


def _successor(key: bytes) -> bytes:
    """A short key that is not below ``key``: its first byte that can be raised, raised."""
    for at, byte in enumerate(key):
        if byte != 0xFF:
            return key[:at] + bytes([byte + 1])
    return key
