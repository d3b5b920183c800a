"""Files of examples as tables: tab-separated, CSV, JSON lines, parquet.

Texts are read to the letter: the words ``NA``, ``null`` and ``None``, which data frame readers turn into
missing values, are texts here; in a tab-separated file so are quotes (that is how GLUE writes them).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multibench.bounded import gunzip, read_parquet
from multibench.errors import DataError
from multibench.tasks.layouts import Column, Format
from multibench.tasks.table import Table, short

__all__ = ["Wanted", "read_table", "read_text"]


class Wanted(NamedTuple):
    """What to read: columns that must be there and columns that may; see ``SplitFile`` for the rest."""

    required: tuple[Column, ...]
    optional: tuple[str, ...] = ()
    header: bool = True
    skip_short: bool = False


def read_table(path: Path, format: Format, wanted: Wanted) -> Table:
    """The wanted columns of the file ``path``, every row of it.

    Raises ``DataError``, with the place in the file, for whatever is not of this format, for columns
    that are missing or there twice, and for rows that lack a column.
    """
    read = {"tsv": _read_tsv, "csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}[format]
    table = read(path, wanted)
    if not len(table):
        raise DataError(f"{path} holds no examples.")
    return table


def read_text(path: Path) -> str:
    """The UTF-8 text of a file that may be compressed (``.gz``), without a byte-order mark."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gunzip(raw)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Is it the original file?") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be unpacked: {error}. Is it cut off?") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} cannot be unpacked: {error}.") from error


def _lines(path: Path) -> list[str]:
    # Only line feeds end a line: splitlines() would also cut at form feeds and U+2028 inside texts.
    lines = read_text(path).split("\n")
    while lines and not lines[-1].strip(
        " \r"
    ):  # a line feed at the end, and lines with nothing in them after it
        lines.pop()
    return lines


def _read_tsv(path: Path, wanted: Wanted) -> Table:
    return _from_rows(path, (line.removesuffix("\r").split("\t") for line in _lines(path)), wanted, "line")


def _read_csv(path: Path, wanted: Wanted) -> Table:
    text = io.StringIO(read_text(path), newline="")
    try:
        rows = list(csv.reader(text, strict=True))
        while rows and len(rows[-1]) < 2 and not "".join(rows[-1]).strip():
            rows.pop()
        return _from_rows(path, rows, wanted, "row")
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}. Is it cut off, or another format?") from error


def _from_rows(path: Path, rows: Iterable[list[str]], wanted: Wanted, unit: str) -> Table:
    """The table of a file whose rows are lists of texts."""
    rows = iter(rows)
    header = next(rows, None) if wanted.header else None
    if wanted.header and header is None:
        raise DataError(f"{path} holds no examples.")
    names = _present(path, header, wanted) if header is not None else wanted.required
    positions = [name if isinstance(name, int) else (header or []).index(name) for name in names]
    needed = max(positions) + 1
    width = None if header is None else max(len(header), needed)
    values: list[list[str]] = [[] for _ in names]
    numbers: list[int] = []
    left_out = 0
    for number, row in enumerate(rows, start=1 if header is None else 2):
        width = width or max(len(row), needed)
        if wanted.skip_short and len(row) < width:
            left_out += 1
            continue
        if len(row) != width:
            raise DataError(
                f"{path}, {unit} {number}: {len(row)} columns instead of {width}. "
                "Is it cut off, or not the original file?"
            )
        numbers.append(number)
        for column, position in zip(values, positions, strict=True):
            column.append(row[position])
    origin = f"{path}, less {left_out} broken lines" if left_out else str(path)
    return Table(dict(zip(names, values, strict=True)), numbers, origin, unit)


def _present(path: Path, header: Sequence[str], wanted: Wanted) -> tuple[Column, ...]:
    """The wanted columns that ``header`` names, each of them once."""
    found = (*wanted.required, *(name for name in wanted.optional if name in header))
    for name in found:
        if isinstance(name, str) and header.count(name) != 1:
            what = "two columns" if name in header else "no column"
            raise DataError(f"{path} has {what} '{name}'; it has {short(list(header))}.")
    return found


def _read_jsonl(path: Path, wanted: Wanted) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not valid JSON: {error}. Is it cut off?") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} is {short(row)}, not an object.")
        rows.append(row)
    names = (*wanted.required, *(name for name in wanted.optional if any(name in row for row in rows)))
    for name in names:
        for number, row in enumerate(rows, start=1):
            if name not in row:
                raise DataError(f"{path}, line {number} has no '{name}'; it has {short(list(row))}.")
    columns: dict[Column, list[Any]] = {name: [row[str(name)] for row in rows] for name in names}
    return Table(columns, range(1, len(rows) + 1), str(path), "line")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a name occurs twice among {short([name for name, _ in pairs])}")
    return found


def _read_parquet(path: Path, wanted: Wanted) -> Table:
    import pyarrow as pa

    def chosen(names: list[str]) -> list[str]:
        return [str(name) for name in _present(path, names, wanted)]

    try:
        table = read_parquet(path, chosen)
        columns: dict[Column, list[Any]] = {
            name: table.column(name).to_pylist() for name in chosen(table.column_names)
        }
        rows = table.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is not a readable parquet file: {why}. Is it cut off?") from error
    return Table(columns, range(rows), str(path))
