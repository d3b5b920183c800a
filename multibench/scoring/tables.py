"""Tables of predictions, as texts with tabs, commas or blanks, as parquet, or as an array: into columns."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multibench.bounded import check_arrays, read_parquet
from multibench.errors import DataError
from multibench.scoring.columns import Column
from multibench.tasks.files import read_text

__all__ = ["TextTable", "parquet_columns", "read_array", "read_numbers", "text_table"]


class TextTable(NamedTuple):
    """A text file as rows of cells, the first of them ``header`` if it has names; else ``numbers`` ``(rows, columns)``.

    ``numbered`` says that the first row of the numbers is 0, 1, ..., and so may be a header after all.
    """

    header: list[str] | None
    rows: list[list[str]]
    numbers: NDArray[np.float64] | None = None
    numbered: bool = False

    def columns(self) -> list[Column]:
        """The columns of a table with a header."""
        assert self.header is not None
        return [Column(name, [row[k] for row in self.rows]) for k, name in enumerate(self.header)]


def text_table(path: Path) -> TextTable:
    """The rows of a text file. Raises ``DataError`` for rows of unequal length, and for numbers that are none."""
    lines = read_text(path).split("\n")
    while lines and not lines[-1].strip(" \r"):
        lines.pop()
    first = lines[0].removesuffix("\r") if lines else ""
    separator = _separator(first)
    cells = _split(first, separator)
    if all(map(_is_number, cells)):
        numbers = read_numbers(path, separator)
        return TextTable(None, [], numbers, cells == [str(k) for k in range(len(cells))])
    if separator == ",":
        rows = _comma_separated(path, lines)
    else:
        rows = [_split(line.removesuffix("\r"), separator) for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {number}: {len(row)} columns instead of {len(rows[0])}. Is the file cut off?"
            )
    if first.startswith(("[", "(")):  # a list a line
        return TextTable(["scores"], rows)
    return TextTable(rows[0] if rows else [""], rows[1:])


def _separator(line: str) -> str | None:
    if line.startswith(("[", "(")):
        return None
    for separator in ("\t", ","):
        if separator in line:
            return separator
    parts = line.split()
    return " " if len(parts) > 1 and all(map(_is_number, parts)) else None


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [line]
    if separator == " ":
        return line.split()
    return [cell.strip('"') if separator == "," else cell for cell in line.split(separator)]


def _is_number(text: str) -> bool:
    return Column("", [text]).numbers is not None


def _comma_separated(path: Path, lines: Sequence[str]) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO("\n".join(lines), newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}. Is it cut off, or another format?") from error


def read_numbers(path: Path, separator: str | None = "\t") -> NDArray[np.float64]:
    """A file of numbers without a header as ``(rows, columns)``. Raises ``DataError``, with the place, for others."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty.")
        given = None if separator == " " else separator
        return np.loadtxt(
            path, dtype=np.float64, delimiter=given, ndmin=2, comments=None, encoding="utf-8-sig"
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is no table of numbers: {why}. Is it cut off?") from error


def parquet_columns(path: Path) -> list[Column]:
    """The columns of a parquet file. Raises ``DataError`` if it cannot be read."""
    import pyarrow as pa

    try:
        table = read_parquet(path)
        return [Column(str(name), _cells(table.column(k))) for k, name in enumerate(table.column_names)]
    except (pa.ArrowException, OSError, ValueError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{path} cannot be read as a table: {why}.") from error


def _cells(column: Any) -> Sequence[Any] | NDArray[Any]:
    values: NDArray[Any] = column.to_numpy()
    if values.dtype.kind in "iufb":
        return values
    cells: list[Any] = column.to_pylist()
    return cells


def read_array(path: Path, name: str | None) -> NDArray[Any]:
    """The array of a ``.npy`` file, or that of a ``.npz`` file called ``name``; needed if it holds several.

    Arrays of objects are refused: unpickling them could run code. Raises ``DataError`` if there is no such array.
    """
    try:
        check_arrays(path)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = list(loaded)
            if name is None and len(names) != 1:
                raise DataError(
                    f"{path} holds the arrays {', '.join(names)}; the index's 'array' must name one."
                )
            if name is not None and name not in names:
                raise DataError(f"{path} has no array '{name}'; it has {', '.join(names)}.")
            found: NDArray[Any] = loaded[name or names[0]]
            return found
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{path} cannot be read as an array of numbers: {why}.") from error
