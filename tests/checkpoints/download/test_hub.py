"""The real client of the Hub against a Hub on this machine, which misbehaves on purpose."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from multibench.checkpoints import find
from multibench.checkpoints.download.locate import fetch, find_local
from multibench.checkpoints.formats.huggingface import weights_digest
from multibench.errors import StorageError, UnavailableError
from tests.support.hub import Hub, Repository
from tests.support.tiny import make_checkpoint

NAME = "google/multiberts-seed_0-step_20k"
STEP = find(NAME)
WEIGHTS = "model.safetensors"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "made")


def test_a_checkpoint_is_fetched_once_and_found_offline_afterwards(
    hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made / "tf_model.h5").write_bytes(b"not wanted")
    repository = hub.add(NAME, made)
    folder = fetch(STEP)
    assert folder.name == repository.commit
    assert weights_digest(folder) == weights_digest(made)
    assert not (folder / "tf_model.h5").exists()
    assert fetch(STEP) == folder == find_local(STEP)
    assert hub.bytes_sent_for(WEIGHTS) == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.repositories.clear()
    assert fetch(STEP) == folder


@pytest.mark.parametrize(
    ("fault", "on"),
    [("503", None), ("503", WEIGHTS), ("truncated", WEIGHTS), ("wrong", WEIGHTS), ("wrong", "vocab.txt")],
)
def test_what_passes_is_waited_out(hub: Hub, made: Path, fault: str, on: str | None) -> None:
    hub.add(NAME, made, fault=fault, on=on, times=1)
    folder = fetch(STEP)
    assert weights_digest(folder) == weights_digest(made)
    assert (folder / "vocab.txt").read_bytes() == (made / "vocab.txt").read_bytes()


@pytest.mark.parametrize(
    ("fault", "on", "reason"),
    [
        ("503", None, "the Hub answered with HTTP status 503"),
        ("wrong", WEIGHTS, "model.safetensors arrived damaged twice"),
        ("wrong", "vocab.txt", "vocab.txt arrived damaged twice"),
        ("gated", None, "the repository is gated: accept its terms on its page"),
        ("forbidden", None, "the Hub answered with HTTP status 403: access is refused; log in"),
    ],
)
def test_what_does_not_pass_is_a_sentence(
    hub: Hub, made: Path, fault: str, on: str | None, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, made, fault=fault, on=on)
    started = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        fetch(STEP)
    assert time.monotonic() - started < 10
    assert str(caught.value).startswith(f"{NAME} could not be fetched ({NAME}: {reason}")
    assert "no such repository, or shows it only to those who log in" in str(caught.value)  # the mirror
    assert str(caught.value).endswith("and give --checkpoints DIR.")
    assert "\n" not in str(caught.value)
    assert find_local(STEP) is None
    assert capfd.readouterr().err == ""


def test_a_mirror_is_asked_when_the_first_source_has_nothing(hub: Hub, made: Path) -> None:
    hub.add("MultiBertGunjanPatrick/multiberts-seed-0-20k", made)
    assert weights_digest(fetch(STEP)) == weights_digest(made)


def test_a_repository_that_moved_is_followed(hub: Hub, made: Path) -> None:
    hub.moved[NAME] = "google-bert/moved"
    hub.add("google-bert/moved", made)
    assert weights_digest(fetch(STEP)) == weights_digest(made)


def test_large_files_on_another_host_arrive_checked(hub: Hub, made: Path) -> None:
    hub.apart = True
    repository = hub.add(NAME, made)
    assert weights_digest(fetch(STEP)) == weights_digest(made)
    assert hub.bytes_sent_for(WEIGHTS) == 1
    hub.repositories.clear()
    other = find("google/multiberts-seed_0-step_40k")
    hub.repositories[other.id] = repository
    repository.fault, repository.on = "wrong", WEIGHTS
    with pytest.raises(UnavailableError, match="arrived damaged twice"):
        fetch(other)


def test_pickles_will_do_and_a_repository_without_weights_will_not(hub: Hub, made: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = load_file(made / WEIGHTS)
    (made / WEIGHTS).unlink()
    hub.add(NAME, made)
    with pytest.raises(UnavailableError, match="holds no PyTorch weights"):
        fetch(STEP)
    torch.save(weights, made / "pytorch_model.bin")
    hub.add(NAME, made)
    assert weights_digest(fetch(STEP)) == weights_digest(made)


def test_a_file_of_the_cache_that_was_damaged_later_is_fetched_again(hub: Hub, made: Path) -> None:
    hub.add(NAME, made)
    blob = (fetch(STEP) / WEIGHTS).resolve()
    time.sleep(0.02)  # a tick of the clock by which older kernels stamp files
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    assert find_local(STEP) is None
    assert weights_digest(fetch(STEP)) == weights_digest(made)


def test_a_download_that_was_cut_short_is_not_taken_but_completed(hub: Hub, made: Path) -> None:
    hub.add(NAME, made)
    (made / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    hub.add(NAME, made, fault="forbidden", on="tokenizer_config.json")
    with pytest.raises(UnavailableError):
        fetch(STEP)
    assert find_local(STEP) is None
    repository = hub.repositories[NAME]
    repository.fault = None
    before = hub.bytes_sent_for(WEIGHTS)
    assert (fetch(STEP) / "tokenizer_config.json").is_file()
    assert hub.bytes_sent_for(WEIGHTS) <= before + 1


def test_a_full_disk_is_known_before_the_download(
    hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    hub.add(NAME, made)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(
        StorageError, match=r"0\.00 GB more are needed at .*hub cache, where 0.00 GB are free"
    ):
        fetch(STEP)
    assert hub.bytes_sent_for(WEIGHTS) == 0


def test_a_hub_that_is_gone_is_known_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="the Hugging Face Hub cannot be reached"):
        fetch(STEP)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "on", "reason"),
    [
        ("stalled", None, "the Hub stopped answering"),
        ("stalled", WEIGHTS, "the Hub stopped answering"),
        ("503", WEIGHTS, "the Hub answered with HTTP status 503"),
    ],
)
def test_silence_ends(
    hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, fault: str, on: str | None, reason: str
) -> None:
    from multibench.checkpoints.download import hub as module

    monkeypatch.setattr(module, "_ANSWER_SECONDS", 1)
    hub.add(NAME, made, fault=fault, on=on)
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=reason):
        fetch(STEP)
    assert time.monotonic() - started < 100


def test_the_hashes_of_the_small_hub_are_those_of_git() -> None:
    # `printf 'hello\n' | git hash-object --stdin`
    assert Repository({"x": b"hello\n"}).digest("x") == "ce013625030ba8dba906f756967f9e9ca394464a"
