"""Questions and contexts to windows of token ids: ``[CLS] question [SEP] part of the context [SEP]``.

A context that does not fit is read through several overlapping windows, which are placed in one of
two ways. ``doc_stride`` is the distance between the *starts* of two windows, as in Google's
``run_squad.py`` and in ``squad_convert_examples_to_features`` of older transformers; a distance larger
than the room that the question leaves is cut to the room, so that no WordPiece is skipped.
``window_overlap`` is the number of WordPieces that two windows share, which the tokenizers
library, and so Hugging Face's ``run_qa.py``, calls ``stride``. One is the room minus the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.tasks.data import Answer, Examples
from multibench.tasks.encode import Encoded, refuse_unknown

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["SPECIAL_TOKENS", "EncodedSpans", "encode_windows", "window_starts"]

_CHUNK = 4096
SPECIAL_TOKENS = 3  # [CLS] and two [SEP]


@dataclass(frozen=True, eq=False)
class EncodedSpans(Encoded):
    """Windows: the sequences of ``Encoded``, the question first and the part of the context second.

    ``examples`` int64 ``(n_windows,)`` is the example that a window belongs to; windows lie in the
    order of examples, and inside one in that of the context. ``first`` int64 ``(n_windows,)`` is the
    row of ``characters`` of a window's first context token, ``characters`` int32
    ``(context tokens, 2)`` the start and end of each in the original context (rows are shared by all
    examples with one context). ``targets`` int64 ``(n_windows, 2)`` are the positions in the
    window of the first and last token of the first gold answer; (0, 0), that is ``[CLS]``, where
    the answer does not lie wholly inside the window; None where the split has no labels.
    """

    examples: NDArray[np.int64]
    first: NDArray[np.int64]
    characters: NDArray[np.int32]
    targets: NDArray[np.int64] | None

    @property
    def context_lengths(self) -> NDArray[np.int64]:
        """Context tokens of each window, ``(n_windows,)``: those from ``second`` to the last ``[SEP]``."""
        return self.lengths - 1 - self.second

    def answer_bounds(self, window: int, start: int, end: int) -> tuple[int, int]:
        """Characters of the context from token ``start`` to token ``end`` of ``window``, both inclusive."""
        shift = int(self.first[window]) - int(self.second[window])
        return int(self.characters[shift + start, 0]), int(self.characters[shift + end, 1])


@dataclass(frozen=True, eq=False)
class _Pieces:
    """WordPieces of distinct texts, one after the other: text k has ``ids[bounds[k]:bounds[k + 1]]``."""

    ids: NDArray[np.int32]
    characters: NDArray[np.int32]
    bounds: NDArray[np.int64]
    number: dict[str, int]

    def range(self, text: str) -> tuple[int, int]:
        k = self.number[text]
        return int(self.bounds[k]), int(self.bounds[k + 1])


def _pieces(texts: tuple[str, ...], tokenizer: Tokenizer) -> _Pieces:
    number = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    distinct = list(number)
    ids: list[NDArray[np.int32]] = []
    characters: list[NDArray[np.int32]] = []
    bounds = np.zeros(len(distinct) + 1, dtype=np.int64)
    for start in range(0, len(distinct), _CHUNK):
        batch = tokenizer.encode_batch(distinct[start : start + _CHUNK], add_special_tokens=False)
        for k, encoding in enumerate(batch, start + 1):
            ids.append(np.array(encoding.ids, dtype=np.int32))
            characters.append(np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2))
            bounds[k] = bounds[k - 1] + len(ids[-1])
    return _Pieces(np.concatenate(ids), np.concatenate(characters), bounds, number)


def encode_windows(
    examples: Examples,
    tokenizer: Tokenizer,
    max_length: int,
    doc_stride: int | None = 128,
    max_question_length: int = 64,
    window_overlap: int | None = None,
) -> EncodedSpans:
    """The windows of ``examples``, each of at most ``max_length`` tokens.

    Questions are cut to their first ``max_question_length`` WordPieces. The windows of a context start
    ``doc_stride`` WordPieces apart or, where that is None, share ``window_overlap`` of them (see the
    module); the last one is the first that reaches the context's end. Each text is tokenized once,
    however many questions share it.

    Raises ``DataError`` if a question leaves no room for the context or not more than the overlap,
    ``CheckpointError`` if the vocabulary does not know more than half of the contexts.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    cls, sep, pad = (tokenizer.token_to_id(piece) for piece in ("[CLS]", "[SEP]", "[PAD]"))
    assert pad is not None  # every Vocabulary has it
    questions, contexts = (_pieces(texts, tokenizer) for texts in examples.texts)
    unknown = int(np.count_nonzero(contexts.ids == tokenizer.token_to_id("[UNK]")))
    refuse_unknown(unknown, len(contexts.ids), examples)
    parts: list[NDArray[np.int32]] = []
    second: list[int] = []
    owner: list[int] = []
    first: list[int] = []
    targets: list[tuple[int, int]] = []
    head, tail = np.array([cls], dtype=np.int32), np.array([sep], dtype=np.int32)
    for i, (question, context) in enumerate(zip(*examples.texts, strict=True)):
        low, high = questions.range(question)
        asked = questions.ids[low : min(high, low + max_question_length)]
        room = max_length - SPECIAL_TOKENS - len(asked)
        shared = window_overlap or 0
        if room <= shared:
            raise DataError(
                f"{examples.task}.{examples.split}, id {examples.ids[i]!r}: a question of {len(asked)} WordPieces "
                f"leaves no room for the context in a max_length of {max_length}"
                f"{f' beyond a window_overlap of {shared}' if shared else ''}. Raise max_length, or lower "
                f"max_question_length (now {max_question_length}){' or window_overlap' if shared else ''}."
            )
        begin, end = contexts.range(context)
        answer = None
        if examples.answers is not None and examples.answers[i]:
            answer = _tokens_of(examples.answers[i][0], contexts.characters[begin:end])
        shift = len(asked) + 2
        for start in window_starts(end - begin, room, doc_stride, shared):
            length = min(room, end - begin - start)
            parts += [head, asked, tail, contexts.ids[begin + start : begin + start + length], tail]
            second.append(shift)
            owner.append(i)
            first.append(begin + start)
            if answer is not None and start <= answer[0] and answer[1] < start + length:
                targets.append((answer[0] - start + shift, answer[1] - start + shift))
            else:
                targets.append((0, 0))
    tokens = np.concatenate(parts)
    lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts)).reshape(-1, 5).sum(axis=1)
    return EncodedSpans(
        tokens=tokens,
        starts=np.fromiter(chain([0], np.cumsum(lengths)), dtype=np.int64, count=len(lengths) + 1),
        second=np.asarray(second, dtype=np.int32),
        pad_id=pad,
        examples=np.asarray(owner, dtype=np.int64),
        first=np.asarray(first, dtype=np.int64),
        characters=contexts.characters,
        targets=None if examples.answers is None else np.asarray(targets, dtype=np.int64),
    )


def window_starts(length: int, room: int, doc_stride: int | None, window_overlap: int | None) -> range:
    """Where the windows of a context of ``length`` WordPieces start; one window even if it is empty.

    ``room`` is what a question leaves of a window; it is larger than ``window_overlap``.
    """
    step = room - (window_overlap or 0) if doc_stride is None else min(doc_stride, room)
    return range(0, max(0, length - room) + step, step)


def _tokens_of(answer: Answer, characters: NDArray[np.int32]) -> tuple[int, int] | None:
    """The first and last of the context's tokens that share a character with ``answer``.

    None if no token does: what a tokenizer drops (control characters, say) cannot be pointed at.
    """
    start = int(np.searchsorted(characters[:, 1], answer.start, side="right"))
    end = int(np.searchsorted(characters[:, 0], answer.start + len(answer.text), side="left")) - 1
    return (start, end) if start <= end else None
