"""Checkpoints brought into a folder, and files by address: whole, checked, recorded, and once."""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from multibench.checkpoints import find
from multibench.checkpoints.download import urls
from multibench.checkpoints.download.bring import RECORD, bring, bring_archive, read_record
from multibench.checkpoints.download.locate import fetch, find_local, local_checkpoint
from multibench.checkpoints.download.urls import address_of, download_url
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.huggingface import weights_digest
from multibench.errors import CheckpointError, StorageError, UnavailableError
from tests.support.hub import Hub
from tests.support.tiny import make_checkpoint

NAME = "google/multiberts-seed_1-step_300k"
STEP = find(NAME)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "made")


@pytest.fixture
def archive(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(urls, "_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(urls, "_PAUSE_SECONDS", 0.01)
    hub.archives.files["bert.zip"] = bytes(range(256)) * 4000
    return f"{hub.endpoint}/archives/bert.zip"


def test_a_checkpoint_is_brought_whole_with_a_record_of_where_it_is_from(
    hub: Hub, made: Path, tmp_path: Path
) -> None:
    repository = hub.add(NAME, made)
    out = tmp_path / "out"
    folder = bring(STEP, out)
    assert folder == out / NAME == find_local(STEP, out)
    assert weights_digest(folder) == weights_digest(made)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        RECORD,
        "vocab.txt",
    ]
    record = read_record(folder)
    assert record is not None
    assert record["checkpoint"] == NAME
    assert (record["source"]["location"], record["source"]["revision"]) == (NAME, repository.commit)
    content = (made / "model.safetensors").read_bytes()
    assert record["files"]["model.safetensors"] == {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    # One copy: nothing stays in the client's cache, and nothing is fetched twice.
    assert not (tmp_path / "hub cache").exists()
    assert not list(out.rglob("blobs"))
    assert bring(STEP, out) == folder
    assert hub.bytes_sent_for("model.safetensors") == 1


def test_what_the_clients_cache_holds_is_taken_from_there_without_a_second_copy(
    hub: Hub, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.add(NAME, made)
    cached = fetch(STEP)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = bring(STEP, tmp_path / "out")
    assert folder is not None
    weights = folder / "model.safetensors"
    assert weights.samefile(cached / "model.safetensors")
    assert not weights.is_symlink()
    record = read_record(folder)
    assert record is not None
    assert record["source"]["revision"] == repository.commit
    again = bring(STEP, tmp_path / "further", root=tmp_path / "out")
    assert again is not None
    assert read_record(again) == record


def test_a_folder_of_ones_own_is_copied(made: Path, tmp_path: Path) -> None:
    (made / "notes.txt").write_text("not wanted")
    own = local_checkpoint("made", tmp_path, None, None, None)
    folder = bring(own, tmp_path / "out", tmp_path)
    assert folder == tmp_path / "out/made"
    assert not (folder / "notes.txt").exists()
    assert not (folder / "model.safetensors").samefile(made / "model.safetensors")
    with pytest.raises(CheckpointError, match="lies outside of"):
        bring(replace(own, id="../made"), tmp_path / "out", tmp_path)
    assert bring(replace(own, id=str(made)), tmp_path / "out", tmp_path) == made


def test_nothing_appears_before_it_is_whole(hub: Hub, made: Path, tmp_path: Path) -> None:
    hub.add(NAME, made, fault="wrong", on="model.safetensors")
    with pytest.raises(UnavailableError, match="arrived damaged twice"):
        bring(STEP, tmp_path / "out")
    assert not (tmp_path / "out/google").exists()
    hub.repositories[NAME].fault = None
    assert bring(STEP, tmp_path / "out") is not None


def test_what_comes_with_the_package_needs_no_bringing(tmp_path: Path) -> None:
    builtin = replace(STEP, sources=(replace(STEP.sources[0], kind="builtin"),))
    assert bring(builtin, tmp_path / "out") is None
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match=r"could not be stored in .*out: .*give another folder"):
        bring(local_checkpoint("made", tmp_path, None, None, None), tmp_path / "out", tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"source": {}, "files": {"a": {}}}', '{"source": {}, "files": []}', '{"files": {}}']
)
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_record(tmp_path)


@pytest.mark.parametrize("fault", [None, "503", "truncated", "stalled", "wrong"])
def test_a_file_by_address_arrives_whole(hub: Hub, archive: str, tmp_path: Path, fault: str | None) -> None:
    hub.archives.fault, hub.archives.times = fault, 3
    path = download_url(archive, tmp_path)
    assert path == tmp_path / "bert.zip"
    assert path.read_bytes() == hub.archives.files["bert.zip"]
    assert [p.name for p in tmp_path.iterdir()] == ["bert.zip"]


def test_a_file_by_address_goes_on_where_it_broke_off(
    hub: Hub, archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.archives.fault = "truncated"

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(urls.time, "sleep", stop)
        with pytest.raises(KeyboardInterrupt):
            download_url(archive, tmp_path)
    (part,) = tmp_path.glob(".bert.zip.*.part")
    half = part.stat().st_size
    assert half == len(hub.archives.files["bert.zip"]) // 2
    hub.archives.fault = None
    download_url(archive, tmp_path)
    # Another version of the file is begun anew.
    hub.archives.files["bert.zip"] = b"other" * 1000
    assert download_url(archive, tmp_path).read_bytes() == b"other" * 1000


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("503", "HTTP status 503"),
        ("stalled", "timed out"),
        ("forbidden", "HTTP status 403"),
        ("wrong", "MD5"),
    ],
)
def test_a_file_by_address_that_cannot_be_had_is_a_sentence(
    hub: Hub, archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str
) -> None:
    monkeypatch.setattr(urls, "_ATTEMPTS", 2)
    # Not one byte more arrives after the first piece.
    hub.archives.files["bert.zip"] = b"x"
    hub.archives.fault = fault
    with pytest.raises(UnavailableError, match=reason) as caught:
        download_url(archive, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bert.zip").exists()


def test_a_file_that_always_arrives_damaged_in_pieces_is_given_up_on(
    hub: Hub, archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter(range(1000))
    monkeypatch.setattr(type(hub.archives), "fails", lambda *_: ["wrong", "truncated"][next(turns) // 2 % 2])
    with pytest.raises(UnavailableError, match="MD5"):
        download_url(archive, tmp_path)
    assert next(turns) < 60


def test_a_disk_that_fills_up_is_a_sentence(
    hub: Hub, archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(urls, "_continue", full)
    checkpoint = replace(STEP, sources=(replace(STEP.sources[1], location=archive),))
    with pytest.raises(StorageError, match=r"No space left on device\. Make room"):
        bring(checkpoint, tmp_path)


def test_a_missing_address_is_said_at_once(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="HTTP status 404"):
        download_url(f"{hub.endpoint}/archives/nothing.zip", tmp_path)


def test_an_archive_is_brought_as_it_is(hub: Hub, archive: str, tmp_path: Path) -> None:
    source = replace(STEP.sources[1], location=archive)
    checkpoint = replace(STEP, sources=(source,))
    path = bring_archive(checkpoint, tmp_path, "tf_zip")
    assert path == tmp_path / NAME / "bert.zip"
    record = read_record(path.parent)
    assert record is not None
    assert record["source"]["location"] == archive
    assert bring_archive(checkpoint, tmp_path, "tf_zip") == path
    with pytest.raises(UnavailableError, match="has no source of the kind 'ngc'; it has tf_zip"):
        bring_archive(checkpoint, tmp_path, "ngc")


def test_addresses_on_ngc_follow_nemos_rule() -> None:
    # As in NVIDIA/NeMo v1.0.0, nemo/collections/nlp/models.
    (source,) = find("nvidia/nemo/qa_squadv1_1_bertbase").sources
    assert address_of(source) == (
        "https://api.ngc.nvidia.com/v2/models/nvidia/nemo/qa_squadv1_1_bertbase/versions/1.0.0rc1/files/"
        "qa_squadv1.1_bertbase.nemo"
    )


def test_without_an_address_the_message_says_how_to_get_it_by_hand(tmp_path: Path) -> None:
    unknown = find("nvidia/bert_pyt_ckpt_base_qa_squad11_amp")
    with pytest.raises(
        UnavailableError, match=r"ngc registry model download-version nvidia/bert_pyt.*put them"
    ):
        bring_archive(unknown, tmp_path, "ngc")


GOLDEN = Path(__file__).parents[2] / "golden"


def test_a_folder_of_another_format_is_copied_with_all_its_files(tmp_path: Path) -> None:
    own = local_checkpoint("plain", GOLDEN / "tensorflow", None, None, None)
    folder = bring(own, tmp_path, GOLDEN / "tensorflow")
    assert folder == tmp_path / "plain"
    assert open_folder(folder).content == open_folder(GOLDEN / "tensorflow/plain").content


def test_a_file_of_another_format_is_copied_with_what_is_beside_it(tmp_path: Path) -> None:
    own = local_checkpoint("nvidia/megatron_v3.pt", GOLDEN, None, None, None)
    folder = bring(own, tmp_path, GOLDEN)
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == ["megatron_v3.pt", RECORD, "vocab.txt"]
    carried = local_checkpoint("nvidia/megatron_v3.pt", tmp_path, None, None, None)
    found = find_local(carried, tmp_path)
    assert found is not None
    assert open_folder(found).content == open_folder(GOLDEN / "nvidia/megatron_v3.pt").content


def test_the_archive_of_a_tensorflow_checkpoint_is_a_checkpoint(
    hub: Hub, archive: str, tmp_path: Path
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted((GOLDEN / "tensorflow/plain").iterdir()):
            file.write(path, f"bert/{path.name}")
    hub.archives.files["bert.zip"] = packed.getvalue()
    checkpoint = replace(STEP, sources=(replace(STEP.sources[1], location=archive),))
    folder = bring(checkpoint, tmp_path)
    assert folder == tmp_path / NAME == find_local(checkpoint, tmp_path)
    assert [path.name for path in folder.iterdir() if path.name != RECORD] == ["bert.zip"]
    assert open_folder(folder).weights_sha256() == open_folder(GOLDEN / "tensorflow/plain").weights_sha256()
