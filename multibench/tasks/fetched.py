"""Splits kept in a folder as multibench wrote them, so that it works elsewhere without a network.

One parquet file a split, ``fetched/<task>.<split>.parquet``, with everything that was loaded. It holds its own
fingerprint, and is refused if its rows no longer give that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from multibench.bounded import read_parquet
from multibench.errors import DataError, StorageError
from multibench.tasks.data import Answer, Examples
from multibench.tasks.task import Task

__all__ = ["fetched_path", "keep_split", "read_fetched"]

_MARK = b"multibench fingerprint"
_ORIGIN = b"multibench origin"
_LEFT_OUT = b"multibench rows without a label"


def fetched_path(task: Task, split: str, root: Path) -> Path:
    """Where the split is kept below ``root``."""
    return root / "fetched" / f"{task.name}.{split}.parquet"


def keep_split(task: Task, examples: Examples, root: Path) -> Path:
    """Write ``examples`` below ``root``; returns the file. Raises ``StorageError`` if that cannot be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"id": examples.ids}
    columns |= {f"text {name}": texts for name, texts in zip(task.inputs, examples.texts, strict=True)}
    columns |= {f"metadata {name}": values for name, values in examples.metadata.items()}
    if examples.labels is not None:
        columns["label"] = examples.labels
    if examples.answers is not None:
        columns["answers"] = [[answer._asdict() for answer in answers] for answers in examples.answers]
    arrays = {name: pa.array(values) for name, values in columns.items()}
    marks = {_MARK: examples.fingerprint.encode("ascii"), _ORIGIN: examples.origin_name.encode()}
    if examples.left_out:
        marks[_LEFT_OUT] = str(examples.left_out).encode()
    table = pa.table(arrays).replace_schema_metadata(marks)
    path = fetched_path(task, examples.split, root)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pq.write_table(table, temporary, compression="zstd")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def read_fetched(task: Task, split: str, root: Path) -> Examples | None:
    """The split that was kept below ``root``, None if none was. Raises ``DataError`` for a damaged one."""
    import pyarrow as pa

    path = fetched_path(task, split, root)
    if not path.is_file():
        return None
    again = "Fetch it again (multibench fetch), or remove it."
    try:
        table = read_parquet(path)
        marks = table.schema.metadata or {}
        columns = {name: table.column(name) for name in table.column_names}
        answers = columns.get("answers")
        examples = Examples(
            task=task.name,
            split=split,
            ids=tuple(columns["id"].to_pylist()),
            texts=tuple(tuple(columns[f"text {name}"].to_pylist()) for name in task.inputs),
            labels=columns["label"].to_numpy().copy() if "label" in columns else None,
            origin=marks.get(_ORIGIN, path.name.encode()).decode(),
            answers=None
            if answers is None
            else tuple(tuple(Answer(**answer) for answer in row) for row in answers.to_pylist()),
            metadata={
                name: tuple(columns[f"metadata {name}"].to_pylist())
                for name in task.metadata
                if f"metadata {name}" in columns
            },
            left_out=int(marks.get(_LEFT_OUT, b"0")),
        )
        said = marks.get(_MARK, b"").decode("ascii", "replace")
        if examples.fingerprint != said:
            raise DataError(
                f"{path} was changed since it was fetched: its rows do not give its fingerprint. {again}"
            )
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is not a file that multibench fetched: {why}. {again}") from error
    return examples
