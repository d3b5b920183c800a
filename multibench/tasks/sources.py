"""Where examples come from: official files in a folder, a built-in generator, or the Hub.

All give the same examples in the same order with the same ids (row numbers; SQuAD's own ids for span
tasks), so a fingerprint does not tell where they came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench import network
from multibench.errors import DataError, UnavailableError
from multibench.tasks.data import Examples, check_against_facts
from multibench.tasks.squad import read_squad, span_examples
from multibench.tasks.task import Task
from multibench.tasks.tsv import read_official

__all__ = ["DataSources", "load_split"]


@dataclass(frozen=True)
class DataSources:
    """Where to look. ``root`` holds official layouts in subfolders (``glue/RTE/train.tsv``,
    ``RTE/train.tsv``) or is such a subfolder; without it, or where it lacks a task, the Hub is asked.
    ``accept_different`` names tasks whose data may differ from what was released.
    """

    root: Path | None = None
    accept_different: frozenset[str] = field(default_factory=frozenset)


def _official_path(task: Task, split: str, root: Path) -> Path:
    """Where the official file belongs below ``root``: GLUE's tasks share a folder ``glue``."""
    assert task.official is not None
    parts = ["glue"] if task.official.format == "tsv" else []
    return root.joinpath(*parts, task.official.folder, task.official.splits[split].file)


def _official_file(task: Task, split: str, root: Path) -> Path | None:
    if task.official is None or split not in task.official.splits:
        return None
    folder, file = task.official.folder, task.official.splits[split].file
    candidates = [_official_path(task, split, root), root / folder / file]
    if root.name == folder:
        candidates.append(root / file)
    return next((path for path in candidates if path.is_file()), None)


def _where_to_put_it(task: Task, split: str, sources: DataSources) -> str:
    if task.official is None or split not in task.official.splits:
        return f"The task {task.name} has no official file layout for it."
    path = _official_path(task, split, sources.root or Path("DATA"))
    option = "" if sources.root else " and give --data DATA"
    return f"Put the official file at {path}{option}."


def load_split(task: Task, split: str, sources: DataSources) -> Examples:
    """The examples of one split, checked against the task's facts.

    Raises ``DataError`` if what is there is not what was released (see
    ``DataSources.accept_different``), and ``UnavailableError`` if it is not on this machine and
    cannot be fetched.
    """
    if split not in task.splits:
        raise DataError(f"The task {task.name} has no split '{split}'; it has {', '.join(task.splits)}.")
    examples = _load(task, split, sources)
    return check_against_facts(task, examples, task.name in sources.accept_different)


def _load(task: Task, split: str, sources: DataSources) -> Examples:
    if sources.root is not None:
        if not sources.root.is_dir():
            raise DataError(f"--data {sources.root} is not a folder.")
        path = _official_file(task, split, sources.root)
        if path is not None:
            assert task.official is not None
            if task.official.format == "squad":
                return read_squad(task, split, path)
            return read_official(task, split, task.official.splits[split], path)
    if task.builtin is not None:
        rows = import_module(task.builtin.module).split(task.name, split)
        return _from_columns(
            task,
            split,
            inputs=[[row[name] for row in rows] for name in task.inputs],
            labels=[row[task.builtin.label] for row in rows],
            ids=[row["id"] for row in rows],
            origin="built in",
        )
    if task.hub is None:
        raise DataError(f"{task.name}.{split} was not found. {_where_to_put_it(task, split, sources)}")
    return _from_hub(task, split, sources)


def _from_hub(task: Task, split: str, sources: DataSources) -> Examples:
    assert task.hub is not None
    name = f"{task.hub.id} ({task.hub.config})"
    if split not in task.hub.splits:
        raise DataError(f"The Hub data set {name} has no split for {task.name}.{split}.")
    load_dataset = _datasets_loader()
    reachable = network.hub_is_reachable()
    try:
        # Without the Hub its client would retry for 23 seconds; told to stay offline it uses its cache.
        with nullcontext() if reachable else network.staying_offline():
            table = load_dataset(
                task.hub.id, task.hub.config, split=task.hub.splits[split], revision=task.hub.revision
            )
    except Exception as error:  # the library raises OSError, ValueError, RuntimeError and its own kinds
        hint = _where_to_put_it(task, split, sources)
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        what = (
            f"failed to load: {why}" if reachable else "is not on this machine and the Hub cannot be reached"
        )
        raise UnavailableError(f"{task.name}.{split}: the Hub data set {name} {what}. {hint}") from error
    has_ids = task.kind == "span" and "id" in table.column_names
    wanted = [*(task.hub.inputs or task.inputs), task.hub.label, *(["id"] if has_ids else [])]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise DataError(f"The Hub data set {name} has no column {missing}; it has {table.column_names}.")
    columns = {column: table[column][:] for column in wanted}
    return _from_columns(
        task,
        split,
        inputs=[columns[column] for column in task.hub.inputs or task.inputs],
        labels=columns[task.hub.label],
        ids=columns["id"] if has_ids else [str(i) for i in range(len(table))],
        origin=f"the Hub data set {name}",
    )


def _datasets_loader() -> Callable[..., Any]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UnavailableError(
            "The package 'datasets' is not installed, so nothing can be loaded from the Hub. "
            "Install it (pip install datasets), or give official files with --data."
        ) from error
    loader: Callable[..., Any] = load_dataset
    return loader


def _from_columns(
    task: Task, split: str, inputs: list[list[Any]], labels: list[Any], ids: list[str], origin: str
) -> Examples:
    if task.kind == "span":
        return span_examples(task, split, ids, inputs[0], inputs[1], labels, origin)
    for name, column in zip(task.inputs, inputs, strict=True):
        for i, value in enumerate(column):
            if not isinstance(value, str):
                raise DataError(f"{origin}, example {i}: '{name}' is {value!r}, not a text.")
    return Examples(
        task=task.name,
        split=split,
        ids=tuple(ids),
        texts=tuple(tuple(column) for column in inputs),
        labels=_class_numbers(task, labels, origin) if task.splits[split].labelled else None,
        origin=origin,
    )


def _class_numbers(task: Task, labels: list[Any], origin: str) -> NDArray[np.int64] | NDArray[np.float64]:
    if task.kind == "regression":
        low, high = task.score_range or (-math.inf, math.inf)
        for i, label in enumerate(labels):
            if not isinstance(label, (int, float)) or not low <= label <= high:
                raise DataError(f"{origin}, example {i}: the score is {label!r}, not within {low} to {high}.")
        # Single precision on the Hub: 3.8 comes back as 3.799999952316284 (see tsv.py).
        return np.asarray(labels, dtype=np.float64).round(3)
    numbers = np.empty(len(labels), dtype=np.int64)
    for i, label in enumerate(labels):
        code = task.labels.index(label) if label in task.labels else label
        if not isinstance(code, int) or not 0 <= code < len(task.labels):
            raise DataError(f"{origin}, example {i}: the label is {label!r}, not one of {list(task.labels)}.")
        numbers[i] = code
    return numbers
