"""Predictions digested for a metric: what every statistic here starts from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array, Index, Metric, Prepared
from multibench.metrics.means import PreparedMean
from multibench.stats.bounds import Clusters, Scale
from multibench.stats.estimands import Estimand
from multibench.stats.layout import Group, RunInfo, RunTable, codes_of, content_key, run_table

__all__ = ["MetricLike", "Problem", "Undefined", "pattern_keys", "prepare"]

MetricLike: TypeAlias = "str | Metric | Callable[[Any, Any], float]"
Undefined = Literal["collapsed", "nan"]


class _Called(Prepared):
    """Any callable ``(labels, outputs) -> float``, once for each run and draw: slow, and always right."""

    def __init__(self, metric: Callable[[Any, Any], float], labels: Array, outputs: Array) -> None:
        self.metric, self.labels, self.outputs = metric, labels, outputs
        self.n_runs, self.n_examples = outputs.shape[:2]

    def rows(self) -> Array:
        """Index of each example: a callable may tell any two apart."""
        return np.arange(self.n_examples)[:, None]

    def select(self, runs: Index, examples: Index) -> _Called:
        """Only these runs and examples."""
        return _Called(self.metric, self.labels[examples], self.outputs[runs][:, examples])

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``; weights must be integers."""
        scores = np.empty((len(weights), self.n_runs))
        for b, weight in enumerate(weights):
            index = np.repeat(np.arange(self.n_examples), weight)
            gold = self.labels[index]
            for r in range(self.n_runs):
                scores[b, r] = self.metric(gold, self.outputs[r][index])
        return scores

    def influence(self) -> Array:
        """Not known for a callable."""
        raise StatisticsError(
            "A callable metric has no influence values, which intervals other than the percentile and basic "
            "bootstrap need. Use a registered metric, or pass per-example scores with metric='mean'."
        )


@dataclass(frozen=True)
class Problem:
    """Predictions digested for a metric, runs in canonical order."""

    prepared: Prepared
    scores: Array  # (n_runs,), NaN replaced by the metric's collapsed value unless told otherwise
    n_examples: int
    clusters: Array | None  # (n_examples,), numbered from 0
    strata: Array | None  # (n_units,), numbered from 0
    n_collapsed: int
    fill: float
    seconds_per_call: float
    name: str
    table: RunTable
    cluster_unit: str = "clusters"

    @property
    def slow(self) -> bool:
        """Whether every draw calls a function for every run."""
        return isinstance(self.prepared, _Called)

    def value(self, group: Group, target: Estimand) -> float:
        """The plug-in value of a group."""
        return target.at(self.scores[group.rows], group.mixing().mean(axis=0))

    @property
    def scale(self) -> Scale:
        """Where scores end; see ``stats.bounds``."""
        return self.prepared.scale

    @property
    def linear(self) -> bool:
        """Whether the score of a run is the mean of scores of its examples."""
        return self.prepared.linear

    @property
    def units(self) -> str:
        """What is drawn of the test set, in the plural."""
        return "examples" if self.clusters is None else self.cluster_unit

    @property
    def unit(self) -> str:
        """One of ``units``."""
        return self.units.removesuffix("s")

    @cached_property
    def deciding(self) -> float:
        """How many distinct units can move a score: those of the rarer kind, where a metric looks at one kind."""
        if self.clusters is None:
            return float(self.prepared.deciding())
        return min(float(len(self._sizes)), float(self.prepared.deciding()))

    def answer_weights(self, group: Group) -> tuple[float, float]:
        """What a right and a wrong answer weigh in the group's mean; 1 where scores are no means of answers."""
        if not isinstance(self.prepared, PreparedMean) or group.n_runs == 1:
            return 1.0, 1.0
        right = group.mixing().mean(axis=0) @ self.prepared.values[group.rows]
        sums = ((float(own.sum()), float(own @ own)) for own in (right, 1 - right))
        first, second = (min(1.0, squares / total) if total > 0 else 1.0 for total, squares in sums)
        return first, second

    def answers_by_cluster(self, group: Group) -> Clusters | None:
        """Wrong answers in each cluster, averaged as the group's mean is; None where scores are no means of answers."""
        if self.clusters is None or not isinstance(self.prepared, PreparedMean):
            return None
        right = group.mixing().mean(axis=0) @ self.prepared.values[group.rows]
        wrong = np.bincount(self.clusters, 1 - right) / self.n_examples
        return Clusters(self._sizes / self.n_examples, wrong.clip(min=0.0))

    def discordant(self, base: Group, experiment: Group) -> float:
        """How many units have another score on the two sides; infinite where scores are no means and differ at all."""
        if not isinstance(self.prepared, PreparedMean):
            first, second = (self.pseudo_scores[g.rows].mean(axis=0) for g in (base, experiment))
            return 0.0 if np.allclose(first, second, rtol=0, atol=1e-12) else math.inf
        values = self.prepared.values
        means = [g.mixing().mean(axis=0) @ values[g.rows] for g in (base, experiment)]
        apart = np.abs(means[1] - means[0]) > 1e-9
        return float(apart.sum() if self.clusters is None else len(np.unique(self.clusters[apart])))

    @cached_property
    def _sizes(self) -> Array:
        assert self.clusters is not None
        return np.bincount(self.clusters)

    @cached_property
    def units_df(self) -> float:
        """Degrees of freedom of a variance over units, of unequal clusters by Satterthwaite's formula."""
        n: float = self.n_examples
        if self.clusters is not None:
            squares = self._sizes.astype(np.float64) ** 2
            n = float(squares.sum() ** 2 / (squares**2).sum())
        return max(1.0, n - (1 if self.strata is None else int(self.strata.max()) + 1))

    def corrected(self, corrections: ArrayLike | None) -> Array:
        """The pseudo-scores of runs with ``corrections`` ``(n_runs,)`` added, in the order of the given run table."""
        if corrections is None:
            return self.pseudo_scores
        return np.asarray(self.pseudo_scores + np.asarray(corrections, dtype=float)[self.table.order, None])

    @cached_property
    def pseudo_scores(self) -> Array:
        """Score plus influence values, ``(n_runs, n_units)``: units are examples, or clusters where given.

        The pseudo-score of a cluster is the score plus the sum of its influence values, scaled to what the score loses
        without the cluster. Rows have the run's score as their mean. A collapsed run has its fill value everywhere. Of
        fixed strata only what varies within them is left.

        Raises ``StatisticsError`` for callables, whose influence values are unknown.
        """
        influence = self.prepared.influence()
        influence = np.where(np.isnan(influence), 0.0, influence)
        if self.clusters is not None:
            influence = np.stack([np.bincount(self.clusters, row) for row in influence])
            n_clusters = influence.shape[1]
            # What leaving a cluster out would do: the jackknife's variance is not too small for unequal clusters.
            if n_clusters > 1:
                influence *= (n_clusters - 1) / self.n_examples / (1 - self._sizes / self.n_examples)
            influence -= influence.mean(axis=1, keepdims=True)
        if self.strata is not None:
            influence = _within(influence, self.strata)
        return np.asarray(self.scores[:, None] + influence)


