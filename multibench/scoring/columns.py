"""Which column of a table of predictions is what: ids, labels, outputs, or none of them.

A column is an output only if it can be one. Row numbers, ids, texts and constants are none, unless a name says
otherwise; where what is left can be read in two ways, the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.classes import Classes, class_codes, folded
from multibench.tasks import Task
from multibench.tasks.table import short

__all__ = ["Column", "Taken", "is_counter", "take", "uneven_constant"]

_IDS = ("id", "ids", "example_id", "pairid", "qid", "guid", "idx", "index", "row", "row_id", "unnamed: 0", "")
_LABELS = (
    "label",
    "labels",
    "gold",
    "gold_label",
    "true_label",
    "target",
    "targets",
    "y_true",
    "reference",
    "references",
)
_SAID = (
    "prediction",
    "predictions",
    "predicted",
    "pred",
    "preds",
    "predicted_label",
    "predicted_class",
    "y_pred",
)
_VALUES = ("score", "scores", "value", "values", "output", "outputs", "logit", "logits")
_SCORE = re.compile(
    r"(?:(?:p|prob|probs|proba|probability|logit|logits|score|scores|output|class|label)[ _-]?)?(.+)"
)
_PLAIN = frozenset("0123456789.+-eEinfaNINF ")


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table as it was read: its name, and its ``cells`` as texts or numbers ``(n,)``."""

    name: str
    cells: Sequence[Any] | NDArray[Any]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def key(self) -> str:
        """The name without case and blanks around it."""
        return self.name.strip().lower()

    @cached_property
    def numbers(self) -> NDArray[np.float64] | None:
        """The cells as numbers, NaN and infinity among them; None if one is something else."""
        if isinstance(self.cells, np.ndarray) and self.cells.dtype.kind in "iufb":
            return self.cells.astype(np.float64)
        texts = [cell if isinstance(cell, str) else "" if cell is None else str(cell) for cell in self.cells]
        if not texts or not set().union(*texts) <= _PLAIN:
            return None
        try:
            return np.array([float(text) for text in texts])
        except ValueError:
            return None

    @cached_property
    def lists(self) -> NDArray[np.float64] | None:
        """The lists of numbers in the cells, ``(n, k)``; None if they are no such lists, or not of equal length."""
        rows = [_list(cell) for cell in self.cells]
        if not rows or any(row is None or len(row) < 2 or len(row) != len(rows[0] or ()) for row in rows):
            return None
        return np.array(rows)

    @cached_property
    def texts(self) -> list[str]:
        """The cells as texts; whole numbers that are written with a decimal point, without it."""
        texts = [str(cell) for cell in self.cells]
        whole = self.numbers
        if whole is None or not np.isfinite(whole).all() or (whole != np.rint(whole)).any():
            return texts
        return [str(int(cell)) for cell in whole.tolist()] if any("." in text for text in texts) else texts

    @property
    def constant(self) -> bool:
        """Whether all cells are the same."""
        return len(set(self.texts)) < 2

    @property
    def counts(self) -> bool:
        """Whether it holds the numbers of the rows, in some order, from 0 or 1."""
        return self.numbers is not None and is_counter(self.numbers)


class Taken(NamedTuple):
    """What was found in a table.

    ``outputs`` are class numbers of the task int64 ``(n,)`` (``kind`` ``classes``), of the source (``numbers``),
    scores float64 ``(n, k)`` (``scores``) or values float64 ``(n,)`` (``values``). ``order`` is the class of each
    score, where the names of columns say so.
    """

    kind: str
    outputs: NDArray[Any]
    ids: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    order: tuple[int, ...] | None
    sentence: str


def is_counter(numbers: NDArray[np.float64]) -> bool:
    """Whether these are 0 .. n - 1 or 1 .. n in some order."""
    if len(numbers) < 3 or numbers.min() not in (0, 1):
        return False
    ordered = np.sort(numbers)
    return any(np.array_equal(ordered, np.arange(len(numbers)) + start) for start in (0, 1))


def uneven_constant(values: NDArray[np.float64]) -> int | None:
    """A column of ``(n, k)`` that is the same in every row while others are not, and that is no share of a whole.

    None if there is none. Rows that sum to the same are shares, and so may have a class that is never given any.
    """
    if len(values) < 3 or not np.isfinite(values).all() or np.ptp(values.sum(axis=1)) < 1e-3:
        return None
    constant = np.ptp(values, axis=0) == 0
    return int(np.flatnonzero(constant)[0]) if constant.any() and not constant.all() else None


