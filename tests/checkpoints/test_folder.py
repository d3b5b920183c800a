"""Checkpoint folders: one digest for all that decides what a model computes, kept in a cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from multibench.cache import cache_folder
from multibench.checkpoints import folder as module
from multibench.checkpoints.folder import open_folder
from multibench.errors import CheckpointError
from tests.support.tiny import (
    VOCABULARY,
    make_checkpoint,
    weights_of,
    write_config,
    write_vocabulary,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIBENCH_CACHE", str(tmp_path / "cache"))


def test_equal_content_has_one_digest_wherever_it_is(tmp_path: Path) -> None:
    one, two = (make_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert open_folder(one).content == open_folder(two).content


def test_each_part_of_the_content_decides(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "plain")
    weights = weights_of("bert")
    weights["pooler.dense.bias"][0] += 1e-3
    others = [
        make_checkpoint(tmp_path / "kind", "distilbert"),
        make_checkpoint(tmp_path / "seed", seed=1),
        make_checkpoint(tmp_path / "value", weights=weights),
        make_checkpoint(tmp_path / "config", layer_norm_eps=1e-6),
        make_checkpoint(tmp_path / "dropout", hidden_dropout_prob=0.0),
    ]
    write_vocabulary(make_checkpoint(tmp_path / "pieces"), [*VOCABULARY[:-1], "new"])
    cased = make_checkpoint(tmp_path / "cased")
    (cased / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    others += [tmp_path / "pieces", cased]
    digests = {open_folder(path).content for path in [plain, *others]}
    assert len(digests) == len(others) + 1


def test_names_of_classes_do_not_decide_but_give_the_order_of_an_own_head(tmp_path: Path) -> None:
    plain = open_folder(make_checkpoint(tmp_path / "plain"))
    named = open_folder(make_checkpoint(tmp_path / "named", id2label={"0": "same", "1": " Other"}))
    assert plain.content == named.content
    assert named.class_order(["other", "same"]) == [1, 0]
    assert named.class_names == ("same", "Other")
    for folder, labels in ((plain, ["other", "same"]), (named, ["other", "different"]), (named, ["same"])):
        assert folder.class_order(labels) is None
    numbered = open_folder(make_checkpoint(tmp_path / "numbered", id2label={"1": "LABEL_1", "0": "label_0"}))
    assert numbered.class_names == ()


@pytest.mark.parametrize("keys", [["0", "7"], ["a", "b"], ["1", "2"], ["0", "00"], ["0", "0x1"], ["-1", "0"]])
def test_names_of_outputs_that_there_are_not_are_refused(tmp_path: Path, keys: list[str]) -> None:
    folder = open_folder(make_checkpoint(tmp_path / "one", id2label=dict(zip(keys, ["x", "y"], strict=True))))
    with pytest.raises(CheckpointError, match="expected the numbers of the outputs, 0 to 1"):
        folder.class_order(["x", "y"])


def test_the_digest_of_weights_is_kept_and_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_checkpoint(tmp_path / "one")
    digest = open_folder(path).content
    assert len(list((cache_folder() / "digests").iterdir())) == 1

    def fail(_: Path) -> str:
        raise AssertionError("the weights were read again")

    monkeypatch.setattr(module, "weights_digest", fail)
    assert open_folder(path).content == digest


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "one")
    before = open_folder(path).content
    old = (path / "model.safetensors").stat()
    make_checkpoint(path, seed=1)
    os.utime(path / "model.safetensors", ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert (path / "model.safetensors").stat().st_size == old.st_size
    assert open_folder(path).content != before


@pytest.mark.parametrize("rubbish", [b"", b"\xff\xfe", b"short", b"z" * 64])
def test_a_damaged_cache_is_no_digest(tmp_path: Path, rubbish: bytes) -> None:
    path = make_checkpoint(tmp_path / "one")
    digest = open_folder(path).content
    (entry,) = (cache_folder() / "digests").iterdir()
    entry.write_bytes(rubbish)
    assert open_folder(path).content == digest


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTIBENCH_CACHE", str(tmp_path / "file"))
    assert len(open_folder(make_checkpoint(tmp_path / "one")).content) == 64


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTIBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/multibench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/multibench"


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "one")
    write_vocabulary(path, [*VOCABULARY, "one", "more"])
    with pytest.raises(CheckpointError, match="WordPieces, the model"):
        open_folder(path)


def test_a_vocabulary_smaller_than_the_model_is_padding(tmp_path: Path) -> None:
    weights = weights_of("bert")
    words = weights["embeddings.word_embeddings.weight"]
    weights["embeddings.word_embeddings.weight"] = np.concatenate([words, np.zeros_like(words[:3])])
    path = make_checkpoint(tmp_path / "one", weights=weights, vocab_size=len(VOCABULARY) + 3)
    assert open_folder(path).config["vocab_size"] == len(VOCABULARY) + 3


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("config.json", r"holds no config\.json"),
        ("vocab.txt", "holds no vocabulary"),
        ("model.safetensors", "holds no weights"),
        (".", "There is no checkpoint folder"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str, expected: str) -> None:
    path = make_checkpoint(tmp_path / "one")
    if missing == ".":
        path = tmp_path / "two"
    else:
        (path / missing).unlink()
    with pytest.raises(CheckpointError, match=expected):
        open_folder(path)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "one")
    write_config(path, "bert", {"model_type": "gpt2"})
    with pytest.raises(CheckpointError, match="architecture 'gpt2'"):
        open_folder(path)
