"""Planning: how many seeds, runs and examples would settle a question, and what that costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import TwoWay, two_way
from multibench.stats.crossed import pseudo_scores
from multibench.stats.estimate import plain
from multibench.stats.layout import Group, RunInfo, pair, sides
from multibench.stats.problem import MetricLike, Undefined, prepare

__all__ = ["Design", "Noise", "Plan", "comparison_noise", "plan_comparison", "power_of"]


@dataclass(frozen=True)
class Noise:
    """Variance components of a difference of two sides (squared scores), measured or assumed.

    With S seeds a side, R runs a seed and X examples the difference has variance
    ``(pretraining + finetuning / R) / S + example / X + (pretraining_example + residual / R) / (S X)``.
    For a paired comparison ``pretraining`` is the variance over seeds of the paired difference; unpaired, the sum of
    both sides' variances.
    """

    pretraining: float
    finetuning: float
    example: float
    pretraining_example: float
    residual: float
    paired: bool

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "paired" and not (value >= 0 and math.isfinite(value)):
                raise StatisticsError(f"The variance component '{name}' is {value}; it must be 0 or more.")

    def seeds(self, n_seeds: int, n_runs: int) -> float:
        """The part of the variance that only more seeds (or runs) can lower."""
        return (self.pretraining + self.finetuning / n_runs) / n_seeds

    def examples(self, n_seeds: int, n_runs: int, n_examples: int) -> float:
        """The part that more examples lower."""
        cells = (self.pretraining_example + self.residual / n_runs) / n_seeds
        return (self.example + cells) / n_examples

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class Design:
    """A design, and what to expect of it: ``power`` to find ``effect`` (two-sided), and the half-width."""

    n_seeds: int
    n_runs: int
    n_examples: int
    hours: float
    standard_error: float
    df: float
    half_width: float
    power: float
    effect: float
    level: float

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.n_seeds} seeds x {self.n_runs} runs x {self.n_examples:,} examples a side: power "
            f"{self.power:.0%} for {self.effect:g}, half-width {self.half_width:.4f}, {self.hours:g} GPU hours"
        )


@dataclass(frozen=True)
class Plan:
    """The cheapest design that does what was asked, or the best within the budget with the reason it falls short."""

    best: Design | None
    enough: bool
    reason: str
    designs: tuple[Design, ...]

    def to_dict(self) -> dict[str, Any]:
        """All designs looked at, cheapest first, ready for JSON."""
        return {
            "best": plain(self.best),
            "enough": self.enough,
            "reason": self.reason,
            "designs": [design.to_dict() for design in self.designs],
        }

    def __str__(self) -> str:
        return str(self.best) if self.enough else f"not enough: {self.reason} (best: {self.best})"


def power_of(
    noise: Noise,
    effect: float,
    n_seeds: int,
    n_runs: int,
    n_examples: int,
    confidence: float = 0.95,
    hours: float = 0.0,
) -> Design:
    """What a design would show, by the crossed random-effects test.

    Power is that of a noncentral t with noncentrality ``effect / se`` and Satterthwaite degrees of freedom
    ``V^2 / (seed part^2 / nu)``, ``nu`` = S - 1 paired, 2 (S - 1) unpaired with half of the seed part on either side.
    The components are taken as known. Half-width is the expected one.
    """
    if n_seeds < 2 or n_runs < 1 or n_examples < 2:
        raise StatisticsError(
            f"A design of {n_seeds} seeds, {n_runs} runs and {n_examples} examples has no error estimate; "
            "give two seeds and two examples at least."
        )
    from scipy.special import nctdtr, stdtrit

    own, rest = noise.seeds(n_seeds, n_runs), noise.examples(n_seeds, n_runs, n_examples)
    variance = own + rest
    spread = own**2 / ((n_seeds - 1) * (1 if noise.paired else 2)) + rest**2 / (n_examples - 1)
    df = min(variance**2 / spread, 1e6) if spread > 0 else 1e6
    error = math.sqrt(variance)
    quantile = float(stdtrit(df, (1 + confidence) / 2))
    power = 1.0
    if error > 0:
        shift = abs(effect) / error
        # nctdtr loses its footing far out, where the answer is 1 anyway.
        power = (
            1.0
            if shift > quantile + 8
            else float(1 - nctdtr(df, shift, quantile) + nctdtr(df, shift, -quantile))
        )
    return Design(
        n_seeds, n_runs, n_examples, hours, error, float(df), error * quantile, power, effect, confidence
    )


def plan_comparison(
    noise: Noise,
    effect: float,
    *,
    n_examples: int | Sequence[int],
    power: float | None = 0.8,
    half_width: float | None = None,
    confidence: float = 0.95,
    seeds: Sequence[int] = tuple(range(2, 51)),
    runs: Sequence[int] = (1, 2, 3, 5, 10),
    hours_per_run: float = 1.0,
    hours_per_seed: float = 0.0,
    budget_hours: float = math.inf,
) -> Plan:
    """The cheapest design that reaches a power (for ``effect``) and, if given, a half-width, within a budget.

    Cost counts both sides: ``2 S (R hours_per_run + hours_per_seed)``. ``hours_per_seed`` is the pretraining of a
    checkpoint (0 where checkpoints are released). Test examples cost nothing: give the sizes to be had.
    """
    if effect == 0 and power is not None:
        raise StatisticsError("No design finds an effect of 0; give the smallest effect that would matter.")
    if power is None and half_width is None:
        raise StatisticsError("Give a power, a half-width, or both.")
    sizes = (n_examples,) if isinstance(n_examples, int) else tuple(n_examples)
    designs = []
    for s, r, x in itertools.product(seeds, runs, sizes):
        hours = 2 * s * (r * hours_per_run + hours_per_seed)
        designs.append(power_of(noise, effect, s, r, x, confidence, hours))
    designs.sort(key=lambda design: (design.hours, -design.power, design.n_seeds, design.n_examples))
    within = [design for design in designs if design.hours <= budget_hours]
    for design in within:
        if (power is None or design.power >= power) and (
            half_width is None or design.half_width <= half_width
        ):
            return Plan(design, True, "", tuple(designs))
    if not within:
        reason = f"the smallest design costs {designs[0].hours:g} GPU hours, the budget is {budget_hours:g}"
        return Plan(None, False, reason, tuple(designs))
    best = max(within, key=lambda design: (design.power, -design.half_width, -design.hours))
    limit = power_of(noise, effect, 10**6, max(runs), max(sizes), confidence)
    reason = "no design within the budget and the ranges of seeds and runs reaches it"
    if power is not None and limit.power < power:
        reason = f"even with endless seeds {max(sizes):,} examples give a power of {limit.power:.0%} only"
    return Plan(best, False, reason, tuple(designs))


def comparison_noise(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    paired_seeds: bool = False,
    *,
    undefined: Undefined = "collapsed",
) -> Noise:
    """Components of the difference of two sides as measured; arguments as in ``multibootstrap``.

    Negative estimates are set to 0. With one run a seed, fine-tuning noise is inside ``pretraining`` and the residual
    inside ``pretraining_example``: planning with more runs a seed then promises too little.
    """
    problem = prepare(run_info, preds, labels, metric, undefined=undefined)
    base, experiment = sides(problem.table)
    if paired_seeds:
        base, experiment = pair(base, experiment, [])
    values = pseudo_scores(problem)
    groups = (base, experiment)
    if min(group.n_seeds for group in groups) < 2:
        raise StatisticsError("Noise cannot be measured with one seed on a side; give components by hand.")
    tables = [group.mixing() @ values[group.rows] for group in groups]
    inner = [_within(values, group) for group in groups]
    # A seed mean of R_i runs carries finetuning / R_i: on average, that over the harmonic mean.
    finetuning = sum(run for run, _, _ in inner)
    residual = sum(cell for _, cell, _ in inner)
    carried_run = sum(run / r for run, _, r in inner)
    carried_cell = sum(cell / r for _, cell, r in inner)
    differences = [two_way(tables[1] - tables[0])] if paired_seeds else [two_way(table) for table in tables]
    x = differences[0].n_units
    seed = sum(float(side.ms_seed - side.ms_error) for side in differences) / x
    interaction = sum(float(side.ms_error) for side in differences)
    columns = tables[1].mean(axis=0) - tables[0].mean(axis=0)
    example = float(columns.var(ddof=1)) - sum(_per_seed(side) for side in differences)
    return Noise(
        max(0.0, seed - carried_run),
        finetuning,
        max(0.0, example),
        max(0.0, interaction - carried_cell),
        residual,
        paired_seeds,
    )


def _per_seed(side: TwoWay) -> float:
    return float(side.ms_error) / side.n_seeds


def _within(values: Array, group: Group) -> tuple[float, float, float]:
    """Variance of runs within seeds, of single cells within runs, and the harmonic mean of run counts."""
    sizes = np.bincount(group.seed_codes)
    harmonic = group.n_seeds / float((1 / sizes).sum())
    within = int((sizes - 1).sum())
    if within == 0:
        return 0.0, 0.0, harmonic
    runs = cells = 0.0
    own = values[group.rows]
    for code in np.flatnonzero(sizes > 1):
        table = two_way(own[group.seed_codes == code])
        runs += float(table.ms_seed) * (sizes[code] - 1)
        cells += float(table.ms_error) * (sizes[code] - 1)
    return max(0.0, (runs - cells) / within / own.shape[1]), cells / within, harmonic
