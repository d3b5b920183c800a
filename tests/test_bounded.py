"""Small files that say they are huge end in a sentence, before anything is unfolded."""

from __future__ import annotations

import gzip
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multibench import bounded
from multibench.bounded import check_arrays, gunzip, read_parquet, within_seconds
from multibench.errors import DataError, MultibenchError, ResultsError
from multibench.results.store import read_predictions
from multibench.scoring.tables import parquet_columns, read_array
from multibench.tasks import table as table_module
from multibench.tasks.files import Wanted, read_table, read_text
from multibench.tasks.layouts import Parts
from multibench.tasks.table import Table


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """No bomb takes long, whatever else it does."""
    started = time.process_time()
    yield
    assert time.process_time() - started < 10


# --- gzip


def test_a_text_that_unfolds_is_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n" * 18_000_000, 9))
    for read in (read_text, lambda p: read_table(p, "tsv", Wanted(("a",)))):
        with pytest.raises(DataError, match="cannot be unpacked: it unfolds to over 50 times its size"):
            read(path)


def test_members_one_after_the_other_are_counted_together() -> None:
    with pytest.raises(ValueError, match="unfolds to over"):
        gunzip(gzip.compress(bytes(20_000_000), 9) * 4)


def test_texts_that_repeat_themselves_are_read() -> None:
    text = json.dumps({"text": "the river froze", "label": 1}).encode() * 100_000
    assert gunzip(gzip.compress(text)) == text


# --- parquet


def _bomb(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 2_000_000
    return path


def _same(count: int, text: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


PARQUET = {
    "many rows": lambda p: _bomb(p, a=_same(12_000_000, "x"), label=pa.array(np.zeros(12_000_000, np.int8))),
    "one long text many times": lambda p: _bomb(p, a=_same(100_000, "x" * 1_000_000), label=[1] * 100_000),
    "long texts in lists": lambda p: _bomb(p, a=_lists(8000, "x" * 20_000), label=[1] * 8000),
    "zeros": lambda p: _bomb(p, a=[bytes(1_000_000).decode() + str(k) for k in range(100)], label=[1] * 100),
}


def _lists(count: int, text: str) -> pa.Array:
    return pa.array([[text]] * count)


@pytest.mark.parametrize("make", PARQUET.values(), ids=PARQUET)
def test_parquet_that_unfolds_is_not_unfolded(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "_SUSPICIOUS", 1 << 24)  # smaller bombs are faster to make
    path = make(tmp_path / "bomb.parquet")
    said = r"unfolds to over 50 times its size|says that it holds .* values"
    with pytest.raises(DataError, match=said):
        read_table(path, "parquet", Wanted(("a", "label")))
    with pytest.raises(DataError, match=said):
        parquet_columns(path)
    with pytest.raises(ResultsError, match=said):
        read_predictions(path)


def test_only_the_columns_that_are_read_count(tmp_path: Path) -> None:
    path = _bomb(tmp_path / "some.parquet", a=_same(100_000, "x" * 1_000_000), label=[1] * 100_000)
    assert read_parquet(path, lambda names: ["label"]).num_rows == 100_000


def test_tables_that_repeat_themselves_are_read(tmp_path: Path) -> None:
    texts = [f"sentence {k % 500} " * 20 for k in range(60_000)]
    path = tmp_path / "many.parquet"
    pq.write_table(pa.table({"text": texts, "label": [k % 2 for k in range(60_000)]}), path)
    assert read_parquet(path).column("text").to_pylist() == texts
    assert read_parquet(path.read_bytes()).num_rows == 60_000
    nested = [{"text": texts[k % 100 : k % 100 + 2], "start": [1, 2]} for k in range(20_000)]
    pq.write_table(pa.table({"answers": nested}), path)
    assert read_parquet(path).column("answers").to_pylist() == nested


# --- arrays


def _npy(shape: str, dtype: str = "<f8", content: bytes = bytes(80)) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


LIES = {
    "rows": _npy("(1000000000000,)"),
    "columns": _npy("(10, 1000000000)"),
    "one too many": _npy("(11,)"),
    "wide texts": _npy("(10,)", "<U1000000000"),
    "negative": _npy("(-10,)"),
    "overflow": _npy("(4294967296, 4294967296, 4294967296)"),
    "objects": _npy("(1,)", "|O"),
    "no header": b"\x93NUMPY\x01\x00\xff\xff{",
    "another version": b"\x93NUMPY\x09\x00" + bytes(20),
    "nothing": b"",
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
@pytest.mark.parametrize("zipped", [False, True])
def test_headers_that_lie_are_refused(tmp_path: Path, content: bytes, zipped: bool) -> None:
    path = tmp_path / ("a.npz" if zipped else "a.npy")
    if zipped:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("outputs.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an array of numbers"):
        read_array(path, None)


def test_an_archive_of_arrays_that_unfolds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, outputs=np.zeros((5_000_000, 2)))
    with pytest.raises(DataError, match="unfolds to over 50 times"):
        read_array(path, None)


def test_honest_arrays_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "b.npz", outputs=values, zeros=np.zeros((1000, 100)))
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy", None), values)
    np.testing.assert_array_equal(read_array(tmp_path / "b.npz", "outputs"), values)
    check_arrays(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.asfortranarray(values))
    np.testing.assert_array_equal(read_array(tmp_path / "c.npy", None), values)


# --- regular expressions


@pytest.mark.parametrize(
    "pattern", [r"(?P<a>(x+x+)+)y", r"(?P<a>(x|xx|x*)*)y", r"(?P<a>x*x*x*x*x*x*x*x*x*)y"]
)
def test_a_pattern_that_would_take_for_ever_ends(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_SECONDS", 0.2)
    table = Table({"id": ["x" * 3000]}, range(1), "dev.tsv")
    with pytest.raises(DataError, match=r"dev\.tsv: the pattern .* takes too long to match 'id'"):
        table.with_parts(Parts(column="id", pattern=pattern))


@pytest.mark.parametrize(
    "pattern",
    [r"(?P<a>x{99999999999})", "(" * 5000 + "(?P<a>x)" + ")" * 5000, "(?P<a>" + "x" * 2000 + ")", "(?P<a>"],
)
def test_patterns_that_cannot_be_compiled_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"is not a regular expression|up to 1,000 are read"):
        Parts(column="id", pattern=pattern)


def test_a_pattern_leaves_no_timer_behind() -> None:
    table = Table({"id": [f"ex{k}-good" for k in range(50_000)]}, range(50_000), "dev.tsv")
    made = table.with_parts(Parts(column="id", pattern=r"ex(?P<number>\d+)-(?P<tone>\w+)"))
    assert made.columns["tone"][0] == "good"
    with within_seconds(0.05, "slow"):
        pass
    started = time.process_time()
    while time.process_time() - started < 0.1:
        re.fullmatch("x", "x")


def test_errors_inside_of_a_limit_stay_what_they_are() -> None:
    with pytest.raises(KeyError), within_seconds(5, "slow"):
        raise KeyError("x")


def test_every_refusal_is_a_sentence_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + bytes(1000) + b"PAR1")
    with pytest.raises(MultibenchError, match="not a readable parquet file"):
        read_table(path, "parquet", Wanted(("a",)))
    assert io.BytesIO(path.read_bytes()).read(4) == b"PAR1"
