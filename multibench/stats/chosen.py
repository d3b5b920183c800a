"""How much too good a setting looks on the very examples it was chosen on.

The best of several settings owes a part of its score to the luck of the choice. Here the choice is made on one half of
the pretraining seeds and examples and scored on the other half of both, all ways round and over several divisions: no
score has been seen by the choice that it belongs to. The mean of these scores is an estimate of the true score of the
setting that is chosen; what the plain mean has above it is the optimism. Averaging over divisions keeps the estimate
from varying more than a plain mean does, so that the plain mean's variance stands for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from multibench.metrics.base import Array
from multibench.stats.layout import codes_of, sorted_labels
from multibench.stats.streams import Streams

__all__ = ["Choice", "choice_of_runs", "choice_of_settings"]

HALVES = 6
DIVISIONS = 20


@dataclass(frozen=True)
class Choice:
    """What a choice did: ``optimism`` is the plain mean of what was chosen less its score without the luck of the
    choice.

    ``agreement`` is the share of choices on halves that fall on what all data together choose; ``n_candidates`` is
    how many there were to choose from.
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
    best = int(deciding[index].mean(axis=(1, 2)).argmax())
    units = _units_of(keys)
    scored, same, count = 0.0, 0, 0
    for division in range(DIVISIONS):
        examples = _halves(reported.shape[1], division, 0)
        for own, others in _row_halves(units, division):
            weight = len(own) / len(keys)
            # Sums over halves of examples of every setting's rows, then means: one pass over the scores.
            for mine, rest in (examples, examples[::-1]):
                pick = int(deciding[index[:, others]][:, :, rest].mean(axis=(1, 2)).argmax())
                same, count = same + (pick == best), count + 1
                score = float(reported[index[pick][own]][:, mine].mean())
                scored += score * weight * len(mine) / reported.shape[1]
    plain = float(reported[index[best]].mean())
    return Choice(plain - scored / DIVISIONS, same / count, len(names))


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
    n = reported.shape[1]
    plain, scored, same, count = 0.0, 0.0, 0, 0
    for own in members:
        best = int(deciding[own].mean(axis=1).argmax())
        plain += float(reported[own[best]].mean())
        for division in range(DIVISIONS):
            halves = _halves(n, division, 0)
            for mine, rest in (halves, halves[::-1]):
                pick = int(deciding[own][:, rest].mean(axis=1).argmax())
                same, count = same + (pick == best), count + 1
                scored += float(reported[own[pick]][mine].mean()) * len(mine) / n / DIVISIONS
    return Choice((plain - scored) / len(names), same / count, most)


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


def _row_halves(units: Array, division: int) -> list[tuple[Array, Array]]:
    """Rows to score and rows to choose on, both ways; all for both where there is one unit."""
    n = int(units.max()) + 1
    if n == 1:
        return [(np.arange(len(units)), np.arange(len(units)))]
    first, second = (np.flatnonzero(np.isin(units, half)) for half in _halves(n, division, 1))
    return [(first, second), (second, first)]


def _halves(n: int, division: int, kind: int) -> tuple[Array, Array]:
    """A random half of ``n`` and the rest, of one fixed stream; which is the larger one changes between divisions."""
    order = Streams(0).generator(HALVES + kind, division).permutation(n)
    cut = n // 2 + (n % 2) * (division % 2)
    return np.sort(order[:cut]), np.sort(order[cut:])
