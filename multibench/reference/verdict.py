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

Two things are not normal. A *single published score on dev* may be the best of several runs, of which nothing was
said: it is taken to be the best of one to ``TRIED``, so that the interval reaches up by the quantile that is right for
the best of ``TRIED``. And *runs that collapse* are in no interval: see ``multibench.reference.collapse``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multibench.errors import StatisticsError
from multibench.reference.collapse import ConstantAnswer, explained_by_collapse
from multibench.reference.margins import DEFAULT_MARGIN
from multibench.stats import Estimate

__all__ = [
    "ALPHA",
    "DIFFERS_LEVEL",
    "MATCH_LEVEL",
    "TRIED",
    "Best",
    "Measured",
    "Published",
    "Verdict",
    "best_quantile",
    "decisions",
    "in_points",
    "interval",
    "judge",
    "may_have_collapsed",
    "standard_error",
]

ALPHA = 0.05
MATCH_LEVEL, DIFFERS_LEVEL = 1 - 2 * ALPHA, 1 - ALPHA
TRIED = 10
"""Of how many runs a single published score on dev may be the best."""

Word = Literal["match", "differs", "cannot tell"]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Published:
    """A published mean as a fraction: over ``n`` fine-tuning seeds with standard deviation ``sd`` (NaN: not known).

    ``rounding`` is how far from the truth printing can have moved it. ``exact`` says that nothing random stands
    behind it: a score of released weights as they are. ``perhaps_chosen``: one score on dev, perhaps the best of
    several runs. ``sides`` are the means whose difference ``mean`` is, if it is one. ``n_runs`` are the runs behind
    each mean, over all checkpoints; ``n`` where it is None.
    """

    mean: float
    n: int
    sd: float = math.nan
    rounding: float = 0.0
    exact: bool = False
    perhaps_chosen: bool = False
    sides: tuple[float, float] | None = None
    n_runs: int | None = None

    @property
    def signed(self) -> list[tuple[ArrayLike, float]]:
        """The means behind it with their signs."""
        return [(self.mean, 1.0)] if self.sides is None else [(self.sides[0], 1.0), (self.sides[1], -1.0)]


@dataclass(frozen=True)
class Measured:
    """What is known of single runs: their ``scores``, how many ``collapsed``, and what the constant answer scores."""

    scores: tuple[float, ...] = ()
    collapsed: int = 0
    constant: ConstantAnswer | None = None


@dataclass(frozen=True)
class Best:
    """The published score may be the best of runs; ``sd`` of a run, any shape, over ``n`` measured seeds.

    ``both``: it is the difference of two such scores, so that either end of the interval may be too near.
    """

    sd: ArrayLike
    n: int
    both: bool = False


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


@cache
def best_quantile(n: int, tail: float, tried: int = TRIED) -> float:
    """By how many measured standard deviations the best of ``tried`` scores may pass the mean of ``n`` of their kind.

    The excess passes it with probability ``tail``, for normal scores of equal spread; with ``tried`` 1 that is
    ``t(n - 1) sqrt(1 + 1/n)``. By quadrature over the mean and the standard deviation.
    """
    from scipy.optimize import brentq
    from scipy.special import gammaincinv, ndtr

    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    grid = (np.arange(500) + 0.5) / 500
    spreads = np.sqrt(2 * gammaincinv((n - 1) / 2, grid) / (n - 1))

    def excess(quantile: float) -> float:
        below = ndtr(quantile * spreads[:, None] + nodes / math.sqrt(n)) ** tried
        return float((1 - below).mean(axis=0) @ weights / weights.sum()) - tail

    return float(brentq(excess, 0.0, 1e4, xtol=1e-6))


