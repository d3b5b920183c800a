"""Start and end scores of tokens: their loss in training, and the best answer of an example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.errors import StatisticsError
from multibench.tasks.spans import EncodedSpans
from multibench.training.packing import Packed

__all__ = ["BestAnswers", "best_answers", "per_window_loss"]


def per_window_loss(scores: torch.Tensor, packed: Packed, targets: torch.Tensor) -> torch.Tensor:
    """Mean of the cross-entropies of start and end, ``(S,)`` in float32.

    ``scores`` are ``(N, 2)``, one row a token of the windows ``packed``, ``targets`` ``(S, 2)`` positions. Only a
    window's own positions compete: with padding among them, as in Google's code and Hugging Face's models, the loss
    would depend on what a window is padded to.
    """
    position = torch.arange(packed.longest, device=scores.device)
    sizes = packed.sizes[:, None]
    rows = packed.first[:, None] + torch.minimum(position, sizes - 1)
    padded = scores.float()[rows].masked_fill((position >= sizes)[..., None], float("-inf"))
    start, end = (
        torch.nn.functional.cross_entropy(padded[..., k], targets[:, k], reduction="none") for k in (0, 1)
    )
    return (start + end) / 2


@dataclass(frozen=True, eq=False)
class BestAnswers:
    """The best non-null answer of each example, in the order of the examples.

    ``null_odds`` float32 ``(n_examples,)`` is the null score minus that answer's score; infinite with the
    text "" where no answer is possible.
    """

    texts: tuple[str, ...]
    null_odds: NDArray[np.float32]


def best_answers(
    encoded: EncodedSpans,
    scores: NDArray[np.float32],
    contexts: tuple[str, ...],
    n_best: int = 20,
    max_answer_length: int = 30,
) -> BestAnswers:
    """The best answer of each example over all of its windows.

    ``scores`` ``(total tokens, 2)`` holds the start and end scores of the tokens of ``encoded``, whose
    examples have ``contexts``. As in Google's ``run_squad.py``: in each window the ``n_best`` starts and
    ends of highest score are paired; a pair counts if both lie in the context, the start is not
    behind the end, the answer has at most ``max_answer_length`` tokens, and this window is the one
    that shows the start with the most context around it (``_most_context``). The pair with the
    highest sum wins. The null score is the lowest sum at ``[CLS]`` over the windows.

    Three things differ: if no pair counts, all pairs are considered, not the ``n_best`` alone (the original
    answers with the word "empty"); the text is cut from the context at the tokens' characters rather
    than aligned with it afterwards (which widens it to whole words where it fails); and padding, which the
    original lets take places among the ``n_best``, has no scores here.

    Raises ``StatisticsError`` for scores that are not finite.
    """
    if not np.isfinite(scores).all():
        raise StatisticsError("Span scores hold NaN or infinite values; such runs cannot be scored.")
    texts: list[str] = []
    odds = np.full(len(contexts), np.inf, dtype=np.float64)
    bounds = np.searchsorted(encoded.examples, np.arange(len(contexts) + 1))
    context_lengths = encoded.context_lengths
    for i, context in enumerate(contexts):
        windows = range(int(bounds[i]), int(bounds[i + 1]))
        allowed = _most_context(encoded.first[windows], context_lengths[windows])
        parts = [scores[encoded.starts[w] : encoded.starts[w + 1]].astype(np.float64) for w in windows]
        found = _best_pair(encoded, windows, parts, allowed, n_best, max_answer_length)
        if found is None:
            longest = max(len(part) for part in parts)
            found = _best_pair(encoded, windows, parts, allowed, longest, max_answer_length)
        if found is None:
            texts.append("")
            continue
        score, window, start, end = found
        low, high = encoded.answer_bounds(window, start, end)
        texts.append(context[low:high])
        odds[i] = min(float(part[0].sum()) for part in parts) - score
    return BestAnswers(tuple(texts), odds.astype(np.float32))


def _best_pair(
    encoded: EncodedSpans,
    windows: range,
    parts: list[NDArray[np.float64]],
    allowed: list[NDArray[np.bool_]],
    n_best: int,
    max_answer_length: int,
) -> tuple[float, int, int, int] | None:
    """Score, window, start and end of the best pair that counts; of equal ones the first found."""
    best: tuple[float, int, int, int] | None = None
    for window, part, shown in zip(windows, parts, allowed, strict=True):
        starts, ends = (np.argsort(-part[:, k], kind="stable")[:n_best] for k in (0, 1))
        begin = int(encoded.second[window])
        last = begin + len(shown) - 1
        # Where the start is in the context and the end not before it, the end has only one way out.
        starts = starts[(starts >= begin) & (starts <= last)]
        starts = starts[shown[starts - begin]]
        ends = ends[ends <= last]
        length = ends - starts[:, None] + 1
        sums = np.where(
            (length >= 1) & (length <= max_answer_length), part[starts, 0][:, None] + part[ends, 1], -np.inf
        )
        if not sums.size:
            continue
        row, column = np.unravel_index(int(sums.argmax()), sums.shape)
        score = float(sums[row, column])
        if score > (-np.inf if best is None else best[0]):
            best = (score, window, int(starts[row]), int(ends[column]))
    return best


def _most_context(first: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """For the windows of one example, which of their context tokens no other window shows better.

    The measure is that of Google's code: the tokens on the side that has fewer, plus a hundredth of
    the window's context tokens; of equal windows the first.
    """
    if len(first) == 1:
        return [np.ones(int(lengths[0]), dtype=np.bool_)]
    position = np.arange(int((first + lengths).max() - first[0]))
    left = position - (first - first[0])[:, None]
    right = lengths[:, None] - 1 - left
    measure = np.where((left >= 0) & (right >= 0), np.minimum(left, right) + 0.01 * lengths[:, None], -np.inf)
    winner = measure.argmax(axis=0)
    offsets = (first - first[0]).tolist()
    return [winner[o : o + n] == w for w, (o, n) in enumerate(zip(offsets, lengths.tolist(), strict=True))]
