"""Import of any predictions: a matrix, or a file a run, with an index that says what each is of."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.exchange.arrays import as_outputs, file_below, in_order, read_answers, read_numbers
from multibench.exchange.gold import Gold
from multibench.exchange.importer import Imported, ImportSource, import_folder, store_items
from multibench.exchange.index import IndexRow, Listed, read_index
from multibench.exchange.items import FinetuningSeeds, Item, Origin, Outputs, origin_of
from multibench.exchange.order import stated_order
from multibench.tasks import Examples, Task, find_task

__all__ = ["import_predictions"]

_ENDINGS = (".npy", ".npz", ".parquet", ".csv", ".tsv", ".json")
# Columns of a table of one run's predictions that are no outputs.
_ID, _LABEL = "id", "label"


def import_predictions(
    predictions: Path | str,
    index: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    data: Path | None = None,
    class_order: Mapping[str, Sequence[str]] | None = None,
    finetuning_seeds: FinetuningSeeds = "unknown",
    accept_different_data: bool = False,
) -> Imported:
    """Store the runs that ``index`` lists as ``out/name/runs``; what is stored already stays as it is.

    ``predictions`` is one file with an entry a run: ``(runs, examples)`` class numbers or values, or ``(runs,
    examples, outputs)`` class scores; or a folder with the files that the index names, ``(examples,)`` or
    ``(examples, outputs)`` each. Files are ``.npy``, ``.npz``, ``.parquet``, ``.csv``, ``.tsv``, and for spans
    ``.json`` with ``{question id: answer}``. Rows are in the order of the split, or have an ``id``. Labels come from
    the task's ``data``, or the Hub. The order of the classes is found by accuracy, unless ``class_order`` states it by
    task. ``finetuning_seeds`` says whether equal fine-tuning seeds of several checkpoints share their noise.

    Raises ``DataError`` for files that cannot be used, the errors of ``load_split``, and ``ResultsError`` if
    the folder for the runs holds others.
    """
    root, listing = Path(predictions), Path(index)
    if not root.exists():
        raise DataError(f"There is no file or folder {root} to import predictions from.")
    stated = {task: stated_order(find_task(task), names) for task, names in (class_order or {}).items()}
    gold = Gold(data, accept_different_data, stated)
    load = cache(_load)
    items: list[Item] = []
    examples: dict[str, Examples] = {}
    for number, listed in enumerate(read_index(listing)):
        item = _item(root, number, listed, load)
        items.append(item)
        if item.evaluation not in examples:
            examples[item.evaluation] = gold.load(item.task, item.split)
    folder = root if root.is_dir() else root.parent
    source = ImportSource("predictions with an index", folder, listing, finetuning_seeds, "none")
    return store_items(items, examples, source, import_folder(Path(out), name, root), stated)


class _Loaded(NamedTuple):
    """The content of a file, and the ids of the examples if it has them."""

    values: NDArray[Any]
    ids: tuple[str, ...] | None = None


_Load: TypeAlias = Callable[[Path, "str | None", bool], _Loaded]


def _item(root: Path, number: int, listed: Listed, load: _Load) -> Item:
    row, place = listed.row, listed.place
    task = find_task(row.task)
    split = row.split or task.evaluations[0]
    if split not in task.splits:
        raise DataError(f"{place}: {task.name} has no split '{split}'; it has {', '.join(task.splits)}.")
    if root.is_dir():
        if row.file is None:
            raise DataError(f"{place} names no file; {root} is a folder, so each row has to.")
        file, entry = file_below(root, row.file, place), row.row
    else:
        if row.file is not None:
            raise DataError(f"{place} names the file {row.file!r}, but {root} is a file, not a folder.")
        file, entry = root, number if row.row is None else row.row
    if file.suffix not in _ENDINGS or not file.is_file():
        why = "is not there" if file.suffix in _ENDINGS else f"ends in none of {', '.join(_ENDINGS)}"
        raise DataError(f"{place}: the file {file} {why}.")
    origin = origin_of(row.family, row.pretraining_seed, row.step)
    if row.checkpoint is not None or row.parameters is not None:
        parameters = row.parameters if row.parameters is not None else origin.parameters
        checkpoint = row.checkpoint or origin.checkpoint
        origin = Origin(row.family, checkpoint, row.pretraining_seed, row.step, parameters)
    return Item(
        origin=origin,
        trained_on=find_task(row.trained_on) if row.trained_on else task,
        finetuning_seed=row.finetuning_seed,
        settings=listed.settings,
        task=task,
        split=split,
        file=file,
        place=place,
        read=partial(_read, load, task, file, row, entry),
    )


def _read(
    load: _Load, task: Task, file: Path, row: IndexRow, entry: int | None, examples: Examples
) -> Outputs:
    if file.suffix == ".json":
        return read_answers(task, file, examples)
    # A file of one run is needed once, that of several once for each.
    loaded = _load(file, row.array, False) if entry is None else load(file, row.array, True)
    values, where = loaded.values, str(file)
    if entry is not None:
        if entry >= len(values):
            raise DataError(f"{file} has no entry {entry}, counted from 0; it has {len(values)}.")
        values, where = values[entry], f"{file}, entry {entry},"
    if loaded.ids is not None:
        values = values[in_order(loaded.ids, examples, where)]
    return as_outputs(task, values, examples, where)


def _load(file: Path, array: str | None, several: bool) -> _Loaded:
    """What a file holds; ``several`` says that it is of several runs."""
    if array is not None and file.suffix != ".npz":
        raise DataError(f"The index names the array '{array}' of {file}, which is no .npz file.")
    if file.suffix in (".npy", ".npz"):
        return _Loaded(_load_numpy(file, array))
    return _load_table(file, several)


def _load_numpy(file: Path, array: str | None) -> NDArray[Any]:
    """Arrays of objects are refused: unpickling them could run code."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = list(loaded)
            if array is None and len(names) != 1:
                raise DataError(
                    f"{file} holds the arrays {', '.join(names)}; the index's 'array' must name one."
                )
            if array is not None and array not in names:
                raise DataError(f"{file} has no array '{array}'; it has {', '.join(names)}.")
            found: NDArray[Any] = loaded[array or names[0]]
            return found
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{file} cannot be read as an array of numbers: {why}.") from error


