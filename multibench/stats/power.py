"""Planning: how many seeds, runs and examples would settle a question, and what that costs.

Designs are those that new runs have: fine-tuning seeds nested in pretraining seeds. What is planned for is the interval
that will be printed (``stats.inference``); a pilot's noise is itself uncertain, so plans have a range.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.estimate import plain
from multibench.stats.noise import Noise
from multibench.stats.sizes import possible_size
from multibench.stats.surrogate import Moments, Surrogate, Term

__all__ = ["Design", "Plan", "plan_comparison", "power_of"]

NODES = 9
# So many degrees of freedom that a mean square is as good as known.
MANY = 300


@dataclass(frozen=True)
class Design:
    """A design, and what to expect of it: ``power`` to find ``effect`` (two-sided), and the half-width."""

    n_seeds: int
    n_runs: int
    n_examples: int
    hours: float
    standard_error: float
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
    """The cheapest design that does what was asked, or the best within the budget with the reason it falls short.

    ``low`` and ``high`` are the cheapest designs at either end of the pilot's uncertainty, None where none does it.
    """

    best: Design | None
    enough: bool
    reason: str
    designs: tuple[Design, ...]
    low: Design | None = None
    high: Design | None = None

    def to_dict(self) -> dict[str, Any]:
        """All designs looked at, cheapest first, ready for JSON."""
        fields = {key: plain(value) for key, value in vars(self).items() if key != "designs"}
        return {**fields, "designs": [design.to_dict() for design in self.designs]}

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
    """What a design would show by the surrogate interval: expected half-width, and power to find ``effect``.

    The difference is normal with the variance that ``noise`` gives; the mean squares of its seeds are chi-squares, on
    which the half-width depends. Expectations over these are by quadrature. Raises ``StatisticsError`` for designs
    without an interval, and for an effect that no two scores can have.
    """
    if effect:
        possible_size(abs(effect), "effect", noise.reach)
    if n_seeds < 2 or n_runs < 1 or n_examples < 2:
        raise StatisticsError(
            f"A design of {n_seeds} seeds, {n_runs} runs and {n_examples} examples has no error estimate; "
            "give two seeds and two examples at least."
        )
    from scipy.special import ndtr

    own, cells = noise.seeds(n_seeds, n_runs), noise.cells(n_seeds, n_runs, n_examples)
    rest = noise.examples(n_seeds, n_runs, n_examples)
    error = math.sqrt(own + rest)
    halves, weights = _half_widths(own, cells, rest, n_seeds, n_examples, noise.paired, confidence)
    power = (
        float(weights @ (ndtr((abs(effect) - halves) / error) + ndtr((-abs(effect) - halves) / error)))
        if error
        else 1.0
    )
    return Design(
        n_seeds, n_runs, n_examples, hours, error, float(weights @ halves), power, effect, confidence
    )


def _half_widths(
    own: float, cells: float, rest: float, n_seeds: int, n_examples: int, paired: bool, level: float
) -> tuple[Array, Array]:
    """Half-widths to expect, and how likely each is: at nodes of the mean squares of the seeds of each side."""
    factors, weights = _chi_nodes(n_seeds - 1)
    scale = math.sqrt(own + rest)
    if scale == 0:
        return np.zeros(1), np.ones(1)
    found, chances = [], []
    sides: list[tuple[float, float | None, float]]
    sides = [(f, None, w) for f, w in zip(factors, weights, strict=True)]
    if not paired:
        few, chance = _chi_nodes(n_seeds - 1, 5)
        sides = [
            (a, b, u * v)
            for (a, u), (b, v) in itertools.combinations_with_replacement(
                list(zip(few, chance, strict=True)), 2
            )
        ]
        sides = [(a, b, w * (1 if a == b else 2)) for a, b, w in sides]
    for first, second, weight in sides:
        parts = (first,) if second is None else (first, second)
        terms = {
            str(k): Term((own + cells) / len(parts) * f, n_seeds - 1, cells / len(parts), n_seeds)
            for k, f in enumerate(parts)
        }
        found.append(_half_width(rest, n_examples - 1, tuple(terms.values()), level))
        chances.append(weight)
    total = np.array(chances)
    return np.array(found), total / total.sum()


@lru_cache(maxsize=20_000)
def _half_width(rest: float, df: float, terms: tuple[Term, ...], level: float) -> float:
    return Surrogate(Moments(0.0, rest, df, {str(k): t for k, t in enumerate(terms)})).half_width(level)


@lru_cache(maxsize=256)
def _chi_nodes(df: int, n: int = NODES) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes of ``chi2 / df`` and weights (Gauss and Laguerre's, by the gamma distribution)."""
    from scipy.special import roots_genlaguerre

    if df > MANY:
        return (1.0,), (1.0,)
    nodes, weights = roots_genlaguerre(n, df / 2 - 1)
    return tuple(float(x) for x in 2 * nodes / df), tuple(float(w) for w in weights / weights.sum())


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
    checkpoint (0 where checkpoints are released). Test examples cost nothing: give the sizes to be had. ``designs``
    are those that were looked at: for each number of runs the fewest seeds that do, and one fewer. Raises
    ``StatisticsError`` for questions that no design answers.
    """
    if effect == 0 and power is not None:
        raise StatisticsError("No design finds an effect of 0; give the smallest effect that would matter.")
    if power is not None:
        possible_size(abs(effect), "effect", noise.reach)
    if half_width is not None:
        possible_size(half_width, "half-width", noise.reach)
    if power is None and half_width is None:
        raise StatisticsError("Give a power, a half-width, or both.")
    sizes = (n_examples,) if isinstance(n_examples, int) else tuple(n_examples)
    ordered = sorted(set(seeds))

    def hours(s: int, r: int) -> float:
        return 2 * s * (r * hours_per_run + hours_per_seed)

    def does(design: Design) -> bool:
        return (power is None or design.power >= power) and (
            half_width is None or design.half_width <= half_width
        )

    def search(own: Noise) -> tuple[Design | None, list[Design]]:
        looked: list[Design] = []
        for r, x in itertools.product(runs, sizes):
            within = [s for s in ordered if hours(s, r) <= budget_hours]
            looked += _fewest(own, effect, within, r, x, confidence, hours, does)
        doing = [design for design in looked if does(design)]
        return min(doing, key=lambda d: (d.hours, -d.power, d.n_seeds), default=None), looked

    best, looked = search(noise)
    looked.sort(key=lambda design: (design.hours, -design.power, design.n_seeds, design.n_examples))
    if best is not None:
        ends = [best if end == noise else search(end)[0] for end in noise.ends]
        return Plan(best, True, "", tuple(looked), *ends)
    if not looked:
        least = min(hours(ordered[0], r) for r in runs)
        return Plan(
            None, False, f"the smallest design costs {least:g} GPU hours, the budget is {budget_hours:g}", ()
        )
    nearest = max(looked, key=lambda design: (design.power, -design.half_width, -design.hours))
    limit = power_of(noise, effect, 10**6, max(runs), max(sizes), confidence)
    reason = "no design within the budget and the ranges of seeds and runs reaches it"
    if power is not None and limit.power < power:
        reason = (
            f"even with infinitely many seeds {max(sizes):,} examples give a power of {limit.power:.0%} only"
        )
    return Plan(nearest, False, reason, tuple(looked), search(noise.ends[0])[0], None)


def _fewest(
    noise: Noise,
    effect: float,
    seeds: Sequence[int],
    n_runs: int,
    n_examples: int,
    confidence: float,
    hours: Any,
    does: Any,
) -> list[Design]:
    """The design with fewest seeds that does it and the one before; the largest where none does (by bisection)."""

    def design(place: int) -> Design:
        s = seeds[place]
        return power_of(noise, effect, s, n_runs, n_examples, confidence, hours(s, n_runs))

    if not seeds:
        return []
    low, high = 0, len(seeds) - 1
    last = design(high)
    if not does(last):
        return [last]
    best = last
    while low < high:
        middle = (low + high) // 2
        tried = design(middle)
        if does(tried):
            best, high = tried, middle
        else:
            low = middle + 1
    return [best] if low == 0 else [design(low - 1), best]
