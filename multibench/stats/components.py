"""Where the noise of a mean comes from: what each random factor adds to its standard error, and how sure that is.

The parts are those of the interval itself (``stats.factors``), so that they add up to its squared standard error.
Bounds are quantiles of the surrogate variances (``stats.surrogate``) over draws of one fixed stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import two_way
from multibench.stats.estimate import Estimate, plain
from multibench.stats.factors import FINETUNING, PRETRAINING, group_parts, is_shared
from multibench.stats.layout import Group, RunInfo
from multibench.stats.problem import MetricLike, Problem, Undefined, prepare
from multibench.stats.streams import Streams
from multibench.stats.surrogate import Moments, Term

__all__ = ["Components", "Finetuning", "Source", "components_of", "finetuning_design", "variance_components"]

Finetuning = Literal["nested", "crossed"]

SHARES, DRAWS = 7, 20_000
FINETUNING_ALONE = "fine-tuning seeds, alone"
LEAST_UNITS = 3
# No share's standard deviation is larger: half of the values 0, half of them 1.
MOST_OF_A_SHARE = 0.5


@dataclass(frozen=True)
class Source:
    """One random factor and what it does to the mean.

    ``part`` is what it adds to the squared standard error. ``share`` is its share of that, with an interval; ``sd``
    the standard deviation between its units, whose ``high`` is a one-sided upper bound at the level (``low`` is 0), or
    NaN with the reason where there are too few of them. ``p_value`` tests the claim that its units do not differ at
    all; NaN for examples. ``one_more`` is the standard error to expect with one more unit of it and all else as it is.
    """

    factor: str
    n_units: int
    part: float
    share: Estimate
    sd: Estimate
    p_value: float
    one_more: float

    @property
    def contribution(self) -> float:
        """The standard error that this factor alone would give."""
        return math.sqrt(self.part)

    @property
    def told_from_zero(self) -> bool:
        """Whether its units differ by more than the other factors' noise explains, at the level of its bounds."""
        return not self.p_value > 1 - self.sd.level

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        derived = {"contribution": self.contribution, "told_from_zero": self.told_from_zero}
        return {key: plain(value) for key, value in {**vars(self), **derived}.items()}


@dataclass(frozen=True)
class Components:
    """The sources of a mean's noise; their parts sum to the square of ``standard_error``."""

    sources: tuple[Source, ...]
    mean: float
    standard_error: float
    n_seeds: int
    n_runs: int
    n_examples: int
    design: str
    warnings: tuple[str, ...] = ()

    def source(self, factor: str) -> Source | None:
        """The source called ``factor``, None if the runs do not have it."""
        return next((source for source in self.sources if source.factor == factor), None)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        shown = ", ".join(f"{s.factor} {s.share.value:.0%}" for s in self.sources)
        return f"standard error {self.standard_error:.3g}: {shown} ({self.design})"


def variance_components(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    finetuning: Finetuning | None = None,
    confidence: float = 0.95,
    *,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    cluster_unit: str = "clusters",
    undefined: Undefined = "collapsed",
    corrections: ArrayLike | None = None,
) -> Components:
    """The sources of noise of one group's mean; arguments as in ``compare_groups``.

    ``finetuning`` says what is expected of fine-tuning seeds, ``nested`` in pretraining seeds or ``crossed`` with them;
    without it their labels decide. Raises ``StatisticsError`` if the labels say otherwise, and for a single run.
    """
    problem = prepare(
        run_info, preds, labels, metric, clusters, undefined, strata=strata, cluster_unit=cluster_unit
    )
    group = problem.table.group("group", range(len(problem.scores)))
    found = finetuning_design(group)
    if finetuning is not None and finetuning != found and group.n_seeds > 1:
        raise StatisticsError(
            f"`finetuning` is {finetuning!r}, but fine-tuning seeds "
            + (
                "recur across pretraining seeds: their common effect would be taken for none."
                if found == "crossed"
                else "of different pretraining seeds have no label in common."
            )
        )
    return components_of(problem, group, confidence, problem.corrected(corrections))


def finetuning_design(group: Group) -> Finetuning:
    """``crossed`` where a fine-tuning seed stands with several pretraining seeds, else ``nested``."""
    return "crossed" if is_shared(group) else "nested"


def components_of(
    problem: Problem, group: Group, confidence: float = 0.95, values: Array | None = None
) -> Components:
    """The sources of noise of a group's mean."""
    values = problem.pseudo_scores if values is None else values
    if group.n_runs < 2:
        raise StatisticsError("One run shows the noise of examples only; give several runs.")
    if values.shape[1] < 2:
        raise StatisticsError(f"One {problem.unit} shows no noise; two are needed at least.")
    parts = group_parts(values, group, problem.units_df)
    moments = parts.moments
    drawn = _drawn(moments)
    points = {problem.units: moments.examples, **{name: t.point for name, t in moments.terms.items()}}
    units = {problem.units: values.shape[1], **{name: t.n_levels for name, t in moments.terms.items()}}
    chances = {name: _chance_of_none(t, values.shape[1]) for name, t in moments.terms.items()}
    runs = _runs_within(values, group)
    if runs is not None and PRETRAINING in points:
        _split(points, drawn, units, chances, runs, values.shape[1])
    total = sum(points.values())
    drawn_total = sum(draws for name, draws in drawn.items() if name != FINETUNING_ALONE)
    order = sorted(points, key=lambda name: (name == problem.units, name != PRETRAINING))
    sources = tuple(
        _source(
            name,
            units[name],
            points[name],
            total,
            drawn[name if name in drawn else "examples"],
            drawn_total,
            drawn.get(FINETUNING_ALONE) if name == FINETUNING else None,
            chances.get(name, math.nan),
            confidence,
            problem,
            group,
        )
        for name in order
    )
    design = _design(group)
    return Components(
        sources,
        moments.value,
        math.sqrt(total),
        group.n_seeds,
        group.n_runs,
        problem.n_examples,
        design,
        parts.caveats,
    )


