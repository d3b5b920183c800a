"""Is the difference small (equivalence), not harmful (non-inferiority), and how often does one run win?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.stats.estimate import Estimate, plain
from multibench.stats.inference import Inference
from multibench.stats.multibootstrap import MultibootstrapResult
from multibench.stats.sizes import possible_size

__all__ = ["EquivalenceTest", "equivalence", "non_inferiority", "probability_of_improvement"]


@dataclass(frozen=True)
class EquivalenceTest:
    """Whether a difference lies within (``low``, ``high``), at level ``alpha``.

    ``p_value`` is the larger of the two one-sided p-values; ``shown`` is ``p_value <= alpha``. Not shown is
    not the same as different: ``verdict`` keeps the two apart.
    """

    kind: str
    difference: float
    low: float
    high: float
    p_low: float
    p_high: float
    p_value: float
    alpha: float
    shown: bool
    verdict: str
    method: str

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.verdict}: difference {self.difference:.4f}, p = {self.p_value:.3g} ({self.method})"


def equivalence(
    result: Inference | MultibootstrapResult, margin: float | tuple[float, float], alpha: float = 0.05
) -> EquivalenceTest:
    """Two one-sided tests (Schuirmann 1987) of a comparison's ``delta`` against ``margin``.

    ``margin`` is a positive number (within plus or minus it) or a pair (low, high). Equivalent to asking
    whether the ``1 - 2 alpha`` interval lies within the margin. The margin must be named
    before the data are seen: the tool cannot know what is negligible.
    """
    low, high = (-margin, margin) if isinstance(margin, (int, float)) else margin
    if not low < high:
        raise StatisticsError(f"The margin ({low}, {high}) is empty; give a positive number or (low, high).")
    for end in (low, high):
        if math.isfinite(end) and end:
            possible_size(abs(end), "margin", _reach(result))
    return _one_sided("equivalence", result, low, high, alpha)


def non_inferiority(
    result: Inference | MultibootstrapResult, margin: float, alpha: float = 0.05
) -> EquivalenceTest:
    """One-sided test that the experiment is worse than base by less than ``margin`` (a positive number)."""
    if margin <= 0:
        raise StatisticsError(f"The margin of non-inferiority is {margin}; it must be positive.")
    possible_size(margin, "margin", _reach(result))
    return _one_sided("non-inferiority", result, -margin, math.inf, alpha)


def _reach(result: Inference | MultibootstrapResult) -> float:
    return result.reach if isinstance(result, Inference) else math.inf


def _one_sided(
    kind: str, result: Inference | MultibootstrapResult, low: float, high: float, alpha: float
) -> EquivalenceTest:
    if not 0 < alpha < 0.5:
        raise StatisticsError(f"`alpha` is {alpha}; it must lie between 0 and 0.5.")
    estimate = result.estimate if isinstance(result, Inference) else result.delta
    p_low, p_high = _p_above(result, low), 0.0 if math.isinf(high) else _p_below(result, high)
    p = max(p_low, p_high)
    shown = bool(p <= alpha)
    outside = estimate.low > high or estimate.high < low
    words = {"equivalence": ("equivalent", "different"), "non-inferiority": ("not inferior", "inferior")}[
        kind
    ]
    verdict = words[0] if shown else words[1] if outside else "cannot tell"
    return EquivalenceTest(
        kind, estimate.value, low, high, p_low, p_high, p, alpha, shown, verdict, estimate.method
    )


def _p_above(result: Inference | MultibootstrapResult, bound: float) -> float:
    """One-sided p of the claim that the difference is greater than ``bound``."""
    if isinstance(result, Inference):
        return result.p_above(bound)
    draws = _draws(result)
    return (int((draws <= bound).sum()) + 1) / (len(draws) + 1)


def _p_below(result: Inference | MultibootstrapResult, bound: float) -> float:
    if isinstance(result, Inference):
        return result.p_below(bound)
    draws = _draws(result)
    return (int((draws >= bound).sum()) + 1) / (len(draws) + 1)


def _draws(result: MultibootstrapResult) -> np.ndarray[Any, np.dtype[Any]]:
    if "percentile" not in result.delta.method:
        raise StatisticsError(
            "Tests against a margin take the percentile multi-bootstrap or the surrogate interval."
        )
    draws = result.samples[:, 1] - result.samples[:, 0]
    return np.asarray(draws[~np.isnan(draws)])


def probability_of_improvement(
    base_scores: ArrayLike, experiment_scores: ArrayLike, confidence: float = 0.95
) -> Estimate:
    """Probability that a run of the experiment scores higher than a run of base, ties counted half.

    ``mean over all pairs of 1[e > b] + 1[e = b] / 2`` (Mann and Whitney's U over its maximum), from one
    score a pretraining seed (average or choose runs first). The bounds are score bounds with a variance that depends on
    the probability alone (Newcombe 2006, method 5), and a t quantile for the few seeds; the test set is held fixed.
    Raises ``StatisticsError`` for scores that are missing, and fewer than two on a side.
    """
    base, experiment = np.asarray(base_scores, dtype=float), np.asarray(experiment_scores, dtype=float)
    if base.ndim != 1 or experiment.ndim != 1 or min(len(base), len(experiment)) < 2:
        raise StatisticsError(
            "Scores must be two vectors, one score a seed, of two seeds at least; shapes were "
            f"{base.shape} and {experiment.shape}."
        )
    if np.isnan(base).any() or np.isnan(experiment).any():
        raise StatisticsError("A score is NaN; decide what a collapsed run counts as before comparing.")
    wins = (experiment[:, None] > base[None]) + 0.5 * (experiment[:, None] == base[None])
    value = float(wins.mean())
    low, high = _win_bounds(value, len(base), len(experiment), confidence)
    return Estimate(
        value,
        low,
        high,
        confidence,
        "score bounds of a probability over pairs",
        "probability that a run of the experiment beats a run of base",
        math.nan,
        0.0,
        len(base) + len(experiment),
        len(base) + len(experiment),
        0,
        caveat="the test set is held fixed",
        over="pretraining seeds",
    )


def _win_bounds(value: float, n_base: int, n_experiment: int, level: float) -> tuple[float, float]:
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    quantile = float(stdtrit(n_base + n_experiment - 2, (1 + level) / 2))
    middle = (n_base + n_experiment) / 2 - 1

    def gap(theta: float, sign: int) -> float:
        spread = theta * (1 - theta) * (1 + middle * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return value + sign * quantile * math.sqrt(spread / (n_base * n_experiment)) - theta

    least, most = 1e-12, 1 - 1e-12
    low = 0.0 if gap(least, -1) <= 0 else float(brentq(gap, least, most, args=(-1,)))
    high = 1.0 if gap(most, 1) >= 0 else float(brentq(gap, least, most, args=(1,)))
    return low, high
