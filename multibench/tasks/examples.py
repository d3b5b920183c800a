"""From a table to examples: the one place where texts, labels, scores and ids are checked."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.tasks.data import Examples
from multibench.tasks.layouts import Columns, LabelCodes, spellings
from multibench.tasks.squad import is_text, span_examples
from multibench.tasks.table import Table, short
from multibench.tasks.task import Task

__all__ = ["examples_of"]


def examples_of(task: Task, split: str, table: Table, columns: Columns) -> Examples:
    """The examples of ``task``'s ``split``: every row of ``table``, in its order.

    Raises ``DataError``, with the row, for texts, labels, scores or answers that are not what the
    task's facts say. Metadata that the table does not have are left out, and so are, counted, the rows whose label is
    one of ``columns.no_label``.
    """
    numbers, left_out = list(range(len(table))), 0
    if columns.no_label and columns.label is not None:
        given = table.columns[columns.label]
        numbers = [i for i in numbers if given[i] is not None and str(given[i]) not in columns.no_label]
        left_out = len(table) - len(numbers)
        table = table.rows(numbers)
        if not numbers:
            raise DataError(f"{table.origin}: not one of its {left_out} rows has a label.")
    metadata = {name: _metadata(table, name) for name in task.metadata if name in table.columns}
    texts = [table.columns[column] for column in columns.inputs]
    labels = None if columns.label is None else table.columns[columns.label]
    ids = numbers if columns.ids is None else table.columns[columns.ids]
    if task.kind == "span":
        answers = [None] * len(table) if labels is None else labels
        return span_examples(task, split, ids, texts[0], texts[1], answers, table.origin, metadata)
    for name, column in zip(task.inputs, texts, strict=True):
        for i, value in enumerate(column):
            if not is_text(value):
                raise DataError(f"{table.place(i)}: '{name}' is {short(value)}, not a text.")
    return Examples(
        task=task.name,
        split=split,
        ids=tuple(str(name) for name in ids),
        texts=tuple(tuple(column) for column in texts),
        labels=None if labels is None else _labels(task, table, labels, columns.label_codes),
        origin=table.origin,
        metadata=metadata,
        left_out=left_out,
    )


def _metadata(table: Table, name: str) -> tuple[str, ...]:
    values = table.columns[name]
    for i, value in enumerate(values):
        if not is_text(value):
            raise DataError(f"{table.place(i)}: '{name}' is {short(value)}, not a text.")
    return tuple(sys.intern(value) for value in values)  # few different ones, many times each


def _labels(
    task: Task, table: Table, values: Any, codes: LabelCodes | None
) -> NDArray[np.int64] | NDArray[np.float64]:
    if task.kind == "regression":
        low, high = task.score_range or (-math.inf, math.inf)
        scores = np.array([_score(value) for value in values], dtype=np.float64)
        for i in np.flatnonzero(~((low <= scores) & (scores <= high) & np.isfinite(scores))).tolist():
            raise DataError(f"{table.place(i)}: the score is {short(values[i])}, not within {low} to {high}.")
        # 3.8 is 3.799999952316284 on the Hub and in some releases: three decimals are all that was meant.
        return scores.round(3)
    of = spellings(codes or task.labels)
    # Typed sources may write the class's number, but where classes are called 1, 2, ... they are called so there.
    numbered = codes is None and not any(label.lstrip("-").isdigit() for label in task.labels)
    numbers = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        number = _class_number(value, of, numbered)
        if number is None:
            raise DataError(
                f"{table.place(i)}: the label is {short(value)}, not one of {list(of)}. If it is another spelling, "
                "the task's 'label_codes' can list it; if it says that the row has no label, its 'no_label' can."
            )
        numbers[i] = number
    return numbers


def _score(value: Any) -> float:
    """``value`` as a number, NaN if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _class_number(value: Any, of: dict[str, int], numbered: bool) -> int | None:
    """The class that ``value`` stands for: a code as text, number or truth value, or the class's own number."""
    if isinstance(value, str):
        return of.get(value)
    if not isinstance(value, int):
        return None
    if isinstance(value, bool):
        return of.get(str(value).lower())
    if numbered:
        return value if 0 <= value < len(of) else None
    return of.get(str(value))