def take(task: Task, possible: Sequence[Classes], columns: Sequence[Column], where: str) -> Taken:
    """The outputs, ids and labels in ``columns``, all of one length.

    ``possible`` are the classes that the outputs may be of. Raises ``DataError``, with what each column is, if
    there are no outputs, or it cannot be told which columns these are.
    """
    by_key = {column.key: column for column in reversed(columns)}
    ids = next((by_key[key] for key in _IDS if key in by_key and (key or columns[0].key == "")), None)
    labels = next((by_key[key] for key in _LABELS if key in by_key), None)
    rest = [column for column in columns if column is not ids and column is not labels]
    found = _named_scores(possible, rest, where) or _listed(possible, rest, where) or _said(task, rest, where)
    if found is None:
        counter = next((column for column in rest if column.counts), None) if ids is None else None
        ids = ids or counter
        found = _left(task, possible, [c for c in rest if c is not ids and not c.counts], columns, where)
    kind, outputs, order, used = found
    ids = ids or next((column for column in rest if column.counts and column not in used), None)
    unused = [c for c in columns if c is not ids and c is not labels and c not in used]
    _refuse_unread_names(ids, unused, where)
    return Taken(
        kind,
        outputs,
        None if ids is None else tuple(ids.texts),
        None if labels is None else tuple(labels.texts),
        order,
        _sentence(ids, labels, used, unused),
    )


_Found = tuple[str, NDArray[Any], "tuple[int, ...] | None", list[Column]]


def _named_scores(possible: Sequence[Classes], columns: Sequence[Column], where: str) -> _Found | None:
    """Columns that are called by classes, or by numbers from 0, with a word such as ``logit_`` before it."""
    named: dict[str, Column] = {}
    for column in columns:
        if column.numbers is not None:
            match = _SCORE.fullmatch(column.key)
            for key in (column.key, match[1] if match else column.key):
                named.setdefault(folded(key), column)
    for classes in possible:
        keys = [folded(name.lower()) for name in classes.names]
        if all(key in named for key in keys):
            return _scores([named[key] for key in keys], classes.of, where)
    numbers = sorted(int(key) for key in named if key.isdecimal() and len(key) < 4)
    if len(numbers) > 1 and numbers in [list(range(len(classes))) for classes in possible]:
        return _scores([named[str(number)] for number in numbers], None, where)
    return None


def _scores(columns: list[Column], order: tuple[int, ...] | None, where: str) -> _Found:
    values = np.stack([column.numbers for column in columns if column.numbers is not None], axis=1)
    _refuse_gaps(values, columns, where)
    return "scores", values, order, columns


def _refuse_gaps(values: NDArray[np.float64], columns: Sequence[Column], where: str) -> None:
    bad = np.argwhere(~np.isfinite(values.reshape(len(values), -1)))
    if len(bad):
        row, column = bad[0].tolist()
        name = columns[min(column, len(columns) - 1)].name
        raise DataError(
            f"{where} holds NaN or infinity, first in row {row} counted from 0 of the column '{name}'."
        )


def _listed(possible: Sequence[Classes], columns: Sequence[Column], where: str) -> _Found | None:
    """A column with a list of scores in each cell."""
    for column in columns:
        lists = column.lists if column.numbers is None else None
        if lists is not None:
            if lists.shape[1] not in {len(classes) for classes in possible}:
                expected = " or ".join(str(len(classes)) for classes in possible) or "a number, not lists"
                raise DataError(
                    f"{where}: the lists in the column '{column.name}' have {lists.shape[1]} numbers; expected "
                    f"{expected}."
                )
            _refuse_gaps(lists, [column], where)
            return "scores", lists, None, [column]
    return None


def _said(task: Task, columns: Sequence[Column], where: str) -> _Found | None:
    """The column that is called a prediction."""
    names = _SAID if task.kind == "classification" else (*_SAID, *_VALUES)
    column = next((column for name in names for column in columns if column.key == name), None)
    return None if column is None else _one(task, column, where)


