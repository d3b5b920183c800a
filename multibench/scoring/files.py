"""Prediction files in the layouts that are in use, read into one form.

==========================  =====================================  ======================================
layout                      first bytes                            used by
==========================  =====================================  ======================================
``{id: answer}`` JSON       ``{``                                  the SQuAD scripts, ``run_qa.py``
id and prediction           ``index<TAB>prediction``               the GLUE server, ``run_glue.py``
id and prediction           ``pairID,gold_label``                  the HANS script, MultiNLI
a table with a header       names of columns                       pandas, spreadsheets
numbers without a header    a number                               ``run_classifier.py``, numpy
parquet                     ``PAR1``                               multibench itself; others as a table
arrays                      ``.npy``, ``.npz``                     numpy
==========================  =====================================  ======================================

The layout is recognised by the content, never by the name of the file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError, ResultsError
from multibench.metrics.squad import ANSWER_OUTPUTS
from multibench.results.store import read_predictions
from multibench.scoring.answers import answers_in
from multibench.scoring.classes import Classes, class_codes, folded, possible_classes
from multibench.scoring.columns import Column, take
from multibench.scoring.numbered import of_array
from multibench.scoring.prediction import Kind, PredictionFile, classes_of_width
from multibench.scoring.tables import TextTable, parquet_columns, read_array, text_table
from multibench.tasks import Task
from multibench.tasks.files import read_text
from multibench.tasks.table import short

__all__ = ["read_prediction_file"]


class _Layout(NamedTuple):
    """A text layout of ids and predictions. HANS calls row i ``exi``, hence the ``prefix`` of ids."""

    prefix: str = ""
    ignores_unknown: bool = False


# First line, in lower case -> layout.
_LAYOUTS: dict[tuple[str, ...], _Layout] = {
    ("index", "prediction"): _Layout(),
    ("pairid", "gold_label"): _Layout(prefix="ex", ignores_unknown=True),
}
_EXPECTED = (
    "'index<TAB>prediction' (GLUE), 'pairID,gold_label' (HANS), names of columns such as 'prediction' or 'output_0', "
    "or numbers alone"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_prediction_file(
    task: Task, path: Path, trained: Task | None = None, array: str | None = None
) -> PredictionFile:
    """The predictions for ``task`` in the file ``path``, of a model of the task ``trained`` if that is known.

    ``array`` names one of several in a ``.npz`` file. Raises ``DataError``, with the line or id, for anything that is
    not in one of the layouts or names an example twice, and ``ResultsError`` for a damaged parquet file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"The prediction file {path} cannot be read: {error.strerror}.") from error
    arrays = start in (b"\x93NUM", b"PK\x03\x04") or path.suffix in (".npy", ".npz")
    if array is not None and (not arrays or start == b"\x93NUM"):
        raise DataError(f"The index names the array '{array}' of {path}, which is no .npz file.")
    if arrays:
        return of_array(task, read_array(path, array), path, trained)
    if start == b"PAR1":
        return _parquet(task, path, trained)
    if task.kind == "span":
        return answers_in(path, read_text(path))
    return _text(task, path, trained)


def _text(task: Task, path: Path, trained: Task | None) -> PredictionFile:
    """A text file with tabs, commas or blanks between cells."""
    text = read_text(path)
    first, _, rest = text.partition("\n")
    for separator in ("\t", ","):
        layout = _LAYOUTS.get(tuple(first.strip().lower().split(separator)))
        if layout is not None:
            return _rows(task, path, rest, separator, layout, trained)
    table = text_table(path)
    if table.numbers is not None:
        return _bare(task, table, path, trained)
    columns = table.columns()
    codes = class_codes(task)
    if len(columns) == 1 and codes and columns[0].name and folded(columns[0].name) in codes:
        columns = [Column("prediction", [columns[0].name, *columns[0].cells])]  # names of classes, no header
    known = [column for column in columns if column.numbers is not None or column.lists is not None]
    named = [c for c in columns if c.texts[:1] and c.texts[0].startswith("LABEL_")]
    named += [c for c in columns if codes and len(c) and {folded(cell) for cell in c.texts} <= set(codes)]
    nameless = any(not column.key for column in columns[1:])
    if nameless or not (known or named) or _looks_like_a_row(columns, codes):
        raise DataError(f"The first line of {path} is {short(first.strip())}; expected {_EXPECTED}.")
    return _taken(task, columns, path, trained)


def _looks_like_a_row(columns: Sequence[Column], codes: Mapping[str, int]) -> bool:
    """Whether the names of the columns are an id and a prediction: the header is missing."""
    return len(columns) == 2 and columns[0].name.isdecimal() and folded(columns[1].name) in codes


def _taken(task: Task, columns: Sequence[Column], path: Path, trained: Task | None) -> PredictionFile:
    possible = possible_classes(task, trained)
    found = take(task, possible, columns, str(path))
    if found.ids is not None and len(set(found.ids)) < len(found.ids):
        name = Counter(found.ids).most_common(1)[0][0]
        raise DataError(f"{path} names the example {name!r} twice.")
    classes = (
        classes_of_width(possible, found.outputs) if found.order is None else _in_order(possible, found.order)
    )
    return PredictionFile(
        path,
        found.kind,  # type: ignore[arg-type]
        found.ids,
        found.outputs,
        labels=None if found.labels is None else np.array(found.labels),
        classes=classes,
        order=found.order,
        taken=found.sentence,
    )


