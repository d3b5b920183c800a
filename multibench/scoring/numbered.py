"""Predictions that are numbers without names: an array of one run, or its part of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.classes import Classes, possible_classes
from multibench.scoring.columns import is_counter, uneven_constant
from multibench.scoring.prediction import PredictionFile, classes_of_width
from multibench.tasks import Task

__all__ = ["of_array"]


def of_array(
    task: Task, values: NDArray[Any], path: Path, trained: Task | None = None, place: str = ""
) -> PredictionFile:
    """What an array of one run says: ``(n,)`` class numbers or values, ``(n, k)`` scores or ``(n, 1)``; in row order.

    Raises ``DataError`` for other shapes, for what is not finite, and for columns that can be no scores.
    """
    where = place or str(path)
    if values.dtype.kind not in "iufb":
        raise DataError(f"{where} holds {values.dtype}; expected numbers.")
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim not in (1, 2):
        raise DataError(f"{where} has the shape {values.shape}; expected a row for each example.")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
        raise DataError(f"{where} holds NaN or infinity, first in row {row} counted from 0.")
    possible = possible_classes(task, trained)
    if task.kind == "span" or (task.kind == "regression" and values.ndim == 2):
        expected = "answers as texts" if task.kind == "span" else "1 number for each example"
        given = values.shape[1] if values.ndim == 2 else 1
        raise DataError(f"{where} has {given} numbers for each example; {task.name} takes {expected}.")
    if task.kind == "regression":
        return PredictionFile(path, "values", None, values.astype(np.float64), place=place, taken=_in_rows(1))
    if values.ndim == 2:
        _refuse_no_scores(task, possible, values.astype(np.float64), where)
        return PredictionFile(
            path,
            "scores",
            None,
            values.astype(np.float64),
            classes=classes_of_width(possible, values),
            place=place,
            taken=_in_rows(values.shape[1]),
        )
    whole = values.astype(np.int64)
    _refuse_no_class(possible, whole, values, where)
    classes = classes_of_width(possible, whole)
    return PredictionFile(path, "numbers", None, whole, classes=classes, place=place, taken=_in_rows(1))


def _in_rows(width: int) -> str:
    return f"outputs from {width} column{'s' if width > 1 else ''} without a name, rows in the order of the split"


def _refuse_no_scores(
    task: Task, possible: Sequence[Classes], values: NDArray[np.float64], where: str
) -> None:
    for column in range(values.shape[1]):
        if is_counter(values[:, column]):
            raise DataError(
                f"{where}: column {column}, counted from 0, is no class score: it counts the rows. Leave it out, or "
                "give the columns names, 'index' and 'prediction'."
            )
    if values.shape[1] not in {len(classes) for classes in possible}:
        expected = " or ".join(str(len(classes)) for classes in possible)
        raise DataError(
            f"{where} has {values.shape[1]} numbers for each example; {task.name} takes {expected} numbers for each "
            "example."
        )
    constant = uneven_constant(values)
    if constant is not None:
        raise DataError(
            f"{where}: column {constant}, counted from 0, is the same in every row and so no class score. Leave it "
            "out, or give the columns names: 'prediction', or 'output_0' and so on."
        )


def _refuse_no_class(
    possible: Sequence[Classes], whole: NDArray[np.int64], values: NDArray[Any], where: str
) -> None:
    most = max(len(classes) for classes in possible)
    strange = (whole != values) | (whole < 0) | (whole >= most)
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        raise DataError(
            f"{where} has {values[row]:g} in row {row} counted from 0; expected class numbers from 0 to {most - 1}, or "
            f"{most} scores for each example."
        )