def _one(task: Task, column: Column, where: str) -> _Found:
    """One column of classes, by name or number, or of values."""
    numbers = column.numbers
    if task.kind == "regression":
        if numbers is None:
            raise DataError(f"{where}: the column '{column.name}' holds no numbers, or has gaps.")
        _refuse_gaps(numbers, [column], where)
        return "values", numbers, None, [column]
    if numbers is not None:
        _refuse_gaps(numbers, [column], where)
        if (numbers != np.rint(numbers)).any():
            odd = numbers[numbers != np.rint(numbers)][0]
            raise DataError(
                f"{where}: the column '{column.name}' holds {odd:g}, no class number; scores are wanted for each "
                "class, in a column each."
            )
        return "numbers", numbers.astype(np.int64), None, [column]
    numbered = [re.fullmatch(r"LABEL_(\d{1,3})", text) for text in column.texts]
    if all(numbered):  # what transformers calls a class that has no name
        return "numbers", np.array([int(each[1]) for each in numbered if each]), None, [column]
    codes = class_codes(task)
    for row, text in enumerate(column.texts):
        if folded(text) not in codes:
            known = ", ".join(map(repr, codes))
            raise DataError(
                f"{where}, row {row} counted from 0: the prediction is {short(text)}; {task.name} knows {known}."
            )
    return "classes", np.array([codes[folded(text)] for text in column.texts]), None, [column]


def _left(
    task: Task, possible: Sequence[Classes], left: Sequence[Column], columns: Sequence[Column], where: str
) -> _Found:
    """Outputs among columns whose names say nothing: those that are not constant, if they are as many as expected."""
    codes = class_codes(task)
    numeric = [column for column in left if column.numbers is not None and not column.constant]
    classes = [
        column
        for column in left
        if column.numbers is None and codes and {folded(t) for t in column.texts} <= set(codes)
    ]
    widths = {len(each) for each in possible}
    if len(numeric) in widths and len(numeric) > 1 and not classes:
        return _scores(list(numeric), None, where)
    if len(numeric) + len(classes) == 1:
        return _one(task, (numeric + classes)[0], where)
    expected = " or ".join(map(str, sorted(widths))) if widths else ""
    wanted = f"'prediction', or {expected} of scores, 'output_0' and so on" if expected else "'prediction'"
    raise DataError(
        f"{where}: it cannot be told which of its columns are outputs; {_described(columns)}. Name them: a column "
        f"{wanted}."
    )


def _described(columns: Sequence[Column]) -> str:
    """Each column with what it looks like."""
    what = {
        column.name: "no class score: it counts the rows"
        if column.counts
        else "ids"
        if column.key in _IDS
        else "constant"
        if column.constant
        else "texts"
        if column.numbers is None
        else "numbers"
        for column in columns[:8]
    }
    return ", ".join(f"'{name}' ({kind})" for name, kind in what.items())


def _refuse_unread_names(ids: Column | None, unused: Sequence[Column], where: str) -> None:
    """A column of distinct words may say which row is which example: it is not passed over."""
    for column in unused if ids is None else ():
        distinct = column.numbers is None and len(set(column.texts)) == len(column) > 2
        if distinct and not any(" " in text for text in column.texts):
            raise DataError(
                f"{where}: the column '{column.name}' seems to name the examples; call it 'id' if it does, or leave "
                "it out if the rows are in the order of the split."
            )


def _sentence(
    ids: Column | None, labels: Column | None, used: Sequence[Column], unused: Sequence[Column]
) -> str:
    parts = [f"outputs from {_names(used)}"]
    parts += [f"ids from {_names([ids])}" if ids is not None else "rows in the order of the split"]
    parts += [f"labels from {_names([labels])}"] if labels is not None else []
    parts += [f"not read: {_names(unused)}"] if unused else []
    return ", ".join(parts)


def _names(columns: Sequence[Column]) -> str:
    shown = ", ".join(f"'{column.name}'" if column.name else "the first column" for column in columns[:6])
    return shown + (f" and {len(columns) - 6} more" if len(columns) > 6 else "")


def _list(cell: Any) -> list[float] | None:
    """The numbers of a list, as JSON, Python or numpy write it."""
    if isinstance(cell, Mapping):
        return None
    if isinstance(cell, str):
        text = cell.strip()
        if text[:1] not in ("[", "("):
            return None
        cell = re.split(r"[,\s]+", text.strip("[]() \t"))
    try:
        return [float(part) for part in cell]
    except (TypeError, ValueError):
        return None