def _design(group: Group) -> str:
    if group.n_seeds == 1:
        return f"{group.n_runs} fine-tuning runs of one pretraining seed"
    if is_shared(group):
        n = len(set(group.finetune or ()))
        return f"{group.n_seeds} pretraining seeds crossed with {n} fine-tuning seed{'' if n == 1 else 's'}"
    if group.n_runs == group.n_seeds:
        return f"{group.n_seeds} pretraining seeds, one run each: their part holds that of fine-tuning seeds"
    return f"fine-tuning seeds nested in {group.n_seeds} pretraining seeds"


def _drawn(moments: Moments) -> dict[str, Array]:
    """Draws of the surrogate of each part, ``(DRAWS,)``."""
    rng = Streams(0).generator(SHARES, 0)

    def factor(df: float) -> Array:
        return df / rng.chisquare(df, DRAWS) if math.isfinite(df) else np.ones(DRAWS)

    drawn = {"examples": moments.examples * factor(moments.examples_df)}
    for name, term in moments.terms.items():
        held = np.maximum(term.error, term.interaction * factor(term.interaction_df))
        drawn[name] = (term.between * factor(term.df) - held).clip(min=0)
    return drawn


def _runs_within(values: Array, group: Group) -> Term | None:
    """The part of nested fine-tuning seeds in the mean; None where seeds are shared, or each has one run."""
    if group.n_seeds == 1 or is_shared(group):
        return None
    sizes = np.bincount(group.seed_codes)
    within = int((sizes - 1).sum())
    if within == 0:
        return None
    own, runs, cells = values[group.rows], 0.0, 0.0
    for code in np.flatnonzero(sizes > 1):
        table = two_way(own[group.seed_codes == code])
        runs += float(table.ms_seed) * (sizes[code] - 1)
        cells += float(table.ms_error) * (sizes[code] - 1)
    scale = within * values.shape[1] * group.n_seeds * group.n_seeds / float((1 / sizes).sum())
    return Term(runs / scale, within, cells / scale, group.n_runs)


def _split(
    points: dict[str, float],
    drawn: dict[str, Array],
    units: dict[str, int],
    chances: dict[str, float],
    runs: Term,
    n_units: int,
) -> None:
    """Divide the seeds' part between pretraining seeds and the fine-tuning seeds nested in them."""
    rng = Streams(0).generator(SHARES, 1)
    inner = (runs.between * runs.df / rng.chisquare(runs.df, DRAWS) - runs.error).clip(min=0)
    held = np.minimum(inner, drawn[PRETRAINING])
    drawn[PRETRAINING] = drawn[PRETRAINING] - held
    # What the mean square of seeds leaves room for counts in shares; the bound of the runs' own spread is their own.
    drawn[FINETUNING], drawn[FINETUNING_ALONE] = held, inner
    points[FINETUNING] = min(runs.point, points[PRETRAINING])
    points[PRETRAINING] -= points[FINETUNING]
    units[FINETUNING] = runs.n_levels
    seed_chance = chances[PRETRAINING]
    chances[FINETUNING] = _chance_of_none(runs, n_units)
    chances[PRETRAINING] = seed_chance


def _chance_of_none(term: Term, n_units: int) -> float:
    """The p-value of the claim that a factor's levels do not differ (an F test of its mean square)."""
    from scipy.special import fdtrc

    held, df = max((term.error, term.df * (n_units - 1)), (term.interaction, term.interaction_df))
    if held <= 0:
        return 1.0 if term.between <= 0 else 0.0
    return float(fdtrc(term.df, min(df, 1e9), term.between / held))


def _source(
    name: str,
    n_units: int,
    part: float,
    total: float,
    drawn: Array,
    drawn_total: Array | float,
    alone: Array | None,
    chance: float,
    level: float,
    problem: Problem,
    group: Group,
) -> Source:
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(np.asarray(drawn_total) > 0, drawn / drawn_total, np.nan)
    known = shares[~np.isnan(shares)]
    share_low, share_high = np.quantile(known, [tail, 1 - tail]) if len(known) else (math.nan, math.nan)
    counts = (group.n_seeds, group.n_runs, problem.n_examples)
    value = part / total if total > 0 else math.nan
    share = Estimate(
        value,
        min(float(share_low), value),
        max(float(share_high), value),
        level,
        "surrogate variances",
        f"share of {name} in the variance of the mean",
        math.nan,
        0.0,
        *counts,
        reason="" if total > 0 else "no noise was seen",
    )
    spread = math.sqrt(part * n_units)
    high = math.sqrt(float(np.quantile(drawn if alone is None else alone, level)) * n_units)
    reason = f"not estimable: {n_units} {name}" if n_units < LEAST_UNITS else ""
    if problem.scale == "share":
        spread, high = min(spread, MOST_OF_A_SHARE), min(high, MOST_OF_A_SHARE)
    sd = Estimate(
        math.nan if reason else spread,
        math.nan if reason else 0.0,
        math.nan if reason else max(high, spread),
        level,
        "surrogate variances, one-sided upper bound",
        f"standard deviation between {name}",
        math.nan,
        0.0,
        *counts,
        reason=reason,
    )
    # One more run a pretraining seed, where runs are nested in these.
    levels = (
        n_units / group.n_seeds
        if name == FINETUNING and n_units == group.n_runs > group.n_seeds > 1
        else n_units
    )
    one_more = math.sqrt(max(0.0, total - part + part * levels / (levels + 1)))
    return Source(name, n_units, part, share, sd, chance, one_more)