def interval(
    difference: ArrayLike,
    error: ArrayLike,
    df: ArrayLike,
    rounding: float,
    level: float,
    best: Best | None = None,
) -> tuple[Numbers, Numbers]:
    """Low and high ends; arrays of one shape. An error of 0 leaves the rounding; ``best`` moves the high end up."""
    from scipy.special import stdtrit

    centre, error = np.asarray(difference, dtype=float), np.asarray(error, dtype=float)
    down = up = stdtrit(np.clip(df, 1.0, 1e9), (1 + level) / 2) * error
    if best is not None and best.n > 1:
        up = best_quantile(best.n, (1 - level) / 2) * np.asarray(best.sd, dtype=float)
        down = up if best.both else down
    return centre - down - rounding, centre + up + rounding


def decisions(
    difference: ArrayLike,
    error: ArrayLike,
    df: ArrayLike,
    rounding: float,
    margin: float,
    best: Best | None = None,
) -> NDArray[np.str_]:
    """The verdicts on differences; arrays of one shape, in which NaN cannot tell. Collapses are not looked at."""
    low, high = interval(difference, error, df, rounding, MATCH_LEVEL, best)
    match = (low > -margin) & (high < margin)
    low, high = interval(difference, error, df, rounding, DIFFERS_LEVEL, best)
    differs = (low > margin) | (high < -margin)
    return np.where(match, "match", np.where(differs, "differs", "cannot tell"))


