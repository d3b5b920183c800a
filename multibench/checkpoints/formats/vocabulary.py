"""WordPiece vocabularies, read from a checkpoint folder and turned into a fast tokenizer.

The tokenizer is built from the vocabulary itself, not from a saved one: saved ones carry truncation
and padding of somebody else's use.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from multibench.checkpoints.formats.texts import read_json, read_small
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Vocabulary", "make_vocabulary", "parse_pieces", "read_vocabulary"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class Vocabulary:
    """``pieces[i]`` is the WordPiece with id i."""

    pieces: tuple[str, ...]
    lower_case: bool
    strip_accents: bool | None = None
    """None: as ``lower_case``, which is BERT's rule."""
    split_chinese: bool = True

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def digest(self) -> str:
        """SHA-256 of pieces and settings."""
        content = [list(self.pieces), self.lower_case, self.strip_accents, self.split_chinese]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def id_of(self, piece: str) -> int:
        """Position of ``piece``; raises ``ValueError`` if it is not there."""
        return self.pieces.index(piece)

    def tokenizer(self) -> Tokenizer:
        """BERT's tokenizer over this vocabulary: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``."""
        from tokenizers import Tokenizer
        from tokenizers.models import WordPiece
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer
        from tokenizers.processors import BertProcessing

        ids = {piece: number for number, piece in enumerate(self.pieces)}
        tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
        tokenizer.normalizer = BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.split_chinese,
            strip_accents=self.strip_accents,
            lowercase=self.lower_case,
        )
        tokenizer.pre_tokenizer = BertPreTokenizer()
        tokenizer.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
        # A text that spells out "[SEP]" means the token, as with every BERT tokenizer in use.
        tokenizer.add_special_tokens([p for p in (*_SPECIAL, "[MASK]") if p in ids])
        return tokenizer


def _json(path: Path) -> dict[str, Any]:
    loaded = read_json(path) if path.exists() else {}
    return loaded if isinstance(loaded, dict) else {}


def parse_pieces(content: bytes, where: str) -> tuple[str, ...]:
    """The WordPieces of a ``vocab.txt``, one a line. Raises ``CheckpointError`` if ``content`` is no UTF-8."""
    try:
        pieces = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{where} cannot be read as UTF-8 text: {error}.") from error
    return tuple(piece.rstrip("\r") for piece in (pieces[:-1] if pieces[-1] == "" else pieces))


def _pieces(folder: Path, saved: dict[str, Any]) -> tuple[str, ...]:
    path = folder / "vocab.txt"
    if path.exists():
        return parse_pieces(read_small(path), str(path))
    ids = saved.get("model", {}).get("vocab", {}) if isinstance(saved.get("model"), dict) else {}
    if not isinstance(ids, dict) or not ids:
        raise CheckpointError(
            f"{folder} holds no vocabulary: neither vocab.txt nor a WordPiece tokenizer.json."
        )
    if not all(type(number) is int for number in ids.values()) or set(ids.values()) != set(range(len(ids))):
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: the vocabulary's ids do not run from 0 without gaps."
        )
    return tuple(sorted(ids, key=lambda piece: int(ids[piece])))


def read_vocabulary(folder: Path, cased: bool | None = None) -> Vocabulary:
    """The vocabulary of the checkpoint in ``folder``.

    Casing comes from ``tokenizer_config.json``, else ``tokenizer.json``, else from ``cased`` (what
    the catalogue knows), else is lower case, BERT's default. Raises ``CheckpointError`` for a missing
    or malformed vocabulary, one without the special tokens, and a contradiction to ``cased``.
    """
    settings = _json(folder / "tokenizer_config.json")
    saved = _json(folder / "tokenizer.json")
    normalizer = saved.get("normalizer")
    if not isinstance(normalizer, dict):
        normalizer = {}
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    both = {name: normalizer[other] for name, other in names.items() if other in normalizer} | settings
    return make_vocabulary(_pieces(folder, saved), str(folder), cased, both)


def make_vocabulary(
    pieces: tuple[str, ...], where: str, cased: bool | None, settings: dict[str, Any]
) -> Vocabulary:
    """A checked vocabulary. ``settings`` are those of ``tokenizer_config.json``, absent if not known.

    Raises ``CheckpointError`` as ``read_vocabulary`` does; ``where`` says in errors what it belongs to.
    """
    missing = [piece for piece in _SPECIAL if piece not in pieces]
    if missing:
        raise CheckpointError(
            f"The vocabulary of {where} lacks {', '.join(missing)}: is it a BERT vocabulary?"
        )
    for name in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        if not isinstance(settings.get(name), (bool, NoneType)):
            raise CheckpointError(
                f"The tokenizer of {where} has {name} = {settings[name]!r}; expected true or false."
            )
    lower = settings.get("do_lower_case")
    if lower is None:
        lower = not cased
    if cased is not None and bool(lower) == cased:
        raise CheckpointError(
            f"The tokenizer of {where} {'lower-cases' if lower else 'keeps case'}, but the catalogue lists the "
            f"checkpoint as {'cased' if cased else 'uncased'}. One of the two belongs to another model."
        )
    return Vocabulary(
        pieces=pieces,
        lower_case=bool(lower),
        strip_accents=settings.get("strip_accents"),
        split_chinese=bool(settings.get("tokenize_chinese_chars", True)),
    )
