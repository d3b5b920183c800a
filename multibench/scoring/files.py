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

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError, ResultsError
from multibench.metrics.squad import ANSWER_OUTPUTS
from multibench.results.store import read_predictions
from multibench.scoring.classes import Classes, class_codes, folded, possible_classes
from multibench.scoring.columns import Column, is_counter, take, uneven_constant
from multibench.scoring.tables import TextTable, parquet_columns, read_array, text_table
from multibench.tasks import Task
from multibench.tasks.files import read_text
from multibench.tasks.table import short

__all__ = ["Kind", "PredictionFile", "of_array", "read_null_odds", "read_prediction_file"]

Kind = Literal["classes", "numbers", "scores", "values", "answers", "stored"]


class _Layout(NamedTuple):
    """A text layout of ids and predictions. HANS calls row i ``exi``, hence the ``prefix`` of ids."""

    prefix: str = ""
    ignores_unknown: bool = False


# First line, in lower case -> layout.
_LAYOUTS = {
    ("index", "prediction"): _Layout(),
    ("pairid", "gold_label"): _Layout(prefix="ex", ignores_unknown=True),
}
_EXPECTED = (
    "'index<TAB>prediction' (GLUE), 'pairID,gold_label' (HANS), names of columns such as 'prediction' or 'output_0', or "
    "numbers alone"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """What a file says about each of the ``n`` examples that it names, or of which it has a row.

    ``kind`` says what ``outputs`` are: ``classes`` of the task, int64 ``(n,)``; class ``numbers`` of the source, int64
    ``(n,)``; ``scores`` float64 ``(n, k)``, of classes in an order that is not known unless ``order`` gives the task's
    class of each; ``values`` float64 ``(n,)``; or as ``stored`` here (``multibench.results.Predictions``), float32
    ``(n, outputs)``. None for ``answers``, whose ``texts`` stand alone, perhaps with ``null_odds`` ``(n,)``.
    ``classes`` are what the outputs may be of. ``ids`` is None where rows are in the order of the split. ``labels``
    ``(n,)`` are those that the file itself carries. ``prefix`` stands before an example's id in this layout.
    ``ignores_unknown``: whether the layout's official reader passes over ids that the split has not. ``numbered``:
    whether the first row, which is 0, 1, ..., may be a header. ``taken`` says which column was taken as what.
    """

    path: Path
    kind: Kind
    ids: tuple[str, ...] | None
    outputs: NDArray[Any] | None
    texts: tuple[str, ...] | None = None
    labels: NDArray[Any] | None = None
    prefix: str = ""
    ignores_unknown: bool = False
    classes: Classes | None = None
    order: tuple[int, ...] | None = None
    null_odds: NDArray[np.float64] | None = None
    numbered: bool = False
    taken: str = ""
    place: str = ""
    """What messages call it."""

    @property
    def where(self) -> str:
        """What messages call it: the file, or an entry of it."""
        return self.place or str(self.path)


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
        return _answers(path, read_text(path))
    return _text(task, path, trained)


def _answers(path: Path, text: str) -> PredictionFile:
    """SQuAD's JSON: one object, question ids to answers."""
    answers = _object(path, text, "{id: text}")
    for name, answer in answers.items():
        if not name.isprintable():
            raise DataError(f"{path}: {short(name)} is no id of a question.")
        if not isinstance(answer, str):
            raise DataError(
                f'{path}: the answer to {name!r} is {short(answer)}, not a text; expected {{id: text}}, with "" for '
                "no answer."
            )
    return PredictionFile(
        path, "answers", tuple(answers), None, texts=tuple(answers.values()), ignores_unknown=True
    )


def _object(path: Path, text: str, expected: str) -> dict[str, Any]:
    """A JSON object whose names are ids of questions, each once."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        (name, times), *_ = Counter(name for name, _ in pairs).most_common(1) or [("", 0)]
        if times > 1:
            raise DataError(f"{path} answers the question {name!r} twice.")
        return dict(pairs)

    try:
        answers = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}. Is it cut off?") from error
    if not isinstance(answers, dict):
        raise DataError(
            f"{path} holds no JSON object; expected question ids with their answers, {expected}."
        )
    return answers


def read_null_odds(path: Path) -> Mapping[str, float]:
    """The odds of no answer by question id, ``{id: number}``: the null score minus that of the best answer.

    What ``run_qa.py`` calls ``null_odds.json``, and ``run_squad.py`` too. Raises ``DataError`` for anything else.
    """
    odds = _object(path, read_text(path), "{id: odds of no answer}")
    for name, value in odds.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DataError(f"{path}: the odds of no answer to {name!r} are {short(value)}, not a number.")
    return odds


def _text(task: Task, path: Path, trained: Task | None) -> PredictionFile:
    """A text file with tabs, commas or blanks between cells."""
    text = read_text(path)
    first, _, rest = text.partition("\n")
    for separator in ("\t", ","):
        layout = _LAYOUTS.get(tuple(first.strip().lower().split(separator)))  # type: ignore[call-overload]
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
    named = [c for c in columns if codes and len(c) and {folded(cell) for cell in c.texts} <= set(codes)]
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
    classes = _of_width(possible, found.outputs) if found.order is None else _in_order(possible, found.order)
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


def _of_width(possible: Sequence[Classes], outputs: NDArray[Any]) -> Classes | None:
    """The classes that so many scores, or class numbers so large, are of; the task's own if both would do."""
    if not possible:
        return None
    width = outputs.shape[1] if outputs.ndim == 2 else int(outputs.max(initial=0)) + 1
    fitting = [each for each in possible if (len(each) == width if outputs.ndim == 2 else len(each) >= width)]
    return fitting[0] if fitting else possible[0]


def _in_order(possible: Sequence[Classes], order: Sequence[int]) -> Classes:
    return next(each for each in possible if each.of == tuple(order))


def of_array(
    task: Task, values: NDArray[Any], path: Path, trained: Task | None = None, place: str = ""
) -> PredictionFile:
    """What an array of one run says: ``(n,)`` class numbers or values, ``(n, k)`` scores or ``(n, 1)``; in row order.

    Raises ``DataError`` for other shapes, for what is not finite, and for columns that can be no scores.
    """
    where = place or str(path)
    if values.dtype.kind not in "iufb":
        raise DataError(f"{where} holds {values.dtype}; expected numbers.")
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim not in (1, 2):
        raise DataError(f"{where} has the shape {values.shape}; expected a row for each example.")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
        raise DataError(f"{where} holds NaN or infinity, first in row {row} counted from 0.")
    possible = possible_classes(task, trained)
    if task.kind == "span" or (task.kind == "regression" and values.ndim == 2):
        expected = "answers as texts" if task.kind == "span" else "1 number for each example"
        given = values.shape[1] if values.ndim == 2 else 1
        raise DataError(f"{where} has {given} numbers for each example; {task.name} takes {expected}.")
    if task.kind == "regression":
        return PredictionFile(path, "values", None, values.astype(np.float64), place=place)
    if values.ndim == 2:
        _refuse_no_scores(task, possible, values.astype(np.float64), where)
        classes = _of_width(possible, values)
        return PredictionFile(path, "scores", None, values.astype(np.float64), classes=classes, place=place)
    whole = values.astype(np.int64)
    _refuse_no_class(possible, whole, values, where)
    return PredictionFile(path, "numbers", None, whole, classes=_of_width(possible, whole), place=place)


def _refuse_no_scores(
    task: Task, possible: Sequence[Classes], values: NDArray[np.float64], where: str
) -> None:
    for column in range(values.shape[1]):
        if is_counter(values[:, column]):
            raise DataError(
                f"{where}: column {column}, counted from 0, is no class score: it counts the rows. Leave it out, or "
                "give the columns names, 'index' and 'prediction'."
            )
    if values.shape[1] not in {len(classes) for classes in possible}:
        expected = " or ".join(str(len(classes)) for classes in possible)
        raise DataError(
            f"{where} has {values.shape[1]} numbers for each example; {task.name} takes {expected} numbers for each "
            "example."
        )
    constant = uneven_constant(values)
    if constant is not None:
        raise DataError(
            f"{where}: column {constant}, counted from 0, is the same in every row and so no class score. Leave it out, "
            "or give the columns names: 'prediction', or 'output_0' and so on."
        )


def _refuse_no_class(
    possible: Sequence[Classes], whole: NDArray[np.int64], values: NDArray[Any], where: str
) -> None:
    most = max(len(classes) for classes in possible)
    strange = (whole != values) | (whole < 0) | (whole >= most)
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        raise DataError(
            f"{where} has {values[row]:g} in row {row} counted from 0; expected class numbers from 0 to {most - 1}, or "
            f"{most} scores for each example."
        )


def _bare(task: Task, table: TextTable, path: Path, trained: Task | None) -> PredictionFile:
    """Numbers without a header."""
    assert table.numbers is not None
    file = of_array(task, table.numbers, path, trained)
    return PredictionFile(
        path, file.kind, None, file.outputs, classes=file.classes, numbered=table.numbered
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
        classes=None if not possible else possible[0] if kind == "classes" else _of_width(possible, outputs),
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
        if columns and not any(column.name.startswith("output_") for column in columns):
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
        classes=_of_width(possible, stored.outputs),
    )
