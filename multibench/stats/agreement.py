"""Do runs give the same answers? Agreement and churn of pairs of runs, by which seeds the two share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimate import Estimate, plain
from multibench.stats.layout import Group

__all__ = ["KINDS", "PairAgreement", "agreement_of_seeds", "pair_agreement", "pair_distance", "pair_kinds"]

KINDS = ("same pretraining seed", "other pretraining seed", "other pretraining seed, same fine-tuning seed")
METHOD = "pairs of runs; jackknife over pretraining seeds and examples, t"


@dataclass(frozen=True)
class PairAgreement:
    """How alike two runs of one kind of pair answer, over ``n_pairs`` pairs that all weigh the same.

    ``agreement``: share of examples with equal answers. ``kappa``: the same, corrected for chance with class shares
    over all runs (Fleiss). ``flips``: share of examples that one run has right and the other wrong.
    ``accuracy_gap``: mean absolute difference of the two accuracies, the flips that those force.
    ``churn``: flips beyond that, which would be there at equal accuracy. ``flips``, ``accuracy_gap`` and ``churn`` are
    ``None`` where it was not said which answers are right.
    """

    kind: str
    n_pairs: int
    agreement: Estimate
    kappa: Estimate
    flips: Estimate | None
    accuracy_gap: float | None
    churn: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.kind}: agreement {self.agreement}, kappa {self.kappa.value:.3f}"


@dataclass(frozen=True)
class _Pairs:
    """The mean of ``distances`` ``(n_runs, n_runs)`` over the pairs of ``mask``, and over them of each example."""

    distances: Array
    mask: Array
    examples: Array  # (n_examples,), its mean is the mean over pairs

    def without_each_seed(self, seeds: Array) -> Array:
        """The mean without each seed, ``(n_seeds,)``; NaN where no pair is left."""
        n = int(seeds.max()) + 1
        member = (seeds[None] == np.arange(n)[:, None]).astype(np.float64)

        def left(matrix: Array) -> Array:
            # A pair is lost with either of its seeds, once if both are the same.
            touching, inside = member @ matrix.sum(axis=1), np.einsum("ir,rs,is->i", member, matrix, member)
            return np.asarray(matrix.sum() - 2 * touching + inside)

        counts = left(self.mask.astype(np.float64))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(counts > 0, left(self.mask * self.distances) / counts, np.nan)


def pair_kinds(group: Group) -> dict[str, Array]:
    """For each of ``KINDS`` that has pairs the symmetric mask ``(n_runs, n_runs)`` of its pairs.

    Raises ``StatisticsError`` for a single run.
    """
    same = group.seed_codes[:, None] == group.seed_codes[None]
    masks = {KINDS[0]: same & ~np.eye(group.n_runs, dtype=bool), KINDS[1]: ~same}
    if group.finetune is not None and len(set(group.finetune)) > 1:
        labels = np.array([str(label) for label in group.finetune])
        masks[KINDS[2]] = ~same & (labels[:, None] == labels[None])
    found = {kind: mask for kind, mask in masks.items() if mask.any()}
    if not found:
        raise StatisticsError("Agreement needs two runs at least; there is one.")
    return found


def pair_agreement(
    answers: Array, group: Group, correct: Array | None = None, level: float = 0.95
) -> tuple[PairAgreement, ...]:
    """Agreement between the runs of ``group``, for each kind of pair that there is.

    Args:
        answers: ``(n_runs, n_examples)`` class numbers of the group's runs, in its order.
        group: which pretraining and fine-tuning seed each run has.
        correct: ``(n_runs, n_examples)`` booleans, where known.
        level: confidence level.

    Intervals: the squared standard error is that of the mean over examples plus the delete-one-seed jackknife's (which
    repeats some of the first, so that intervals are a little wide); t with Satterthwaite's degrees of freedom. Where
    leaving out a seed leaves no pair the interval is over examples only, and the caveat says so.

    Raises ``StatisticsError`` if the shapes do not fit or no pair can be formed.

    """
    if answers.ndim != 2 or len(answers) != group.n_runs or answers.shape[1] < 2:
        raise StatisticsError(
            f"Answers of shape {answers.shape} were given for {group.n_runs} runs; expected (n_runs, n_examples) with "
            "two examples at least."
        )
    kinds = pair_kinds(group)
    unequal = _pairs(answers, kinds)
    flipped = None if correct is None else _pairs(correct, kinds)
    found = []
    for kind, mask in kinds.items():
        apart = unequal[kind]
        agreement = _estimate(
            1 - apart.examples,
            1 - apart.without_each_seed(group.seed_codes),
            group,
            level,
            f"agreement, {kind}",
        )
        kappa = _kappa(apart, answers, group, level, kind)
        flips = churn = gap = None
        if flipped is not None and correct is not None:
            flips, gap, churn = _flips(flipped[kind], correct, group, level, kind)
        found.append(PairAgreement(kind, int(mask.sum()) // 2, agreement, kappa, flips, gap, churn))
    return tuple(found)


def agreement_of_seeds(answers: Array, group: Group, levels: Sequence[float]) -> list[Estimate]:
    """Agreement of runs of different pretraining seeds (of the runs of one seed, if there is but one), at each level.

    As ``pair_agreement`` has it, without the rest.
    """
    kind = KINDS[1] if group.n_seeds > 1 else KINDS[0]
    apart = _pairs(answers, {kind: pair_kinds(group)[kind]})[kind]
    left = 1 - apart.without_each_seed(group.seed_codes)
    return [_estimate(1 - apart.examples, left, group, level, f"agreement, {kind}") for level in levels]


def pair_distance(values: Array, group: Group, level: float = 0.95) -> dict[str, Estimate]:
    """Mean absolute difference of two runs' values ``(n_runs, n_examples)``, in their unit, for each kind of pair."""
    found = _pairs(values.astype(np.float64), pair_kinds(group))
    return {
        kind: _estimate(
            pairs.examples,
            pairs.without_each_seed(group.seed_codes),
            group,
            level,
            f"mean absolute difference, {kind}",
            most=math.inf,
        )
        for kind, pairs in found.items()
    }


