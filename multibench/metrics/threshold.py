"""Answers scored at the best threshold for refusing them: ``best_exact_match`` and ``best_answer_f1``.

What the script of SQuAD v2.0 calls ``best_exact`` and ``best_f1``: a question counts as unanswerable
where its null odds exceed a threshold, and of all thresholds the one that gives the highest score is
taken. It is tuned on the very answers that are scored, so the score is too good as a statement about
other questions, and is not to be compared with scores at a threshold fixed beforehand. Resamples are
tuned anew, each for itself: what varies with the questions varies in them, too, and their mean lies
above the score by about as much as the score is too good.

Source: ``find_best_thresh`` of the official script, https://rajpurkar.github.io/SQuAD-explorer/. Three
things differ, all where the script counts what no threshold gives. It moves its threshold past questions
with equal null odds one by one, so that the order of the file decides; here such questions are
refused together or not at all, which is what the script finds if they come in its file with the unanswerable
ones first. It takes any text as a wrong answer to an unanswerable question, where its own scores
accept "the", say, as no answer, so that its best score can lie below its plain one; here the scores
hold. And it calls the threshold 0 where refusing all is best, which here is minus infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array, Index, Metric, Prepared, class_labels, value_outputs
from multibench.metrics.squad import ANSWER_OUTPUTS, answer_column

__all__ = ["BestAnswerF1", "BestExactMatch", "BestThreshold"]

# Questions along the first axis, and draws few enough for the processor's cache: 15 times as fast, with the same bits.
_DRAWS_AT_ONCE = 64


class _Order(NamedTuple):
    """The questions of one run from low to high null odds, and what answering each of them gains."""

    questions: Array
    gains: Array
    #: Last question of each group with equal null odds: a threshold answers whole groups, from the first one on.
    lasts: Array


class _PreparedBest(Prepared):
    """``answerable`` bool ``(n_examples,)``; scores of the best answers, and null odds, ``(n_runs, n_examples)``.

    A question that is refused scores 1 if it has no answer, else 0. Answering the k questions of lowest null odds
    thus scores as many as have no answer, plus the sum of the first k gains; k may also be 0.
    """

    scale = "share"
    linear = True

    def __init__(self, answerable: Array, scores: Array, odds: Array) -> None:
        self.answerable, self.answered, self.odds = answerable, scores, odds
        self.n_runs, self.n_examples = scores.shape
        self._orders: list[_Order] | None = None

    def rows(self) -> Array:
        """See ``Prepared.rows``."""
        return np.ascontiguousarray(np.vstack([self.answerable[None], self.answered, self.odds]).T)

    def select(self, runs: Index, examples: Index) -> _PreparedBest:
        """Only these runs and examples."""
        return _PreparedBest(
            self.answerable[examples], self.answered[runs][:, examples], self.odds[runs][:, examples]
        )

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``; every draw has its own best threshold, as its resample would have."""
        scores = np.empty((len(weights), self.n_runs))
        for first in range(0, len(weights), _DRAWS_AT_ONCE):
            few = np.ascontiguousarray(weights[first : first + _DRAWS_AT_ONCE].T)  # (n_examples, n_draws)
            for run, order in enumerate(self._in_order()):
                gained = np.take(few, order.questions, axis=0) * order.gains[:, None]
                np.cumsum(gained, axis=0, out=gained)
                scores[first : first + _DRAWS_AT_ONCE, run] = gained[order.lasts].max(axis=0).clip(min=0)
        scores += (weights @ ~self.answerable)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(scores / weights.sum(axis=1, dtype=np.float64)[:, None])

    def thresholds(self) -> Array:
        """The lowest of each run's best thresholds, ``(n_runs,)``: minus infinity refuses all."""
        best = np.full(self.n_runs, -np.inf)
        for run, order in enumerate(self._in_order()):
            gained = np.cumsum(order.gains)[order.lasts]
            if gained.max() > 0:
                best[run] = self.odds[run, order.questions[order.lasts[gained.argmax()]]]
        return best

    def influence(self) -> Array:
        """See ``Prepared.influence``: that of the score at the best threshold, which is held fixed.

        Where one set of answered questions is best, small changes of the weights leave it so; the
        derivative of the maximum is then that of the score there (the envelope theorem). Where several are,
        the lowest threshold stands for them.
        """
        answered = self.odds <= self.thresholds()[:, None]
        values = np.where(answered, self.answered, ~self.answerable)
        return np.asarray(values - values.mean(axis=1, keepdims=True))

    def _in_order(self) -> list[_Order]:
        if self._orders is None:
            self._orders = [self._order(*run) for run in zip(self.answered, self.odds, strict=True)]
        return self._orders

    def _order(self, scores: Array, odds: Array) -> _Order:
        questions = np.argsort(odds, kind="stable")
        ordered = odds[questions]
        lasts = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        return _Order(questions, (scores - ~self.answerable)[questions], lasts)


class BestThreshold(Metric):
    """A score at the threshold that is best for it, from one of the columns ``ANSWER_OUTPUTS``."""

    column: int
    takes = "answers"
    tuned_on_reported_split = True

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> _PreparedBest:
        """See ``Metric.prepare``; outputs are the columns ``ANSWER_OUTPUTS``, labels 1 for answerable and 0."""
        gold, given = class_labels(labels, self.name), np.asarray(outputs)
        if given.ndim == 2:
            raise StatisticsError(
                f"Outputs for {self.name} have shape {given.shape}; no threshold can be tried on scores alone. "
                f"Expected (n_runs, n_examples, {len(ANSWER_OUTPUTS)}): {', '.join(ANSWER_OUTPUTS)}."
            )
        if not np.isin(gold, (0, 1)).all():
            raise StatisticsError(
                f"Labels for {self.name} are 1 for questions with an answer and 0 for those without; "
                f"got {sorted(set(gold.tolist()))[:5]}."
            )
        scores = value_outputs(gold, answer_column(given, self.column, self.name), self.name)
        odds = answer_column(given, ANSWER_OUTPUTS.index("null_odds"), self.name).astype(np.float64)
        if np.isnan(odds).any():
            raise StatisticsError(f"The null odds for {self.name} hold NaN; such runs cannot be scored.")
        return _PreparedBest(gold == 1, scores, odds)

    def thresholds(self, labels: ArrayLike, outputs: ArrayLike) -> Array:
        """The threshold of each run's score, ``(n_runs,)``: answers count where the null odds do not exceed it.

        The lowest of the best ones. Minus infinity stands for refusing all.
        """
        return self.prepare(labels, outputs).thresholds()


class BestExactMatch(BestThreshold):
    """Exact match at the threshold that is best for it; see the module."""

    name = "best_exact_match"
    title = "Exact match at the best threshold"
    column = ANSWER_OUTPUTS.index("exact_if_answered")


class BestAnswerF1(BestThreshold):
    """F1 of answers at the threshold that is best for it; see the module."""

    name = "best_answer_f1"
    title = "F1 of answers at the best threshold"
    column = ANSWER_OUTPUTS.index("f1_if_answered")
