"""Numbers and answers of prediction files, as what a run's outputs are here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.files import read_prediction_file
from multibench.tasks import Examples, Task

__all__ = ["as_outputs", "file_below", "in_order", "read_answers", "read_numbers"]


def file_below(root: Path, name: str, place: str) -> Path:
    """The file that an index calls ``name``. Raises ``DataError`` for a path that leads out of ``root``."""
    parts = PurePath(name)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{place}: the file {name!r} is not below {root}.")
    return root / parts


def read_numbers(path: Path, separator: str = "\t") -> NDArray[np.float64]:
    """A file of numbers without a header as ``(rows, columns)``. Raises ``DataError``, with the place, for others."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty.")
        return np.loadtxt(path, dtype=np.float64, delimiter=separator, ndmin=2, comments=None)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is no table of numbers: {why}. Is it cut off?") from error


def as_outputs(task: Task, values: NDArray[Any], examples: Examples, where: str) -> NDArray[np.float32]:
    """What one run says of each example as float32 ``(n, task.outputs)``.

    ``values`` are ``(n, task.outputs)`` class scores or values, or ``(n,)`` values or class numbers; a class number
    becomes a score of 1 for its class and 0 for the others. Raises ``DataError`` for other shapes, for a number of
    rows that the split has not, and for what is not finite.
    """
    if values.dtype.kind not in "iufb":
        raise DataError(f"{where} holds {values.dtype}; expected numbers.")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or len(values) != len(examples):
        raise DataError(
            f"{where} has the shape {values.shape}; expected {len(examples)} rows, one for each example of "
            f"{examples.task}.{examples.split}."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
        raise DataError(f"{where} holds NaN or infinity, first in row {row} counted from 0.")
    if values.ndim == 1 and task.kind == "classification":
        return _one_hot(task, values, where)
    if values.ndim == 1:
        values = values[:, None]
    if task.kind == "span" or values.shape[1] != task.outputs:
        expected = "answers as texts" if task.kind == "span" else f"{task.outputs} numbers for each example"
        raise DataError(
            f"{where} has {values.shape[1]} numbers for each example; {task.name} takes {expected}."
        )
    return np.ascontiguousarray(values, dtype=np.float32)


def _one_hot(task: Task, numbers: NDArray[Any], where: str) -> NDArray[np.float32]:
    classes = numbers.astype(np.int64)
    strange = (classes != numbers) | (classes < 0) | (classes >= task.outputs)
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        raise DataError(
            f"{where} has {numbers[row]:g} in row {row} counted from 0; expected class numbers from 0 to "
            f"{task.outputs - 1}, or {task.outputs} scores for each example."
        )
    return np.eye(task.outputs, dtype=np.float32)[classes]


def in_order(ids: Sequence[str], examples: Examples, where: str) -> NDArray[np.int64]:
    """Where each example stands among ``ids``. Raises ``DataError`` unless each is there exactly once."""
    position = {name: k for k, name in enumerate(ids)}
    if len(position) < len(ids):
        raise DataError(f"{where} names an example twice.")
    missing = [name for name in examples.ids if name not in position]
    if missing or len(ids) != len(examples):
        known = set(examples.ids)
        extra = [name for name in ids if name not in known]
        what = f"no prediction for {missing[0]!r}" if missing else f"one for the unknown id {extra[0]!r}"
        raise DataError(
            f"{where} has {what}: {len(missing)} of the {len(examples)} examples of {examples.task}."
            f"{examples.split} are missing, and {len(extra)} ids are of no example."
        )
    return np.array([position[name] for name in examples.ids], dtype=np.int64)


def read_answers(task: Task, path: Path, examples: Examples) -> tuple[str, ...]:
    """The answers of one run, ``{question id: text}``, one for each example in order.

    Raises ``DataError`` if the file is in another layout or has not exactly the questions of ``examples``.
    """
    given = read_prediction_file(task, path)
    if given.texts is None or given.outputs is not None:
        raise DataError(
            f"{path} holds no answers for {task.name}; expected one object, {{question id: answer}}."
        )
    return tuple(given.texts[k] for k in in_order(given.ids, examples, str(path)).tolist())
