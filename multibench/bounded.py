"""Files of strangers, looked at before they are unfolded: a small file may say that it is a huge one.

Each function raises ``ValueError`` with a clause, such as "it unfolds to over 50 times its size".
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["check_arrays", "gunzip", "read_parquet", "within_seconds"]

_GROWTH = 50
_SMALL = 64 << 20
# More examples than any split here or on the Hub has.
_MOST_VALUES = 10_000_000
_SUSPICIOUS = 1 << 30
_PIECE = 1 << 20


def _most(size: int) -> int:
    """Bytes that a file of ``size`` bytes may unfold to: texts become a tenth, rarely a thirtieth."""
    return _SMALL + _GROWTH * size


def _too_much() -> ValueError:
    return ValueError(f"it unfolds to over {_GROWTH} times its size, as no data do; it was not read further")


def gunzip(content: bytes) -> bytes:
    """What was compressed with gzip. Also raises ``EOFError``, ``zlib.error`` and ``gzip.BadGzipFile``."""
    most, pieces, total = _most(len(content)), [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while piece := file.read(_PIECE):
            total += len(piece)
            if total > most:
                raise _too_much()
            pieces.append(piece)
    return b"".join(pieces)


def read_parquet(
    source: Path | bytes, columns: Callable[[list[str]], Sequence[str]] | None = None
) -> pa.Table:
    """The columns of a parquet file that ``columns`` chooses from all names; all of them if it is None.

    Also raises ``pyarrow.ArrowException`` and ``OSError``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = source.stat().st_size if isinstance(source, Path) else len(source)
    with contextlib.ExitStack() as stack:

        def opened() -> Any:
            # By its bytes: pyarrow takes no texts of names that are not UTF-8.
            path = isinstance(source, Path)
            return stack.enter_context(pa.OSFile(os.fsencode(source)) if path else pa.BufferReader(source))

        file = stack.enter_context(pq.ParquetFile(opened()))
        names = file.schema_arrow.names
        chosen = list(names if columns is None else columns(names))
        doubtful = _checked_sizes(file, set(chosen), size)
        if doubtful:
            _check_texts(opened(), doubtful, _most(size))
        # Waking threads takes longer than most files.
        table: pa.Table = file.read(columns=chosen, use_threads=False)
        return table


def _checked_sizes(file: pq.ParquetFile, chosen: set[str], size: int) -> list[str]:
    """The paths of the columns of texts that a dictionary may unfold to more than can be known beforehand."""
    meta = file.metadata
    doubtful: set[str] = set()
    unfolded, most = 0, _most(size)
    values: dict[str, int] = {}
    for group in range(meta.num_row_groups):
        for k in range(meta.num_columns):
            chunk = meta.row_group(group).column(k)
            path = chunk.path_in_schema
            if path.partition(".")[0] not in chosen and path not in chosen:
                continue
            values[path] = values.get(path, 0) + chunk.num_values
            unfolded += chunk.total_uncompressed_size
            if (
                chunk.physical_type == "BYTE_ARRAY"
                and chunk.num_values * chunk.total_uncompressed_size > _SUSPICIOUS
            ):
                doubtful.add(path)
    if max([meta.num_rows, *values.values()]) > _MOST_VALUES + size:
        raise ValueError(
            f"it says that it holds {max([meta.num_rows, *values.values()]):,} values in {size:,} bytes"
        )
    if unfolded > most:
        raise _too_much()
    return sorted(doubtful)


def _check_texts(source: Any, paths: Sequence[str], most: int) -> None:
    """Add up how long the texts in these columns are, without making them."""
    import pyarrow.parquet as pq

    total = 0
    with pq.ParquetFile(source, read_dictionary=list(paths)) as file:
        for batch in file.iter_batches(batch_size=4096, columns=list(paths), use_threads=False):
            total += sum(_length(column) for column in batch.columns)
            if total > most:
                raise _too_much()


def _length(array: Any) -> int:
    """Bytes of all texts in an array, however it is nested."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        lengths = np.asarray(pc.fill_null(pc.binary_length(array.dictionary), 0), dtype=np.int64)
        indices = array.indices.drop_null().to_numpy(zero_copy_only=False)
        return int(lengths[indices].sum()) if len(lengths) else 0
    if pa.types.is_struct(array.type):
        return sum(_length(field) for field in array.flatten())
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _length(array.flatten())
    return int(array.nbytes)


def check_arrays(path: Path) -> None:
    """Whether a ``.npy`` file, or every array of a ``.npz`` file, has as many bytes as its header says.

    Also raises ``OSError``, ``EOFError`` and ``zipfile.BadZipFile``.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            _check_header(file, os.fstat(file.fileno()).st_size)
        return
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.file_size > _most(info.compress_size):
                raise _too_much()
            with archive.open(info) as member:
                _check_header(member, info.file_size)


def _check_header(file: IO[bytes], size: int) -> None:
    form = np.lib.format
    version = form.read_magic(file)
    read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"its format is {version[0]}.{version[1]}, and numbers are written as 1.0 or 2.0")
    shape, _, dtype = read(file)
    wanted, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if any(length < 0 for length in shape) or wanted > there:
        raise ValueError(f"its header speaks of {wanted:,} bytes of numbers, and {there:,} are there")


class _OutOfTimeError(BaseException):
    """Not an ``Exception``, so that nobody takes it for one of their own."""


@contextlib.contextmanager
def within_seconds(seconds: float, why: str) -> Iterator[None]:
    """End the block with ``ValueError(why)`` once this process has computed for so long.

    In the main thread only, which alone can be interrupted; elsewhere there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except _OutOfTimeError:
        raise ValueError(why) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
