"""Vocabularies: from vocab.txt or a saved tokenizer, with the casing that belongs to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multibench.checkpoints.formats.saved import read_vocabulary
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.errors import CheckpointError
from tests.support.tiny import VOCABULARY, write_vocabulary


def _saved(folder: Path, **normalizer: object) -> None:
    ids = {piece: i for i, piece in enumerate(VOCABULARY)}
    content = {"model": {"type": "WordPiece", "vocab": ids}, "normalizer": normalizer or None}
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")


def test_the_line_is_the_id(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.pieces == tuple(VOCABULARY)
    assert len(vocabulary) == len(VOCABULARY)
    assert vocabulary.id_of("[SEP]") == 3
    assert vocabulary.lower_case


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_change_nothing(tmp_path: Path, end: str, last: bool) -> None:
    text = end.join(VOCABULARY) + (end if last else "")
    (tmp_path / "vocab.txt").write_bytes(text.encode())
    assert read_vocabulary(tmp_path).pieces == tuple(VOCABULARY)


def test_a_separator_that_python_takes_for_a_line_end_is_a_piece(tmp_path: Path) -> None:
    pieces = [*VOCABULARY, "\u2028", "\x85", "last"]  # BERT's multilingual vocabularies have such
    (tmp_path / "vocab.txt").write_bytes("\n".join(pieces).encode())
    assert read_vocabulary(tmp_path).pieces == tuple(pieces)


def test_a_saved_tokenizer_is_as_good(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    plain = read_vocabulary(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    _saved(tmp_path, lowercase=True, strip_accents=None, handle_chinese_chars=True)
    assert read_vocabulary(tmp_path) == plain
    assert read_vocabulary(tmp_path).digest == plain.digest


@pytest.mark.parametrize(
    ("settings", "normalizer", "cased", "lower"),
    [
        (None, None, None, True),
        (None, None, True, False),
        ({"do_lower_case": False}, None, None, False),
        ({"do_lower_case": False}, {"lowercase": True}, None, False),
        (None, {"lowercase": False}, True, False),
        ({"do_lower_case": True}, None, False, True),
    ],
)
def test_casing_comes_from_the_files_before_the_catalogue(
    tmp_path: Path,
    settings: dict[str, object] | None,
    normalizer: dict[str, object] | None,
    cased: bool | None,
    lower: bool,
) -> None:
    write_vocabulary(tmp_path)
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    if normalizer is not None:
        _saved(tmp_path, **normalizer)
    assert read_vocabulary(tmp_path, cased).lower_case == lower


@pytest.mark.parametrize("cased", [True, False])
def test_casing_against_the_catalogue_is_refused(tmp_path: Path, cased: bool) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": cased}))
    with pytest.raises(CheckpointError, match=f"lists the checkpoint as {'cased' if cased else 'uncased'}"):
        read_vocabulary(tmp_path, cased)


def test_the_digest_is_of_pieces_and_settings() -> None:
    pieces = tuple(VOCABULARY)
    all_ = [
        Vocabulary(pieces, True),
        Vocabulary(pieces, False),
        Vocabulary(pieces, True, strip_accents=False),
        Vocabulary(pieces, True, split_chinese=False),
        Vocabulary(pieces[::-1], True),
    ]
    assert len({vocabulary.digest for vocabulary in all_}) == len(all_)


@pytest.mark.parametrize("piece", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path, piece: str) -> None:
    write_vocabulary(tmp_path, [p for p in VOCABULARY if p != piece])
    with pytest.raises(CheckpointError, match=rf"lacks \[{piece[1:-1]}\]"):
        read_vocabulary(tmp_path)


def test_no_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither vocab\.txt nor"):
        read_vocabulary(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="lacks"):
        read_vocabulary(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\n")
    with pytest.raises(CheckpointError, match="UTF-8"):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"model": {"vocab": {"a": 0, "b": 2}}}',
        '{"model": {"vocab": {"a": 0, "b": 0}}}',
        '{"model": {"vocab": {"a": 0, "b": "1"}}}',
        '{"model": {"vocab": [["a", -1.5]]}}',
        '{"model": 3}',
        '{"model": {"vocab": {}}}',
    ],
)
def test_a_saved_tokenizer_without_wordpieces_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize("content", ['{"normalizer": "lower"}', '{"normalizer": []}', "[]"])
def test_a_saved_tokenizer_of_another_form_is_no_obstacle(tmp_path: Path, content: str) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    assert read_vocabulary(tmp_path).pieces == tuple(VOCABULARY)


@pytest.mark.parametrize("name", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
@pytest.mark.parametrize("value", ["false", 0, [], {"a": 1}])
def test_settings_that_are_neither_true_nor_false_are_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    """``bool("false")`` is true: a vocabulary would silently be used with the wrong casing."""
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({name: value}))
    with pytest.raises(CheckpointError, match=f"has {name} = .*; expected true or false"):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "ids", [[0, 1.0, 2, 3], [0, True, 2, 3], [0, [1], 2, 3], [0, "1", 2, 3], [0, 0, 1, 2]]
)
def test_ids_that_are_none_are_refused(tmp_path: Path, ids: list[object]) -> None:
    vocabulary = dict(zip(VOCABULARY, ids, strict=False))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    with pytest.raises(CheckpointError, match="do not run from 0 without gaps"):
        read_vocabulary(tmp_path)
