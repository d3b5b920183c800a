"""Kept token ids: the same as made anew, never stale, never half, within their room."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.errors import DataError
from multibench.tasks import cache
from multibench.tasks.cache import cached
from multibench.tasks.data import Answer, Examples
from multibench.tasks.encode import Encoded, encode
from multibench.tasks.spans import EncodedSpans, encode_windows
from tests.support.command import environment

LETTERS = "abcdefghij"
VOCABULARY = Vocabulary(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{c}" for c in LETTERS)), True)


def _examples(labelled: bool = True) -> Examples:
    contexts = tuple(" ".join(LETTERS[i % 7 : 5 + i % 3]) * 3 for i in range(12))
    return Examples(
        task="reading",
        split="dev",
        ids=tuple(str(i) for i in range(12)),
        texts=(tuple(f"{LETTERS[i % 10]} j" for i in range(12)), contexts),
        labels=np.ones(12, dtype=np.int64) if labelled else None,
        origin="tests",
        answers=tuple((Answer(text[:1], 0),) for text in contexts) if labelled else None,
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's tokens are kept, however few."""
    monkeypatch.setenv("MULTIBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("MULTIBENCH_TOKEN_CACHE", raising=False)
    monkeypatch.setattr(cache, "_WORTH_KEEPING", 1)
    return tmp_path / "tokens"


class _Maker:
    """Encodes, and counts how often it was asked to."""

    def __init__(self, kind: type[Any] = EncodedSpans) -> None:
        self.kind, self.calls = kind, 0

    def __call__(self, examples: Examples, max_length: int = 12, digest: str = VOCABULARY.digest) -> Any:
        def make() -> Any:
            self.calls += 1
            tokenizer = VOCABULARY.tokenizer()
            if self.kind is Encoded:
                return encode(examples, tokenizer, max_length)
            return encode_windows(examples, tokenizer, max_length, 3)

        return cached(self.kind, examples, (digest, max_length, None), make)


def _same(a: Any, b: Any) -> bool:
    assert type(a) is type(b)
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, strict=True)
        else:
            assert one == other
            assert type(one) is type(other)
    return True


@pytest.mark.parametrize("kind", [Encoded, EncodedSpans])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_kept_is_what_was_made(kind: type[Any], labelled: bool, folder: Path) -> None:
    encoded = _Maker(kind)
    first, second = encoded(_examples(labelled)), encoded(_examples(labelled))
    assert encoded.calls == 1
    assert _same(first, second)
    assert second.padded(np.arange(3))[0].shape == first.padded(np.arange(3))[0].shape
    (path,) = folder.iterdir()
    assert not path.name.startswith(".")


def test_whatever_decides_the_tokens_decides_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, examples = _Maker(), _examples()
    other_texts = replace(examples, texts=(examples.texts[0][::-1], examples.texts[1]))
    assert examples.answers is not None
    other_answers = replace(examples, answers=(*examples.answers[:-1], (Answer("x", 3),)))
    encoded(examples)
    for call in (
        lambda: encoded(examples, 13),
        lambda: encoded(examples, 12, "another vocabulary"),
        lambda: encoded(other_texts),
        lambda: encoded(other_answers),
        lambda: monkeypatch.setattr(cache, "ENCODING_VERSION", 2) or encoded(examples),
        lambda: monkeypatch.setattr(cache, "version", lambda name: "0.0.1") or encoded(examples),
    ):
        before = encoded.calls
        call()
        call()
        assert encoded.calls == before + 1
    assert len(list(folder.iterdir())) == 7


def test_the_version_is_raised_when_the_tokens_of_the_same_texts_change() -> None:
    """If this fails, raise ``ENCODING_VERSION`` in multibench/tasks/encode.py and put the new digest here."""
    digest = hashlib.sha256()
    for made in (
        encode(_examples(), VOCABULARY.tokenizer(), 12),
        encode_windows(_examples(), VOCABULARY.tokenizer(), 12, 3),
    ):
        for field in fields(made):
            digest.update(field.name.encode() + np.asarray(getattr(made, field.name)).astype("<i8").tobytes())
    assert (cache.ENCODING_VERSION, digest.hexdigest()[:16]) == (1, "4baf497ccfa4bfe6")


def test_damaged_files_are_made_again(folder: Path) -> None:
    encoded, examples = _Maker(), _examples()
    expected = encoded(examples)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    flipped = [bytearray(whole) for _ in range(6)]
    for raw, place in zip(flipped, (0, 63, 64, 300, len(whole) // 2, len(whole) - 1), strict=True):
        raw[place] ^= 1
    for damaged in (b"", b"PK", whole[:50], whole[:-1], whole + b"\0", *map(bytes, flipped)):
        path.write_bytes(damaged)
        before = encoded.calls
        assert _same(encoded(examples), expected)
        assert encoded.calls == before + 1
        assert path.read_bytes() == whole
    path.rename(folder / "elsewhere")
    encoded(_examples(), 13)
    (other,) = set(folder.iterdir()) - {folder / "elsewhere"}
    (folder / "elsewhere").rename(other)  # the file of other settings under this name
    before = encoded.calls
    encoded(_examples(), 13)
    assert encoded.calls == before + 1


def test_nothing_is_kept_where_it_is_not_wanted_or_not_worth_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, examples = _Maker(), _examples()
    monkeypatch.setenv("MULTIBENCH_TOKEN_CACHE", "0")
    encoded(examples)
    monkeypatch.delenv("MULTIBENCH_TOKEN_CACHE")
    monkeypatch.setattr(cache, "_WORTH_KEEPING", 13)
    encoded(examples)
    assert encoded.calls == 2
    assert not folder.exists()
    monkeypatch.setenv("MULTIBENCH_TOKEN_CACHE", "lots")
    with pytest.raises(DataError, match="'lots'; expected the megabytes"):
        encoded(examples)


def test_files_used_longest_ago_make_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, examples = _Maker(), _examples()
    for k, length in enumerate((12, 13, 14)):
        encoded(examples, length)
        newest = max(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        os.utime(newest, (k, k))
    size = max(path.stat().st_size for path in folder.iterdir())
    encoded(examples, 12)  # used again, so the second is now the oldest
    assert encoded.calls == 3
    monkeypatch.setattr(cache, "_room", lambda: 3 * size + 200)
    encoded(examples, 15)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3 * size + 200
    for length, made in ((12, 4), (14, 4), (15, 4), (13, 5)):
        encoded(examples, length)
        assert encoded.calls == made


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where the folder should be", "utf-8")
    encoded, examples = _Maker(), _examples()
    assert _same(encoded(examples), encoded(examples))
    assert encoded.calls == 2


_PROCESS = """
import tests.tasks.test_cache as t
t.cache._WORTH_KEEPING = 1
t.cache._room = lambda: 30_000
for turn in range(60):
    length = 12 + turn % 8
    encoded = t._Maker()
    found = encoded(t._examples(), length)
    assert t._same(found, t.encode_windows(t._examples(), t.VOCABULARY.tokenizer(), length, 3))
"""


def test_processes_share_it_while_files_come_and_go(folder: Path) -> None:
    command = [sys.executable, "-c", _PROCESS]
    workers = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) for _ in range(3)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    assert all(not path.name.startswith(".") for path in folder.iterdir())
