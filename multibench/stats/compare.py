"""Two intervals side by side, and which of them to trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from multibench.stats.crossed import Crossed, crossed_delta
from multibench.stats.estimands import Estimand, estimand
from multibench.stats.estimate import Estimate, plain
from multibench.stats.intervals import Interval
from multibench.stats.layout import Group, RunInfo, pair, sides
from multibench.stats.multibootstrap import MultibootstrapResult, multibootstrap
from multibench.stats.problem import MetricLike, Problem, Undefined, prepare
from multibench.stats.streams import Rng

__all__ = ["Comparison", "compare_groups", "estimate_group"]

ENOUGH_SEEDS = 5


@dataclass(frozen=True)
class Comparison:
    """Base against experiment, by multi-bootstrap and by crossed random effects.

    ``recommended`` names the interval to report: ``crossed``, ``bootstrap`` or ``none``, and ``why`` says
    so in a sentence. ``procedure`` is the second estimand of one checkpoint against a family (``None``
    otherwise).
    """

    bootstrap: MultibootstrapResult
    crossed: Crossed | None
    procedure: Crossed | None
    recommended: Literal["crossed", "bootstrap", "none"]
    why: str
    warnings: tuple[str, ...]

    @property
    def delta(self) -> Estimate:
        """The recommended estimate of the difference; the bootstrap's where none is."""
        if self.crossed is not None and self.recommended == "crossed":
            return self.crossed.estimate
        return self.bootstrap.delta

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the same inversion as ``delta``."""
        if self.crossed is not None and self.recommended == "crossed":
            return self.crossed.p_value
        return self.bootstrap.p_value

    def to_dict(self) -> dict[str, Any]:
        """Both intervals, the recommended one and the reasons, ready for JSON."""
        fields = {key: plain(value) for key, value in vars(self).items()}
        return {**fields, "delta": plain(self.delta), "p_value": plain(self.p_value)}

    def __str__(self) -> str:
        return f"delta {self.delta}, p = {self.p_value:.3g}; recommended: {self.recommended} ({self.why})"


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
    interval: Interval = "percentile",
    clusters: ArrayLike | None = None,
    estimand: str | Estimand = "mean",
    undefined: Undefined = "collapsed",
) -> Comparison:
    """Compare two groups of runs by both methods; arguments as in ``multibootstrap``.

    The rule behind ``recommended`` is the outcome of the coverage study in docs/statistics.md: the crossed
    interval with five or more seeds on each side that has more than one; none with two to four seeds, where
    no interval is both valid and short; the bootstrap where the crossed interval is not defined (callables,
    medians, best-of-n), which the study did not cover.
    """
    bootstrap = multibootstrap(
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
        estimand=estimand,
        undefined=undefined,
    )
    problem = prepare(run_info, preds, labels, metric, clusters, undefined)
    base, experiment = sides(problem.table)
    if paired_seeds:
        base, experiment = pair(base, experiment, [])
    crossed, procedure, missing = _both(problem, base, experiment, paired_seeds, confidence, estimand)
    recommended, why = _recommend(crossed, missing, base, experiment, paired_seeds)
    return Comparison(bootstrap, crossed, procedure, recommended, why, bootstrap.warnings)


def _both(
    problem: Problem, base: Group, experiment: Group, paired: bool, level: float, target: str | Estimand
) -> tuple[Crossed | None, Crossed | None, str]:
    if not estimand(target).linear:
        return None, None, "the crossed interval is defined for means only"
    if problem.slow:
        return None, None, "a callable metric has no influence values"
    crossed = crossed_delta(problem, base, experiment, paired, level)
    procedure = None
    if not paired and (base.n_seeds == 1) != (experiment.n_seeds == 1):
        procedure = crossed_delta(problem, base, experiment, paired, level, procedure=True)
    return crossed, procedure, ""


def _recommend(
    crossed: Crossed | None, missing: str, base: Group, experiment: Group, paired: bool
) -> tuple[Literal["crossed", "bootstrap", "none"], str]:
    counts = [base.n_seeds] if paired else [base.n_seeds, experiment.n_seeds]
    several = [count for count in counts if count > 1]
    few = [count for count in several if count < ENOUGH_SEEDS]
    if few:
        return "none", (
            f"{min(few)} pretraining seeds are too few for any of these intervals to be relied on; "
            f"read the wider one, and add seeds ({ENOUGH_SEEDS} or more)"
        )
    if crossed is None:
        return "bootstrap", f"{missing}; coverage of the bootstrap was not studied here"
    if not several:
        return "crossed", "one checkpoint a side: examples (and fine-tuning runs) are the only noise measured"
    if len(several) < len(counts):
        return "crossed", "one checkpoint against a family: the interval is for this checkpoint"
    return "crossed", "five or more seeds: it keeps its level and is shorter than the multi-bootstrap"


def estimate_group(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    nboot: int = 1000,
    rng: Rng = None,
    confidence: float = 0.95,
    *,
    clusters: ArrayLike | None = None,
    undefined: Undefined = "collapsed",
) -> Estimate:
    """The mean score of one group with the interval to report, for score tables.

    Crossed random effects where the metric has influence values, else the multi-bootstrap percentile. The
    estimate's ``caveat`` says what the interval does not cover.
    """
    from multibench.stats.crossed import crossed_group
    from multibench.stats.multibootstrap import multibootstrap_group

    problem = prepare(run_info, preds, labels, metric, clusters, undefined)
    if not problem.slow:
        return crossed_group(
            problem, problem.table.group("group", range(len(problem.scores))), confidence
        ).estimate
    return multibootstrap_group(
        run_info, preds, labels, metric, nboot, rng, confidence, clusters=clusters, undefined=undefined
    )
