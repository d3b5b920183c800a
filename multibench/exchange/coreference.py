"""The coreference layout of Google's example predictions: a matrix of runs by Winogender sentences."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.exchange.gold import Gold
from multibench.exchange.items import Item, known_settings
from multibench.exchange.layout import GOOGLE, LABEL_INFO, RUN_INFO, origin_in_group
from multibench.scoring.fit import Fitted, fit
from multibench.scoring.numbered import of_array
from multibench.scoring.tables import read_numbers
from multibench.tasks import Examples, Task, find_task
from multibench.tasks.data import check_against_facts
from multibench.tasks.files import Wanted, read_table
from multibench.tasks.table import Table

__all__ = ["label_info", "read_group"]

_SOMEONE = "someone"
_KEY = ("gender", "answer", "occupation", "other_participant", "someone")


def read_group(folder: Path, gold: Gold, families: dict[str, str]) -> tuple[list[Item], dict[str, Examples]]:
    """The runs in one folder, and the examples by ``task.split``.

    With data of one's own the sentences of ``label_info.tsv`` are found among these, whatever their order; without,
    they are examples without texts. Raises ``DataError`` if the three files do not fit each other or the data.
    """
    facts = GOOGLE.coreference
    task = find_task(facts.task)
    runs = read_table(folder / "run_info.tsv", "tsv", Wanted(RUN_INFO))
    info = read_table(folder / "label_info.tsv", "tsv", Wanted(_KEY))
    path = folder / "preds.tsv"
    matrix = read_numbers(path, separator=_separator(path))
    if matrix.shape != (len(runs), len(info)):
        raise DataError(
            f"{path} has {matrix.shape[0]} rows of {matrix.shape[1]} predictions; expected {len(runs)} runs of "
            f"{runs.origin} by {len(info)} sentences of {info.origin}."
        )
    keys = _keys(info)
    if gold.data is not None:
        examples = gold.load(task, facts.split)
        matrix = matrix[:, _columns(keys, task, examples, info)]
    else:
        ids = tuple(str(i) for i in range(len(info)))
        labels = np.array([int(answer) for _, answer, *_ in keys], dtype=np.int64)
        genders, _, occupations, participants = (tuple(column) for column in zip(*keys, strict=True))
        said = {"gender": genders, "occupation": occupations, "participant": participants}
        alone = Examples(task.name, facts.split, ids, (), labels, info.origin, metadata=said)
        examples = check_against_facts(task, alone, gold.accept_different)
    items = []
    for row in range(len(runs)):
        place = runs.place(row)
        seeds = [str(runs.columns[name][row]) for name in RUN_INFO]
        if not all(seed.isdecimal() for seed in seeds):
            raise DataError(f"{place}: the seeds are {seeds[0]!r} and {seeds[1]!r}, not numbers.")
        items.append(
            Item(
                origin=origin_in_group(folder.name, int(seeds[0]), families),
                trained_on=task,
                finetuning_seed=int(seeds[1]),
                settings=known_settings({}, place),
                task=task,
                split=facts.split,
                file=path,
                place=place,
                read=partial(_row, task, matrix, row, path),
            )
        )
    return items, {f"{task.name}.{facts.split}": examples}


def _row(task: Task, matrix: NDArray[np.float64], row: int, path: Path, examples: Examples) -> Fitted:
    return fit(task, examples, of_array(task, matrix[row], path, place=f"{path}, row {row + 1}"))


def _separator(path: Path) -> str:
    """Tab or blank: the notebook's reader takes either."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "\t" if "\t" in file.readline() else " "
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _keys(info: Table) -> list[tuple[str, ...]]:
    """What tells the sentences apart, as ``(gender, answer, occupation, participant)`` in the words of the task."""
    genders = GOOGLE.coreference.genders
    keys: list[tuple[str, ...]] = []
    for row in range(len(info)):
        gender, answer, occupation, participant, someone = (str(info.columns[name][row]) for name in _KEY)
        if gender not in genders or answer not in ("0", "1") or someone not in ("True", "False"):
            raise DataError(
                f"{info.place(row)}: gender {gender!r}, answer {answer!r}, someone {someone!r}; expected "
                f"{', '.join(genders)}, 0 or 1, True or False."
            )
        keys.append((genders[gender], answer, occupation, _SOMEONE if someone == "True" else participant))
    return keys


def _columns(keys: list[tuple[str, ...]], task: Task, examples: Examples, info: Table) -> NDArray[np.int64]:
    """Where each example's sentence stands in ``label_info.tsv``."""
    position = {key: column for column, key in enumerate(keys)}
    wanted = _sentences(examples)
    missing = [key for key in wanted if key not in position]
    if missing or len(position) != len(keys) or len(keys) != len(wanted):
        shown = f", such as the one on {', '.join(missing[0])}" if missing else ""
        raise DataError(
            f"{info.origin} has {len(position)} different sentences, and {len(missing)} of the {len(wanted)} of "
            f"{examples.origin} are not among them{shown}."
        )
    return np.array([position[key] for key in wanted], dtype=np.int64)


def _sentences(examples: Examples) -> list[tuple[str, ...]]:
    assert examples.labels is not None
    columns = [examples.metadata[name] for name in ("gender", "occupation", "participant")]
    return [
        (gender, str(answer), occupation, participant)
        for answer, gender, occupation, participant in zip(examples.labels.tolist(), *columns, strict=True)
    ]


def label_info(examples: Examples) -> tuple[list[int], list[dict[str, str]]]:
    """The rows of ``label_info.tsv``, and which example each is about.

    Templates stay in the order of the examples; within one, named participants come before "someone", and genders
    in the layout's order. The pronoun's type is read off the male sentence. Raises ``DataError`` for sentences that
    are not those of Winogender.
    """
    facts = GOOGLE.coreference
    keys = _sentences(examples)
    if len(keys) % facts.blocks:
        raise DataError(f"{examples.origin} has {len(keys)} sentences, not {facts.blocks} for each template.")
    order = list(facts.genders.values())
    rows: list[int] = []
    said: list[dict[str, str]] = []
    for template, start in enumerate(range(0, len(keys), facts.blocks)):
        block = range(start, start + facts.blocks)
        named = {keys[i][3] for i in block} - {_SOMEONE}
        kinds = {(keys[i][1], keys[i][2]) for i in block}
        if len(named) != 1 or len(kinds) != 1:
            raise DataError(
                f"{examples.origin}: sentences {start + 1} to {start + facts.blocks} are not those of one template."
            )
        words = {
            word.strip(".,").lower()
            for i in block
            if keys[i][0] == "male"
            for word in examples.texts[0][i].split()
        }
        pronoun = next((kind for word, kind in facts.pronouns.items() if word in words), "")
        for i in sorted(block, key=lambda i: (keys[i][3] == _SOMEONE, order.index(keys[i][0]))):
            gender, answer, occupation, participant = keys[i]
            rows.append(i)
            values = (
                next(theirs for theirs, ours in facts.genders.items() if ours == gender),
                pronoun,
                answer,
                occupation,
                min(named),
                str(participant == _SOMEONE),
                str(template),
            )
            said.append(dict(zip(LABEL_INFO, values, strict=True)))
    return rows, said
