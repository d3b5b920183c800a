"""The user's cache: what identities rest on is sealed, so that no bit that changed is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from multibench.cache import cache_folder, remembered_digest
from multibench.results import RunStore, index
from multibench.results.index import read_runs
from multibench.tasks import cache as tokens
from multibench.tasks.data import Examples
from multibench.tasks.encode import Encoded
from tests.support.stored import store_run
from tests.support.tiny import make_checkpoint

RIGHT = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return path


def _flipped(raw: bytes, every: int = 1) -> Iterator[bytes]:
    """``raw`` with one bit changed, for each bit, or for some."""
    for bit in range(0, 8 * len(raw), every):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def _digest(weights: Path) -> str:
    return remembered_digest("test", [weights], lambda: hashlib.sha256(weights.read_bytes()).hexdigest())


def _kept() -> Path:
    (path,) = (cache_folder() / "digests").iterdir()
    return path


def test_a_digest_is_made_once(weights: Path) -> None:
    assert _digest(weights) == RIGHT
    assert remembered_digest("test", [weights], lambda: pytest.fail("made again")) == RIGHT


def test_no_changed_bit_of_a_digest_is_believed(weights: Path) -> None:
    _digest(weights)
    path, raw = _kept(), _kept().read_bytes()
    for changed in _flipped(raw):
        path.write_bytes(changed)
        assert _digest(weights) == RIGHT
        assert path.read_bytes() == raw  # it was made again


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"0" * 64, RIGHT.encode(), RIGHT.encode() + b"\n", b"\xff" * 64 + b"\n" + b"0" * 64],
)
def test_no_digest_without_its_seal_is_believed(weights: Path, content: bytes) -> None:
    _digest(weights)
    _kept().write_bytes(content)
    assert _digest(weights) == RIGHT


def test_the_digest_of_another_file_is_not_believed(weights: Path, tmp_path: Path) -> None:
    """A seal belongs to a name: a kept digest that lies under that of another file is worth nothing."""
    _digest(weights)
    mine = _kept()
    other = tmp_path / "other"
    other.write_bytes(b"other weights")
    _digest(other)
    (theirs,) = {*(cache_folder() / "digests").iterdir()} - {mine}
    mine.write_bytes(theirs.read_bytes())
    assert _digest(weights) == RIGHT


def test_the_identity_of_a_checkpoint_survives_a_rotten_cache(tmp_path: Path) -> None:
    from multibench.checkpoints.folder import open_folder

    folder = make_checkpoint(tmp_path / "bert")
    right = open_folder(folder).content
    paths = list((cache_folder() / "digests").iterdir())
    assert paths
    for path in paths:
        raw = path.read_bytes()
        for changed in _flipped(raw, every=37):
            path.write_bytes(changed)
            assert open_folder(folder).content == right


def test_no_changed_bit_of_kept_tokens_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_WORTH_KEEPING", 1)
    examples = Examples("t", "train", ("0", "1"), (("a", "b"),), np.array([0, 1]), "here")

    def made() -> Encoded:
        starts, second = np.array([0, 2, 4]), np.array([2, 2], dtype=np.int32)
        return Encoded(np.array([1, 2, 3, 4], dtype=np.int32), starts, second, 0)

    right = tokens.cached(Encoded, examples, ("x",), made)
    (path,) = (cache_folder() / "tokens").iterdir()
    raw = path.read_bytes()
    for changed in _flipped(raw, every=61):
        path.write_bytes(changed)
        found = tokens.cached(Encoded, examples, ("x",), made)
        for name, value in vars(right).items():
            np.testing.assert_array_equal(getattr(found, name), value)
        assert path.read_bytes() == raw


def test_no_changed_bit_of_the_index_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_WORTH_WRITING", 1)
    monkeypatch.setattr(index, "_SETTLED_NS", 0)
    store_run(tmp_path / "suite", outputs=np.zeros((3, 2), np.float32))
    store = RunStore(tmp_path / "suite")
    read_runs(store, verify=True)
    right = index._read(store.index)
    assert list(right) == store.run_ids()
    raw = store.index.read_bytes()
    header = raw.index(b"\n") + 1
    flips = [changed + raw[header:] for changed in _flipped(raw[:header])]
    flips += [raw[:header] + changed for changed in _flipped(raw[header:], every=23)]
    for changed in flips:
        store.index.write_bytes(changed)
        assert index._read(store.index) in ({}, right)
