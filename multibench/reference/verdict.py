r"""Published against measured: an interval of the difference, and one decision.

The published and the measured score are means over fine-tuning seeds, on the same examples and from the same
pretrained weights, so that neither examples nor pretraining seeds can tell them apart: what varies is
fine-tuning alone. With ``n`` measured and ``m`` published scores of one fine-tuning seed each,

    difference -+ (t(df) s sqrt(1/n + 1/m) + rounding),      df = n - 1

where ``s`` is the standard deviation of the measured ones, taken to be that of the published ones, too.
Where the source gives theirs, ``s_m``, the interval is Welch's: ``s^2/n + s_m^2/m``, Satterthwaite's degrees of
freedom. ``rounding`` is half a unit of the last printed digit.

*match*: the interval of level ``1 - 2 ALPHA`` lies within (-margin, margin), which is two one-sided tests that must
both reject (Schuirmann 1987). *differs*: the interval of level ``1 - ALPHA`` lies wholly beyond the margin, which
is the minimum-effect test (Murphy and Myors 1999); either of its sides may reject, so they share ``ALPHA``.
*cannot tell*: all else. Hence a true difference of the margin or more is called a match with probability ``ALPHA`` at
most, and one of the margin or less is called different with probability ``ALPHA`` at most, whatever the margin,
for normal scores of equal spread.
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
    "MATCH_LEVEL",
    "Published",
    "Verdict",
    "decisions",
    "in_points",
    "interval",
    "judge",
    "standard_error",
]

ALPHA = 0.05
MATCH_LEVEL, DIFFERS_LEVEL = 1 - 2 * ALPHA, 1 - ALPHA
DEFAULT_MARGIN = 0.01
"""One point: what readers of published tables complain about begins there; the tables themselves print tenths."""

Word = Literal["match", "differs", "cannot tell"]
Numbers = NDArray[np.float64]


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


def standard_error(
    sd: ArrayLike, n: int, published_sd: ArrayLike, published_n: int
) -> tuple[Numbers, Numbers]:
    """Standard error of the difference of two means, and its degrees of freedom; arrays of one shape, fractions.

    Where ``published_sd`` is NaN the measured ``sd`` stands for it.
    """
    first = np.asarray(sd, dtype=float) ** 2 / n
    second = np.asarray(published_sd, dtype=float) ** 2 / published_n
    unknown = np.isnan(second)
    variance = np.where(unknown, first * (1 + n / published_n), first + second)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = first**2 / (n - 1) + second**2 / max(published_n - 1, 1)
        df = np.where(unknown, n - 1, variance**2 / spread)
    return np.sqrt(variance), df


def interval(
    difference: ArrayLike, error: ArrayLike, df: ArrayLike, rounding: float, level: float
) -> tuple[Numbers, Numbers]:
    """Low and high ends; arrays of one shape. An error of 0 leaves the rounding."""
    from scipy.special import stdtrit

    centre, error = np.asarray(difference, dtype=float), np.asarray(error, dtype=float)
    half = stdtrit(np.clip(df, 1.0, 1e9), (1 + level) / 2) * error + rounding
    return centre - half, centre + half


def decisions(
    difference: ArrayLike, error: ArrayLike, df: ArrayLike, rounding: float, margin: float
) -> NDArray[np.str_]:
    """The verdicts on differences; arrays of one shape, in which NaN cannot tell."""
    low, high = interval(difference, error, df, rounding, MATCH_LEVEL)
    match = (low > -margin) & (high < margin)
    low, high = interval(difference, error, df, rounding, DIFFERS_LEVEL)
    differs = (low > margin) | (high < -margin)
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
    reason = ""
    if published.exact:
        error, df = np.zeros(()), np.ones(())
    elif n < 2 or not sd > 0:
        reason = "one fine-tuning seed" if n < 2 else "all runs have the same score"
        reason += ", so that how much they vary is not known"
        error = df = np.array(math.nan)
    else:
        error, df = standard_error(sd, n, published.sd, published.n)
    low, high = interval(difference, error, df, published.rounding, MATCH_LEVEL)
    estimate = Estimate(
        value=difference,
        low=float(low),
        high=float(high),
        level=MATCH_LEVEL,
        method=_method(published),
        estimand="measured less published mean over fine-tuning seeds, examples and pretrained weights fixed",
        standard_error=float(error),
        mc_error=0.0,
        n_seeds=n_seeds,
        n_runs=n if n_runs is None else n_runs,
        n_examples=n_examples,
        reason=reason,
    )
    word = cast(Word, str(decisions(difference, error, df, published.rounding, margin)))
    return Verdict(word, estimate, margin, reason or _why(word, estimate, margin, sd, published))


def _method(published: Published) -> str:
    if published.exact:
        return "exact but for rounding"
    if math.isnan(published.sd):
        return "t over fine-tuning seeds, the published ones taken to vary as the measured ones do"
    return "Welch's t over fine-tuning seeds"


def _why(word: Word, difference: Estimate, margin: float, sd: float, published: Published) -> str:
    if word != "cannot tell":
        return ""
    if difference.low > margin or difference.high < -margin:
        return f"the interval lies beyond the margin of {in_points(margin)}, but the 95 % one does not"
    why = f"the interval reaches over the margin of {in_points(margin)}"
    # With endless runs of one's own only the published runs are left to vary; 1.645 is the normal's quantile.
    spread = sd if math.isnan(published.sd) else published.sd
    least = 0.0 if published.exact else 1.645 * spread / math.sqrt(published.n) + published.rounding
    if least >= margin:
        return f"{why}, and the published figure alone is known to {100 * least:.1f} points only"
    return why if published.exact else f"{why}; more fine-tuning seeds would narrow it"
