"""Is the difference small (equivalence), not harmful (non-inferiority), and how often does one run win?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.stats.crossed import Crossed
from multibench.stats.estimate import Estimate, plain
from multibench.stats.intervals import bootstrap_estimate
from multibench.stats.multibootstrap import MultibootstrapResult
from multibench.stats.streams import Streams, draw_counts

__all__ = ["EquivalenceTest", "equivalence", "non_inferiority", "probability_of_improvement"]

WINS = 4


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
    result: Crossed | MultibootstrapResult, margin: float | tuple[float, float], alpha: float = 0.05
) -> EquivalenceTest:
    """Two one-sided tests (Schuirmann 1987) of a comparison's ``delta`` against ``margin``.

    ``margin`` is a positive number (within plus or minus it) or a pair (low, high). Equivalent to asking
    whether the ``1 - 2 alpha`` interval lies within the margin. The margin must be named
    before the data are seen: the tool cannot know what is negligible.
    """
    low, high = (-margin, margin) if isinstance(margin, (int, float)) else margin
    if not low < high:
        raise StatisticsError(f"The margin ({low}, {high}) is empty; give a positive number or (low, high).")
    return _one_sided("equivalence", result, low, high, alpha)


def non_inferiority(
    result: Crossed | MultibootstrapResult, margin: float, alpha: float = 0.05
) -> EquivalenceTest:
    """One-sided test that the experiment is worse than base by less than ``margin`` (a positive number)."""
    if margin <= 0:
        raise StatisticsError(f"The margin of non-inferiority is {margin}; it must be positive.")
    return _one_sided("non-inferiority", result, -margin, math.inf, alpha)


def _one_sided(
    kind: str, result: Crossed | MultibootstrapResult, low: float, high: float, alpha: float
) -> EquivalenceTest:
    if not 0 < alpha < 0.5:
        raise StatisticsError(f"`alpha` is {alpha}; it must lie between 0 and 0.5.")
    estimate = result.estimate if isinstance(result, Crossed) else result.delta
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


def _p_above(result: Crossed | MultibootstrapResult, bound: float) -> float:
    """One-sided p of the claim that the difference is greater than ``bound``."""
    if isinstance(result, Crossed):
        return _t_tail(result, result.estimate.value - bound)
    draws = _draws(result)
    return (int((draws <= bound).sum()) + 1) / (len(draws) + 1)


def _p_below(result: Crossed | MultibootstrapResult, bound: float) -> float:
    if isinstance(result, Crossed):
        return _t_tail(result, bound - result.estimate.value)
    draws = _draws(result)
    return (int((draws >= bound).sum()) + 1) / (len(draws) + 1)


def _draws(result: MultibootstrapResult) -> np.ndarray[Any, np.dtype[Any]]:
    if "percentile" not in result.delta.method:
        raise StatisticsError(
            "Tests against a margin take the percentile multi-bootstrap or a crossed interval."
        )
    draws = result.samples[:, 1] - result.samples[:, 0]
    return np.asarray(draws[~np.isnan(draws)])


def _t_tail(result: Crossed, distance: float) -> float:
    from scipy.special import stdtr

    error = result.estimate.standard_error
    if math.isnan(error):
        return math.nan
    return float(distance <= 0) if error == 0 else float(stdtr(result.df, -distance / error))


def probability_of_improvement(
    base_scores: ArrayLike,
    experiment_scores: ArrayLike,
    nboot: int = 10_000,
    rng: np.random.Generator | int | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Probability that a run of the experiment scores higher than a run of base, ties counted half.

    ``mean over all pairs of 1[e > b] + 1[e = b] / 2`` (Mann and Whitney's U over its maximum), from one
    score a pretraining seed (average or choose runs first). Both sides are resampled independently, pairs are
    never taken as independent; the test set is held fixed.
    """
    base, experiment = np.asarray(base_scores, dtype=float), np.asarray(experiment_scores, dtype=float)
    if base.ndim != 1 or experiment.ndim != 1 or min(len(base), len(experiment)) == 0:
        raise StatisticsError(
            f"Scores must be two vectors, one score a seed; shapes were {base.shape} and {experiment.shape}."
        )
    if np.isnan(base).any() or np.isnan(experiment).any():
        raise StatisticsError("A score is NaN; decide what a collapsed run counts as before comparing.")
    base, experiment = np.sort(base), np.sort(experiment)
    wins = (experiment[:, None] > base[None]) + 0.5 * (experiment[:, None] == base[None])
    generator = Streams(rng).generator(WINS, 0)
    of_base = draw_counts(generator, nboot, len(base)) / len(base)
    of_experiment = draw_counts(generator, nboot, len(experiment)) / len(experiment)
    return bootstrap_estimate(
        float(wins.mean()),
        ((of_experiment @ wins) * of_base).sum(axis=1),
        confidence,
        "percentile",
        1.0,
        True,
        method="bootstrap over seeds, percentile",
        estimand="probability that a run of the experiment beats a run of base",
        n_seeds=len(base) + len(experiment),
        n_runs=len(base) + len(experiment),
        n_examples=0,
        caveat="the test set is held fixed",
    )
