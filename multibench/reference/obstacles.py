"""Why a published figure can be compared with nothing, whatever is measured."""

from __future__ import annotations

from multibench.metrics import METRICS
from multibench.reference.table import PublishedCell, Reference, Row
from multibench.tasks import TASKS

__all__ = ["obstacle"]

UNNAMED_METRIC = "task_score"
OVER_TASKS = "glue"


def obstacle(reference: Reference, cell: PublishedCell) -> str:
    """The reason in a few words, empty if the figure can be compared with the right runs."""
    row = cell.row
    if cell.doubt:
        return f"doubtful: {cell.doubt}"
    if cell.value is None:
        return "the source prints a range or a spread only"
    if row.statistic == "ensemble":
        return "an ensemble of several models"
    return _not_measured(cell) or _of_difference(reference, cell) or _of_model(row)


def _not_measured(cell: PublishedCell) -> str:
    if cell.task == OVER_TASKS:
        return "a mean over tasks; compare its cells"
    if cell.task not in TASKS:
        return f"multibench has no task {cell.task}"
    task = TASKS.get(cell.task)
    _, _, split = cell.evaluation.partition(".")
    if cell.metric == UNNAMED_METRIC:
        return "the source does not say which metric it is"
    if cell.metric not in task.metrics:
        return f"multibench does not compute {cell.metric} on {task.name}"
    if split not in task.splits and any(name.startswith(f"{split}_") for name in task.splits):
        return "matched or mismatched is not stated"
    if split not in task.splits or not task.splits[split].labelled:
        return f"the labels of {cell.evaluation} are not public"
    if cell.row.tuned and not METRICS.get(cell.metric).tuned_on_reported_split:
        return f"{cell.row.tuned}; {cell.metric} is tuned on nothing here"
    return ""


def _of_difference(reference: Reference, cell: PublishedCell) -> str:
    if cell.row.statistic != "difference":
        return ""
    if cell.row.of is None:
        return "multibench has no runs whose difference this is"
    return next(filter(None, (_of_model(reference.row(name)) for name in cell.row.of)), "")


def _of_model(row: Row) -> str:
    if row.of is not None:
        return ""
    if not row.checkpoints:
        return "no weights of the catalogue are known to stand behind it"
    if not row.trained:
        return ""
    reasons = []
    if row.runs is None:
        reasons.append("how many runs stand behind it is not stated")
    if row.selection is None and row.statistic != "maximum":
        reasons.append("how the setting was chosen is not stated")
    if row.statistic == "maximum" or row.selection == "best_dev":
        of = f" of {row.runs} runs" if row.runs is not None and row.runs > 1 else ""
        reasons.append(f"it is a best{of}, which is not put beside a mean")
    if row.statistic == "median":
        reasons.append("it is a median, which is not put beside a mean")
    return "; ".join(reasons)
