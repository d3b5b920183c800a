"""Whether runs agree about the order of their classes and of their rows.

Everything here starts from a table of shares for each run, ``(outputs, classes)``: how often output i is the highest
where the label is j, as a share of all n examples. What chance alone would give is taken off, so that a run that
always says the same contradicts nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.classes import Classes

__all__ = [
    "Doubt",
    "accuracy_of",
    "best_order",
    "contradicts",
    "disagreeing",
    "disagreements",
    "misplaced",
    "off_the_rest",
    "said_by_label",
]

Shares = NDArray[np.float64]
Order = tuple[int, ...]

_SURE = 3.0  # standard errors
# Below this a difference of accuracies is no matter of the order, however sure it is: on adversarial sets models may be
# a little worse than chance.
_MATTERS = 0.05
# What a run has to know beyond chance in another order before it is said to have its classes in that order.
_REVERSED = 0.075
# What others have to know beyond chance before a run that knows nothing is strange.
_KNOWN, _CORRELATED = 0.15, 0.3
# How far apart the shares of the classes may lie in runs that say each class about as often.
_ALIKE = 0.15


def said_by_label(said: NDArray[np.int64], labels: NDArray[np.int64], outputs: int, classes: int) -> Shares:
    """How often each output is the highest where each label is. Raises ``DataError`` for an output too many."""
    if len(said) and int(said.max()) >= outputs:
        raise DataError(f"A class number is {int(said.max())}; expected numbers from 0 to {outputs - 1}.")
    counts = np.bincount(said * classes + labels, minlength=outputs * classes)
    return np.asarray(counts.reshape(outputs, classes) / len(labels))


def accuracy_of(shares: Shares, order: Sequence[int]) -> float:
    """The share of examples whose highest output means their label."""
    return float(shares[np.arange(len(shares)), list(order)].sum())


def best_order(shares: Shares, of: Classes, without: Sequence[int] | None = None) -> Order:
    """The class of each output that gives the highest accuracy; among orders that differ from ``without`` if given."""
    if without is None:
        return _assigned(shares, of)[0]
    found = []
    for output, class_ in enumerate(without):
        barred = np.array(shares)
        barred[output, class_] = -len(shares)  # no order has that little
        found.append(_assigned(barred, of))
    return max(found, key=lambda each: each[1])[0]


def _assigned(shares: Shares, of: Classes) -> tuple[Order, float]:
    from scipy.optimize import linear_sum_assignment

    gains = shares[:, list(of.of)]
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return tuple(of.of[k] for k in columns.tolist()), float(gains[rows, columns].sum())


def _beyond_chance(shares: Shares) -> Shares:
    return np.asarray(shares - np.outer(shares.sum(axis=1), shares.sum(axis=0)))


def _mean(shares: Shares, values: Shares, n: int) -> tuple[float, float]:
    """Mean over examples of what each cell of the table is worth, and its standard error."""
    mean = float((shares * values).sum())
    return mean, math.sqrt(max(float((shares * values**2).sum()) - mean**2, 0.0) / n)


def _worth(shares: Shares, order: Sequence[int]) -> Shares:
    """What an example in each cell adds to the accuracy under an order, less what chance gives."""
    wanted = np.zeros(shares.shape)
    wanted[np.arange(len(shares)), list(order)] = 1
    return np.asarray(wanted - shares.sum(axis=0)[list(order)][:, None])


def _known(shares: Shares, order: Sequence[int]) -> float:
    """By how much the accuracy under an order is better than chance."""
    return float((shares * _worth(shares, order)).sum())


def _ahead(shares: Shares, better: Sequence[int], worse: Sequence[int], n: int) -> float:
    """By how many standard errors one order goes better with the labels than another."""
    mean, error = _mean(shares, _worth(shares, better) - _worth(shares, worse), n)
    return 0.0 if mean <= 1e-12 else mean / error if error > 0 else math.inf


def contradicts(shares: Shares, of: Classes, stated: Sequence[int], n: int) -> Order | None:
    """The order that goes better with the labels than the one that was stated, if one surely does."""
    best = best_order(_beyond_chance(shares), of)
    if best == tuple(stated) or accuracy_of(shares, best) - accuracy_of(shares, stated) < _MATTERS:
        return None
    return best if _ahead(shares, best, stated, n) > _SURE else None


def disagreeing(
    each: Sequence[Shares], of: Classes, n: int, stated: Sequence[int] | None = None
) -> tuple[Order, list[tuple[int, Order]]]:
    """The order of most runs, or the stated one, and the runs that surely have another one, each with that.

    In their own order these are at least half as good, beyond chance, as the others are in theirs: a run that is a
    little worse than chance has not its classes the other way round.
    """
    own = [best_order(_beyond_chance(shares), of) for shares in each]
    sure = [
        order
        for shares, order in zip(each, own, strict=True)
        if _ahead(shares, order, best_order(_beyond_chance(shares), of, without=order), n) > _SURE
    ]
    if stated is None and not sure:
        return (), []
    reference = tuple(stated) if stated is not None else Counter(sure).most_common(1)[0][0]
    # Of many runs at chance some are far from it by chance.
    limit = max(_SURE, NormalDist().inv_cdf(1 - 0.01 / len(each)))
    good = [_known(shares, reference) for shares, order in zip(each, own, strict=True) if order == reference]
    usual = float(np.median(good)) if good else 0.0
    others = [
        (k, order)
        for k, (shares, order) in enumerate(zip(each, own, strict=True))
        if order != reference
        and _ahead(shares, order, reference, n) > limit
        and _known(shares, order) >= max(usual / 2, _REVERSED)
    ]
    return reference, others


def misplaced(
    each: Sequence[Shares], of: Classes, n: int, groups: Sequence[Hashable] = ()
) -> list[tuple[int, str]]:
    """Runs that seem to have their rows in another order than the rest, each with the reason.

    These say each class about as often as the others do, and yet at random, where most of the others are far better
    than that. Runs are compared within their group alone: what trains for longer may well be better.
    """
    found = []
    keys = list(groups) or [None] * len(each)
    for group in dict.fromkeys(keys):
        found += _misplaced([k for k, key in enumerate(keys) if key == group], each, of, n)
    return found


def _misplaced(members: Sequence[int], each: Sequence[Shares], of: Classes, n: int) -> list[tuple[int, str]]:
    if len(members) < 3:
        return []
    order = best_order(np.sum([_beyond_chance(each[k]) for k in members], axis=0), of)
    worth = {k: _mean(each[k], _worth(each[k], order), n) for k in members}
    good = [k for k in members if worth[k][0] > _SURE * worth[k][1]]
    if len(good) < 2 or 2 * len(good) <= len(members):
        return []
    usual = float(np.median([worth[k][0] for k in good]))
    said = np.mean([each[k].sum(axis=1) for k in good], axis=0)
    found = []
    for k in set(members) - set(good):
        value, error = worth[k]
        alike = np.abs(each[k].sum(axis=1) - said).sum() / 2 < _ALIKE
        if (
            usual > _KNOWN
            and error > 0
            and abs(value) < 2 * error
            and value + _SURE * error < usual
            and alike
        ):
            others = float(np.median([accuracy_of(each[g], order) for g in good]))
            found.append(
                (
                    k,
                    "its predictions go with the labels as by chance (accuracy "
                    f"{100 * accuracy_of(each[k], order):.2f} %), though it gives each class as often as the "
                    f"{len(good)} runs beside it (accuracy {100 * others:.2f} %): its rows are in another order than "
                    "those of the split",
                )
            )
    return sorted(found)


class Doubt(NamedTuple):
    """What speaks against run number ``run``: a sentence without its full stop."""

    run: int
    sentence: str


def disagreements(
    said: Sequence[NDArray[np.int64]],
    labels: NDArray[np.int64],
    of: Classes,
    places: Sequence[str],
    groups: Sequence[Hashable],
) -> list[Doubt]:
    """Runs whose predicted classes ``(n,)`` contradict those of the others, where these go with the labels."""
    n, count = len(labels), len(of)
    each = [said_by_label(run, labels, count, count) for run in said]
    identity = tuple(range(count))
    reference, others = disagreeing(each, of, n)
    doubts = [
        Doubt(
            k,
            f"{places[k]} has its classes in another order than the other runs: its accuracy is "
            f"{100 * accuracy_of(each[k], identity):.2f} %, and {100 * accuracy_of(each[k], own):.2f} % in the order "
            f"{', '.join(of.names[c] for c in own)}. Correct the file or leave it out; --force takes it as it is",
        )
        for k, own in (others if reference == identity else [])
    ]
    return doubts + [
        Doubt(
            k,
            f"{places[k]}: {why}. Give the file a column of ids, or leave it out; if its rows are in the order of the "
            "split after all, --force takes it as it is",
        )
        for k, why in misplaced(each, of, n, groups)
    ]


def off_the_rest(
    values: Sequence[NDArray[np.float64]],
    labels: NDArray[np.float64],
    places: Sequence[str],
    groups: Sequence[Hashable],
) -> list[Doubt]:
    """Runs of a regression whose values ``(n,)`` do not go with the labels, or go against them, where most others do.

    Runs whose values are spread otherwise than those of the others are passed over: these have learnt something else.
    """
    if len(labels) < 4 or np.ptp(labels) == 0:
        return []
    spread = np.array([run.std() for run in values])
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.array([np.corrcoef(run, labels)[0, 1] if run.std() > 0 else 0.0 for run in values])
    found = []
    for group in dict.fromkeys(groups):
        members = [k for k, key in enumerate(groups) if key == group]
        good = [k for k in members if r[k] > _SURE / math.sqrt(len(labels))]
        if len(good) < 2 or 2 * len(good) <= len(members) or np.median(r[good]) < _CORRELATED:
            continue
        usual, width = float(np.median(r[good])), float(np.median(spread[good]))
        for k in members:
            ahead = math.atanh(min(usual, 0.999)) - math.atanh(max(float(r[k]), -0.999))
            sure = ahead > _SURE * math.sqrt(2 / (len(labels) - 3))
            if r[k] < 2 / math.sqrt(len(labels)) and sure and width / 2 < spread[k] < 2 * width:
                found.append(
                    Doubt(
                        k,
                        f"{places[k]} does not go with the labels (correlation {r[k]:.2f}), though its values are "
                        f"spread as those of the {len(good)} runs beside it (correlation {usual:.2f}): its rows are "
                        "in another order, or its sign is. Correct the file or leave it out; --force takes it as it "
                        "is",
                    )
                )
    return found
