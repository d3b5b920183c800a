"""The folder's own tokenizer: what its files say is honoured, as transformers does, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from multibench.checkpoints.agreement import Agreement, agreement, probe_texts
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.saved import read_vocabulary
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.checkpoints.verify import verify_checkpoints
from multibench.errors import CheckpointError
from tests.support.tiny import VOCABULARY, make_checkpoint, write_vocabulary

COUNT = len(VOCABULARY)
PLAIN = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}


def _folder(tmp_path: Path, room: int = 4) -> Path:
    return make_checkpoint(tmp_path / "one", vocab_size=COUNT + room, weights={})


def _write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content), "utf-8")


def _config(folder: Path, **settings: object) -> None:
    _write(folder, "tokenizer_config.json", {"do_lower_case": True, **settings})


def _tokenizer(change: Callable[[Tokenizer], object] | None = None, lower: bool = True) -> Tokenizer:
    made = Vocabulary(tuple(VOCABULARY), lower).tokenizer()
    if change is not None:
        change(made)
    return made


def _token(content: str, **flags: bool) -> dict[str, object]:
    return {"content": content, **PLAIN, **flags}


def _agrees(folder: Path) -> None:
    found = agreement(open_folder(folder))
    assert isinstance(found, Agreement)
    assert found.first is None, found.sentence()
    assert found.texts == 1000


ADDED: dict[str, dict[str, object]] = {
    "a special one": _token("[ENT]"),
    "an ordinary one, looked for in the normalised text": _token("Ba-De", special=False, normalized=True),
    "one that takes the spaces before it": _token("<x>", lstrip=True),
    "one that takes the spaces behind it": _token("<x>", rstrip=True, special=False),
    "a whole word only": _token("lamo", single_word=True, special=False),
}


@pytest.mark.parametrize("token", ADDED.values(), ids=ADDED)
def test_a_token_of_the_decoder_is_one_token(tmp_path: Path, token: dict[str, object]) -> None:
    folder = _folder(tmp_path)
    _config(folder, added_tokens_decoder={str(COUNT): token})
    _agrees(folder)
    tokenizer = open_folder(folder).vocabulary.tokenizer()
    assert COUNT in tokenizer.encode(f"good {token['content']} bad").ids


def test_tokens_of_older_folders_are_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _config(folder, additional_special_tokens=["[E]"])
    _write(folder, "added_tokens.json", {"[E]": COUNT, "plain": COUNT + 1})
    _write(
        folder,
        "special_tokens_map.json",
        {"cls_token": "[CLS]", "mask_token": {**_token("[MASK]", lstrip=True)}},
    )
    _agrees(folder)
    assert [(t.content, t.number, t.special) for t in open_folder(folder).vocabulary.added] == [
        ("[MASK]", 4, True),
        ("[E]", COUNT, True),
        ("plain", COUNT + 1, False),
    ]


@pytest.mark.parametrize(
    "special_map",
    [
        {"additional_special_tokens": ["[E]"]},
        {"extra_special_tokens": ["[E]"]},
        {"bos_token": "[E]"},
    ],
)
@pytest.mark.parametrize("legacy", [{}, {"[E]": COUNT}])
def test_a_map_of_special_tokens_is_read(
    tmp_path: Path, special_map: dict[str, object], legacy: dict[str, int]
) -> None:
    folder = _folder(tmp_path)
    _config(folder)
    _write(folder, "special_tokens_map.json", special_map)
    _write(folder, "added_tokens.json", legacy)
    _agrees(folder)


@pytest.mark.parametrize("key", ["additional_special_tokens", "extra_special_tokens"])
def test_lists_and_names_of_further_tokens_are_read(tmp_path: Path, key: str) -> None:
    folder = _folder(tmp_path)
    _config(folder, **{key: ["[E]", "[/E]"], "mask_token": "[MASK]"})
    _agrees(folder)
    assert [t.number for t in open_folder(folder).vocabulary.added] == [COUNT, COUNT + 1]


def test_a_mask_that_takes_the_spaces_before_it_is_honoured(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _config(folder, added_tokens_decoder={"4": _token("[MASK]", lstrip=True)})
    _agrees(folder)
    assert open_folder(folder).vocabulary.added


def test_a_plain_folder_stays_what_it_was(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    before = open_folder(folder).vocabulary
    _config(
        folder, added_tokens_decoder={str(i): _token(VOCABULARY[i]) for i in range(5)}, mask_token="[MASK]"
    )
    _tokenizer().save(str(folder / "tokenizer.json"))
    _agrees(folder)
    assert open_folder(folder).vocabulary == before
    assert open_folder(folder).vocabulary.digest == before.digest


WHOLE: dict[str, Callable[[Tokenizer], object]] = {
    "as BERT's": lambda t: None,
    "another normaliser": lambda t: setattr(
        t, "normalizer", normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    ),
    "no normaliser": lambda t: setattr(t, "normalizer", None),
    "another splitter": lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.WhitespaceSplit()),
    "short words only": lambda t: setattr(t.model, "max_input_chars_per_word", 6),
    "added tokens": lambda t: t.add_tokens(["lamo", AddedToken("[E]", special=True)]),
    "truncation": lambda t: t.enable_truncation(5),
    "padding": lambda t: t.enable_padding(length=9),
}


@pytest.mark.parametrize("change", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("with_vocab", [True, False])
def test_a_saved_tokenizer_is_taken_whole_where_its_class_says_so(
    tmp_path: Path, change: Callable[[Tokenizer], object], with_vocab: bool
) -> None:
    folder = _folder(tmp_path)
    _config(folder, tokenizer_class="PreTrainedTokenizerFast")
    _tokenizer(change).save(str(folder / "tokenizer.json"))
    if not with_vocab:
        (folder / "vocab.txt").unlink()
    _agrees(folder)


def test_what_is_bert_s_in_other_words_has_its_digest(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    plain = open_folder(folder).vocabulary
    _config(folder, tokenizer_class="PreTrainedTokenizerFast")
    _tokenizer().save(str(folder / "tokenizer.json"))
    assert open_folder(folder).vocabulary.digest == plain.digest
    _tokenizer(WHOLE["another splitter"]).save(str(folder / "tokenizer.json"))
    other = open_folder(folder).vocabulary
    assert other.digest != plain.digest
    _tokenizer(WHOLE["another normaliser"]).save(str(folder / "tokenizer.json"))
    assert open_folder(folder).vocabulary.digest not in {plain.digest, other.digest}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (WHOLE["another normaliser"], "normalizer Sequence"),
        (WHOLE["no normaliser"], "normalizer null"),
        (WHOLE["another splitter"], "pre_tokenizer WhitespaceSplit"),
        (WHOLE["short words only"], "max_input_chars_per_word '6'"),
        (
            lambda t: setattr(
                t, "post_processor", TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
            ),
            "post_processor TemplateProcessing",
        ),
    ],
)
def test_what_bert_s_class_would_pass_over_is_refused_by_name(
    tmp_path: Path, change: Callable[[Tokenizer], object], named: str
) -> None:
    folder = _folder(tmp_path)
    _config(folder, tokenizer_class="BertTokenizerFast")
    _tokenizer(change).save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=f"has the {named}, .* two tokenizers"):
        open_folder(folder)


def test_casing_that_the_settings_leave_open_and_the_saved_tokenizer_has_otherwise_is_refused(
    tmp_path: Path,
) -> None:
    folder = _folder(tmp_path)
    _tokenizer(lower=False).save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r'has lowercase = false, .* Say "do_lower_case"'):
        open_folder(folder)
    for lower in (True, False):
        _config(folder, do_lower_case=lower)
        _agrees(folder)
        assert open_folder(folder).vocabulary.lower_case is lower


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"tokenizer_class": "RobertaTokenizer"}, "the tokenizer class RobertaTokenizer"),
    ({"tokenizer_class": "BertJapaneseTokenizer"}, "the tokenizer class BertJapaneseTokenizer"),
    ({"auto_map": {"AutoTokenizer": ["code.Mine", None]}}, "code of its own"),
    ({"split_special_tokens": True}, "split_special_tokens"),
    ({"cls_token": "<s>"}, "names '<s>' as cls_token"),
    ({"added_tokens_decoder": {"999": _token("[E]")}}, r"'\[E\]' the id 999; .* it has"),
    ({"added_tokens_decoder": {"0": _token("good")}}, "'good' the id 0"),
    ({"added_tokens_decoder": {"x": _token("[E]")}}, "'x' as the id"),
    ({"added_tokens_decoder": [1]}, "no object of ids"),
    ({"added_tokens_decoder": {str(COUNT): {"content": ""}}}, "without a content"),
    ({"added_tokens_decoder": {str(COUNT): _token("[E]") | {"lstrip": "no"}}}, "lstrip = 'no'"),
]


@pytest.mark.parametrize(("settings", "named"), SETTINGS)
def test_settings_that_cannot_be_honoured_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    folder = _folder(tmp_path)
    _config(folder, **settings)
    with pytest.raises(CheckpointError, match=named):
        read_vocabulary(folder)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, "a BPE model"),
        ({"vocab": {"a": 0}, "merges": []}, "a BPE model"),
        ({"type": "Unigram", "vocab": [["a", -1.0]]}, "a Unigram model"),
        ({"type": "WordLevel", "vocab": {"a": 0}}, "a WordLevel model"),
    ],
)
def test_models_of_other_kinds_are_refused_by_name(tmp_path: Path, model: object, named: str) -> None:
    folder = _folder(tmp_path)
    _write(folder, "tokenizer.json", {"model": model})
    with pytest.raises(CheckpointError, match=named):
        read_vocabulary(folder)


def test_a_regular_expression_in_a_tokenizer_is_not_run(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _config(folder, tokenizer_class="PreTrainedTokenizerFast")
    pattern = Regex("(x+x+)+y")
    _tokenizer(lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Split(pattern, "isolated"))).save(
        str(folder / "tokenizer.json")
    )
    with pytest.raises(CheckpointError, match="by a regular expression, which multibench does not run"):
        open_folder(folder)


def test_tokens_that_have_no_embedding_are_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, room=1)
    _config(folder, additional_special_tokens=["[E]", "[/E]"])
    with pytest.raises(
        CheckpointError, match=f"{COUNT} WordPieces and 2 added tokens, the model {COUNT + 1} embed"
    ):
        open_folder(folder)


def test_a_token_that_only_one_of_the_files_adds_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _config(folder, added_tokens_decoder={"0": _token("[PAD]")})
    _tokenizer(WHOLE["added tokens"]).save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"adds the token '\[E\]', which added_tokens_decoder"):
        open_folder(folder)


def test_the_texts_hold_what_tokenizers_differ_about() -> None:
    texts = probe_texts(open_vocabulary())
    assert len(texts) == 1000
    assert texts == probe_texts(open_vocabulary())
    joined = "".join(texts)
    assert all(
        odd in joined for odd in ("é", "e\u0301", "中", "\u200d", "\u0000", "İ", "😀", "[MASK]", "\u3000")
    )


def open_vocabulary() -> Vocabulary:
    return Vocabulary(tuple(VOCABULARY), lower_case=True)


def test_verify_tells_ids_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "one")
    checks = {check.name: check for check in verify_checkpoints([str(folder)])[0].checks}
    assert checks["ids"].ok
    assert checks["ids"].says == "1,000 texts have the ids that transformers' BertTokenizer gives them"
    monkeypatch.setattr(Vocabulary, "tokenizer", Vocabulary(tuple(VOCABULARY), lower_case=False)._plain)
    found = verify_checkpoints([str(folder)])[0]
    assert not found.ok
    said = next(check.says for check in found.checks if check.name == "ids")
    assert "of 1,000 texts have other ids" in said


def test_a_piece_without_a_line_of_its_own_does_not_shift_the_others(tmp_path: Path) -> None:
    """White space alone, as in multilingual vocabularies, can never be a token: it is no contradiction."""
    folder = _folder(tmp_path)
    write_vocabulary(folder, [*VOCABULARY, "\u2028", "last"])
    _config(folder)
    _agrees(folder)
