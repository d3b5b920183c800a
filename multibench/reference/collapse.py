"""What runs that give every example the same answer do to a verdict.

No interval over fine-tuning seeds can cover rare runs that collapse: a few runs without one say nothing of it. So
*differs* is withheld where a collapse is seen, and where one in the published runs would explain the gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "RATE",
    "ConstantAnswer",
    "constant_answer",
    "explained_by_collapse",
    "mean_without",
    "plausible_collapses",
]

RATE = 0.1
"""How often a run is taken to collapse, at worst."""
TAIL = 0.05

_CORRELATIONS = {"pearson", "spearman", "mcc"}


@dataclass(frozen=True)
class ConstantAnswer:
    """Score of always giving the commonest answer, a fraction, with its 95 % interval over examples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def constant_answer(
    metric: str, histogram: Mapping[str, int] | None, n_examples: int
) -> ConstantAnswer | None:
    """The constant answer's score by ``metric`` on ``n_examples`` whose labels are counted in ``histogram``.

    Shares have the exact binomial interval (Clopper and Pearson 1934); F1 has what it is at the ends of that; a
    correlation is 0, within 1.96 standard errors. ``histogram`` is in the order of the classes, or counts
    ``answerable`` and ``unanswerable`` questions. None where no constant answer has a known score: another metric, no
    counts, questions that all have answers.
    """
    if metric in _CORRELATIONS and n_examples > 1:
        half = 1.96 / math.sqrt(n_examples - 1)
        return ConstantAnswer(0.0, -half, half)
    if not histogram:
        return None
    counts = dict(histogram)
    commonest = max(counts, key=lambda name: counts[name])
    if "unanswerable" in counts:
        if not counts["unanswerable"] or ("answer" not in metric and "exact" not in metric):
            return None
        commonest, score = "unanswerable", _same
    elif metric == "accuracy":
        score = _same
    elif metric == "f1" and len(counts) == 2:
        score = _f1 if commonest == list(counts)[1] else _none
    else:
        return None
    total = sum(counts.values())
    low, high = _exact_interval(counts[commonest], total)
    return ConstantAnswer(score(counts[commonest] / total), score(low), score(high))


def _same(share: float) -> float:
    return share


def _f1(share: float) -> float:
    """F1 of always answering the positive class, whose share is given."""
    return 2 * share / (1 + share)


def _none(share: float) -> float:
    return 0.0 * share


def _exact_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    return low, 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))


def plausible_collapses(n: int) -> int:
    """How many of ``n`` runs may have collapsed: the most that come in more than 5 % of cases, one at least."""
    shares = [math.comb(n, j) * RATE**j * (1 - RATE) ** (n - j) for j in range(n + 1)]
    likely = [j for j in range(1, n + 1) if sum(shares[j:]) > TAIL]
    return max(likely, default=1)


def mean_without(mean: ArrayLike, n: int, collapsed: int, constant: float) -> NDArray[np.float64]:
    """Mean of the other runs if ``collapsed`` of the ``n`` behind ``mean`` have the score ``constant``."""
    return np.asarray((n * np.asarray(mean, dtype=float) - collapsed * constant) / (n - collapsed))


def explained_by_collapse(
    difference: ArrayLike,
    sides: Sequence[tuple[ArrayLike, float]],
    n: int,
    constant: ConstantAnswer,
    reach: float,
    spread: Mapping[int, ArrayLike],
    published_sd: ArrayLike = math.nan,
) -> NDArray[np.int64]:
    """How many collapses, if that few are plausible, bring ``difference`` within ``reach``; 0 where none do.

    ``difference`` is measured less published; arrays of one shape. ``sides`` are the published means with the sign
    that each has in what was published (one of 1, or two of 1 and -1), each over ``n`` runs. ``spread`` maps how many
    runs are left to the half-width of the difference over these. Where ``published_sd`` is known, runs that would make
    it larger than it is have not collapsed.
    """
    gap = np.asarray(difference, dtype=float)
    found = np.zeros(gap.shape, dtype=np.int64)
    known = np.asarray(published_sd, dtype=float)
    for published, sign in sides:
        mean = np.asarray(published, dtype=float)
        for collapsed in range(1, min(plausible_collapses(n), n - 1) + 1):
            # The further down the constant answer, the higher were the other runs.
            ends = [mean_without(mean, n, collapsed, at) - mean for at in (constant.high, constant.low)]
            moved = np.sort([gap - sign * end for end in ends], axis=0)
            half = np.asarray(spread[n - collapsed], dtype=float) + reach
            near = (moved[0] <= half) & (moved[1] >= -half)
            distance = mean_without(mean, n, collapsed, constant.high) - constant.high
            least = distance * math.sqrt(collapsed * (n - collapsed) / (n * (n - 1)))
            near &= (distance > 0) & ~(known < least)
            found = np.where((found == 0) & near, collapsed, found)
    return found
