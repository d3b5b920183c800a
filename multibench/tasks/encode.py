"""Texts to token ids: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``, unpadded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multibench.errors import CheckpointError
from multibench.tasks.data import Examples

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ENCODING_VERSION", "Encoded", "encode", "refuse_unknown"]

# Raised whenever the code here or in spans.py makes other tokens of the same texts: kept ones are then made anew.
ENCODING_VERSION = 1

_CHUNK = 8192
_MAX_UNKNOWN_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of n sequences, one after the other.

    ``tokens`` int32 ``(total,)``; ``starts`` int64 ``(n + 1,)``, sequence i being
    ``tokens[starts[i]:starts[i + 1]]``; ``second`` int32 ``(n,)``, the position in the sequence at
    which the second text begins (its length where there is only one).
    """

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    second: NDArray[np.int32]
    pad_id: int

    def __len__(self) -> int:
        return len(self.second)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, ``(n,)``."""
        return np.diff(self.starts)

    def padded(
        self, rows: NDArray[np.int64], longest: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Token ids, attention mask and token types of ``rows``, each ``(len(rows), longest)``: if None, their own."""
        lengths = self.lengths[rows]
        position = np.arange(int(lengths.max()) if longest is None else longest)
        mask = position < lengths[:, None]
        where = np.minimum(self.starts[rows][:, None] + position, len(self.tokens) - 1)
        ids = np.where(mask, self.tokens[where], self.pad_id).astype(np.int64)
        types = (mask & (position >= self.second[rows][:, None])).astype(np.int64)
        return ids, mask.astype(np.int64), types


def encode(examples: Examples, tokenizer: Tokenizer, max_length: int) -> Encoded:
    """``examples`` as token ids, cut to ``max_length`` from the end of the longer text.

    Raises ``CheckpointError`` if more than half of the WordPieces are unknown to the vocabulary: the
    model would see next to nothing.
    """
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    tokenizer.no_padding()
    pad, unknown = tokenizer.token_to_id("[PAD]"), tokenizer.token_to_id("[UNK]")
    assert pad is not None  # a Vocabulary without it is refused when read
    pieces: list[NDArray[np.int32]] = []
    second: list[int] = []
    texts = list(examples.texts[0]) if len(examples.texts) == 1 else list(zip(*examples.texts, strict=True))
    for start in range(0, len(texts), _CHUNK):
        for encoding in tokenizer.encode_batch(texts[start : start + _CHUNK]):
            ids = np.asarray(encoding.ids, dtype=np.int32)
            pieces.append(ids)
            second.append(len(ids) - sum(encoding.type_ids))
    tokens = np.concatenate(pieces)
    starts = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in pieces], out=starts[1:])
    ordinary = len(tokens) - (2 if len(examples.texts) == 1 else 3) * len(pieces)
    refuse_unknown(int(np.count_nonzero(tokens == unknown)), ordinary, examples)
    return Encoded(tokens, starts, np.asarray(second, dtype=np.int32), pad)


def refuse_unknown(unknown: int, wordpieces: int, examples: Examples) -> None:
    """Raise ``CheckpointError`` if more than half of ``wordpieces`` are ``unknown`` to the vocabulary."""
    share = unknown / max(1, wordpieces)
    if share > _MAX_UNKNOWN_SHARE:
        raise CheckpointError(
            f"The vocabulary turns {share:.0%} of {examples.task}.{examples.split} into [UNK]. "
            "It does not belong to these texts, or is not the model's own."
        )
