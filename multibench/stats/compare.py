"""Base against experiment, and one group alone, by the interval that is printed and by the published method."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Metric
from multibench.stats.estimands import Estimand, estimand
from multibench.stats.estimate import Estimate, plain
from multibench.stats.inference import Inference, difference_inference, group_inference
from multibench.stats.intervals import Interval
from multibench.stats.layout import Group, RunInfo, pair, sides
from multibench.stats.multibootstrap import MultibootstrapResult, multibootstrap, multibootstrap_group
from multibench.stats.problem import MetricLike, Problem, Undefined, prepare
from multibench.stats.single import SingleRunTest, mcnemar, paired_permutation
from multibench.stats.streams import Rng

__all__ = ["METHODS", "Comparison", "Method", "compare_groups", "estimate_group", "looks_at_every_seed"]

Method = Literal["surrogate", "multibootstrap"]
METHODS: tuple[Method, ...] = ("surrogate", "multibootstrap")


@dataclass(frozen=True)
class Comparison:
    """Base against experiment: both scores, their difference, and the tests that belong to it.

    ``p_value`` is two-sided and of the same inversion as the interval of ``difference``. It is NaN where a side is a
    single run: nothing then speaks of its procedure, and ``about`` says so. Of two single runs ``runs`` has a test,
    which is about these two alone. ``inference`` is None where the multi-bootstrap was asked for, or is all there is
    (callable metrics, medians, best-of-n); ``bootstrap`` is None elsewhere.
    """

    base: Estimate
    experiment: Estimate
    difference: Estimate
    p_value: float
    paired: bool
    about: str
    inference: Inference | None
    bootstrap: MultibootstrapResult | None
    runs: SingleRunTest | None
    warnings: tuple[str, ...]

    @property
    def delta(self) -> Estimate:
        """Another name of ``difference``."""
        return self.difference

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        p = "no p-value" if math.isnan(self.p_value) else f"p = {self.p_value:.3g}"
        return f"difference {self.difference}, {p} ({self.about})"


def compare_groups(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    paired_seeds: bool = False,
    nboot: int = 1000,
    rng: Rng = None,
    confidence: float = 0.95,
    *,
    method: Method = "surrogate",
    interval: Interval = "percentile",
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    cluster_unit: str = "clusters",
    estimand: str | Estimand = "mean",
    undefined: Undefined = "collapsed",
    always_valid: bool = False,
    corrections: ArrayLike | None = None,
) -> Comparison:
    """Compare two groups of runs on one test set.

    Args:
        run_info: as in ``multibootstrap``: ``seed``, ``intervention`` and ``finetune_seed``. A fine-tuning seed that
            stands with several pretraining seeds is shared by them, a random factor of its own.
        preds: ``(n_runs, n_examples[, n_outputs])``.
        labels: ``(n_examples,)``.
        metric: a registered name, a ``Metric``, or any callable ``(labels, preds) -> float``.
        paired_seeds: whether equal pretraining seeds of both sides belong together; with one on each side, equal
            fine-tuning seeds.
        nboot: draws, where the multi-bootstrap is used.
        rng: of these draws, and of the permutation test of two single runs.
        confidence: level of the intervals.
        method: ``surrogate`` (docs/statistics.md) or ``multibootstrap``, the published percentile method.
        interval: of the multi-bootstrap.
        clusters: label of each example's cluster; clusters are then the units.
        strata: label of each example's fixed part of the test set.
        cluster_unit: what clusters are called, in the plural.
        estimand: ``mean``; others need the multi-bootstrap.
        undefined: as in ``multibootstrap``.
        always_valid: make the interval and the p-value hold however often one has looked while pretraining seeds were
            added: with S seeds at level ``1 - alpha / (S (S - 1))``, which sums to alpha over all S.
        corrections: ``(n_runs,)``, added to runs' scores: what a choice among settings made them too good by
            (``chosen``), with a minus. The multi-bootstrap takes scores as they are.

    Raises ``StatisticsError`` for inputs that do not fit, and for ``always_valid`` with the multi-bootstrap.

    """
    target = as_estimand(estimand)
    problem = prepare(
        run_info, preds, labels, metric, clusters, undefined, strata=strata, cluster_unit=cluster_unit
    )
    base, experiment = sides(problem.table)
    warnings: list[str] = []
    if paired_seeds:
        base, experiment = pair(base, experiment, warnings)
    runs = _single_runs(problem, base, experiment, preds, labels, metric, rng)
    if method == "multibootstrap" or problem.slow or not target.linear:
        if always_valid:
            raise StatisticsError(
                "An always-valid interval is defined for means by the surrogate method only."
            )
        boot = multibootstrap(
            run_info,
            preds,
            labels,
            metric,
            paired_seeds,
            nboot=nboot,
            rng=rng,
            confidence=confidence,
            interval=interval,
            clusters=clusters,
            strata=strata,
            estimand=target,
            undefined=undefined,
        )
        return Comparison(
            boot.base,
            boot.experiment,
            boot.delta,
            boot.p_value,
            paired_seeds,
            _about(base, experiment),
            None,
            boot,
            runs,
            boot.warnings,
        )
    own = problem.corrected(corrections)
    level = confidence
    if always_valid:
        level = looks_at_every_seed(confidence, _fewest(base, experiment))
    found = [group_inference(problem, side, confidence, own) for side in (base, experiment)]
    difference = difference_inference(problem, base, experiment, paired_seeds, level, own)
    p_value, estimate = difference.p_value, difference.estimate
    looks = (1 - confidence) / (1 - level)
    if always_valid:
        p_value = _at_most_one(p_value * looks)
        estimate = replace(estimate, level=confidence, method=f"{estimate.method}, always valid")
    if 1 in (base.n_runs, experiment.n_runs):
        p_value = math.nan
    warnings += _undefined(problem)
    return Comparison(
        found[0].estimate,
        found[1].estimate,
        estimate,
        p_value,
        paired_seeds,
        _about(base, experiment),
        replace(
            difference,
            estimate=estimate,
            p_value=p_value,
            p_greater=_at_most_one(difference.p_greater * looks),
            p_less=_at_most_one(difference.p_less * looks),
            looks=looks,
        ),
        None,
        runs,
        tuple(warnings),
    )


as_estimand = estimand


def looks_at_every_seed(confidence: float, n_seeds: int) -> float:
    """The level with ``n_seeds`` at which intervals hold at every number of seeds together (Boole's inequality)."""
    n = max(2, n_seeds)
    return 1 - (1 - confidence) / (n * (n - 1))


def _at_most_one(p: float) -> float:
    return p if math.isnan(p) else min(1.0, p)


def _fewest(base: Group, experiment: Group) -> int:
    several = [g.n_seeds for g in (base, experiment) if g.n_seeds > 1]
    return min(several or [min(g.n_runs for g in (base, experiment))])


def _about(base: Group, experiment: Group) -> str:
    """What the comparison is about, in a sentence's end."""
    lone = [g.name for g in (base, experiment) if g.n_runs == 1]
    if len(lone) == 2:
        return (
            "two single runs: neither pretraining nor fine-tuning seeds are covered, so there is no p-value for the "
            "procedures"
        )
    if lone:
        return f"the {lone[0]} is a single run: its seeds are not covered, so there is no p-value for its procedure"
    single = [g.name for g in (base, experiment) if g.n_seeds == 1]
    if len(single) == 2:
        return "two checkpoints: other pretraining seeds are not covered"
    if single:
        return f"the {single[0]} is one checkpoint: its procedure's other pretraining seeds are not covered"
    return "the procedures behind both sides"


def _single_runs(
    problem: Problem,
    base: Group,
    experiment: Group,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    rng: Rng,
) -> SingleRunTest | None:
    """The test of two single runs: McNemar's of right and wrong answers, else by permutation."""
    if base.n_runs > 1 or experiment.n_runs > 1 or problem.slow or isinstance(rng, np.random.RandomState):
        return None
    known = METRICS.get(metric) if isinstance(metric, str) else metric
    assert isinstance(known, Metric)
    outputs, gold, order = np.asarray(preds), np.asarray(labels), problem.table.order
    first, second = (outputs[order[group.rows[0]]] for group in (base, experiment))
    if problem.linear and problem.clusters is None:
        scored = (
            known.prepare(gold, np.stack([first, second])).influence()
            + problem.scores[[base.rows[0], experiment.rows[0]]][:, None]
        )
        right = np.round(scored, 9)
        if np.isin(right, (0, 1)).all():
            return mcnemar(right[0], right[1])
    return paired_permutation(gold, first, second, known, rng=rng)


def _undefined(problem: Problem) -> list[str]:
    if not problem.n_collapsed:
        return []
    counted = "count as NaN" if math.isnan(problem.fill) else f"count as {problem.fill:g}"
    return [f"{problem.n_collapsed} runs have an undefined score (constant predictions?); they {counted}."]


def estimate_group(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    nboot: int = 1000,
    rng: Rng = None,
    confidence: float = 0.95,
    *,
    method: Method = "surrogate",
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    cluster_unit: str = "clusters",
    estimand: str | Estimand = "mean",
    undefined: Undefined = "collapsed",
    corrections: ArrayLike | None = None,
) -> Estimate:
    """The score of one group with its interval; arguments as in ``compare_groups``.

    The surrogate interval of the mean where the metric has influence values, else the multi-bootstrap's. The
    estimate's ``caveat`` says what the interval does not cover.
    """
    target = as_estimand(estimand)
    problem = prepare(
        run_info, preds, labels, metric, clusters, undefined, strata=strata, cluster_unit=cluster_unit
    )
    if method == "multibootstrap" or problem.slow or not target.linear:
        return multibootstrap_group(
            run_info,
            preds,
            labels,
            metric,
            nboot,
            rng,
            confidence,
            clusters=clusters,
            strata=strata,
            estimand=target,
            undefined=undefined,
        )
    own = problem.corrected(corrections)
    group = problem.table.group("group", range(len(problem.scores)))
    return group_inference(problem, group, confidence, own).estimate