def _pairs(values: Array, kinds: Mapping[str, Array]) -> dict[str, _Pairs]:
    """Distances of all pairs of runs: absolute differences of floats, else whether two values are unequal."""
    n_runs, n_examples = values.shape
    distances = np.zeros((n_runs, n_runs))
    sums = {kind: np.zeros(n_examples) for kind in kinds}
    for run in range(n_runs - 1):
        rest = values[run + 1 :]
        apart = np.abs(rest - values[run]) if values.dtype.kind == "f" else rest != values[run]
        distances[run, run + 1 :] = distances[run + 1 :, run] = apart.mean(axis=1)
        for kind, mask in kinds.items():
            sums[kind] += mask[run, run + 1 :].astype(np.float64) @ apart
    return {kind: _Pairs(distances, mask, sums[kind] * 2 / mask.sum()) for kind, mask in kinds.items()}


def _kappa(apart: _Pairs, answers: Array, group: Group, level: float, kind: str) -> Estimate:
    """``(A - E) / (1 - E)`` with ``E`` the sum of squared class shares over all runs."""
    classes = np.unique(answers)
    of_run = np.stack([(answers == c).mean(axis=1) for c in classes], axis=1)  # (n_runs, n_classes)
    of_example = np.stack([(answers == c).mean(axis=0) for c in classes], axis=1)  # (n_examples, n_classes)
    shares = of_run.mean(axis=0)
    agreement, chance = 1 - float(apart.examples.mean()), float((shares**2).sum())
    if math.isclose(chance, 1.0):
        empty = np.full(answers.shape[1], math.nan)
        return _estimate(
            empty, empty[:1], group, level, f"kappa, {kind}", -1.0, reason="all answers are of one class"
        )
    # Each example's influence, by the derivatives to agreement and to chance.
    of_chance = 2 * (of_example - shares) @ shares
    influence = (1 - apart.examples - agreement) / (1 - chance)
    influence -= (1 - agreement) / (1 - chance) ** 2 * of_chance
    without = np.stack(
        [
            of_run[group.seed_codes != code].mean(axis=0) if group.n_seeds > 1 else shares
            for code in range(group.n_seeds)
        ]
    )
    expected = (without**2).sum(axis=1)
    left = 1 - apart.without_each_seed(group.seed_codes)
    with np.errstate(divide="ignore", invalid="ignore"):
        jackknife = (left - expected) / (1 - expected)
    kappa = (agreement - chance) / (1 - chance)
    return _estimate(kappa + influence, jackknife, group, level, f"kappa, {kind}", -1.0)


def _flips(
    flipped: _Pairs, correct: Array, group: Group, level: float, kind: str
) -> tuple[Estimate, float, Estimate]:
    accuracy = correct.mean(axis=1)
    differences = accuracy[:, None] - accuracy[None]
    gaps = _Pairs(np.abs(differences), flipped.mask, np.zeros(0))
    n_pairs = flipped.mask.sum()
    gap = float((gaps.distances * flipped.mask).sum() / n_pairs)
    # The sum over pairs of sign(a_r - a_s) (right_r - right_s): what each example adds to the gaps.
    weights = 2 * (np.sign(differences) * flipped.mask).sum(axis=1) / n_pairs
    churned = flipped.examples - weights @ correct
    left = flipped.without_each_seed(group.seed_codes)
    flips = _estimate(flipped.examples, left, group, level, f"flips, {kind}")
    left = left - gaps.without_each_seed(group.seed_codes)
    return flips, gap, _estimate(churned, left, group, level, f"churn at equal accuracy, {kind}")


def _estimate(
    examples: Array,
    without: Array,
    group: Group,
    level: float,
    estimand: str,
    least: float = 0.0,
    most: float = 1.0,
    reason: str = "",
) -> Estimate:
    """The mean of ``examples`` with its interval, cut where values from ``least`` to ``most`` end.

    ``without`` are the values without each seed.
    """
    from scipy.special import stdtrit

    value, n = float(examples.mean()), len(examples)
    error = half = math.nan
    caveat = ""
    if not math.isnan(value):
        of_examples = float(examples.var(ddof=1)) / n if n > 1 else math.nan
        of_seeds, n_left = 0.0, len(without)
        if n_left > 1 and not np.isnan(without).any():
            of_seeds = (n_left - 1) / n_left * float(((without - without.mean()) ** 2).sum())
        else:
            caveat = "too few pretraining seeds: the interval covers examples only"
        variance = of_examples + of_seeds
        spread = of_examples**2 / max(n - 1, 1) + of_seeds**2 / max(n_left - 1, 1)
        df = variance**2 / spread if spread > 0 else math.inf
        error = math.sqrt(variance)
        half = error * float(stdtrit(min(df, 1e9), (1 + level) / 2))
    low, high = np.clip([value - half, value + half], least, most).tolist()
    return Estimate(
        value,
        low,
        high,
        level,
        METHOD,
        estimand,
        error,
        0.0,
        group.n_seeds,
        group.n_runs,
        n,
        reason,
        caveat,
    )
