"""Two single runs on one test set: McNemar's test and the paired permutation test.

Both speak about two artefacts. Neither says anything about other seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array, Metric
from multibench.stats.estimate import plain
from multibench.stats.streams import Streams

__all__ = ["SingleRunTest", "mcnemar", "paired_permutation"]

EXCHANGES, PERMUTATION_BLOCK = 3, 2**22


@dataclass(frozen=True)
class SingleRunTest:
    """A test of two runs: the difference (experiment minus base), p-values and what was counted."""

    method: str
    difference: float
    p_value: float
    p_greater: float
    p_less: float
    n_examples: int
    only_base_right: int | None = None
    only_experiment_right: int | None = None
    n_permutations: int | None = None
    reason: str = ""
    caveat: str = "says nothing about other pretraining or fine-tuning seeds"

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"difference {self.difference:.4f}, p = {self.p_value:.3g} two-sided ({self.method})"


def mcnemar(base_correct: ArrayLike, experiment_correct: ArrayLike) -> SingleRunTest:
    """McNemar's exact test on two vectors ``(n_examples,)`` of right and wrong answers.

    Under equal accuracy the b + c examples that only one run gets right are split by a fair coin: binomial
    tails, two-sided by doubling (McNemar 1947; Dietterich 1998). With no such example p is 1.
    """
    first, second = np.asarray(base_correct), np.asarray(experiment_correct)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise StatisticsError(
            f"McNemar's test takes two vectors of equal length; shapes were {first.shape} and {second.shape}."
        )
    if not all(np.isin(side, (0, 1)).all() for side in (first, second)):
        raise StatisticsError("McNemar's test takes right (1) and wrong (0) answers only.")
    first, second = first.astype(bool), second.astype(bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    p_greater, p_less = _binomial_tail(c, b + c), _binomial_tail(b, b + c)
    return SingleRunTest(
        "McNemar, exact",
        (c - b) / len(first),
        min(1.0, 2 * min(p_greater, p_less)),
        p_greater,
        p_less,
        len(first),
        b,
        c,
    )


def _binomial_tail(k: int, n: int) -> float:
    """P(at least k heads of n)."""
    from scipy.special import bdtrc

    return 1.0 if k == 0 else float(bdtrc(k - 1, n, 0.5))


def paired_permutation(
    labels: ArrayLike,
    base_outputs: ArrayLike,
    experiment_outputs: ArrayLike,
    metric: str | Metric,
    n_permutations: int = 10_000,
    rng: np.random.Generator | int | None = None,
) -> SingleRunTest:
    """Randomisation test: exchange the two runs' outputs on a random half of the examples.

    Any registered metric; exact under the hypothesis that the runs are exchangeable example by example
    (Noreen 1989). ``p = (k + 1) / (n_permutations + 1)``, ties included; two-sided by absolute differences.
    """
    known = METRICS.get(metric) if isinstance(metric, str) else metric
    gold, first, second = np.asarray(labels), np.asarray(base_outputs), np.asarray(experiment_outputs)
    if first.shape != second.shape:
        raise StatisticsError(f"The runs' outputs differ in shape: {first.shape} and {second.shape}.")
    # A swap moves weight between the two copies of an example: both swapped runs are weighted scores
    # of the one long run that holds both.
    joint = known.prepare(np.concatenate([gold, gold]), np.concatenate([first, second])[None])
    n = len(gold)
    observed = _swapped(joint.draws, np.zeros((1, n), dtype=bool))[0]
    if math.isnan(observed):
        return SingleRunTest(
            "paired permutation", observed, math.nan, math.nan, math.nan, n, reason="a score is undefined"
        )
    streams = Streams(rng)
    above = below = beyond = done = 0
    slack = 1e-12
    block = max(1, PERMUTATION_BLOCK // (4 * n))
    for index in range(-(-n_permutations // block)):
        swaps = streams.generator(EXCHANGES, index).integers(0, 2, size=(block, n), dtype=np.int8) == 1
        values = _swapped(joint.draws, swaps[: n_permutations - done])
        done += len(values)
        above += int((~(values < observed - slack)).sum())
        below += int((~(values > observed + slack)).sum())
        beyond += int((~(np.abs(values) < abs(observed) - slack)).sum())
    return SingleRunTest(
        f"paired permutation, {known.name}",
        float(observed),
        (beyond + 1) / (done + 1),
        (above + 1) / (done + 1),
        (below + 1) / (done + 1),
        n,
        n_permutations=done,
    )


def _swapped(draws: Any, swaps: Array) -> Array:
    base = draws(np.concatenate([~swaps, swaps], axis=1).astype(np.int8))[:, 0]
    experiment = draws(np.concatenate([swaps, ~swaps], axis=1).astype(np.int8))[:, 0]
    return np.asarray(experiment - base)
