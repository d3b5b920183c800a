"""A score along pretraining: with bands over all steps, the noise of seeds, and the step from which nothing changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array, Metric
from multibench.stats.agreement import agreement_of_seeds
from multibench.stats.components import components_of
from multibench.stats.equivalence import EquivalenceTest, equivalence
from multibench.stats.estimate import Estimate, plain
from multibench.stats.factors import PRETRAINING
from multibench.stats.inference import Inference, difference_inference, group_inference
from multibench.stats.instances import answers_of
from multibench.stats.joint import Joint, correlation_of
from multibench.stats.layout import Group, RunInfo
from multibench.stats.problem import MetricLike, Problem, Undefined, prepare
from multibench.stats.sizes import REACH, possible_size

__all__ = ["Dynamics", "Settled", "StepEstimates", "dynamics", "settled_from"]


@dataclass(frozen=True)
class StepEstimates:
    """What is known of one step.

    ``score`` has an interval of its own, ``band`` the bounds that hold for all steps at once. ``seed_sd`` is the
    standard deviation of pretraining seeds with a one-sided upper bound (``components.Source``).
    ``agreement`` is that of runs of different pretraining seeds (of one seed where there is but one), and
    ``agreement_band`` has bounds for all steps at once (Bonferroni's); both are ``None`` for numbers.
    ``difference`` is this step minus the last, paired; ``None`` at the last.
    """

    step: int
    score: Estimate
    band: Estimate
    seed_sd: Estimate
    agreement: Estimate | None
    agreement_band: Estimate | None
    difference: Inference | None

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class Settled:
    """From which step on the score is equivalent to that of the last step, within ``margin``.

    ``step`` is the earliest such step that could be shown, ``None`` if none could; ``p_values`` belong to the claim
    "this and every later step", one for each step but the last. The chance that ``step`` comes too early is
    at most ``alpha``. ``reason`` says why nothing is claimed, where that is not for the numbers alone.
    """

    step: int | None
    margin: float
    alpha: float
    steps: tuple[int, ...]
    p_values: tuple[float, ...]
    tests: tuple[EquivalenceTest, ...]
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        within = f"within {100 * self.margin:g} points of the last, at {self.alpha:g}"
        if self.step is None:
            return f"no step but the last is shown to be {within}{f': {self.reason}' if self.reason else ''}"
        return f"step {self.step:,} and every later one measured is {within}"


@dataclass(frozen=True)
class Dynamics:
    """Scores of the same seeds at several steps; see ``dynamics``."""

    steps: tuple[StepEstimates, ...]
    settled: Settled | None
    metric: str
    level: float
    local_level: float
    n_seeds: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        ends = f"{self.steps[0].band.value:.4f} at {self.steps[0].step:,} to {self.steps[-1].band.value:.4f}"
        return f"{self.metric} from {ends} at {self.steps[-1].step:,}; {self.settled or 'no margin given'}"


def dynamics(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    margin: float | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
    *,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    cluster_unit: str = "clusters",
    undefined: Undefined = "collapsed",
    corrections: ArrayLike | None = None,
) -> Dynamics:
    """Score, seed noise and agreement at each step, and from which step on nothing changes any more.

    Args:
        run_info: one row a run with ``seed``, ``step`` and, if known, ``finetune_seed``.
        preds: ``(n_runs, n_examples[, n_outputs])`` in the order of ``run_info``.
        labels: ``(n_examples,)``.
        metric: a registered name or a ``Metric``; influence values are needed.
        margin: what counts as no change, a fraction (0.005 is half a point); without it nothing is claimed.
        alpha: chance at which the step claimed may be too early.
        confidence: level of intervals and of the band.
        clusters: label of each example's cluster; these are then the units.
        strata: label of each example's fixed part of the test set.
        cluster_unit: what clusters are called, in the plural.
        undefined: as in ``multibootstrap``.
        corrections: as in ``compare_groups``.

    Only seeds that every step has are used, so that all differences between steps are paired, and each seed's runs
    are averaged. With one seed its fine-tuning runs take the seeds' place where all steps have the same; the
    statements are then about that checkpoint.

    Raises ``StatisticsError`` with fewer than two steps, without common seeds, for a callable metric, or for a margin
    that no two scores can differ by.

    """
    problem = prepare(
        run_info, preds, labels, metric, clusters, undefined, strata=strata, cluster_unit=cluster_unit
    )
    if problem.slow:
        raise StatisticsError(
            f"The metric {problem.name} is a callable without influence values, which a band over steps needs. Known "
            f"metrics: {', '.join(METRICS.names())}."
        )
    if margin is not None:
        possible_size(margin, "margin", REACH[problem.scale])
    warnings: list[str] = []
    groups = _groups(problem, warnings)
    own = problem.corrected(corrections)
    scores = [group_inference(problem, group, confidence, own) for group in groups.values()]
    local = _local_level(scores, confidence)
    agreements = _agreements(problem, groups, preds, labels, metric, confidence)
    last = list(groups.values())[-1]
    differences = [
        (step, difference_inference(problem, last, group, True, confidence, own))
        for step, group in groups.items()
        if group is not last
    ]
    found = [
        StepEstimates(
            step,
            score.estimate,
            _band(group_inference(problem, group, local, own).estimate, confidence, local),
            _seed_sd(problem, group, confidence, own),
            *agreement,
            difference,
        )
        for (step, group), score, agreement, difference in zip(
            groups.items(), scores, agreements, [*(d for _, d in differences), None], strict=True
        )
    ]
    settled = None if margin is None else settled_from(differences, margin, alpha)
    n_seeds = last.n_seeds
    return Dynamics(
        tuple(found), settled, problem.name, confidence, local, n_seeds, tuple(dict.fromkeys(warnings))
    )


def _local_level(scores: Sequence[Inference], level: float) -> float:
    """The level of each step's interval at which all of them hold together; steps share examples and seeds."""
    known = [score for score in scores if score.known]
    if len(known) < 2:
        return level
    joint = Joint([score.moments for score in known], correlation_of([score.effects for score in known]))
    return joint.local_level(level)


def settled_from(differences: Sequence[tuple[int, Inference]], margin: float, alpha: float = 0.05) -> Settled:
    """The earliest step from which this and every later step is equivalent to the last one within ``margin``.

    ``differences`` are (step, step minus the last) for every step but the last, in order. The claim for a step is
    an intersection over it and all later ones, so it is tested by the largest of their p-values, each of two
    one-sided tests (Berger 1982). The claims are nested: going back from the last step and stopping at the first one
    that is not shown, each at level ``alpha``, is the closed test. A false claim requires that the last step that
    truly differs by the margin or more is shown not to: its chance is at most ``alpha``, however many steps there are.

    Steps between those measured are not spoken of. Raises ``StatisticsError`` if ``margin`` is not positive.
    """
    possible_size(margin, "margin")
    tests = [equivalence(difference, margin, alpha) for _, difference in differences]
    p_values: list[float] = []
    worst = 0.0
    for test in reversed(tests):
        # NaN, an unknown difference, ends every claim that would include it.
        worst = math.nan if math.isnan(worst + test.p_value) else max(worst, test.p_value)
        p_values.insert(0, worst)
    shown = [step for (step, _), p in zip(differences, p_values, strict=True) if p <= alpha]
    return Settled(
        shown[0] if shown else None,
        margin,
        alpha,
        tuple(step for step, _ in differences),
        tuple(p_values),
        tuple(tests),
    )


def _groups(problem: Problem, warnings: list[str]) -> dict[int, Group]:
    """The runs of each step, with the seeds that all steps have."""
    steps = problem.table.column("step")
    if any(step is None for step in steps):
        raise StatisticsError("A run has no step; leave out what was not saved along a pretraining.")
    names = sorted(set(steps))
    if len(names) < 2:
        raise StatisticsError(f"Dynamics need two steps at least; all runs are of step {names[0]:,}.")
    groups = {
        name: problem.table.group(f"step {name:,}", [r for r, step in enumerate(steps) if step == name])
        for name in names
    }
    common = [s for s in groups[names[0]].seeds if all(s in group.seeds for group in groups.values())]
    if not common:
        raise StatisticsError(
            "No pretraining seed has runs at every step, so that steps cannot be paired; filter the steps."
        )
    for group in groups.values():
        dropped = [str(seed) for seed in group.seeds if seed not in common]
        if dropped:
            warnings.append(
                f"Seeds of {group.name} that other steps lack were left out: {', '.join(dropped)}."
            )
    return {name: group.only(common) for name, group in groups.items()}


def _band(score: Estimate, level: float, local: float) -> Estimate:
    return replace(score, level=level, method=f"{score.method}; all steps at once (each at {local:.4f})")


def _seed_sd(problem: Problem, group: Group, level: float, values: Array) -> Estimate:
    """The standard deviation of pretraining seeds."""
    source = None
    if group.n_seeds > 1:
        source = components_of(problem, group, level, values).source(PRETRAINING)
    if source is None:
        return Estimate(
            *(math.nan, math.nan, math.nan, level, "surrogate variances"),
            "standard deviation of pretraining seeds",
            *(math.nan, math.nan, group.n_seeds, group.n_runs, problem.n_examples),
            reason="one pretraining seed",
        )
    alone = "" if group.n_runs > group.n_seeds else "one run a seed: contains the noise of fine-tuning seeds"
    return replace(source.sd, caveat=alone)


def _agreements(
    problem: Problem,
    groups: dict[int, Group],
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    level: float,
) -> list[tuple[Estimate | None, Estimate | None]]:
    """Agreement at each step, by itself and with bounds for all steps."""
    known = METRICS.get(metric) if isinstance(metric, str) else metric
    assert isinstance(known, Metric)
    answers = answers_of(known, np.asarray(labels), np.asarray(preds))
    if answers is None or any(group.n_runs < 2 for group in groups.values()):
        return [(None, None)] * len(groups)
    answers = answers[problem.table.order]
    found: list[tuple[Estimate | None, Estimate | None]] = []
    for group in groups.values():
        levels = (level, 1 - (1 - level) / len(groups))
        alone, band = agreement_of_seeds(answers[group.rows], group, levels)
        found.append(
            (alone, replace(band, level=level, method=f"{band.method}; all steps at once (Bonferroni)"))
        )
    return found
