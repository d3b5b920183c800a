"""WordPiece vocabularies, and the tokenizer that belongs to one.

The tokenizer is built from the vocabulary itself, not from a saved one: saved ones carry truncation
and padding of somebody else's use. Which tokenizer a folder's files describe, ``saved`` reads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any

from multibench.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["SPECIAL", "AddedToken", "Vocabulary", "make_vocabulary", "parse_pieces"]

_REQUIRED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SPECIAL = (*_REQUIRED, "[MASK]")
"""What BERT's tokenizers look for in a text before they split it, where the vocabulary has it."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for in a text before the text is split, in the words of the tokenizers library."""

    content: str
    number: int
    """Its id."""
    special: bool = True
    normalized: bool = False
    """Whether it is looked for in the normalised text."""
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """``pieces[i]`` is the WordPiece with id i."""

    pieces: tuple[str, ...]
    lower_case: bool
    strip_accents: bool | None = None
    """None: as ``lower_case``, which is BERT's rule."""
    split_chinese: bool = True
    added: tuple[AddedToken, ...] = ()
    """Tokens beside BERT's own five, or that differ from these in how they are looked for."""
    pipeline: str | None = None
    """A ``tokenizer.json`` without truncation and padding, where it does otherwise than BERT's tokenizer."""

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def tokens(self) -> int:
        """How many embeddings the ids need: one more than the largest."""
        return max([len(self.pieces), *(token.number + 1 for token in self.added)])

    @property
    def digest(self) -> str:
        """SHA-256 of pieces and settings."""
        content = [list(self.pieces), self.lower_case, self.strip_accents, self.split_chinese]
        if self.added or self.pipeline is not None:
            content += [[astuple(token) for token in self.added], self.pipeline]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def id_of(self, piece: str) -> int:
        """Position of ``piece``; raises ``ValueError`` if it is not there."""
        return self.pieces.index(piece)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer over this vocabulary: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``."""
        import tokenizers

        saved = self.pipeline
        tokenizer = self._plain() if saved is None else tokenizers.Tokenizer.from_str(saved)
        if self.added:
            tokenizer.add_tokens(
                [
                    tokenizers.AddedToken(
                        token.content,
                        special=token.special,
                        normalized=token.normalized,
                        lstrip=token.lstrip,
                        rstrip=token.rstrip,
                        single_word=token.single_word,
                    )
                    for token in self.added
                ]
            )
        return tokenizer

    def _plain(self) -> Tokenizer:
        """BERT's own."""
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
        tokenizer.add_special_tokens([p for p in SPECIAL if p in ids])
        return tokenizer


def parse_pieces(content: bytes, where: str) -> tuple[str, ...]:
    """The WordPieces of a ``vocab.txt``, one a line. Raises ``CheckpointError`` if ``content`` is no UTF-8."""
    try:
        pieces = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{where} cannot be read as UTF-8 text: {error}.") from error
    return tuple(piece.rstrip("\r") for piece in (pieces[:-1] if pieces[-1] == "" else pieces))


def make_vocabulary(
    pieces: tuple[str, ...],
    where: str,
    cased: bool | None,
    settings: dict[str, Any],
    added: tuple[AddedToken, ...] = (),
) -> Vocabulary:
    """A checked vocabulary. ``settings`` are those of ``tokenizer_config.json``, absent if not known.

    Casing that they leave open is what ``cased``, the catalogue, says, else lower case, BERT's default. Raises
    ``CheckpointError`` for a vocabulary without the special tokens, settings that are none, and a contradiction to
    ``cased``; ``where`` says in errors what it belongs to.
    """
    missing = [piece for piece in _REQUIRED if piece not in pieces]
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
        added=added,
    )
