"""Exact match and F1 of extractive answers, as the official SQuAD scripts define them.

Source: the evaluation scripts v1.1 and v2.0 of https://rajpurkar.github.io/SQuAD-explorer/. The two
differ where a text is nothing but articles and punctuation (or empty): see ``answer_f1``. Both take
the maximum over the gold answers, each score by itself.

A question that is refused gets the scores of the answer "", as if that had been predicted. The one
difference to ``squad_evaluate`` of transformers 4: there it scores 0 if it has gold answers, even if none of
them is more than articles and punctuation.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multibench.errors import StatisticsError
from multibench.metrics.base import Array, Metric
from multibench.metrics.means import Mean, PreparedMean

__all__ = [
    "ANSWER_OUTPUTS",
    "AnswerF1",
    "ExactMatch",
    "answer_column",
    "answer_f1",
    "answer_outputs",
    "exact_match",
    "given_answers",
    "normalise_answer",
    "refused",
]

ANSWER_OUTPUTS = ("exact", "f1", "exact_if_answered", "f1_if_answered", "null_odds")
"""What is stored of each prediction of a span task, in this order."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 17)  # every run of a suite is scored on the same gold texts
def normalise_answer(text: str) -> str:
    """Lower case, then without ASCII punctuation, then without English articles, single blanks between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _gold_texts(gold: Sequence[str], unanswerable: bool) -> Sequence[str]:
    """In v2.0 gold answers that normalise to nothing do not count, and "" is the answer if none is left."""
    return [text for text in gold if normalise_answer(text)] or [""] if unanswerable else gold


def exact_match(prediction: str, gold: Sequence[str], unanswerable: bool) -> float:
    """1 if ``prediction`` equals one of the ``gold`` texts after normalisation, else 0.

    ``unanswerable`` says whether the task has questions without answer, and so which script's rule holds.
    """
    given = normalise_answer(prediction)
    return float(any(given == normalise_answer(text) for text in _gold_texts(gold, unanswerable)))


def answer_f1(prediction: str, gold: Sequence[str], unanswerable: bool) -> float:
    """The best F1 of shared words, counted with multiplicity, over the ``gold`` texts.

    The harmonic mean of precision and recall, by the scripts' own operations, so that scores are equal to the
    last bit. Where either side has no words, the script of v2.0 (``unanswerable``) gives 1 if both have
    none, and that of v1.1 gives 0.
    """
    given = Counter(normalise_answer(prediction).split())
    best = 0.0
    for text in _gold_texts(gold, unanswerable):
        wanted = Counter(normalise_answer(text).split())
        shared = (given & wanted).total()
        if shared:
            precision, recall = shared / given.total(), shared / wanted.total()
            best = max(best, 2 * precision * recall / (precision + recall))
        elif unanswerable and not given and not wanted:
            best = 1.0
    return best


@lru_cache(maxsize=1 << 17)  # runs give the same few answers to a question
def _scores(prediction: str, gold: tuple[str, ...], unanswerable: bool) -> tuple[float, float]:
    return exact_match(prediction, gold, unanswerable), answer_f1(prediction, gold, unanswerable)


def refused(null_odds: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Which questions count as unanswerable: the null score exceeds the best answer's by more than this."""
    return np.asarray(np.asarray(null_odds, dtype=np.float32).astype(np.float64) > threshold)


def given_answers(texts: Sequence[str], null_odds: ArrayLike, threshold: float | None) -> list[str]:
    """The answers as they are given: "" for those that are ``refused``, none of them where that is None."""
    if threshold is None:
        return list(texts)
    return [
        "" if no else text for text, no in zip(texts, refused(null_odds, threshold).tolist(), strict=True)
    ]


def answer_outputs(
    texts: Sequence[str],
    null_odds: ArrayLike,
    gold: Sequence[Sequence[str]] | None,
    threshold: float | None,
) -> NDArray[np.float32]:
    """The columns ``ANSWER_OUTPUTS`` for predictions of a split, float32 ``(n, 5)``.

    ``texts`` are the best non-null answers, ``null_odds`` ``(n,)`` the null score minus theirs, and
    ``gold[i]`` all gold texts of question i. Where ``refused(null_odds, threshold)`` the scores are those
    of the answer ""; a ``threshold`` of None is for tasks whose questions all have an answer.
    Without ``gold`` all scores are NaN.
    """
    odds = np.asarray(null_odds, dtype=np.float32)
    outputs = np.full((len(texts), len(ANSWER_OUTPUTS)), np.nan, dtype=np.float32)
    outputs[:, 4] = odds
    if gold is None:
        return outputs
    unanswerable = threshold is not None
    scores = [_scores(text, tuple(wanted), unanswerable) for text, wanted in zip(texts, gold, strict=True)]
    outputs[:, 2:4] = np.array(scores).reshape(-1, 2)
    outputs[:, :2] = outputs[:, 2:4]
    if threshold is not None:
        for i in np.flatnonzero(refused(odds, threshold)).tolist():
            outputs[i, :2] = _scores("", tuple(gold[i]), True)
    return outputs


def answer_column(outputs: Array, column: int, metric: str) -> Array:
    """One column ``(n_runs, n_examples)`` of outputs ``(n_runs, n_examples, 5)``, for the metric of that name.

    Raises ``StatisticsError`` if these are not the columns ``ANSWER_OUTPUTS``.
    """
    if outputs.ndim != 3 or outputs.shape[2] != len(ANSWER_OUTPUTS):
        raise StatisticsError(
            f"Outputs for {metric} have {outputs.shape[-1]} values an example; expected "
            f"{', '.join(ANSWER_OUTPUTS)}."
        )
    column_of_runs: Array = outputs[:, :, column]
    return column_of_runs


class _AnswerScore(Metric):
    """The mean of one of the columns ``ANSWER_OUTPUTS``; labels are not looked at, only their number."""

    column: int
    takes = "answers"

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> PreparedMean:
        """See ``Metric.prepare``; outputs ``(n_runs, n_examples, 5)``, or that column alone without the last axis."""
        given = np.asarray(outputs)
        if given.ndim == 3:
            given = answer_column(given, self.column, self.name)
        return Mean().prepare(labels, given)


class ExactMatch(_AnswerScore):
    """Share of questions whose answer equals a gold answer after normalisation."""

    name = "exact_match"
    title = "Exact match"
    column = 0


class AnswerF1(_AnswerScore):
    """Mean F1 of the words shared with the nearest gold answer."""

    name = "answer_f1"
    title = "F1 of answers"
    column = 1
