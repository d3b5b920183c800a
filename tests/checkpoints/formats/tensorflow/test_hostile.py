"""Files that were damaged or made to do harm: one sentence or the right weights, nothing else, and soon."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.tensorflow import read_index, read_parameters
from multibench.checkpoints.formats.tensorflow.table import read_table, varint, write_table
from multibench.errors import CheckpointError
from tests.support.tensorflow import GOLDEN, archive, copied, rebuilt, with_snappy

INDEX, DATA = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"
TABLE = (GOLDEN / "plain" / INDEX).read_bytes()
Weights = dict[str, np.ndarray]


def _read(path: Path) -> Weights:
    return {name: tensor.numpy() for name, tensor in read_parameters(path)}


def _mutated(rng: random.Random, content: bytes) -> bytes:
    """One of the ways in which files are damaged or forged."""
    data = bytearray(content)
    at, length = rng.randrange(len(data)), rng.choice([1, 1, 2, 4, 9, 100])
    kind = rng.randrange(6)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at : at + length] = rng.randbytes(length)
    elif kind == 3:
        data[at : at + length] = rng.choice([b"\xff", b"\x00", b"\x80"]) * length
    elif kind == 4:
        del data[at : at + length]
    else:
        data[at:at] = data[at : at + length]
    return bytes(data)


def _forged(rng: random.Random, table: bytes) -> bytes:
    """A table whose checksums are sound, with something else inside."""
    return rebuilt(table, lambda block: (rng.choice([0, 0, 0, 1]), _mutated(rng, block)))


def _fuzz(folder: Path, cases: int) -> tuple[int, int]:
    """How many damaged files were refused, and how many read; anything but these fails."""
    rng = random.Random(7)
    copied("plain", folder)
    zipped = folder.with_suffix(".zip")
    archives = [archive(folder, zipped, "a/", packed).read_bytes() for packed in (0, zipfile.ZIP_DEFLATED)]
    expected, refused, read = _read(GOLDEN / "plain"), 0, 0
    for number in range(cases):
        target = (INDEX, DATA, "zip", "forged", "bert_config.json", "vocab.txt")[number % 6]
        path, file = folder, folder / target
        if target == "zip":
            path, file, changed = zipped, zipped, _mutated(rng, archives[number // 6 % 2])
        elif target == "forged":
            file, changed = folder / INDEX, _forged(rng, TABLE)
        else:
            changed = _mutated(rng, file.read_bytes())
        whole = file.read_bytes()
        file.write_bytes(changed)
        try:
            opened = open_folder(path)
            found = {name: tensor.numpy() for name, tensor in opened.tensors()}
        except CheckpointError:
            refused += 1
        else:
            read += 1
            if target != "forged":
                assert set(found) == {name.removeprefix("bert.") for name in expected}
                for name, value in expected.items():
                    np.testing.assert_array_equal(found[name.removeprefix("bert.")], value)
        finally:
            file.write_bytes(whole)
    return refused, read


def test_two_hundred_damaged_files(tmp_path: Path) -> None:
    refused, read = _fuzz(tmp_path / "a", 200)
    assert refused + read == 200
    assert refused > 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.zip"]


@pytest.mark.slow
def test_five_thousand_damaged_files(tmp_path: Path) -> None:
    refused, read = _fuzz(tmp_path / "a", 5000)
    assert refused + read == 5000


@pytest.mark.parametrize("position", range(0, 7248, 151))
def test_a_wrong_weight_is_always_found(tmp_path: Path, position: int) -> None:
    folder = copied("plain", tmp_path / "a")
    data = bytearray((folder / DATA).read_bytes())
    data[position] ^= 1
    (folder / DATA).write_bytes(data)
    with pytest.raises(CheckpointError, match="fails its checksum"):
        _read(folder)


def _record(
    dtype: int = 1, shape: tuple[int, ...] = (1,), shard: int = 0, offset: int = 0, size: int = 4
) -> bytes:
    dimensions = b"".join(b"\x12" + varint(1 + len(varint(s))) + b"\x08" + varint(s) for s in shape)
    fields = ((1, dtype), (3, shard), (4, offset), (5, size))
    numbers = b"".join(varint(number << 3) + varint(value) for number, value in fields)
    return numbers + b"\x12" + varint(len(dimensions)) + dimensions


HEADER = b"\x08\x01"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({b"a": _record()}, "lacks its header"),
        ({b"": b"\x08\x00"}, "speaks of 0 data files"),
        ({b"": b"\x08" + varint(1 << 40)}, "data files"),
        ({b"": b"\x08\x01\x10\x01"}, "big-endian"),
        ({b"": b"\x08" + b"\xff" * 40}, "has no end"),
        ({b"": b"\x0a\x7f"}, "cut off"),
        ({b"": b"\x0b"}, "unknown kind"),
        ({b"": HEADER, b"\xff": _record()}, "utf-8"),
        ({b"": HEADER, b"a": _record(dtype=7)}, "number 7 of TensorFlow"),
        ({b"": HEADER, b"a": _record(shape=(1 << 40, 1 << 40), size=0)}, "that of no tensor"),
        ({b"": HEADER, b"a": _record(shape=(0, 1 << 61), size=0)}, "that of no tensor"),
        ({b"": HEADER, b"a": _record(shape=(1,) * 9)}, "that of no tensor"),
        ({b"": HEADER, b"a": _record(size=1 << 50)}, "are no float32 of the shape"),
        ({b"": HEADER, b"a": _record(shard=1)}, "data file 1 of 1"),
        ({b"": HEADER, b"a": _record(offset=1 << 63)}, "no count"),
        ({b"": HEADER, b"a": b"\x12\x02\x12\x05"}, "cut off"),
        ({b"": HEADER, b"a": b"\x10\x05"}, "a number where"),
    ],
)
def test_records_that_lie_are_refused(tmp_path: Path, entries: dict[bytes, bytes], expected: str) -> None:
    (tmp_path / "a.index").write_bytes(write_table(entries))
    with pytest.raises(CheckpointError, match=expected):
        read_index(tmp_path / "a.index")


def _snappy_bomb(_: bytes) -> tuple[int, bytes]:
    return 1, varint(1 << 40) + b"\0" * 20


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (b"", "cut off or something else"),
        (TABLE[:-1], "cut off or something else"),
        (b"\xff" * 40 + TABLE[-8:], "has no end"),
        (varint(0) * 2 + varint(1 << 62) * 2 + b"\0" * 20 + TABLE[-8:], "cut off"),
        (rebuilt(TABLE, lambda block: (7, block)), "unknown way 7"),
        (rebuilt(TABLE, lambda block: (1, block)), "Snappy|too large|no end"),
        (rebuilt(TABLE, _snappy_bomb), "too large"),
        (rebuilt(TABLE, lambda block: (0, block[:-4] + b"\xff" * 4)), "lacks its end"),
        (rebuilt(TABLE, lambda block: (0, b"")), "lacks its end"),
        (rebuilt(TABLE, lambda block: (0, varint(5) + block)), "beyond its block"),
        (with_snappy(TABLE)[:900], "something else"),
    ],
)
def test_tables_that_lie_are_refused(table: bytes, expected: str) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=expected):
        read_table(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_keys_that_grow_without_end_are_refused() -> None:
    # Each entry has the key before it and 512 bytes more: some kB of file, and keys that grow with its square.
    block = b"".join(varint(512 * i) + varint(512) + varint(0) + b"k" * 512 for i in range(2000))
    table = rebuilt(TABLE, lambda old: (0, block + bytes(4) + b"\1\0\0\0" if len(old) > 100 else old))
    with pytest.raises(ValueError, match="its key is too long"):
        read_table(table)


def test_an_index_of_hundreds_of_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.index").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(CheckpointError, match="larger than 16 MiB"):
        read_index(tmp_path / "a.index")


@pytest.mark.parametrize("layers", [3, 257, 10**12])
def test_a_configuration_that_asks_for_more_is_refused_at_once(tmp_path: Path, layers: int) -> None:
    folder = copied("plain", tmp_path / "a")
    config = json.loads((folder / "bert_config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    with pytest.raises(CheckpointError, match=r"layers; no BERT has so many|lacks 16 tensors"):
        open_folder(folder)


@pytest.mark.parametrize("name", [DATA, "bert_config.json", "vocab.txt"])
def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = copied("plain", tmp_path / "a")
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(CheckpointError, match=r"cannot be read|cut off"):
        open_folder(folder)


def _zip_with(path: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    archive(GOLDEN / "plain", path, "a/")
    with zipfile.ZipFile(path, "a") as file:
        change(file)
    return path


def _link(file: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("a/other")
    info.external_attr = 0o120777 << 16
    file.writestr(info, "/etc/passwd")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda file: file.writestr("../evil", "x"), "points out of the archive"),
        (lambda file: file.writestr("a/../../evil", "x"), "points out of the archive"),
        (lambda file: file.writestr("/evil", "x"), "points out of the archive"),
        (lambda file: file.writestr("C:\\evil", "x"), "points out of the archive"),
        (_link, "holds a link"),
        (lambda file: file.writestr("a/./vocab.txt", "x"), "two files of one name"),
        (lambda file: file.writestr("b/model.ckpt.index", "x"), "TensorFlow checkpoints in a, b"),
        (lambda file: file.writestr("a/x", "x", zipfile.ZIP_BZIP2), "other than deflate"),
        (lambda file: file.writestr("a/x", bytes(8 << 20), zipfile.ZIP_DEFLATED), "grow more than 200-fold"),
    ],
)
def test_archives_made_to_do_harm_are_refused(
    tmp_path: Path, change: Callable[[zipfile.ZipFile], None], expected: str
) -> None:
    path = _zip_with(tmp_path / "a.zip", change)
    with pytest.raises(CheckpointError, match=expected):
        open_folder(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    assert not (tmp_path.parent / "evil").exists()


def test_an_archive_whose_table_of_contents_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = archive(GOLDEN / "plain", tmp_path / "a.zip", "")
    content = bytearray(path.read_bytes())
    with path.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(64 << 20)
        content[-10:-2] = struct.pack("<II", 63 << 20, 0)  # size and offset of the table of contents
        file.write(content[-22:])
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="table of contents is too large"):
        open_folder(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