def _load_table(file: Path, several: bool) -> _Loaded:
    """A table: of several runs with a row a run, or of one with a row an example, perhaps with a column of ids."""
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    separator = "," if file.suffix == ".csv" else "\t"
    if file.suffix != ".parquet" and _lacks_header(file, separator):
        return _Loaded(read_numbers(file, separator))
    try:
        if file.suffix == ".parquet":
            table = pq.ParquetFile(file).read(use_threads=False)
        else:
            table = pc.read_csv(
                file,
                read_options=pc.ReadOptions(use_threads=False),
                parse_options=pc.ParseOptions(delimiter=separator),
                convert_options=pc.ConvertOptions(column_types={_ID: pa.string()}),
            )
        names = list(table.column_names)
        ids = tuple(map(str, table[_ID].to_pylist())) if _ID in names and not several else None
        stored = [name for name in names if name.startswith("output_")]
        outputs = stored or [name for name in names if name not in (_ID, _LABEL)]
        columns = [table[name].to_numpy() for name in outputs]
    except (pa.ArrowException, OSError, ValueError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{file} cannot be read as a table: {why}.") from error
    for column, each in zip(outputs, columns, strict=True):
        if each.dtype.kind not in "iufb":
            raise DataError(f"{file}: the column '{column}' holds no numbers, or has gaps.")
    if not columns:
        raise DataError(f"{file} has no column of predictions; it has {', '.join(names) or 'none'}.")
    return _Loaded(np.stack(columns, axis=1), ids)


def _lacks_header(file: Path, separator: str) -> bool:
    """Whether the first line is numbers already."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            cells = lines.readline().strip().split(separator)
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
