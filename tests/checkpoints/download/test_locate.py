"""From a name to a folder on this machine, without touching the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multibench import network
from multibench.checkpoints import find
from multibench.checkpoints.download.locate import fetch, find_local, local_checkpoint
from multibench.errors import CheckpointError, UnavailableError
from tests.support.tiny import HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY, make_checkpoint

SEED = find("google/multiberts-seed_3")


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("name", ["google/multiberts-seed_3", "multiberts-seed_3"])
def test_a_checkpoint_is_found_by_id_below_the_folder(tmp_path: Path, name: str) -> None:
    path = make_checkpoint(tmp_path / "all" / name)
    assert find_local(SEED, tmp_path / "all") == path
    assert fetch(SEED, tmp_path / "all") == path
    assert find_local(SEED) is None
    assert find_local(find("google/multiberts-seed_4"), tmp_path / "all") is None


def test_a_checkpoint_is_found_by_another_of_its_names(tmp_path: Path) -> None:
    moved = find("google-bert/bert-base-uncased")
    assert moved.names
    path = make_checkpoint(tmp_path / moved.names[0])
    assert find_local(moved, tmp_path) == path


def test_a_download_that_did_not_finish_is_not_taken(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "multiberts-seed_3")
    (path / "model.safetensors").unlink()
    assert find_local(SEED, tmp_path) is None
    (path / "model.safetensors").symlink_to(tmp_path / "nowhere")
    assert find_local(SEED, tmp_path) is None


def test_the_hub_cache_is_looked_into(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--google--multiberts-seed_3"
    make_checkpoint(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("a" * 40)
    assert find_local(SEED) == repository / "snapshots" / ("a" * 40)


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    for root, place in ((None, "DIR"), (tmp_path, str(tmp_path))):
        with pytest.raises(UnavailableError) as caught:
            fetch(SEED, root)
        assert "cannot be reached (offline was asked for)" in str(caught.value)
        assert f"into {place}/google/multiberts-seed_3" in str(caught.value)


def test_what_is_not_on_the_hub_is_not_looked_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise AssertionError("asked for the Hub")

    monkeypatch.setattr(network, "hub_is_reachable", fail)
    elsewhere = replace(SEED, sources=tuple(replace(s, kind="ngc") for s in SEED.sources[:1]))
    with pytest.raises(UnavailableError, match="not on the Hub with its weights"):
        fetch(elsewhere, tmp_path)


def test_a_download_that_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("401 Client Error\nand a page of more")

    monkeypatch.setattr(network, "hub_is_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(UnavailableError, match="401 Client Error") as caught:
        fetch(SEED, tmp_path)
    assert "and a page of more" not in str(caught.value)


def test_a_folder_of_ones_own_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_checkpoint(tmp_path / "mine/bert")
    monkeypatch.chdir(tmp_path)
    for given, root in ((str(path), None), ("mine/bert", None), ("bert", tmp_path / "mine")):
        checkpoint = local_checkpoint(given, root, "house", 4, 100)
        assert find_local(checkpoint) == path.resolve()
        assert (checkpoint.id, checkpoint.family) == (given, "house")
        assert (checkpoint.pretraining_seed, checkpoint.step) == (4, 100)
        size = checkpoint.architecture
        assert (size.layers, size.hidden, size.intermediate) == (LAYERS, HIDDEN, INTERMEDIATE)
        assert size.vocab_size == len(VOCABULARY)
    assert local_checkpoint(str(path), None, None, None, None).family == "local"


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_parameters_of_a_folder_are_counted_from_its_architecture(tmp_path: Path, kind: Any) -> None:
    from tests.support.tiny import weights_of

    path = make_checkpoint(tmp_path / kind, kind)
    checkpoint = local_checkpoint(str(path), None, None, None, None)
    assert checkpoint.parameters == sum(value.size for value in weights_of(kind).values())


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint folder nowhere.*--checkpoints DIR"):
        local_checkpoint("nowhere", None, None, None, None)
    with pytest.raises(CheckpointError, match=f"{tmp_path}/nowhere or nowhere"):
        local_checkpoint("nowhere", tmp_path, None, None, None)