def may_have_collapsed(
    difference: ArrayLike,
    sd: ArrayLike,
    n: int,
    published: Sequence[tuple[ArrayLike, float]],
    published_n: int,
    constant: ConstantAnswer,
    margin: float,
    rounding: float = 0.0,
    published_sd: ArrayLike = math.nan,
    n_runs: int | None = None,
) -> NDArray[np.int64]:
    """How many collapses among the published runs would explain the difference, 0 for none; arrays of one shape.

    They explain it if without them the interval of level ``1 - ALPHA`` would not lie beyond the margin. ``published_n``
    fine-tuning seeds stand for ``n_runs`` runs, over all checkpoints.
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(n - 1, (1 + DIFFERS_LEVEL) / 2))
    runs = n_runs or published_n
    spread = {
        left: quantile * np.asarray(sd, dtype=float) * math.sqrt(1 / n + runs / (published_n * left))
        for left in range(1, runs)
    }
    return explained_by_collapse(
        difference, published, runs, constant, margin + rounding, spread, published_sd
    )


def judge(
    measured: ArrayLike,
    published: Published,
    margin: float = DEFAULT_MARGIN,
    *,
    runs: Measured | None = None,
    n_seeds: int = 1,
    n_runs: int | None = None,
    n_examples: int = 0,
) -> Verdict:
    """Decide on scores of one fine-tuning seed each (means over ``n_seeds`` checkpoints), ``(n,)`` fractions.

    ``runs`` are the single runs behind them, which may have collapsed. ``n_runs`` and ``n_examples`` are counts that
    the estimate carries. Raises ``StatisticsError`` for a margin that is not positive and for scores that are missing.
    """
    scores = np.asarray(measured, dtype=float)
    if not 0 < margin < 1:
        raise StatisticsError(f"The margin is {margin}; it must be a fraction between 0 and 1, such as 0.01.")
    if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
        raise StatisticsError(
            "The measured scores must be a vector without gaps, one score a fine-tuning seed."
        )
    counts = n_seeds, len(scores) if n_runs is None else n_runs, n_examples
    sd = float(scores.std(ddof=1)) if len(scores) > 1 else math.nan
    error, df, reason = _uncertainty(len(scores), sd, published)
    known = not reason and published.perhaps_chosen
    best = Best(sd, len(scores), published.sides is not None) if known else None
    given = float(scores.mean()) - published.mean, error, df, published.rounding
    estimate = _estimate(given, best, published, reason, counts)
    word = cast(Word, str(decisions(*given, margin, best)))
    verdict = Verdict(word, estimate, margin, reason or _why(word, estimate, margin, sd, published))
    if best is not None and word == "cannot tell" and (plain := str(decisions(*given, margin))) != word:
        return replace(verdict, why=_chosen(plain))
    if word == "differs" and not published.exact:
        withheld = _collapse(runs or Measured(), scores, published, sd, margin)
        return replace(verdict, word="cannot tell", why=withheld) if withheld else verdict
    return verdict


def _uncertainty(n: int, sd: float, published: Published) -> tuple[Numbers, Numbers, str]:
    """Standard error and degrees of freedom of the difference, and the reason if they are not known."""
    if published.exact:
        return np.zeros(()), np.ones(()), ""
    if n < 2 or not sd > 0:
        reason = "one fine-tuning seed" if n < 2 else "all runs have the same score"
        return np.array(math.nan), np.array(math.nan), f"{reason}, so that how much they vary is not known"
    return (*standard_error(sd, n, published.sd, published.n), "")


def _estimate(
    given: tuple[float, Numbers, Numbers, float],
    best: Best | None,
    published: Published,
    reason: str,
    counts: tuple[int, int, int],
) -> Estimate:
    low, high = interval(*given, MATCH_LEVEL, best)
    return Estimate(
        value=given[0],
        low=float(low),
        high=float(high),
        level=MATCH_LEVEL,
        method=_method(published),
        estimand="measured less published mean over fine-tuning seeds, examples and pretrained weights fixed",
        standard_error=float(given[1]),
        mc_error=0.0,
        n_seeds=counts[0],
        n_runs=counts[1],
        n_examples=counts[2],
        reason=reason,
    )


def _method(published: Published) -> str:
    if published.exact:
        return "exact but for rounding"
    if published.perhaps_chosen:
        return (
            "t over fine-tuning seeds, the published one taken to vary as the measured ones do and to be the best of "
            f"up to {TRIED}"
        )
    if math.isnan(published.sd):
        return "t over fine-tuning seeds, the published ones taken to vary as the measured ones do"
    return "Welch's t over fine-tuning seeds"


def _chosen(plain: str) -> str:
    would = "the two would match" if plain == "match" else "the two would differ"
    return (
        "the published figure is one score on dev, which may be the best of several runs; "
        f"{would} if it is known to be the only one"
    )


def _collapse(runs: Measured, scores: Numbers, published: Published, sd: float, margin: float) -> str:
    """Why *differs* is withheld; empty if nothing speaks of a collapsed run."""
    if runs.collapsed:
        return f"{_runs(runs.collapsed)} of those measured collapsed to one answer, which moves a mean as far"
    constant = runs.constant
    if constant is None:
        return ""
    level = f"the score of always giving the commonest answer, {constant}"
    lowest = min(runs.scores or scores.tolist())
    if lowest <= constant.high:
        return f"a measured run, {100 * lowest:.1f}, is no better than {level}"
    for mean, _ in published.signed:
        if float(np.asarray(mean)) <= constant.high:
            return f"the published score is no better than {level}"
    found = int(
        may_have_collapsed(
            scores.mean() - published.mean, sd, len(scores), published.signed, published.n, constant, margin,
            published.rounding, published.sd, published.n_runs,
        )
    )  # fmt: skip
    if not found:
        return ""
    of = published.n_runs or published.n
    return f"{_runs(found)} that collapsed among the {of} published ones, to {level}, would make this gap"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _why(word: Word, difference: Estimate, margin: float, sd: float, published: Published) -> str:
    if word != "cannot tell":
        return ""
    if difference.low > margin or difference.high < -margin:
        return f"the interval lies beyond the margin of {in_points(margin)}, but the 95 % one does not"
    why = f"the interval reaches over the margin of {in_points(margin)}"
    # With endless runs of one's own only the published runs are left to vary: the quantiles of 95 % of the normal, and
    # of the best of several.
    spread = sd if math.isnan(published.sd) else published.sd
    quantile = 2.568 if published.perhaps_chosen else 1.645
    least = 0.0 if published.exact else quantile * spread / math.sqrt(published.n) + published.rounding
    if least >= margin:
        return f"{why}, and the published figure alone is known to {100 * least:.1f} points only"
    return why if published.exact else f"{why}; more fine-tuning seeds would narrow it"
