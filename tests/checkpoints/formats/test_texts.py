"""Small files: never more is read than such a file has, and nothing waits for a file that never ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.texts import read_json, read_small
from multibench.errors import CheckpointError
from tests.support.tiny import make_checkpoint


def test_a_file_as_large_as_allowed_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", 5) == b"12345"
    with pytest.raises(CheckpointError, match="has more than 4 bytes"):
        read_small(tmp_path / "a", 4)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a is no plain file"):
        read_small(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"{}")
    (tmp_path / "b").chmod(0)
    if os.geteuid():  # nothing is closed to root
        with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
            read_small(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json cannot be read as JSON"):
        read_json(tmp_path / "a.json")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 << 30)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo, Path.mkdir, _sparse])
@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"])
def test_files_without_an_end_are_refused_wherever_they_lie(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    folder = make_checkpoint(tmp_path / "a")
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(CheckpointError, match=rf"{name} (is no plain file|has more than 16,777,216 bytes)"):
        open_folder(folder)


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_an_index_of_a_million_files_is_not_taken_apart(tmp_path: Path, index: str) -> None:
    folder = make_checkpoint(tmp_path / "a")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / index).write_text(
        json.dumps({"weight_map": {str(i): "part.safetensors" for i in range(10**6)}})
    )
    with pytest.raises(CheckpointError, match="has more than 16,777,216 bytes"):
        open_folder(folder)
