"""Predictions digested for a metric: what every statistic here starts from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array, Index, Metric, Prepared
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
    clusters: Array | None
    n_collapsed: int
    fill: float
    seconds_per_call: float
    name: str
    table: RunTable

    @property
    def slow(self) -> bool:
        """Whether every draw calls a function for every run."""
        return isinstance(self.prepared, _Called)

    def value(self, group: Group, target: Estimand) -> float:
        """The plug-in value of a group."""
        return target.at(self.scores[group.rows], group.mixing().mean(axis=0))


def prepare(
    run_info: RunInfo,
    preds: ArrayLike,
    labels: ArrayLike,
    metric: MetricLike,
    clusters: ArrayLike | None = None,
    undefined: Undefined = "collapsed",
    keep_examples: bool = False,
) -> Problem:
    """Check inputs, put runs and examples in canonical order, and score every run once.

    ``keep_examples`` leaves examples in the order given, as the released procedure's draws need.
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
    units = None
    if clusters is not None:
        units = np.asarray(clusters)
        if units.shape != gold.shape:
            raise StatisticsError(
                f"`clusters` has shape {units.shape}; expected a label for each of {len(gold)} examples."
            )
        units = codes_of(units.tolist())[1]
    table = run_table(run_info, len(outputs), lambda: content_key(gold, outputs))
    examples: Array | slice = slice(None)
    if not keep_examples and not isinstance(prepared, _Called):
        rows = prepared.select(table.order, slice(None)).rows()
        examples = np.lexsort((pattern_keys(rows), *(() if units is None else (units,))))
        units = None if units is None else units[examples]
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
        int(missing.sum()),
        fill,
        seconds,
        name,
        table,
    )


def pattern_keys(rows: Array) -> Array:
    """A rank for each row, equal for equal rows, that depends on contents only."""
    raw = np.ascontiguousarray(rows + 0.0 if rows.dtype.kind == "f" else rows)
    keys = raw.view(np.dtype((np.void, raw.dtype.itemsize * raw.shape[1]))).ravel()
    return np.asarray(np.unique(keys, return_inverse=True)[1].ravel())
