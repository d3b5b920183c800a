"""Where examples come from: files in a folder (official or fetched), a built-in generator, or the Hub.

All give the same examples in the same order with the same ids (row numbers; SQuAD's own ids for span
tasks), so a fingerprint does not tell where they came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from multibench import network
from multibench.errors import DataError, UnavailableError
from multibench.tasks.data import Examples, check_against_facts
from multibench.tasks.examples import examples_of
from multibench.tasks.fetched import read_fetched
from multibench.tasks.files import Wanted, read_table
from multibench.tasks.held_out import HELD_OUT, CutTask, part_of
from multibench.tasks.layouts import Columns, FileLayout, OriginalFile, SplitFile
from multibench.tasks.squad import read_squad
from multibench.tasks.table import Table
from multibench.tasks.task import Task

__all__ = ["DataSources", "load_local", "load_split"]


@dataclass(frozen=True)
class DataSources:
    """Where to look. ``root`` holds official layouts in subfolders (``glue/RTE/train.tsv``,
    ``RTE/train.tsv``) or is such a subfolder; without it, or where it lacks a task, the Hub is asked.
    ``accept_different`` names tasks whose data may differ from what was released.
    """

    root: Path | None = None
    accept_different: frozenset[str] = field(default_factory=frozenset)


class _File(NamedTuple):
    """A file that holds a split, or more than it: then ``original`` says how to cut it out."""

    path: Path
    layout: FileLayout
    split: SplitFile
    original: OriginalFile | None = None


def _layouts(task: Task, split: str) -> list[FileLayout]:
    return [found for found in (task.official, task.files) if found is not None and split in found.splits]


def _find_file(task: Task, split: str, root: Path) -> _File | None:
    """The file of ``split`` below ``root``, whose folders may be given at any height."""
    for layout in _layouts(task, split):
        parts = PurePath(layout.folder).parts
        folders = [root.joinpath(*parts[start:]) for start in range(len(parts))]
        if parts and root.name == parts[-1]:
            folders.append(root)
        file = layout.splits[split]
        for original in (None, file.instead) if file.instead else (None,):
            name = (original or file).file
            for path in (folder / ending for folder in folders for ending in (name, f"{name}.gz")):
                if path.is_file():
                    return _File(path, layout, file, original)
    return None


def _where_to_put_it(task: Task, split: str, sources: DataSources) -> str:
    layouts = _layouts(task, split)
    if not layouts:
        return f"The task {task.name} has no official file layout for it."
    path = (sources.root or Path("DATA")) / layouts[0].folder / layouts[0].splits[split].file
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
    if isinstance(task, CutTask) and split in ("train", HELD_OUT):
        return part_of(task, load_split(task.whole, "train", sources), split)
    examples = _load(task, split, sources)
    return check_against_facts(task, examples, task.name in sources.accept_different)


def load_local(task: Task, split: str, root: Path | None) -> Examples | None:
    """The examples of one split, from files below ``root`` or built in, whatever their number; None if not there.

    Raises ``DataError`` for files that cannot be read. The Hub is not asked.
    """
    if isinstance(task, CutTask) and split in ("train", HELD_OUT):
        train = load_local(task.whole, "train", root)
        return None if train is None else part_of(task, train, split)
    return _load_here(task, split, DataSources(root))


def _load(task: Task, split: str, sources: DataSources) -> Examples:
    here = _load_here(task, split, sources)
    if here is not None:
        return here
    if task.hub is None:
        raise DataError(f"{task.name}.{split} was not found. {_where_to_put_it(task, split, sources)}")
    return _from_hub(task, split, sources)


def _load_here(task: Task, split: str, sources: DataSources) -> Examples | None:
    """From files or built in; None if there are none."""
    if sources.root is not None:
        if not sources.root.is_dir():
            raise DataError(f"--data {sources.root} is not a folder.")
        file = _find_file(task, split, sources.root)
        if file is not None:
            return _from_file(task, split, file)
        fetched = read_fetched(task, split, sources.root)
        if fetched is not None:
            return fetched
    if task.builtin is not None:
        rows = import_module(task.builtin.module).split(task.name, split)
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return examples_of(
            task,
            split,
            Table(columns, range(len(rows)), "built in"),
            Columns(task.inputs, task.builtin.label if task.splits[split].labelled else None, ids="id"),
        )
    return None


def _from_file(task: Task, split: str, file: _File) -> Examples:
    format = file.layout.format_of((file.original or file.split).file)
    assert format is not None  # a task whose files have no known format is refused when read
    if format == "squad":
        return read_squad(task, split, file.path)
    columns = task.columns(file.layout, split)
    parts, original = file.layout.parts, file.original
    made = re.compile(parts.pattern).groupindex if parts is not None else {}
    listing = original.ids if original is not None else ()
    needed = (*columns.inputs, columns.label, columns.ids, *listing, parts.column if parts else None)
    wanted = Wanted(
        required=tuple(dict.fromkeys(name for name in needed if name is not None and name not in made)),
        optional=tuple(name for name in task.metadata if name not in made),
        header=file.split.header,
        skip_short=file.split.skip_short,
    )
    table = read_table(file.path, format, wanted)
    if parts is not None:
        table = table.with_parts(parts)
    if original is not None and original.ids_file is not None:
        table = _cut_out(table, original, file.path.parent / original.ids_file)
    return examples_of(task, split, table, columns)


def _cut_out(table: Table, original: OriginalFile, ids_file: Path) -> Table:
    """The rows of ``table`` whose ids are in ``ids_file``, or those whose are not."""
    places = tuple(range(len(original.ids)))
    listed = read_table(ids_file, "tsv", Wanted(places, header=False))
    ids = set(zip(*(listed.columns[place] for place in places), strict=True))
    rows = zip(*(table.columns[name] for name in original.ids), strict=True)
    return table.rows([i for i, row in enumerate(rows) if (row in ids) == original.listed])


def _from_hub(task: Task, split: str, sources: DataSources) -> Examples:
    assert task.hub is not None
    name = f"{task.hub.id} ({task.hub.config})"
    if split not in task.hub.splits:
        raise DataError(f"The Hub data set {name} has no split for {task.name}.{split}.")
    if Path(task.hub.id).exists():
        raise DataError(
            f"A folder {task.hub.id} lies in the current folder, and would be taken for the Hub's data set of that "
            "name. Run from another folder, or rename it; its files may be given with --data."
        )
    hint = _where_to_put_it(task, split, sources)
    try:
        load_dataset = _datasets_loader()
    except ImportError as error:
        raise UnavailableError(
            f"{task.name}.{split}: the Hub data set {name} cannot be loaded, since the package 'datasets' cannot be "
            f"imported ({error}). Install it (pip install datasets), or do without the Hub. {hint}"
        ) from error
    reachable = network.hub_is_reachable()
    try:
        # Without the Hub its client would retry for 23 seconds; told to stay offline it uses its cache.
        with nullcontext() if reachable else network.staying_offline():
            table = load_dataset(
                task.hub.id, task.hub.config, split=task.hub.splits[split], revision=task.hub.revision
            )
    except Exception as error:  # the library raises OSError, ValueError, RuntimeError and its own kinds
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        what = (
            f"failed to load: {why}" if reachable else "is not on this machine and the Hub cannot be reached"
        )
        raise UnavailableError(f"{task.name}.{split}: the Hub data set {name} {what}. {hint}") from error
    commit = task.hub.revision or _commit_of(table)
    origin = f"the Hub data set {name}" + (f" at commit {commit}" if commit else "")
    label = task.hub.label if task.splits[split].labelled else None
    ids = "id" if task.kind == "span" and "id" in table.column_names else None
    columns = Columns(
        task.hub.inputs or task.inputs, label, ids=ids, no_label=task.hub.no_label if label else ()
    )
    wanted = [*columns.inputs, *filter(None, (label, ids))]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise DataError(f"The Hub data set {name} has no column {missing}; it has {table.column_names}.")
    wanted += [column for column in task.metadata if column in table.column_names]
    values = {column: table[column][:] for column in wanted}
    return examples_of(task, split, Table(values, range(len(table)), origin), columns)


def _commit_of(table: Any) -> str | None:
    """The Hub's commit that ``datasets`` resolved the data set to, or None: the folder of its cache is called so."""
    folders = {Path(file["filename"]).parent.name for file in table.cache_files}
    name = folders.pop() if len(folders) == 1 else ""
    return name if re.fullmatch("[0-9a-f]{40}", name) else None


def _datasets_loader() -> Callable[..., Any]:
    from datasets import load_dataset

    loader: Callable[..., Any] = load_dataset
    return loader
