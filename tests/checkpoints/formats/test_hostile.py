"""Files made to do harm, and files that took harm: one sentence each, nothing run or written, no memory filled."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.huggingface import read_tensors
from multibench.errors import CheckpointError, StorageError

GOLDEN = Path(__file__).parents[2] / "golden" / "nvidia"


def _members() -> dict[str, bytes]:
    with tarfile.open(GOLDEN / "qa.nemo") as archive:
        files = [m for m in archive.getmembers() if m.isfile()]
        return {m.name: archive.extractfile(m).read() for m in files}  # type: ignore[union-attr]


def _nemo(out: Path, extra: tarfile.TarInfo | None = None, mode: Any = "w", **changes: bytes) -> Path:
    """The golden archive with a further member, or other ``config`` or ``weights``."""
    names = {"./model_config.yaml": "config", "./model_weights.ckpt": "weights"}
    with tarfile.open(out, mode) as archive:
        if extra is not None:
            archive.addfile(extra, io.BytesIO(bytes(extra.size)))
        for name, data in _members().items():
            content = changes.get(names.get(name, ""), data)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


@pytest.mark.parametrize("kind", ["nemo", "zip"])
def test_a_disk_too_small_to_unfold_an_archive_on_is_said(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    if kind == "nemo":
        _nemo(path, mode="w:gz")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(GOLDEN / "megatron_v3.pt", "release/mp_rank_00/model_optim_rng.pt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match=f"model.{kind} has to be unfolded .* set TMPDIR"):
            open_folder(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (_member("../outside", size=4), "leads out of it"),
        (_member("a/../../outside", size=4), "leads out of it"),
        (_member("/tmp/outside", size=4), "leads out of it"),
        (_member("link", tarfile.SYMTYPE, "/etc/passwd"), "neither a plain file nor a folder"),
        (_member("link", tarfile.LNKTYPE, "../outside"), "neither a plain file nor a folder"),
        (_member("device", tarfile.CHRTYPE), "neither a plain file nor a folder"),
        (_member("device", tarfile.BLKTYPE), "neither a plain file nor a folder"),
        (_member("pipe", tarfile.FIFOTYPE), "neither a plain file nor a folder"),
        (_member("./model_config.yaml", size=4), "twice"),
        (_member("mp_rank_01/model_weights.ckpt", size=4), None),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_that_lead_elsewhere_are_refused(
    tmp_path: Path, member: tarfile.TarInfo, expected: str | None, mode: str
) -> None:
    (tmp_path / "in").mkdir()
    path = _nemo(tmp_path / "in" / "a.nemo", member, mode)
    if expected is None:
        open_folder(path)
    else:
        with pytest.raises(CheckpointError, match=expected):
            open_folder(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.nemo"]


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE]
)
def test_a_header_that_claims_100_gigabytes_is_refused(tmp_path: Path, kind: bytes) -> None:
    header = _member("./model_weights.ckpt", kind, size=100 << 30).tobuf(tarfile.GNU_FORMAT)
    for data in (header, gzip.compress(header, 1)):
        path = tmp_path / "a.nemo"
        path.write_bytes(data + bytes(2048))
        with pytest.raises(CheckpointError, match=r"a\.nemo"):
            open_folder(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [10**15, 10**30, -5])
def test_a_further_header_with_a_size_that_cannot_be_is_refused_at_once(tmp_path: Path, size: int) -> None:
    """tarfile would go through 10**15 bytes that are not there in steps of ten thousand."""
    info = tarfile.TarInfo("other")
    info.pax_headers = {"size": str(size)}
    path = tmp_path / "a.nemo"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
        for name, data in _members().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(CheckpointError, match=r"unfolds to over 20 times its size|no whole tar archive"):
        open_folder(path)


def test_a_gzip_bomb_is_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "a.nemo"
    zeros = bytes(1 << 20)
    with gzip.open(path, "wb", 1) as file:
        file.write(_member("./model_weights.ckpt", size=8 << 30).tobuf(tarfile.GNU_FORMAT))
        for _ in range(150):
            file.write(zeros)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="over 20 times its size"):
        open_folder(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # KiB


_LAUGHS = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (_LAUGHS, "aliases or too many levels"),
        ("a: &a\n  b: *a\n", "aliases"),
        ("a: " + "[" * 5000, "too many levels"),
        ('{"a": ' * 100_000, "cannot be read as a configuration"),
        ("a: " + "x" * (1 << 20), "a configuration has at most"),
        ("a: !!python/object/apply:os.system ['true']", "cannot be read as a configuration"),
        ("a: 2026-99-99", "cannot be read as a configuration"),
        ("a: " + "9" * 5000, "cannot be read as a configuration"),
        ("- 1", "no mapping"),
        ("\xff\x00", "cannot be read as a configuration"),
        ("language_model: {config: {auto_map: {AutoModel: x--y.Z}}}", r"code of its own \(auto_map\)"),
        ("language_model: {trust_remote_code: true}", r"code of its own \(trust_remote_code\)"),
    ],
    ids=range(12),
)
def test_configurations_that_unfold_or_ask_for_code_are_refused(
    tmp_path: Path, config: str, expected: str
) -> None:
    path = _nemo(tmp_path / "a.nemo", config=config.encode("latin-1"))
    with pytest.raises(CheckpointError, match=expected):
        open_folder(path)


class _Evil:
    target = ""

    def __reduce__(self) -> Any:
        return os.mkdir, (_Evil.target,)


def _saved(value: object, zipped: bool = True) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def _compressed(data: bytes) -> bytes:
    """A file of PyTorch with its records deflated."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


