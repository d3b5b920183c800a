"""Which metrics a task can have: those that are defined for its kind and its number of classes."""

from __future__ import annotations

from typing import Literal

from multibench.metrics import METRICS, Metric
from multibench.registry import nearest_or_all

__all__ = ["Kind", "metric_fault"]

Kind = Literal["classification", "regression", "span"]

_TAKES = {"classification": "classes", "regression": "values", "span": "answers"}
_OF = {"classification": "classes", "regression": "numbers", "span": "answers to questions"}


def metric_fault(name: str, kind: Kind, classes: int, unanswerable: bool) -> str | None:
    """Why a task of this ``kind`` cannot be scored by the metric ``name``, as the end of a sentence; None if it can.

    ``classes`` is the number of classes, 0 for other kinds; ``unanswerable`` says whether questions may have no answer.
    """
    if name not in METRICS:
        return f"there is no metric '{name}'; {nearest_or_all(name, METRICS.names())}"
    metric = METRICS.get(name)
    if not _fits(metric, kind, classes, unanswerable):
        legal = [each.name for each in METRICS if _fits(each, kind, classes, unanswerable)]
        return f"the metric '{name}' {_why(metric, kind, classes)}; expected one of {', '.join(legal)}"
    return None


def _fits(metric: Metric, kind: Kind, classes: int, unanswerable: bool) -> bool:
    return (
        metric.takes == _TAKES[kind]
        and metric.uses_labels
        and (metric.most_classes is None or classes <= metric.most_classes)
        and (unanswerable or not metric.tuned_on_reported_split or kind != "span")
    )


def _why(metric: Metric, kind: Kind, classes: int) -> str:
    if not metric.uses_labels:
        return "looks at no labels"
    if metric.takes != _TAKES[kind]:
        return f"is not for a {kind} task, which is about {_OF[kind]}"
    if kind == "classification":
        return f"is that of one of two classes, and the task has {classes}"
    return "tunes when to give no answer, and the task says that each question has one"
