"""The multi-bootstrap: pretraining seeds and test examples resampled together.

The procedure is that of Sellam et al. (2021, arXiv 2106.16163); resampling two crossed factors
independently is Owen's pigeonhole bootstrap (2007, doi 10.1214/07-AOAS122), mildly conservative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics.base import Array
from multibench.stats.anova import two_way
from multibench.stats.estimands import Estimand
from multibench.stats.estimands import estimand as as_estimand
from multibench.stats.estimate import Estimate, plain
from multibench.stats.intervals import (
    Interval,
    bootstrap_estimate,
    checked_interval,
    p_values,
    released_p,
    shaped_draws,
)
from multibench.stats.layout import Group, RunInfo, pair, sides
from multibench.stats.problem import MetricLike, Problem, Undefined, prepare
from multibench.stats.resample import Plan, Runs, group_samples
from multibench.stats.streams import Rng

__all__ = ["MultibootstrapResult", "multibootstrap", "multibootstrap_group"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MultibootstrapResult:
    """What ``multibootstrap`` found.

    ``samples`` are the draws, ``(nboot, 2)``: base and experiment. ``p_value`` is two-sided and comes, like
    ``p_greater`` (evidence that the experiment scores higher) and ``p_less``, from the inversion that gives
    the interval of ``delta``: ``(k + 1) / (nboot + 1)``. ``p_reference`` is the released function's
    one-sided share of draws with ``delta <= 0``, floored at ``1 / nboot``, and ``p_reference_negative`` the
    same for ``delta >= 0``.
    """

    samples: Array
    base: Estimate
    experiment: Estimate
    delta: Estimate
    p_value: float
    p_greater: float
    p_less: float
    p_reference: float
    p_reference_negative: float
    metric: str
    paired: bool
    sampled: tuple[str, ...]
    nboot: int
    n_nan_draws: int
    n_collapsed_runs: int
    warnings: tuple[str, ...]

    def to_dict(self, samples: bool = False) -> dict[str, Any]:
        """Everything but the draws (add them with ``samples=True``), ready for JSON."""
        kept = {key: plain(value) for key, value in vars(self).items() if key != "samples"}
        return {**kept, "samples": plain(self.samples)} if samples else kept

    def __str__(self) -> str:
        side = "paired" if self.paired else "unpaired"
        return f"delta {self.delta}, p = {self.p_value:.3g} two-sided, {side}, {self.metric}"


def multibootstrap(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    paired_seeds: bool = False,
    sample_seeds: bool = True,
    sample_examples: bool = True,
    nboot: int = 1000,
    rng: Rng = None,
    confidence: float = 0.95,
    *,
    interval: Interval = "percentile",
    runs: Runs = "averaged",
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    estimand: str | Estimand = "mean",
    undefined: Undefined = "collapsed",
    progress: Progress | None = None,
) -> MultibootstrapResult:
    """Compare two groups of runs on one test set.

    The first ten arguments mean what they mean in the released function (google-research/language,
    ``multiberts/multibootstrap.py``).

    Args:
        run_info: data frame or mapping of columns, one row a run: ``seed`` (pretraining seed), ``intervention``
            (booleans: false is base) and, for crossed fine-tuning seeds, ``finetune_seed``.
        preds: ``(n_runs, n_examples[, n_outputs])`` in the order of ``run_info``.
        labels: ``(n_examples,)``.
        metric: a registered name, a ``Metric``, or any callable ``(labels, preds) -> float`` (slow).
        paired_seeds: whether equal seeds on both sides belong together (an intervention on the same
            checkpoint); seeds of one side only are then dropped, with a warning.
        sample_seeds: resample pretraining seeds.
        sample_examples: resample examples.
        nboot: number of draws.
        rng: an integer or a ``Generator`` takes the fast path. A legacy ``RandomState`` follows the released
            function's draws, one by one, and its interpolated quantiles. (There an integer
            means ``RandomState(integer)``; here it does not.)
        confidence: level of the intervals.
        interval: ``percentile``; ``basic`` (reflected about the estimate); ``rescaled``: percentile, with
            deviations from the estimate scaled to the unbiased variance, which removes the bootstrap's
            ``(S - 1) / S`` and its multiple counting of the interaction.
        runs: ``averaged`` within seeds, as released; ``nested``: runs are redrawn within each drawn seed
            (this counts their noise about twice, since drawn seeds already carry it; meant for one seed a
            side); ``crossed``: fine-tuning seeds are a third factor, shared by all pretraining seeds.
        clusters: label of each example's cluster (an article, a premise); clusters are then resampled whole.
        strata: label of each example's fixed part of the test set; each part is resampled by itself.
        estimand: ``mean``, ``median`` or ``best-of-<n>`` over runs, every pretraining seed weighing the same.
        undefined: what a run whose score is undefined (constant predictions under a correlation) contributes:
            ``collapsed``: the metric's value for collapsed runs (0); ``nan``: NaN.
        progress: called with draws done and draws in all, after each block.

    Raises:
        StatisticsError: for shapes, columns or options that do not fit.

    Percentile intervals lack the factor ``S / (S - 1)``, so that with few seeds they are too short: this is the
    published method, and ``compare_groups`` has the one that keeps its level.

    """
    chosen, target = checked_interval(interval, confidence), as_estimand(estimand)
    exact = not isinstance(rng, np.random.RandomState)
    problem = prepare(run_info, preds, labels, metric, clusters, undefined, not exact, strata)
    base, experiment = sides(problem.table)
    warnings: list[str] = []
    if paired_seeds:
        base, experiment = pair(base, experiment, warnings)
    pools = (0, 0) if paired_seeds else (0, 1)
    plan = Plan((base, experiment), pools, target, sample_seeds, sample_examples, runs, progress)
    samples, undefined_scores = group_samples(problem, plan, nboot, rng)
    if sample_seeds:
        warnings += [
            f"The {group.name} side has one pretraining seed: its interval holds no seed variance."
            for group in plan.groups
            if group.n_seeds == 1
        ]
    plug_in = [problem.value(group, target) for group in plan.groups]
    deltas = samples[:, 1] - samples[:, 0]
    delta = plug_in[1] - plug_in[0]
    n_nan = int(np.isnan(deltas).sum())
    warnings += _warn_undefined(problem, n_nan, undefined_scores, nboot)
    factors = [1.0, 1.0, 1.0]
    if chosen == "rescaled":
        factors = _rescaling(problem, plan, paired_seeds)
    sampled = _sampled(sample_seeds, sample_examples, runs, problem)
    method = f"multi-bootstrap, {chosen}, over {' and '.join(sampled) or 'nothing'}"
    n_examples = problem.n_examples
    estimates = []
    for value, draws, factor, groups, what in (
        (plug_in[0], samples[:, 0], factors[0], (base,), f"base: {target.title}"),
        (plug_in[1], samples[:, 1], factors[1], (experiment,), f"experiment: {target.title}"),
        (delta, deltas, factors[2], (base, experiment), f"difference of the {target.title}"),
    ):
        estimates.append(
            bootstrap_estimate(
                value,
                draws,
                confidence,
                chosen,
                factor,
                exact,
                method=method,
                estimand=what,
                n_seeds=groups[0].n_seeds if paired_seeds else sum(group.n_seeds for group in groups),
                n_runs=sum(group.n_runs for group in groups),
                n_examples=n_examples,
                caveat=_caveat(groups, sampled),
                over=" and ".join(sampled),
            )
        )
    shaped = shaped_draws(delta, deltas[~np.isnan(deltas)], chosen, factors[2])
    p_greater, p_less = p_values(shaped)
    return MultibootstrapResult(
        samples=samples,
        base=estimates[0],
        experiment=estimates[1],
        delta=estimates[2],
        p_value=min(1.0, 2 * min(p_greater, p_less)) if len(shaped) else math.nan,
        p_greater=p_greater,
        p_less=p_less,
        p_reference=released_p(deltas <= 0),
        p_reference_negative=released_p(deltas >= 0),
        metric=problem.name,
        paired=paired_seeds,
        sampled=sampled,
        nboot=nboot,
        n_nan_draws=n_nan,
        n_collapsed_runs=problem.n_collapsed,
        warnings=tuple(warnings),
    )


def multibootstrap_group(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    nboot: int = 1000,
    rng: Rng = None,
    confidence: float = 0.95,
    *,
    interval: Interval = "percentile",
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    estimand: str | Estimand = "mean",
    undefined: Undefined = "collapsed",
    progress: Progress | None = None,
) -> Estimate:
    """The score of one group of runs, for tables; arguments as in ``multibootstrap`` (no ``intervention``).

    With two or more pretraining seeds those and the examples are resampled. With one seed and several
    fine-tuning runs the runs take the seeds' place, and the estimate's ``caveat`` says that nothing is
    known of other pretraining seeds. With one run only examples are resampled.
    """
    chosen, target = checked_interval(interval, confidence), as_estimand(estimand)
    exact = not isinstance(rng, np.random.RandomState)
    problem = prepare(run_info, preds, labels, metric, clusters, undefined, not exact, strata)
    group = problem.table.group("group", range(len(problem.scores)))
    n_pretraining = group.n_seeds
    factor_name = "pretraining seeds"
    if n_pretraining == 1 and group.n_runs > 1:
        factor_name = "fine-tuning runs"
        group = Group(
            group.name, group.rows, tuple(range(group.n_runs)), np.arange(group.n_runs), group.finetune
        )
    plan = Plan((group,), (0,), target, progress=progress)
    samples, _ = group_samples(problem, plan, nboot, rng)
    sampled = tuple(
        name
        for name, there in (
            (factor_name, group.n_seeds > 1),
            (_drawn_units(problem), True),
        )
        if there
    )
    factor = _rescaling(problem, plan, paired=False)[0] if chosen == "rescaled" else 1.0
    caveat = ""
    if n_pretraining == 1:
        caveat = "one pretraining seed: the interval does not cover other pretraining seeds"
        if group.n_runs == 1:
            caveat = "one run: the interval covers neither other pretraining seeds nor other fine-tuning runs"
    return bootstrap_estimate(
        problem.value(group, target),
        samples[:, 0],
        confidence,
        chosen,
        factor,
        exact,
        method=f"multi-bootstrap, {chosen}, over {' and '.join(sampled)}",
        estimand=target.title if n_pretraining > 1 else target.title.replace("pretraining seeds", "its runs"),
        n_seeds=n_pretraining,
        n_runs=group.n_runs,
        n_examples=problem.n_examples,
        caveat=caveat,
        over=" and ".join(sampled),
    )


def _drawn_units(problem: Problem) -> str:
    units = "examples" if problem.clusters is None else "clusters of examples"
    return units if problem.strata is None else f"{units} within strata"


def _sampled(seeds: bool, examples: bool, runs: Runs, problem: Problem) -> tuple[str, ...]:
    names = []
    if seeds:
        names.append("pretraining seeds")
    if runs != "averaged":
        names.append(f"fine-tuning runs ({runs})")
    if examples:
        names.append(_drawn_units(problem))
    return tuple(names)


def _caveat(groups: Sequence[Group], sampled: Sequence[str]) -> str:
    missing = [f"pretraining seeds of the {group.name} side" for group in groups if group.n_seeds == 1]
    if "pretraining seeds" not in sampled:
        missing = ["pretraining seeds"]
    if not any("examples" in name for name in sampled):
        missing.append("test examples")
    return f"the interval does not cover the choice of {' or '.join(missing)}" if missing else ""


def _warn_undefined(problem: Problem, n_nan: int, undefined: int, nboot: int) -> list[str]:
    warnings = []
    counted = "count as NaN" if math.isnan(problem.fill) else f"count as {problem.fill:g}"
    if problem.n_collapsed:
        warnings.append(
            f"{problem.n_collapsed} runs have an undefined score (constant predictions?); they {counted}."
        )
    if undefined:
        warnings.append(f"{undefined} run scores were undefined in resamples; they {counted}.")
    if n_nan:
        warnings.append(f"{n_nan} of {nboot} draws are NaN and left out of intervals and p-values.")
    return warnings


def _rescaling(problem: Problem, plan: Plan, paired: bool) -> list[float]:
    """For each group, and for the difference of two, unbiased over bootstrap standard error.

    The unbiased variance is the truncated analysis-of-variance estimate; the bootstrap's is exact given the
    data.
    """
    if plan.runs != "averaged" or plan.estimand.kind != "mean":
        raise StatisticsError(
            "The rescaled interval is defined for the mean with runs averaged within seeds."
        )
    values = problem.pseudo_scores
    tables = [group.mixing() @ values[group.rows] for group in plan.groups]
    wanted = [[table] for table in tables]
    if len(tables) == 2:
        wanted.append([tables[1] - tables[0]] if paired else tables)
    factors = []
    for sides_of in wanted:
        unbiased, drawn = _variances(
            sides_of, plan.sample_seeds, plan.sample_examples, _kept_by_strata(problem)
        )
        factors.append(math.sqrt(unbiased / drawn) if drawn > 0 else 1.0)
    return factors


def _kept_by_strata(problem: Problem) -> float:
    """What resampling within strata keeps of the variance of the pseudo-scores, which are unbiased within them."""
    if problem.strata is None:
        return 1.0
    n = len(problem.strata)
    return (n - int(problem.strata.max()) - 1) / max(1, n - 1)


def _variances(
    tables: Sequence[Array], seeds: bool, examples: bool, kept: float = 1.0
) -> tuple[float, float]:
    """Unbiased and bootstrap variance of a mean, or of a difference of two independent sides."""
    moments = [two_way(table) for table in tables]
    signs = (1,) if len(tables) == 1 else (-1, 1)
    columns = sum(sign * table.mean(axis=0) for sign, table in zip(signs, tables, strict=True))
    units = moments[0].n_units
    between = float(np.var(columns)) / units
    unbiased = drawn = 0.0
    if examples:
        unbiased += between * units / (units - 1) if units > 1 else 0.0
        drawn += between * kept
    for side in moments:
        s, x = side.n_seeds, side.n_units
        if s == 1 or not seeds:
            continue
        drawn += float(side.ms_seed) * (s - 1) / (s**2 * x)
        if not examples:
            unbiased += float(side.ms_seed) / (s * x)
        elif x > 1:
            drawn += float(side.ms_error) * (s - 1) * (x - 1) / (s * x) ** 2
            unbiased += max(0.0, float(side.ms_seed) - float(side.ms_error)) / (s * x)
    return unbiased, drawn
