"""The original GLUE files: tab-separated, no quoting, sometimes no header, sometimes a byte-order mark.

Read line by line rather than by a CSV reader: stray quotes are text here, and so are the words
``NA``, ``null`` and ``None``, which data frame readers turn into missing values.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.tasks.data import Examples
from multibench.tasks.task import OfficialSplit, Task

__all__ = ["read_official"]


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Is it the original file?") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    # Only line feeds end a line: splitlines() would also cut at form feeds and U+2028 inside texts.
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r").split("\t") for line in lines]


def _position(column: str | int, header: list[str] | None, path: Path) -> int:
    if isinstance(column, int):
        return column
    if header is None or column not in header:
        raise DataError(f"{path} has no column '{column}'; its first line holds {header}.")
    return header.index(column)


def _labels(
    task: Task, values: list[str], codes: tuple[str, ...], path: Path, first_line: int
) -> NDArray[np.int64] | NDArray[np.float64]:
    if task.kind == "regression":
        low, high = task.score_range or (-math.inf, math.inf)
        scores = np.empty(len(values), dtype=np.float64)
        for i, value in enumerate(values):
            try:
                scores[i] = float(value)
            except ValueError:
                scores[i] = math.nan
            if not low <= scores[i] <= high:
                raise DataError(
                    f"{path}, line {first_line + i}: the score is {value!r}, not within {low} to {high}."
                )
        # Some releases write 3.799999952316284 for 3.8: three decimals are all that was meant.
        return np.round(scores, 3)
    of = {code: number for number, code in enumerate(codes)}
    numbers = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        if value not in of:
            raise DataError(
                f"{path}, line {first_line + i}: the label is {value!r}, not one of {list(codes)}."
            )
        numbers[i] = of[value]
    return numbers


def read_official(task: Task, split: str, layout: OfficialSplit, path: Path) -> Examples:
    """The examples of ``task``'s ``split`` in the official file ``path``; ids are row numbers from 0.

    Raises ``DataError`` with the line for wrong columns, labels or bytes.
    """
    rows = _rows(path)
    header = rows.pop(0) if layout.header and rows else None
    first_line = 2 if layout.header else 1
    if not rows:
        raise DataError(f"{path} holds no examples.")
    inputs = [_position(column, header, path) for column in layout.inputs]
    label = None if layout.label is None else _position(layout.label, header, path)
    needed = max([*inputs, label if label is not None else 0]) + 1
    width = len(header) if header is not None else len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != width or len(row) < needed:
            raise DataError(
                f"{path}, line {first_line + i}: {len(row)} columns instead of {max(width, needed)}. "
                "Is it cut off, or not the original file?"
            )
    assert task.official is not None
    codes = task.official.label_codes or task.labels
    return Examples(
        task=task.name,
        split=split,
        ids=tuple(str(i) for i in range(len(rows))),
        texts=tuple(tuple(row[column] for row in rows) for column in inputs),
        labels=None if label is None else _labels(task, [r[label] for r in rows], codes, path, first_line),
        origin=str(path),
    )