def _within(values: Array, strata: Array) -> Array:
    """``values`` ``(n_runs, n_units)`` less their strata's means, scaled so that variances lack these means only."""
    sizes = np.bincount(strata)
    n = len(strata)
    means = np.stack([np.bincount(strata, row) for row in values]) / sizes
    scale = math.sqrt((n - 1) / max(1, n - len(sizes)))
    return np.asarray((values - means[:, strata]) * scale)


def prepare(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    clusters: ArrayLike | None = None,
    undefined: Undefined = "collapsed",
    keep_examples: bool = False,
    strata: ArrayLike | None = None,
    cluster_unit: str = "clusters",
) -> Problem:
    """Check inputs, put runs and examples in canonical order, and score every run once.

    ``keep_examples`` leaves examples in the order given, as the released procedure's draws need. ``strata`` are labels
    of parts of the test set that would be the same in any other one, each with its share of the examples; a cluster
    must lie in one of them.

    Raises ``StatisticsError`` for inputs that do not fit.
    """
    if undefined not in ("collapsed", "nan"):
        raise StatisticsError(f"`undefined` is {undefined!r}; it must be 'collapsed' or 'nan'.")
    known = METRICS.get(metric) if isinstance(metric, str) else metric
    fill = math.nan
    outputs, gold = np.asarray(preds), np.asarray(labels)
    prepared: Prepared
    if isinstance(known, Metric):
        prepared = known.prepare(gold, outputs)
        name = known.name
        if undefined == "collapsed":
            fill = known.collapsed_value
    else:
        if gold.ndim != 1 or outputs.ndim < 2 or outputs.shape[1] != len(gold) or len(gold) == 0:
            raise StatisticsError(
                f"Predictions of shape {outputs.shape} were given with labels of shape {gold.shape}; "
                "expected (n_runs, n_examples[, n_outputs]) and (n_examples,)."
            )
        prepared = _Called(known, gold, outputs)
        name = getattr(known, "__name__", type(known).__name__)
    units = _codes("clusters", clusters, gold)
    parts = _codes("strata", strata, gold)
    table = run_table(run_info, len(outputs), lambda: content_key(gold, outputs))
    examples: Array | slice = slice(None)
    if not keep_examples and not isinstance(prepared, _Called):
        rows = prepared.select(table.order, slice(None)).rows()
        keys = [codes for codes in (units, parts) if codes is not None]
        examples = np.lexsort((pattern_keys(rows), *keys))
        units = None if units is None else units[examples]
        parts = None if parts is None else parts[examples]
    prepared = prepared.select(table.order, examples)
    started = time.perf_counter()
    scores = prepared.scores()
    seconds = (time.perf_counter() - started) / prepared.n_runs
    missing = np.isnan(scores)
    return Problem(
        prepared,
        np.where(missing, fill, scores),
        len(gold),
        units,
        _of_units(parts, units),
        int(missing.sum()),
        fill,
        seconds,
        name,
        table,
        cluster_unit,
    )


def _codes(name: str, labels: ArrayLike | None, gold: Array) -> Array | None:
    """Labels of examples as numbers from 0."""
    if labels is None:
        return None
    given = np.asarray(labels)
    if given.shape != gold.shape:
        raise StatisticsError(
            f"`{name}` has shape {given.shape}; expected a label for each of {len(gold)} examples."
        )
    return codes_of(given.tolist())[1]


def _of_units(strata: Array | None, clusters: Array | None) -> Array | None:
    """The stratum of each unit. Raises ``StatisticsError`` if a cluster lies in two."""
    if strata is None or clusters is None:
        return strata
    found = np.zeros(int(clusters.max()) + 1, dtype=np.int64)
    found[clusters] = strata
    if not np.array_equal(found[clusters], strata):
        raise StatisticsError("A cluster has examples in two strata; expected each in one.")
    return found


def pattern_keys(rows: Array) -> Array:
    """A rank for each row, equal for equal rows, that depends on contents only."""
    raw = np.ascontiguousarray(rows + 0.0 if rows.dtype.kind == "f" else rows)
    keys = raw.view(np.dtype((np.void, raw.dtype.itemsize * raw.shape[1]))).ravel()
    return np.asarray(np.unique(keys, return_inverse=True)[1].ravel())