def _in_order(possible: Sequence[Classes], order: Sequence[int]) -> Classes:
    return next(each for each in possible if each.of == tuple(order))


def _bare(task: Task, table: TextTable, path: Path, trained: Task | None) -> PredictionFile:
    """Numbers without a header."""
    assert table.numbers is not None
    file = of_array(task, table.numbers, path, trained)
    return PredictionFile(
        path,
        file.kind,
        None,
        file.outputs,
        classes=file.classes,
        numbered=table.numbered,
        taken=file.taken,
    )


def _rows(
    task: Task, path: Path, text: str, separator: str, layout: _Layout, trained: Task | None
) -> PredictionFile:
    """An id and a label or score on each line; ``text`` is what follows the header."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip(" "):
        lines.pop()
    ids: dict[str, int] = {}
    said: list[str] = []
    for number, line in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        cells = line.strip(" ").split(separator)
        if len(cells) != 2 or not cells[0]:
            raise DataError(f"{where}: {short(line)} is not an id and a prediction. Is the file cut off?")
        if cells[0] in ids:
            raise DataError(f"{where}: the id {cells[0]!r} is already on line {ids[cells[0]]}.")
        ids[cells[0]] = number
        said.append(cells[1])
    kind, outputs = _predicted(task, path, said, trained)
    possible = possible_classes(task, trained)
    return PredictionFile(
        path,
        kind,
        tuple(ids),
        outputs,
        prefix=layout.prefix,
        ignores_unknown=layout.ignores_unknown,
        classes=None
        if not possible
        else possible[0]
        if kind == "classes"
        else classes_of_width(possible, outputs),
        taken="ids from the first column, outputs from the second",
    )


def _predicted(
    task: Task, path: Path, said: Sequence[str], trained: Task | None
) -> tuple[Kind, NDArray[Any]]:
    """What the lines after a header say: classes by their names or codes, class numbers of the source, or values."""
    codes = class_codes(task)
    if not codes:
        values = [_score_of(text, f"{path}, line {number}") for number, text in enumerate(said, start=2)]
        return "values", np.array(values, dtype=np.float64)
    if said and not any(folded(text) in codes for text in said):
        most = max(len(classes) for classes in possible_classes(task, trained))
        if all(text.isascii() and text.isdecimal() and int(text) < most for text in said):
            return "numbers", np.array([int(text) for text in said], dtype=np.int64)
    classes = [_class_of(task, codes, text, f"{path}, line {k}") for k, text in enumerate(said, start=2)]
    return "classes", np.array(classes, dtype=np.int64)


def _class_of(task: Task, codes: dict[str, int], label: str, where: str) -> int:
    code = codes.get(folded(label))
    if code is None:
        raise DataError(
            f"{where}: the prediction is {short(label)}; {task.name} knows {', '.join(map(repr, codes))}."
        )
    return code


def _score_of(text: str, where: str) -> float:
    score = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: the prediction is {short(text)}, not a number.")
    return score


def _parquet(task: Task, path: Path, trained: Task | None) -> PredictionFile:
    """What multibench stored, or a table of somebody else's."""
    if task.kind != "span":
        try:
            columns = parquet_columns(path)
        except DataError:
            columns = []  # the reader of what is stored says what is wrong
        outputs = [column for column in columns if column.name.startswith("output_")]
        # What is stored here is in single precision.
        others = outputs and all(getattr(column.cells, "dtype", None) == np.float64 for column in outputs)
        if columns and (not outputs or others):
            return _taken(task, columns, path, trained)
    return _stored(task, path, trained)


def _stored(task: Task, path: Path, trained: Task | None) -> PredictionFile:
    """What multibench stored of one evaluation."""
    try:
        stored = read_predictions(path)
    except (TypeError, OverflowError) as error:
        raise ResultsError(f"{path} cannot be read as predictions: {error}.") from error

    def refuse(what: str) -> NoReturn:
        raise DataError(f"{path} holds no predictions for {task.name}: {what}.")

    possible = possible_classes(task, trained)
    width = len(ANSWER_OUTPUTS) if task.kind == "span" else task.outputs
    if any(not isinstance(name, str) for name in stored.ids):
        refuse("its ids are not texts")
    if len(set(stored.ids)) < len(stored.ids):
        refuse("an id occurs twice")
    widths = {width, *(len(each) for each in possible)}
    if stored.outputs.dtype.kind != "f" or stored.outputs.shape[1] not in widths:
        refuse(f"it has {stored.outputs.shape[1]} columns of {stored.outputs.dtype}, not {width} of numbers")
    if not np.isfinite(stored.outputs if task.kind != "span" else stored.outputs[:, :-1]).all():
        refuse("some outputs are NaN or infinite")
    if task.kind == "span" and (
        stored.texts is None or any(not isinstance(text, str) for text in stored.texts)
    ):
        refuse("its column of texts is missing or has gaps")
    if stored.labels is not None and stored.labels.dtype.kind not in "if":
        refuse(f"its labels are {stored.labels.dtype}")
    kind: Kind = "stored" if stored.outputs.shape[1] == width else "scores"
    return PredictionFile(
        path,
        kind,
        stored.ids,
        stored.outputs,
        texts=stored.texts,
        labels=stored.labels,
        classes=classes_of_width(possible, stored.outputs),
    )
