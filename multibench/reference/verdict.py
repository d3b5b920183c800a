r"""Published against measured: an interval of the difference, and one decision.

The published and the measured score are means over fine-tuning seeds, on the same examples and from the same
pretrained weights, so that neither examples nor pretraining seeds can tell them apart: what varies is
fine-tuning alone. With ``n`` measured and ``m`` published scores of one fine-tuning seed each,

    difference -+ (t(df) s sqrt(1/n + 1/m) + rounding),      df = n - 1

where ``s`` is the standard deviation of the measured ones, taken to be that of the published ones, too.
Where the source gives theirs, ``s_m``, the interval is Welch's: ``s^2/n + s_m^2/m``, Satterthwaite's degrees of
freedom. ``rounding`` is half a unit of the last printed digit.

The interval has the level ``1 - 2 ALPHA``. It decides twice, against the margin on the one and on the other side:
*match* if it lies within (-margin, margin), which is two one-sided tests (Schuirmann 1987); *differs* if it lies
wholly beyond, which is the minimum-effect test (Murphy and Myors 1999); *cannot tell* otherwise. So a true difference
of the margin or more is called a match with probability ``ALPHA`` at most, and one of the margin or less
is called different with probability ``ALPHA`` at most, for normal scores of equal spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multibench.errors import StatisticsError
from multibench.stats import Estimate

__all__ = [
    "ALPHA",
    "DEFAULT_MARGIN",
    "Published",
    "Verdict",
    "difference_interval",
    "in_points",
    "judge",
    "verdicts",
]

ALPHA = 0.05
DEFAULT_MARGIN = 0.01
"""One point: what readers of published tables complain about begins there; the tables themselves print tenths."""

Word = Literal["match", "differs", "cannot tell"]


@dataclass(frozen=True)
class Published:
    """A published mean as a fraction: over ``n`` fine-tuning seeds with standard deviation ``sd`` (NaN: not known).

    ``rounding`` is how far from the truth printing can have moved it. ``exact`` says that nothing random stands
    behind it: a score of released weights as they are.
    """

    mean: float
    n: int
    sd: float = math.nan
    rounding: float = 0.0
    exact: bool = False


@dataclass(frozen=True)
class Verdict:
    """The decision, the difference that it rests on (measured minus published), and why it is no other."""

    word: Word
    difference: Estimate
    margin: float
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "verdict": self.word,
            "difference": self.difference.to_dict(),
            "margin": self.margin,
            "why": self.why,
        }


def in_points(fraction: float) -> str:
    """``0.005`` as ``0.5 points``."""
    return f"{100 * fraction:g} point" + ("" if 100 * fraction == 1 else "s")


def difference_interval(
    difference: ArrayLike,
    sd: ArrayLike,
    n: int,
    published_sd: ArrayLike,
    published_n: int,
    rounding: float = 0.0,
    level: float = 1 - 2 * ALPHA,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Low end, high end and standard error of differences of two means; arrays of one shape, fractions.

    Where ``published_sd`` is NaN the measured ``sd`` stands for it. See the top of this module.
    """
    from scipy.special import stdtrit

    first, second = (
        np.asarray(sd, dtype=float) ** 2 / n,
        np.asarray(published_sd, dtype=float) ** 2 / published_n,
    )
    unknown = np.isnan(second)
    variance = np.where(unknown, first * (1 + n / published_n), first + second)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = first**2 / (n - 1) + second**2 / max(published_n - 1, 1)
        df = np.where(unknown, n - 1, variance**2 / spread)
    error = np.sqrt(variance)
    half = stdtrit(np.maximum(df, 1.0), (1 + level) / 2) * error + rounding
    centre = np.asarray(difference, dtype=float)
    return centre - half, centre + half, error


def verdicts(low: ArrayLike, high: ArrayLike, margin: float) -> NDArray[np.str_]:
    """The decisions for intervals; arrays of one shape, in which NaN cannot tell."""
    bottom, top = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    match = (bottom > -margin) & (top < margin)
    differs = (bottom > margin) | (top < -margin)
    return np.where(match, "match", np.where(differs, "differs", "cannot tell"))


def judge(
    measured: ArrayLike,
    published: Published,
    margin: float = DEFAULT_MARGIN,
    *,
    n_seeds: int = 1,
    n_runs: int | None = None,
    n_examples: int = 0,
) -> Verdict:
    """Decide on scores of one fine-tuning seed each (means over ``n_seeds`` checkpoints), ``(n,)`` fractions.

    ``n_runs`` and ``n_examples`` are counts that the estimate carries. Raises ``StatisticsError`` for a margin that
    is not positive and for scores that are missing.
    """
    scores = np.asarray(measured, dtype=float)
    if not 0 < margin < 1:
        raise StatisticsError(f"The margin is {margin}; it must be a fraction between 0 and 1, such as 0.01.")
    if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
        raise StatisticsError(
            "The measured scores must be a vector without gaps, one score a fine-tuning seed."
        )
    n = len(scores)
    difference = float(scores.mean()) - published.mean
    sd = float(scores.std(ddof=1)) if n > 1 else math.nan
    reason, error = "", 0.0
    if published.exact:
        low, high = difference - published.rounding, difference + published.rounding
    elif n < 2 or not sd > 0:
        reason = "one fine-tuning seed" if n < 2 else "all runs have the same score"
        reason += ", so that how much they vary is not known"
        low = high = error = math.nan
    else:
        bounds = difference_interval(difference, sd, n, published.sd, published.n, published.rounding)
        low, high, error = (float(bound) for bound in bounds)
    estimate = Estimate(
        value=difference,
        low=low,
        high=high,
        level=1 - 2 * ALPHA,
        method=_method(published),
        estimand="measured less published mean over fine-tuning seeds, examples and pretrained weights fixed",
        standard_error=error,
        mc_error=0.0,
        n_seeds=n_seeds,
        n_runs=n if n_runs is None else n_runs,
        n_examples=n_examples,
        reason=reason,
    )
    word = cast(Word, str(verdicts(low, high, margin)))
    return Verdict(word, estimate, margin, reason or _why(word, margin, sd, published))


def _method(published: Published) -> str:
    if published.exact:
        return "exact but for rounding"
    if math.isnan(published.sd):
        return "t over fine-tuning seeds, the published ones taken to vary as the measured ones do"
    return "Welch's t over fine-tuning seeds"


def _why(word: Word, margin: float, sd: float, published: Published) -> str:
    if word != "cannot tell":
        return ""
    why = f"the interval reaches over the margin of {in_points(margin)}"
    # With endless runs of one's own only the published runs are left to vary; 1.645 is the normal's quantile.
    spread = sd if math.isnan(published.sd) else published.sd
    least = 0.0 if published.exact else 1.645 * spread / math.sqrt(published.n) + published.rounding
    if least >= margin:
        return f"{why}, and the published figure alone is known to {100 * least:.1f} points only"
    return f"{why}; more fine-tuning seeds would narrow it"
