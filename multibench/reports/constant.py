"""What always giving one answer would score, so that a score that says no more is marked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.reports.cells import Name, Quantity, Sentence, points, say
from multibench.stats import Estimate

__all__ = ["constant_answer", "constant_note", "holds_constant"]

# Printed scores are equal if these fractions are.
_SAME = 1e-9


def constant_answer(metric: str, labels: NDArray[Any]) -> float | None:
    """The best score that one and the same answer to every example has by ``metric``; None where that is not known.

    Of classes: accuracy has the share of the commonest one, F1 that of always saying the positive one, MCC 0.
    Correlations of a constant count as 0. Of answers to questions (``labels`` say which have one): the share without.
    """
    known = METRICS.get(metric)
    if known.takes == "classes" and known.uses_labels:
        try:
            scores = [
                known.score(labels, np.full(len(labels), c)) for c in np.unique(labels).astype(np.int64)
            ]
        except StatisticsError:
            return None
        return float(max(0.0 if np.isnan(score) else score for score in scores))
    if known.takes == "answers" and set(np.unique(labels).tolist()) <= {0, 1}:
        return float(np.mean(np.asarray(labels) == 0))
    return 0.0 if known.name in ("pearson", "spearman") else None


def holds_constant(estimate: Estimate, constant: float) -> bool:
    """Whether the constant's score lies within the interval; where there is none, whether the score is equal to it."""
    if np.isnan(estimate.low):
        return bool(abs(estimate.value - constant) < _SAME)
    return bool(estimate.low - _SAME <= constant <= estimate.high + _SAME)


def constant_note(title: str, evaluation: str, metric: str, estimate: Estimate, constant: float) -> Sentence:
    """``rte.dev, accuracy: 52.7 cannot be told from always saying one class (52.7)``."""
    known = METRICS.get(metric)
    what = (
        "always saying one class"
        if known.takes == "classes"
        else "never giving an answer"
        if known.takes == "answers"
        else "always giving one value"
    )
    return say(
        Name(f"{title}, {evaluation}, {known.name}: "),
        Quantity(estimate.value, points(estimate.value, 1).text, "score"),
        f" cannot be told from {what} (",
        points(constant, 1, "score of a constant answer"),
        ").",
    )
