"""Where the files of an index are, and matrices with an entry for each of several runs."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.columns import Column
from multibench.scoring.tables import parquet_columns, read_array, text_table
from multibench.tasks import Examples

__all__ = ["Matrix", "file_below", "read_matrix"]

_NO_EXAMPLES = ("", "id", "index", "run", "seed", "label", "unnamed: 0")


class Matrix(NamedTuple):
    """Predictions of several runs: ``values`` ``(runs, examples)`` or ``(runs, examples, outputs)``.

    ``names`` are what a table calls its columns; None where they have no names.
    """

    values: NDArray[Any]
    names: tuple[str, ...] | None = None

    def entry(self, number: int, examples: Examples, where: str) -> NDArray[Any]:
        """What run ``number`` says, in the order of the examples if the columns are called by their ids.

        Raises ``DataError`` if there is no such run.
        """
        if number >= len(self.values):
            raise DataError(f"{where} has no entry {number}, counted from 0; it has {len(self.values)}.")
        values: NDArray[Any] = self.values[number]
        if self.names is None or set(self.names) != set(examples.ids):
            return values
        column = {name: k for k, name in enumerate(self.names)}
        return values[[column[name] for name in examples.ids]]


def file_below(root: Path, name: str, place: str) -> Path:
    """The file that an index calls ``name``. Raises ``DataError`` for a path that leads out of ``root``."""
    parts = PurePath(name)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{place}: the file {name!r} is not below {root}.")
    return root / parts


def read_matrix(path: Path, array: str | None) -> Matrix:
    """A file with an entry for each of several runs: an array, or a table with a row a run.

    Raises ``DataError`` for files that cannot be read, and for columns that hold other things than numbers.
    """
    with path.open("rb") as file:
        start = file.read(4)
    arrays = start in (b"\x93NUM", b"PK\x03\x04") or path.suffix in (".npy", ".npz")
    if array is not None and (not arrays or start == b"\x93NUM"):
        raise DataError(f"The index names the array '{array}' of {path}, which is no .npz file.")
    if arrays:
        return Matrix(read_array(path, array))
    if start == b"PAR1":
        return _of_columns(parquet_columns(path), path)
    table = text_table(path)
    if table.numbers is None:
        return _of_columns(table.columns(), path)
    first, rest = table.numbers[0], table.numbers[1:]
    if len(first) > 9 and np.array_equal(np.sort(first), np.arange(len(first))):
        return Matrix(
            rest, tuple(str(int(number)) for number in first)
        )  # numbers of examples, no predictions
    return Matrix(table.numbers)


def _of_columns(columns: list[Column], path: Path) -> Matrix:
    """The columns that are examples: all but a number or name of the run, which may stand before them."""
    examples = [column for column in columns if column.key not in _NO_EXAMPLES]
    for column in examples:
        if column.numbers is None:
            raise DataError(f"{path}: the column '{column.name}' holds no numbers, or has gaps.")
    values = [column.numbers for column in examples if column.numbers is not None]
    if not values:
        raise DataError(
            f"{path} has no column of predictions; it has {', '.join(c.name for c in columns) or 'none'}."
        )
    return Matrix(np.stack(values, axis=1), tuple(column.name for column in examples))
