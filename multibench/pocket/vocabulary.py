"""The family's WordPiece vocabulary: every word of the corpus whole, and letters for all others."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["SPECIAL", "VOCABULARY_FILE", "build", "encode", "load", "words"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY_FILE = Path(__file__).with_name("vocab.txt")


def words(text: str) -> list[str]:
    """Words and punctuation marks of lower-case text."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text)


def build(sentences: Iterable[str], minimum: int = 1) -> list[str]:
    """Specials, punctuation, letters and digits with their continuations, then words by frequency."""
    counts = Counter(word for sentence in sentences for word in words(sentence))
    signs = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *string.punctuation, *signs, *(f"##{sign}" for sign in signs)]
    known = set(pieces)
    frequent = sorted((-n, w) for w, n in counts.items() if n >= minimum and w not in known)
    return pieces + [word for _, word in frequent]


@cache
def load() -> dict[str, int]:
    """The shipped vocabulary: piece to id."""
    pieces = VOCABULARY_FILE.read_text(encoding="utf-8").splitlines()
    return {piece: index for index, piece in enumerate(pieces)}


def encode(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Ids of corpus text, without specials; the same as the WordPiece tokenizer gives."""
    return [vocabulary[word] for word in words(text)]
