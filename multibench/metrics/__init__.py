"""Metrics, each with one definition: a score, its weighted form for resampling, and influence values."""

from __future__ import annotations

from multibench.metrics.averaged import MacroF1, MicroF1, WeightedF1
from multibench.metrics.base import Metric, Prepared
from multibench.metrics.classification import F1, Matthews
from multibench.metrics.correlation import Pearson, Spearman
from multibench.metrics.means import Accuracy, Mean
from multibench.metrics.squad import AnswerF1, ExactMatch
from multibench.metrics.threshold import BestAnswerF1, BestExactMatch
from multibench.registry import Registry

__all__ = [
    "F1",
    "METRICS",
    "Accuracy",
    "AnswerF1",
    "BestAnswerF1",
    "BestExactMatch",
    "ExactMatch",
    "MacroF1",
    "Matthews",
    "Mean",
    "Metric",
    "MicroF1",
    "Pearson",
    "Prepared",
    "Spearman",
    "WeightedF1",
]

METRICS: Registry[Metric] = Registry("metric", group="multibench.metrics")

for _metric in (
    *(Accuracy(), AnswerF1(), BestAnswerF1(), BestExactMatch(), ExactMatch()),
    *(F1(), MacroF1(), MicroF1(), WeightedF1(), Matthews(), Mean(), Pearson(), Spearman()),
):
    METRICS.register(_metric.name, _metric)
