"""How much too good a setting looks on the very examples it was chosen on.

The best of several settings owes a part of its score to the luck of the choice. Here the choice is made on all
pretraining seeds but one and on four fifths of the examples, and scored on the seed and the fifth that were left out:
each in turn, over several divisions of the examples. No score has been seen by the choice that it belongs to, and every
score is taken once a division. Their mean is an estimate of the true score of the setting that is chosen; what the
plain mean has above it is the optimism. A choice on nearly all data is nearly the choice on all of them: on halves it
would be a worse one, and its score too low where settings truly differ. As all scores are taken, the estimate varies
hardly more than a plain mean does, so that the plain mean's variance stands for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.layout import codes_of, sorted_labels
from multibench.stats.streams import Streams

__all__ = ["Choice", "choice_of_runs", "choice_of_settings"]

STREAM = 6
DIVISIONS, PARTS = 20, 5
# Means that differ by less are equal: in which order they were summed must not decide.
DIGITS = 12


@dataclass(frozen=True)
class Choice:
    """What a choice did: ``optimism`` is the plain mean of what was chosen less its score without the luck of the
    choice.

    ``agreement`` is the share of choices on parts of the data that fall on what all data together choose;
    ``n_candidates`` is how many there were to choose from.
    """

    optimism: float
    agreement: float
    n_candidates: int


def choice_of_settings(
    reported: Array, deciding: Array, settings: Sequence[Hashable], rows: Sequence[tuple[Hashable, Hashable]]
) -> Choice | None:
    """The choice of one setting for all seeds, by its mean.

    Args:
        reported: scores ``(n_runs, n_units)`` by the metric that is reported.
        deciding: the same by the metric that decides, units in the same order.
        settings: the setting of each run.
        rows: pretraining and fine-tuning seed of each run.

    Rows that a setting lacks are left out; None if they have none in common, or there is one setting.

    """
    # In an order of their own, so that the order of runs changes nothing.
    names = sorted_labels(settings)
    place = {(s, r): i for i, (s, r) in enumerate(zip(settings, rows, strict=True))}
    keys = [r for r in _ordered(rows) if all((s, r) in place for s in names)]
    if len(names) < 2 or not keys:
        return None
    index = np.array([[place[s, r] for r in keys] for s in names])  # (n_settings, n_rows)
    units = _units_of(keys)
    rows_of = (units == np.arange(units.max() + 1)[:, None]).astype(float)  # (n_row_units, n_rows)
    best = _best(deciding[index].mean(axis=(1, 2)))
    scored, same = _unseen(reported, deciding, index, rows_of, best)
    return Choice(float(reported[index[best]].mean() - scored), same, len(names))


def choice_of_runs(reported: Array, deciding: Array, checkpoints: Sequence[Hashable]) -> Choice | None:
    """The choice of the best single run of each checkpoint; arguments as in ``choice_of_settings``.

    None if no checkpoint has two runs. The luck of the training belongs to the run that was chosen; what is taken
    off is the luck of the examples.
    """
    names = list(dict.fromkeys(checkpoints))
    members = [np.array([i for i, c in enumerate(checkpoints) if c == name]) for name in names]
    most = max(map(len, members), default=0)
    if most < 2:
        return None
    optimism, same = 0.0, []
    for own in members:
        best = _best(deciding[own].mean(axis=1))
        runs = np.arange(len(own))[:, None]
        scored, agreement = _unseen(reported[own], deciding[own], runs, np.ones((1, 1)), best)
        optimism += float(reported[own[best]].mean() - scored)
        same.append(agreement)
    return Choice(optimism / len(names), float(np.mean(same)), most)


def _unseen(reported: Array, deciding: Array, index: Array, rows_of: Array, best: int) -> tuple[float, float]:
    """The mean of scores that the choice did not see, and the share of choices that fall on ``best``.

    ``index`` ``(n_candidates, n_rows)`` are the runs of each candidate, ``rows_of`` ``(n_row_units, n_rows)`` says
    which rows are left out together. Where there is one such unit the choice is made on other examples only.
    """
    scored = same = 0.0
    for division in range(DIVISIONS):
        parts = _parts(reported.shape[1], division)
        cells = np.outer(rows_of.sum(axis=1), parts.sum(axis=0))  # scores in each part
        # Sums of scores, (n_candidates, n_row_units, n_parts).
        decided = rows_of @ (deciding @ parts)[index]
        shown = decided if reported is deciding else rows_of @ (reported @ parts)[index]
        picks = _best(_others(decided) / _others(cells))
        scored += float(np.take_along_axis(shown, picks[None], axis=0).sum() / cells.sum())
        same += float((picks == best).mean())
    return scored / DIVISIONS, same / DIVISIONS


def _best(means: Array) -> Any:
    """The place of the greatest along the first axis, the first of equal ones."""
    return np.round(means, DIGITS).argmax(axis=0)


def _others(sums: Array) -> Array:
    """For each cell of the last two axes the sum over all cells in other rows and other columns.

    An axis of one cell is not left out of anything.
    """
    for axis in (-1, -2):
        if sums.shape[axis] > 1:
            sums = sums.sum(axis=axis, keepdims=True) - sums
    return sums


def _ordered(rows: Sequence[tuple[Hashable, Hashable]]) -> list[tuple[Hashable, Hashable]]:
    """Distinct pairs, by their first and then their second label."""
    first, second = (codes_of(labels)[1].tolist() for labels in zip(*rows, strict=True))
    ordered = sorted(zip(first, second, rows, strict=True), key=lambda each: each[:2])
    return list(dict.fromkeys(row for *_, row in ordered))


def _units_of(keys: Sequence[tuple[Hashable, Hashable]]) -> Array:
    """Numbers of what is divided: pretraining seeds, or runs where there is one seed."""
    seeds = [seed for seed, _ in keys]
    labels = list(dict.fromkeys(seeds))
    if len(labels) > 1:
        return np.array([labels.index(seed) for seed in seeds])
    return np.arange(len(keys))


@lru_cache(maxsize=4 * DIVISIONS)
def _codes(n: int, division: int) -> Array:
    """Which of up to five random parts, nearly equally large, each of ``n`` units is in; of one fixed stream."""
    codes = np.empty(n, dtype=np.int64)
    codes[Streams(0).generator(STREAM, division).permutation(n)] = np.arange(n) % PARTS
    return codes


def _parts(n: int, division: int) -> Array:
    """The same as ``(n, n_parts)`` of ones and zeros."""
    return np.asarray(_codes(n, division)[:, None] == np.arange(min(PARTS, n)), dtype=float)
