"""Token ids: those of transformers' BertTokenizer, cut and laid out as BERT expects."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from multibench.checkpoints.formats.saved import read_vocabulary
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.errors import CheckpointError
from multibench.tasks import DataSources, Examples, find_task, load_split
from multibench.tasks.encode import Encoded, encode
from tests.support.tiny import GOOD, PLAIN, VOCABULARY, write_vocabulary

ODD = [
    "Hello, World!",
    "naïve café Ångström É e\u0301",
    "日本語 and 中文 mixed混ざる",
    "tabs\tand\nnewlines\r\n and  spaces",
    "zero\u200bwidth \u00a0 nbsp \u2028 line",
    "control \x00\x01\x7f chars \ufffd",
    "don't can't 'quotes' \"double\" — dash… ¿qué?",
    "[CLS] [SEP] [MASK] [UNK] [PAD] [unused1]",
    "emoji \U0001f600\U0001f468\u200d\U0001f469 flag \U0001f1fa\U0001f1f8",
    "İstanbul ẞ ß ﬁ Ǆ ŉ",
    "abcdefghij" * 11,  # longer than a WordPiece word may be
    "a" * 100,
    "a" * 101,
    "",
    "   ",
    "1,234.56 $%^&*()_+ ~`|\\<>",
    "हिन्दी العربية עברית ไทย",
    "\u0130\u0131 \u1e9e",
]


def _examples(*texts: list[str]) -> Examples:
    columns = tuple(tuple(column) for column in texts)
    ids = tuple(str(i) for i in range(len(texts[0])))
    return Examples("made_up", "dev", ids, columns, None, origin="here")


def _sequence(encoded: Encoded, row: int) -> list[int]:
    return [int(v) for v in encoded.tokens[encoded.starts[row] : encoded.starts[row + 1]]]


def _rich_vocabulary(lower_case: bool) -> Vocabulary:
    """Every character of the odd texts, and some pieces, so that little is unknown."""
    characters = sorted(
        {c for text in ODD for form in (text, text.lower()) for c in form if not c.isspace() and c > "\x20"}
    )
    words = ["hello", "world", "can", "##not", "caf", "##é", "cafe", "Hello", "and", "##s"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *words, *characters, *(f"##{c}" for c in characters)])
    return Vocabulary(tuple(pieces), lower_case)


def _transformers_tokenizer(vocabulary: Vocabulary):  # type: ignore[no-untyped-def]
    from transformers import BertTokenizer

    ids = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BertTokenizer(
            vocab=ids,
            do_lower_case=vocabulary.lower_case,
            strip_accents=vocabulary.strip_accents,
            tokenize_chinese_chars=vocabulary.split_chinese,
        )


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("max_length", [8, 128])
def test_odd_texts_are_encoded_as_by_transformers(lower_case: bool, max_length: int) -> None:
    vocabulary = _rich_vocabulary(lower_case)
    theirs = _transformers_tokenizer(vocabulary)
    first, second = ODD, [*ODD[5:], *ODD[:5]]
    single = encode(_examples(first), vocabulary.tokenizer(), max_length)
    pairs = encode(_examples(first, second), vocabulary.tokenizer(), max_length)
    for row, (a, b) in enumerate(zip(first, second, strict=True)):
        # As lists, because a single empty second text would count as none.
        one = {k: v[0] for k, v in theirs([a], truncation=True, max_length=max_length).items()}
        two = {
            k: v[0] for k, v in theirs([a], [b], truncation="longest_first", max_length=max_length).items()
        }
        assert _sequence(single, row) == one["input_ids"], a
        assert _sequence(pairs, row) == two["input_ids"], (a, b)
        ids, mask, types = pairs.padded(np.array([row]))
        assert types[0].tolist() == two["token_type_ids"]
        assert mask[0].tolist() == two["attention_mask"]
        assert ids[0].tolist() == two["input_ids"]


@pytest.mark.shared
@pytest.mark.minilm
@pytest.mark.parametrize("name", ["cola", "mrpc", "rte"])
def test_real_texts_are_encoded_as_by_transformers(shared_dir: Path, minilm_dir: Path, name: str) -> None:
    vocabulary = read_vocabulary(minilm_dir)
    theirs = _transformers_tokenizer(vocabulary)
    dev = load_split(find_task(name), "dev", DataSources(shared_dir / "data"))
    texts = [list(column[:200]) for column in dev.texts]
    encoded = encode(_examples(*texts), vocabulary.tokenizer(), 64)
    expected = theirs(*texts, truncation="longest_first", max_length=64)["input_ids"]
    assert [_sequence(encoded, row) for row in range(len(texts[0]))] == expected


def test_rows_are_padded_to_the_longest_of_them() -> None:
    texts = [" ".join(PLAIN[:k]) for k in (3, 1, 5)]
    encoded = encode(_examples(texts, texts[::-1]), Vocabulary(tuple(VOCABULARY), True).tokenizer(), 32)
    assert encoded.lengths.tolist() == [3 + 5 + 3, 1 + 1 + 3, 5 + 3 + 3]
    ids, mask, types = encoded.padded(np.array([1, 0]))
    assert ids.shape == mask.shape == types.shape == (2, 11)
    assert ids[0, 5:].tolist() == [0] * 6
    assert mask.sum(axis=1).tolist() == [5, 11]
    assert types[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert ids[0, :5].tolist() == [2, VOCABULARY.index(PLAIN[0]), 3, VOCABULARY.index(PLAIN[0]), 3]


def test_a_vocabulary_of_other_texts_is_refused() -> None:
    tokenizer = Vocabulary(tuple(VOCABULARY), True).tokenizer()
    known = " ".join([*GOOD, *PLAIN])
    encode(_examples([known, "日本 " * 10]), tokenizer, 64)  # a minority of unknown pieces is no matter
    with pytest.raises(CheckpointError, match=r"turns 100% of made_up\.dev into \[UNK\]"):
        encode(_examples(["日本", "中文"]), tokenizer, 64)


def test_a_text_that_spells_out_unk_is_not_held_against_the_vocabulary(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    tokenizer = read_vocabulary(tmp_path).tokenizer()
    encoded = encode(_examples([f"[UNK] {GOOD[0]} {GOOD[1]}"]), tokenizer, 64)
    assert _sequence(encoded, 0) == [2, 1, VOCABULARY.index(GOOD[0]), VOCABULARY.index(GOOD[1]), 3]