def _cycle() -> dict[str, Any]:
    tree: dict[str, Any] = {"a": torch.zeros(1)}
    tree["b"] = tree
    return tree


def _wide() -> dict[str, Any]:
    node: dict[str, Any] = {"w": torch.zeros(1)}
    for _ in range(10):
        node = {str(i): node for i in range(10)}
    return node


@pytest.mark.parametrize("suffix", [".nemo", ".pt"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            lambda: _saved({"a": _Evil()}),
            "asks for posix.mkdir, which is code and no weights; it was not run",
        ),
        (lambda: _saved({"a": _Evil()}, zipped=False), "asks for posix.mkdir"),
        (lambda: pickle.dumps({"a": _Evil()}, 2), "cannot be read as weights"),
        (lambda: _compressed(_saved({"a": torch.zeros(1000)})), "compressed records"),
        (lambda: _saved({"a": torch.zeros(1).expand(10**12)}), "no plain tensor with every number stored"),
        (lambda: _saved({"a": torch.eye(3).to_sparse()}), "no plain tensor"),
        (lambda: _saved({"a": torch.zeros(3, device="meta")}), "no plain tensor"),
        (lambda: _saved(_cycle()), "more names, or deeper ones"),
        (lambda: _saved(_wide()), "more names, or deeper ones|repeats what other names hold"),
        (lambda: _saved([torch.zeros(1)]), "holds a list"),
        (lambda: _saved({}), "no BERT|no matrix"),
        (lambda: b"", "cannot be read as weights"),
    ],
    ids=range(12),
)
def test_weights_that_are_none_are_refused_and_not_run(
    tmp_path: Path, suffix: str, content: Callable[[], bytes], expected: str
) -> None:
    _Evil.target = str(tmp_path / "was here")
    path = tmp_path / f"a{suffix}"
    if suffix == ".nemo":
        _nemo(path, weights=content())
    else:
        path.write_bytes(content())
    shutil.copy(GOLDEN / "vocab.txt", tmp_path)
    with pytest.raises(CheckpointError, match=expected):
        open_folder(path)
    assert not Path(_Evil.target).exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: _compressed(_saved({"a": torch.zeros(1000)})), "compressed records"),
        (lambda: _saved({"a": torch.zeros(1).expand(10**12)}), "no plain tensor"),
        (lambda: _saved({"a": _Evil()}), "asks for posix.mkdir"),
    ],
    ids=range(3),
)
def test_a_folder_of_hugging_face_is_held_to_the_same_rules(
    tmp_path: Path, content: Callable[[], bytes], expected: str
) -> None:
    _Evil.target = str(tmp_path / "was here")
    (tmp_path / "pytorch_model.bin").write_bytes(content())
    with pytest.raises(CheckpointError, match=expected):
        dict(read_tensors(tmp_path))
    assert not Path(_Evil.target).exists()


def test_a_zip_bomb_of_megatrons_is_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("release/mp_rank_00/model_optim_rng.pt", bytes(100 << 20))
    with pytest.raises(CheckpointError, match="over 20 times its size"):
        open_folder(path)


def test_configurations_beside_a_file_are_held_to_the_same_rules(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "megatron_v2.pt", tmp_path / "a.pt")
    shutil.copy(GOLDEN / "vocab.txt", tmp_path)
    for content in (
        json.dumps({"auto_map": {"AutoModel": "code.py"}}),
        "[1]",
        "{",
        yaml.safe_dump({"a": [1]}) + "&",
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            open_folder(tmp_path / "a.pt")
