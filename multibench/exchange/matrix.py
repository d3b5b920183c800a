"""Import of any predictions: a matrix, or a file a run, with an index that says what each is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

from multibench.errors import DataError
from multibench.exchange.arrays import Matrix, file_below, read_matrix
from multibench.exchange.gold import Gold
from multibench.exchange.importer import Imported, ImportSource, import_folder, store_items
from multibench.exchange.index import IndexRow, Listed, read_index
from multibench.exchange.items import FinetuningSeeds, Item, Origin, origin_of
from multibench.exchange.stated import stated_orders
from multibench.scoring.files import read_prediction_file
from multibench.scoring.fit import Fitted, fit
from multibench.scoring.numbered import of_array
from multibench.tasks import Examples, Task, find_task

__all__ = ["import_predictions"]


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
    force: bool = False,
) -> Imported:
    """Store the runs that ``index`` lists as ``out/name/runs``; what is stored already stays as it is.

    ``predictions`` is one file with an entry a run: ``(runs, examples)`` class numbers or values, or ``(runs,
    examples, outputs)`` class scores; or a folder with the files that the index names, in any layout that ``score``
    reads. Rows are in the order of the split, or have an id. Labels come from the task's ``data``, or the Hub. The
    order of the classes is found by accuracy, unless names in the file or ``class_order``, by task, state it.
    ``force`` takes a class order that the labels contradict, and runs that contradict the others; both are marked.
    ``finetuning_seeds`` says whether equal fine-tuning seeds of several checkpoints share their noise.

    Raises ``DataError`` for files that cannot be used, the errors of ``load_split``, and ``ResultsError`` if
    the folder for the runs holds others.
    """
    root, listing = Path(predictions), Path(index)
    if not root.exists():
        raise DataError(f"There is no file or folder {root} to import predictions from.")
    gold = Gold(data, accept_different_data)
    load = cache(read_matrix)
    items: list[Item] = []
    examples: dict[str, Examples] = {}
    for number, listed in enumerate(read_index(listing)):
        item = _item(root, number, listed, load)
        items.append(item)
        if item.evaluation not in examples:
            examples[item.evaluation] = gold.load(item.task, item.split)
    folder = root if root.is_dir() else root.parent
    source = ImportSource("predictions with an index", folder, listing, finetuning_seeds, "none")
    stated = stated_orders(class_order, items, listing)
    return store_items(items, examples, source, import_folder(Path(out), name, root), stated, force)


_Load: TypeAlias = Callable[[Path, "str | None"], Matrix]


def _item(root: Path, number: int, listed: Listed, load: _Load) -> Item:
    row, place = listed.row, listed.place
    task = find_task(row.task)
    split = row.split or task.evaluations[0]
    if split not in task.splits:
        raise DataError(f"{place}: {task.name} has no split '{split}'; it has {', '.join(task.splits)}.")
    folder = root if root.is_dir() else root.parent
    if root.is_dir():
        if row.file is None:
            raise DataError(f"{place} names no file; {root} is a folder, so each row has to.")
        file, entry = file_below(root, row.file, place), row.row
    else:
        if row.file is not None:
            raise DataError(f"{place} names the file {row.file!r}, but {root} is a file, not a folder.")
        file, entry = root, number if row.row is None else row.row
    odds = None if row.null_odds is None else file_below(folder, row.null_odds, place)
    for each in filter(None, (file, odds)):
        if not each.is_file():
            raise DataError(f"{place}: the file {each} is not there.")
    origin = origin_of(row.family, row.pretraining_seed, row.step)
    if row.checkpoint is not None or row.parameters is not None:
        parameters = row.parameters if row.parameters is not None else origin.parameters
        checkpoint = row.checkpoint or origin.checkpoint
        origin = Origin(row.family, checkpoint, row.pretraining_seed, row.step, parameters)
    trained = find_task(row.trained_on) if row.trained_on else task
    return Item(
        origin=origin,
        trained_on=trained,
        finetuning_seed=row.finetuning_seed,
        settings=listed.settings,
        task=task,
        split=split,
        file=file,
        place=f"{place} ({file.name})",
        read=partial(_read, load, task, trained, file, row, entry),
        class_order=_names(row.class_order),
        null_odds=odds,
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(","))


def _read(
    load: _Load, task: Task, trained: Task, file: Path, row: IndexRow, entry: int | None, examples: Examples
) -> Fitted:
    # A file of one run is needed once, that of several once for each.
    if entry is None:
        return fit(task, examples, read_prediction_file(task, file, trained, row.array))
    values = load(file, row.array).entry(entry, examples, str(file))
    return fit(task, examples, of_array(task, values, file, trained, f"{file}, entry {entry},"))
