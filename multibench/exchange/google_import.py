"""Import of Google's example predictions: the layouts of GLUE, SQuAD and coreference (see ``layout``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from multibench.errors import DataError
from multibench.exchange.arrays import file_below
from multibench.exchange.coreference import read_group
from multibench.exchange.gold import Gold
from multibench.exchange.importer import Imported, ImportSource, import_folder, store_items
from multibench.exchange.items import FinetuningSeeds, Item, known_settings
from multibench.exchange.layout import GOOGLE, INDEX, group_remarks, origin_in_release, read_steps, task_names
from multibench.exchange.stated import stated_orders
from multibench.registry import nearest_or_all
from multibench.scoring.files import read_prediction_file
from multibench.scoring.fit import Fitted, fit
from multibench.scoring.numbered import of_array
from multibench.scoring.order import stated_order
from multibench.scoring.tables import read_numbers
from multibench.tasks import Examples, Task, find_task
from multibench.tasks.data import check_against_facts
from multibench.tasks.files import Wanted, read_table
from multibench.tasks.squad import read_squad

__all__ = ["import_google_predictions"]

# As published: one rate for each release, number of steps and task, by the mean dev score over all seeds.
_SELECTION = "best_mean_dev"


class _Part(NamedTuple):
    """One folder of the layout, read: what is in it, and the examples by ``task.split``."""

    items: list[Item]
    examples: dict[str, Examples]
    source: ImportSource


def import_google_predictions(
    folder: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    data: Path | None = None,
    families: dict[str, str] | None = None,
    class_order: Mapping[str, Sequence[str]] | None = None,
    finetuning_seeds: FinetuningSeeds = "unknown",
    accept_different_data: bool = False,
    force: bool = False,
) -> Imported:
    """Store the runs below ``folder`` as ``out/name/runs``; what is stored already stays as it is.

    ``folder`` holds an ``index.tsv``, or ``preds.tsv`` and what goes with it, or folders that do. Labels come from the
    task's ``data``, or from the files of the layout. ``families`` gives names of one's own to releases and
    groups. The order of the classes is found by accuracy, unless ``class_order`` states it by task, in the order of the
    outputs. The layout numbers fine-tuning runs within each checkpoint, and does not say whether equal numbers share
    anything: ``finetuning_seeds`` says it, if it is known. ``force`` takes a class order that the labels
    contradict, and runs that contradict the others.

    Raises ``DataError`` for what is not in the layout or does not fit its labels, and ``ResultsError`` if the folder
    for the runs holds others.
    """
    root = Path(folder)
    numbers = {task: stated_order(find_task(task), names) for task, names in (class_order or {}).items()}
    gold = Gold(data, accept_different_data, numbers)
    store = import_folder(Path(out), name, root)
    parts: list[_Part] = []
    for each in _folders(root):
        if (each / "index.tsv").is_file():
            parts.append(_read_indexed(each, gold, families or {}, finetuning_seeds))
        else:
            items, examples = read_group(each, gold, families or {})
            index = each / "run_info.tsv"
            source = ImportSource(
                "Google's coreference predictions",
                each,
                index,
                finetuning_seeds,
                _SELECTION,
                group_remarks(each.name),
            )
            parts.append(_Part(items, examples, source))
    stated = stated_orders(class_order, [item for part in parts for item in part.items], root)
    done = [store_items(part.items, part.examples, part.source, store, stated, force) for part in parts]
    return Imported(
        store.folder,
        sum(each.new for each in done),
        sum(each.already for each in done),
        tuple(path for each in done for path in each.absent),
        tuple(dict.fromkeys(remark for each in done for remark in each.remarks)),
    )


def _folders(root: Path) -> list[Path]:
    """The folders of the layout at or below ``root``."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root} to import predictions from.")
    found = [
        path.parent
        for depth in ("", "*/", "*/*/")
        for pattern in ("index.tsv", "preds.tsv")
        for path in sorted(root.glob(f"{depth}{pattern}"))
    ]
    if not found:
        raise DataError(
            f"{root} is not in the layout of Google's example predictions: neither it nor a folder in it has an "
            "index.tsv (GLUE, SQuAD) or a preds.tsv (coreference)."
        )
    return found


