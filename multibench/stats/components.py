"""Variance components: how much of the noise comes from pretraining seeds, fine-tuning seeds and examples."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import two_way
from multibench.stats.crossed import pseudo_scores
from multibench.stats.estimate import Estimate, plain
from multibench.stats.layout import Group, RunInfo, codes_of
from multibench.stats.problem import MetricLike, Problem, Undefined, prepare

__all__ = ["Components", "components_of", "finetuning_design", "variance_components"]

Finetuning = Literal["nested", "crossed"]

# What each component is divided by in the variance of a mean of S seeds, R runs each, X examples.
DIVISORS: dict[str, tuple[str, ...]] = {
    "pretraining": ("S",),
    "finetuning": ("S", "R"),
    "finetuning_shared": ("R",),
    "pretraining_finetuning": ("S", "R"),
    "example": ("X",),
    "pretraining_example": ("S", "X"),
    "finetuning_example": ("R", "X"),
    "residual": ("S", "R", "X"),
}


@dataclass(frozen=True)
class Components:
    """Variance components of per-example scores (pseudo-scores, for metrics that are no means).

    ``parts`` are estimates by name: ``pretraining``, ``example``, ``pretraining_example``, ``residual``; nested
    ``finetuning`` (fine-tuning seeds differ between pretraining seeds), or crossed ``finetuning_shared``,
    ``pretraining_finetuning`` and ``finetuning_example``. Units are squared scores. A part that the design cannot
    separate is NaN, with the reason. ``shares`` are shares of the variance of the reported mean.
    """

    parts: Mapping[str, Estimate]
    n_seeds: int
    n_runs_per_seed: float
    n_examples: int
    design: str
    method: str
    mean: float
    warnings: tuple[str, ...] = field(default=())

    def variance(
        self, n_seeds: int | None = None, n_runs: float | None = None, n_examples: int | None = None
    ) -> float:
        """Variance of the mean over ``n_seeds`` seeds, ``n_runs`` runs each, ``n_examples`` examples.

        Negative components count as 0, unknown ones are left out (they are contained in others).
        """
        return sum(self._terms(n_seeds, n_runs, n_examples).values())

    @property
    def shares(self) -> dict[str, float]:
        """Share of each component in the variance of the mean of the design at hand."""
        terms = self._terms(None, None, None)
        total = sum(terms.values())
        return {name: term / total if total > 0 else math.nan for name, term in terms.items()}

    def _terms(self, n_seeds: int | None, n_runs: float | None, n_examples: int | None) -> dict[str, float]:
        sizes = {
            "S": n_seeds if n_seeds is not None else self.n_seeds,
            "R": n_runs if n_runs is not None else self.n_runs_per_seed,
            "X": n_examples if n_examples is not None else self.n_examples,
        }
        terms = {}
        for name, part in self.parts.items():
            if not math.isnan(part.value):
                divisor = math.prod(sizes[letter] for letter in DIVISORS[name])
                terms[name] = max(0.0, part.value) / divisor
        return terms

    def to_dict(self) -> dict[str, Any]:
        """All fields and the shares, ready for JSON."""
        fields = {key: plain(value) for key, value in vars(self).items() if key != "parts"}
        parts = {name: plain(part) for name, part in self.parts.items()}
        return {**fields, "parts": parts, "shares": plain(self.shares)}

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        return f"variance of the mean {self.variance():.3g}: {shown} ({self.design}, {self.method})"


def variance_components(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    finetuning: Finetuning = "nested",
    confidence: float = 0.95,
    *,
    clusters: ArrayLike | None = None,
    undefined: Undefined = "collapsed",
) -> Components:
    """Components for one group of runs; arguments as in ``multibootstrap_group``.

    ``finetuning`` says whether equal fine-tuning seeds mean equal head, order and dropout for all pretraining
    seeds (``crossed``, needs a complete grid and a column ``finetune_seed``) or not (``nested``).

    Analysis of variance: mean squares equated to their expectations. Nested with unequal numbers of runs: unweighted
    means, run noise of a seed mean entering by the harmonic mean of the counts; the same numbers when balanced.
    Intervals are those of Ting, Burdick, Graybill, Jeyaratnam and Lu (1990) for sums and differences of mean
    squares, which assume normal effects; the degrees of freedom of the mean square of examples, which are far from
    normal for right-or-wrong scores, are set so that they match its variance as seen.
    """
    problem = prepare(run_info, preds, labels, metric, clusters, undefined)
    group = problem.table.group("group", range(len(problem.scores)))
    return components_of(pseudo_scores(problem), group, finetuning, confidence, problem)


def finetuning_design(seeds: Sequence[Hashable], finetune: Sequence[Hashable] | None) -> Finetuning:
    """``crossed`` where runs with these seeds fill a grid of two seeds or more of each kind, else ``nested``."""
    if finetune is None:
        return "nested"
    sizes = len(set(seeds)), len(set(finetune))
    cells = set(zip(seeds, finetune, strict=True))
    return "crossed" if min(sizes) > 1 and sizes[0] * sizes[1] == len(cells) == len(seeds) else "nested"


def components_of(
    values: Array, group: Group, finetuning: Finetuning, confidence: float, problem: Problem
) -> Components:
    """Components from scores ``(n_runs, n_units)`` of a group."""
    if finetuning not in ("nested", "crossed"):
        raise StatisticsError(f"`finetuning` is {finetuning!r}; it must be 'nested' or 'crossed'.")
    if values.shape[1] < 2:
        raise StatisticsError("Variance components need two examples (or clusters) at least.")
    own = values[group.rows]
    if finetuning == "crossed":
        squares, formulas, design = _crossed(own, group)
    else:
        squares, formulas, design = _nested(own, group)
    parts = {}
    for name, terms in formulas.items():
        if isinstance(terms, str):
            value, low, high, spread, reason = math.nan, math.nan, math.nan, math.nan, terms
        else:
            value = sum(weight * squares[key][0] for key, weight in terms.items())
            low, high = _bounds(squares, terms, confidence)
            spread, reason = _spread(squares, terms), ""
        parts[name] = Estimate(
            value,
            low,
            high,
            confidence,
            "analysis of variance; modified large-sample interval",
            f"variance component: {name}",
            spread,
            0.0,
            group.n_seeds,
            group.n_runs,
            problem.n_examples,
            reason,
        )
    negative = [name for name, part in parts.items() if part.value < 0]
    warnings = (f"Negative estimates, counted as 0 in shares: {', '.join(negative)}.",) if negative else ()
    return Components(
        parts,
        group.n_seeds,
        _harmonic(group),
        values.shape[1],
        design,
        "analysis of variance",
        float((group.mixing() @ own).mean()),
        warnings,
    )


def _harmonic(group: Group) -> float:
    return group.n_seeds / float((1 / np.bincount(group.seed_codes)).sum())


Squares = dict[str, tuple[float, float]]  # mean square, degrees of freedom
Formulas = dict[str, "dict[str, float] | str"]


def _nested(own: Array, group: Group) -> tuple[Squares, Formulas, str]:
    s, x, r = group.n_seeds, own.shape[1], _harmonic(group)
    sizes = np.bincount(group.seed_codes)
    means = two_way(group.mixing() @ own)
    squares: Squares = {"example": (float(means.ms_unit), _kurtosis_df(group.mixing() @ own))}
    within = int((sizes - 1).sum())
    runs_vary = within > 0
    if runs_vary:
        ss_run = ss_cell = 0.0
        for code in np.flatnonzero(sizes > 1):
            table = two_way(own[group.seed_codes == code])
            ss_run += float(table.ms_seed) * (sizes[code] - 1)
            ss_cell += float(table.ms_error) * (sizes[code] - 1) * (x - 1)
        squares["run"] = (ss_run / within, within)
        squares["cell"] = (ss_cell / (within * (x - 1)), within * (x - 1))
    if s > 1:
        squares["seed"] = (float(means.ms_seed), s - 1)
        squares["seed_example"] = (float(means.ms_error), (s - 1) * (x - 1))
    formulas: Formulas = {}
    design = f"fine-tuning runs nested in {s} pretraining seeds"
    if s > 1 and runs_vary:
        formulas["pretraining"] = {
            "seed": 1 / x,
            "seed_example": -1 / x,
            "run": -1 / (r * x),
            "cell": 1 / (r * x),
        }
        formulas["finetuning"] = {"run": 1 / x, "cell": -1 / x}
        formulas["example"] = {"example": 1 / s, "seed_example": -1 / s}
        formulas["pretraining_example"] = {"seed_example": 1.0, "cell": -1 / r}
        formulas["residual"] = {"cell": 1.0}
    elif s > 1:
        alone = "one run a seed: not separable from pretraining seeds, which contain it"
        formulas["pretraining"] = {"seed": 1 / x, "seed_example": -1 / x}
        formulas["finetuning"] = alone
        formulas["example"] = {"example": 1 / s, "seed_example": -1 / s}
        formulas["pretraining_example"] = alone.replace(
            "pretraining seeds, which contain", "the residual, which contains"
        )
        formulas["residual"] = {"seed_example": 1.0}
        design = f"{s} pretraining seeds, one run each"
    elif runs_vary:
        alone = "one pretraining seed: its variance cannot be estimated"
        # With one seed its runs are the rows, and the mean square of examples has their interaction under it.
        squares["example"] = (float(two_way(own).ms_unit), _kurtosis_df(own))
        formulas["pretraining"] = alone
        formulas["finetuning"] = {"run": 1 / x, "cell": -1 / x}
        formulas["example"] = {"example": 1 / len(own), "cell": -1 / len(own)}
        formulas["pretraining_example"] = "one pretraining seed: part of the example component"
        formulas["residual"] = {"cell": 1.0}
        design = f"{len(own)} fine-tuning runs of one pretraining seed"
    else:
        raise StatisticsError("One run has no components but examples; give several runs.")
    return squares, formulas, design


def _crossed(own: Array, group: Group) -> tuple[Squares, Formulas, str]:
    if group.finetune is None:
        raise StatisticsError("Crossed fine-tuning seeds need a column 'finetune_seed' in the run table.")
    labels, codes = codes_of(group.finetune)
    s, f, x = group.n_seeds, len(labels), own.shape[1]
    if len(set(zip(group.seed_codes.tolist(), codes.tolist(), strict=True))) != len(own) or len(own) != s * f:
        raise StatisticsError(
            f"{s} pretraining and {f} fine-tuning seeds make a grid of {s * f}, but there are {len(own)} runs. "
            "Complete the grid or use finetuning='nested'."
        )
    if s < 2 or f < 2:
        raise StatisticsError("A crossed analysis needs two seeds of each kind; use finetuning='nested'.")
    y = np.empty((s, f, x))
    y[group.seed_codes, codes] = own
    by_seed, by_run = two_way(y.mean(axis=1)), two_way(y.mean(axis=0))
    by_example = two_way(y.mean(axis=2))
    seed_run = float(by_example.ms_error) * x
    ms = {
        "P": float(by_seed.ms_seed) * f,
        "F": float(by_run.ms_seed) * s,
        "E": float(by_seed.ms_unit) * f,
        "PE": float(by_seed.ms_error) * f,
        "FE": float(by_run.ms_error) * s,
        "PF": seed_run,
    }
    df = {"P": s - 1, "F": f - 1, "PE": (s - 1) * (x - 1), "FE": (f - 1) * (x - 1), "PF": (s - 1) * (f - 1)}
    centred = y - y.mean(axis=2, keepdims=True)
    centred = centred - centred.mean(axis=0, keepdims=True) - centred.mean(axis=1, keepdims=True)
    centred += (y.mean(axis=(0, 1)) - y.mean())[None, None]
    rest = (s - 1) * (f - 1) * (x - 1)
    squares: Squares = {key: (ms[key], float(df[key])) for key in df}
    squares["E"] = (ms["E"], _kurtosis_df(y.mean(axis=(1))))
    squares["R"] = (float((centred**2).sum()) / rest, float(rest))
    formulas: Formulas = {
        "pretraining": {"P": 1, "PF": -1, "PE": -1, "R": 1},
        "finetuning_shared": {"F": 1, "PF": -1, "FE": -1, "R": 1},
        "pretraining_finetuning": {"PF": 1, "R": -1},
        "example": {"E": 1, "PE": -1, "FE": -1, "R": 1},
        "pretraining_example": {"PE": 1, "R": -1},
        "finetuning_example": {"FE": 1, "R": -1},
        "residual": {"R": 1},
    }
    divisors = {
        "pretraining": f * x,
        "finetuning_shared": s * x,
        "pretraining_finetuning": x,
        "example": s * f,
        "pretraining_example": f,
        "finetuning_example": s,
        "residual": 1,
    }
    scaled: Formulas = {
        name: {key: weight / divisors[name] for key, weight in terms.items()}
        for name, terms in formulas.items()
        if not isinstance(terms, str)
    }
    return squares, scaled, f"{s} pretraining seeds crossed with {f} fine-tuning seeds"


def _kurtosis_df(table: Array) -> float:
    """Degrees of freedom that give the mean square of examples the variance it shows: ``2 m^2 / var(m)``."""
    effects = table.mean(axis=0)
    squares = (effects - effects.mean()) ** 2
    n, m = len(squares), float(squares.mean())
    variance = float(squares.var(ddof=1)) / n
    return min(float(n - 1), max(1.0, 2 * m**2 / variance)) if variance > 0 else float(n - 1)


def _spread(squares: Squares, terms: dict[str, float]) -> float:
    """Standard error under normal effects: ``sqrt(sum 2 (c MS)^2 / df)``."""
    return math.sqrt(
        sum(2 * (weight * squares[key][0]) ** 2 / squares[key][1] for key, weight in terms.items())
    )


def _bounds(squares: Squares, terms: dict[str, float], level: float) -> tuple[float, float]:
    """Modified large-sample interval of a signed sum of mean squares (Ting et al. 1990)."""
    from scipy.special import chdtri, fdtri

    tail = (1 - level) / 2
    value = sum(weight * squares[key][0] for key, weight in terms.items())
    plus = [(weight * squares[key][0], squares[key][1]) for key, weight in terms.items() if weight > 0]
    minus = [(-weight * squares[key][0], squares[key][1]) for key, weight in terms.items() if weight < 0]

    def upper_share(df: float) -> float:  # G: 1 - df / chi2 upper point
        return 1 - df / float(chdtri(df, tail))

    def lower_share(df: float) -> float:  # H: df / chi2 lower point - 1
        return df / float(chdtri(df, 1 - tail)) - 1

    def half(first: list[tuple[float, float]], second: list[tuple[float, float]], lower: bool) -> float:
        one, two = (upper_share, lower_share) if lower else (lower_share, upper_share)
        total = sum((one(df) * term) ** 2 for term, df in first)
        total += sum((two(df) * term) ** 2 for term, df in second)
        for term, df in first:
            for other, other_df in second:
                point = float(fdtri(df, other_df, 1 - tail if lower else tail))
                shape = (point - 1) ** 2 if lower else (1 - point) ** 2
                mixed = (shape - (one(df) * point) ** 2 - two(other_df) ** 2) / point
                total += mixed * term * other
        return math.sqrt(max(0.0, total))

    return value - half(plus, minus, True), value + half(plus, minus, False)