def _read_indexed(
    root: Path, gold: Gold, families: dict[str, str], finetuning_seeds: FinetuningSeeds
) -> _Part:
    """GLUE or SQuAD: a file for each row of ``index.tsv``. Rows whose file is not there are left out."""
    path = root / "index.tsv"
    table = read_table(path, "tsv", Wanted(INDEX))
    tasks = task_names()
    items: list[Item] = []
    absent: list[str] = []
    for row in range(len(table)):
        cells = {name: str(table.columns[name][row]) for name in INDEX}
        place = table.place(row)
        file = file_below(root, cells["file"], place)
        if not file.is_file():
            absent.append(cells["file"])
            continue
        task = tasks.get(cells["task"])
        if task is None:
            hint = nearest_or_all(cells["task"], tasks)
            raise DataError(f"{place}: there is no task {cells['task']!r}; {hint}")
        seed, finetuning_seed = (_number(cells, name, place) for name in ("pretrain_id", "ft_seed"))
        step = read_steps(cells["n_steps"], place)
        items.append(
            Item(
                origin=origin_in_release(cells["release"], seed, step, families),
                trained_on=task,
                finetuning_seed=finetuning_seed,
                settings=known_settings({"learning_rate": cells["lr"]} if cells["lr"] != "0" else {}, place),
                task=task,
                split=task.evaluations[0],
                file=file,
                place=place,
                read=partial(_answers if task.kind == "span" else _scores, task, file),
            )
        )
    if not items:
        raise DataError(
            f"None of the {len(absent)} files that {path} names is there; the first is {root / absent[0]}."
        )
    examples = {}
    for item in items:
        if item.evaluation not in examples:
            examples[item.evaluation] = _examples(root, item, gold)
    kind = "SQuAD" if any(item.task.kind == "span" for item in items) else "GLUE"
    source = ImportSource(
        f"Google's {kind} predictions", root, path, finetuning_seeds, _SELECTION, absent=tuple(absent)
    )
    return _Part(items, examples, source)


def _number(cells: dict[str, str], name: str, place: str) -> int:
    if not cells[name].isdecimal():
        raise DataError(f"{place}: {name} is {cells[name]!r}, not a number.")
    return int(cells[name])


def _examples(root: Path, item: Item, gold: Gold) -> Examples:
    """The examples of an item's split: of the task's data, or of the file that the layout has for them."""
    task, split = item.task, item.split
    if task.kind == "span":
        beside = root / GOOGLE.questions[task.name]
        own = gold.below_data(task, split)
        if own is None and beside.is_file():
            return check_against_facts(task, read_squad(task, split, beside), gold.accept_different)
        return own or gold.load(task, split)
    folder = next(name for name, each in task_names().items() if each.name == task.name)
    labels = root / f"{folder}_dev_labels"
    if labels.is_file():
        return gold.of_label_file(task, split, labels)
    if gold.data is None:
        raise DataError(
            f"There are no labels for {item.evaluation}: {labels} is missing. Put it there, or give the task's data "
            "(--data)."
        )
    return gold.load(task, split)


def _answers(task: Task, file: Path, examples: Examples) -> Fitted:
    given = read_prediction_file(task, file)
    if given.kind != "answers":
        raise DataError(
            f"{file} holds no answers for {task.name}; expected one object, {{question id: answer}}."
        )
    return fit(task, examples, given)


def _scores(task: Task, file: Path, examples: Examples) -> Fitted:
    numbers = read_numbers(file)
    if task.kind == "classification" and numbers.shape[1] != task.outputs:
        raise DataError(
            f"{file} has {numbers.shape[1]} columns; expected a score for each of {task.outputs} classes."
        )
    return fit(
        task, examples, replace(of_array(task, numbers, file), taken="")
    )  # the layout says what is what
