"""A prediction file and the examples that it is for, put together: which row is which, what is missing, whose labels.

What becomes of examples that a file leaves out, and of ids that the split has not, is as in the official
scripts wherever these end with a score:

- SQuAD v1.1: a question without an answer in the file scores 0, and the means are over all questions.
- SQuAD v2.0, HANS: the scripts stop at an example that the file leaves out, and so does this.
- All three pass over ids that they do not know. The GLUE server's treatment is not published: a file
  in its layout, or a stored one, must name every example and no other.

A file that names none of the examples is refused in any layout: it belongs to other data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.classes import class_codes, folded
from multibench.scoring.prediction import PredictionFile
from multibench.tasks import Examples, Task

__all__ = ["Fitted", "counted", "fit", "stands_for", "values_of"]

# Published scores have three decimals.
_SAME_SCORE = 1e-3


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a ``file`` says of each of the ``n`` examples of a split.

    ``position`` ``(n,)`` is the row of each, -1 where it has none; ``missing`` are the ids of these, and ``extra``
    those of no example. ``order`` is the task's class of each output, where names of columns or a column of labels
    say so.
    """

    file: PredictionFile
    position: NDArray[np.int64]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    order: tuple[int, ...] | None = None

    @property
    def outputs(self) -> NDArray[Any] | None:
        """The outputs in the order of the examples; None for answers."""
        outputs = self.file.outputs
        if outputs is None or (self.file.ids is None and len(outputs) == len(self.position)):
            return outputs
        return outputs[self.position]

    @property
    def given(self) -> NDArray[np.bool_]:
        """Which examples have a prediction, ``(n,)``."""
        return self.position >= 0

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The answers in the order of the examples, "" where there is none; None for other kinds."""
        texts = self.file.texts
        return None if texts is None else tuple(texts[k] if k >= 0 else "" for k in self.position.tolist())

    def notes(self, split: str) -> tuple[str, ...]:
        """What was counted as 0 or ignored, in sentences."""
        notes = []
        if self.missing:
            notes.append(f"{counted(self.missing, 'example')} without a prediction: counted as 0.")
        if self.extra:
            notes.append(f"{counted(self.extra, 'id')} not in {split}: ignored.")
        return tuple(notes)


def fit(task: Task, examples: Examples, file: PredictionFile) -> Fitted:
    """Find each example in ``file``.

    Raises ``DataError`` if the file does not fit the split, or carries other labels.
    """
    if file.ids is None:
        position = _in_row_order(examples, file)
        return Fitted(file, position, order=file.order or _labelled(task, examples, file, position))
    position, missing, extra = _by_id(task, examples, file, file.ids)
    order = file.order or _labelled(task, examples, file, position)
    return Fitted(file, position, missing, extra, order)


def _in_row_order(examples: Examples, file: PredictionFile) -> NDArray[np.int64]:
    assert file.outputs is not None
    n, rows = len(examples), len(file.outputs)
    for header in (0, 1) if file.numbered else (0,):
        if rows - header == n:
            return np.arange(header, rows)
        if examples.left_out and rows - header == n + examples.left_out:
            return np.array([int(name) + header for name in examples.ids])
    raise DataError(
        f"{file.where} has the shape {file.outputs.shape}; expected {n} rows, one for each example of {examples.task}."
        f"{examples.split}."
    )


def _by_id(
    task: Task, examples: Examples, file: PredictionFile, ids: Sequence[str]
) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Where each example is in the file (-1: nowhere), the missing ids and the extra ones."""
    where = {name: k for k, name in enumerate(ids)}
    names = [file.prefix + name for name in examples.ids]
    position = np.array([where.get(name, -1) for name in names], dtype=np.int64)
    known = set(names)
    missing = tuple(name for name, k in zip(names, position.tolist(), strict=True) if k < 0)
    extra = tuple(name for name in ids if name not in known)
    split = f"{task.name}.{examples.split}"
    if len(missing) == len(examples):
        raise DataError(
            f"{file.where} has no prediction for any example of {split}, whose ids are {names[0]!r} and so on; "
            f"it names {counted(extra, 'id') if extra else 'nothing'}. Is it for another task or split?"
        )
    counts_as_zero = file.outputs is None and not task.unanswerable
    if missing and not counts_as_zero:
        raise DataError(
            f"{file.where} has no prediction for {counted(missing, 'example')} of {split}; it must have one for each."
        )
    # Rows that the split leaves out may well have been predicted.
    strange = [
        name for name in extra if not (examples.left_out and name.removeprefix(file.prefix).isdecimal())
    ]
    if strange and not file.ignores_unknown:
        raise DataError(f"{file.where} names {counted(tuple(strange), 'id')} that {split} has not.")
    return position, missing, extra


def _labelled(
    task: Task, examples: Examples, file: PredictionFile, position: NDArray[np.int64]
) -> tuple[int, ...] | None:
    """Check the labels that the file carries; the class of each output, if these say so.

    Labels that are all the same, while those of the split are not, stand for none. Raises ``DataError`` for others than
    those of the examples.
    """
    if file.labels is None or examples.labels is None or task.kind == "span":
        return None
    given, gold = file.labels[position], np.asarray(examples.labels)
    if len(set(given.tolist())) < 2 <= len(set(gold.tolist())):
        return None
    if file.kind == "stored":
        if not np.array_equal(given, gold):
            raise DataError(
                f"{file.where} carries other labels than {examples.origin}: it was made on other data."
            )
        return None
    if task.kind == "regression":
        _refuse_other_scores(examples, file, given, gold)
        return None
    return _refuse_other_classes(task, examples, file, given, gold)


def _refuse_other_scores(
    examples: Examples, file: PredictionFile, given: NDArray[Any], gold: NDArray[Any]
) -> None:
    try:
        values = given.astype(np.float64)
    except ValueError:
        return
    other = ~(np.abs(values - gold) <= _SAME_SCORE)
    if other.any():
        raise DataError(
            f"The labels in {file.where} differ from those of {examples.origin} in {int(other.sum())} of {len(gold)} "
            f"rows, first for {examples.ids[int(np.flatnonzero(other)[0])]!r}: other data, or another order of rows."
        )


def _refuse_other_classes(
    task: Task, examples: Examples, file: PredictionFile, given: NDArray[Any], gold: NDArray[Any]
) -> tuple[int, ...] | None:
    """The class of each output, if labels are numbers and outputs are numbered alike."""
    codes = class_codes(task)
    texts = [str(label) for label in given.tolist()]
    named = all(folded(text) in codes and not text.lstrip("-").isdigit() for text in texts)
    meaning: Mapping[str, int] = codes if named else stands_for(texts, gold)
    means = np.array([meaning.get(folded(text) if named else text, -1) for text in texts])
    alone = len({meaning[text] for text in set(texts)}) == len(set(texts)) if not named else True
    if (means != gold).any() or not alone:
        agree = (
            means == gold
            if named
            else np.array([text == str(k) for text, k in zip(texts, gold, strict=True)])
        )
        raise DataError(
            f"{file.where} has labels of its own, and these agree with {examples.origin} in {100 * agree.mean():.2f} "
            f"% of {len(gold)} rows: its rows are in another order, or it is of other "
            f"data.{_own_accuracy(file, texts)} Correct the file or leave it out; a column of ids says which row is "
            "which."
        )
    width = 0 if file.classes is None else len(file.classes)
    if named or file.kind not in ("numbers", "scores") or file.classes is None or file.classes.merged:
        return None
    order = tuple(meaning.get(str(k), -1) for k in range(width))
    return order if sorted(order) == list(range(width)) else None


def _own_accuracy(file: PredictionFile, labels: Sequence[str]) -> str:
    """How well the file's predictions go with its own labels, as a sentence with a blank before it."""
    if file.outputs is None or file.kind not in ("numbers", "scores") or file.ids is not None:
        return ""
    said = file.outputs.argmax(axis=1) if file.outputs.ndim == 2 else file.outputs
    right = np.mean([str(k) == label for k, label in zip(said.tolist(), labels, strict=False)])
    return f" Against its own labels its accuracy is {100 * right:.2f} %."


def values_of(task: Task, fitted: Fitted, place: str, force: bool) -> NDArray[np.float32]:
    """The values of a regression, ``(n, 1)``.

    Raises ``DataError`` for what looks like the numbers of two classes, unless told to ``force`` it.
    """
    values = fitted.outputs
    assert values is not None
    if set(np.unique(values).tolist()) == {0.0, 1.0} and not force:
        raise DataError(
            f"{place} holds nothing but 0 and 1, as numbers of two classes do, and {task.name} is a regression. Is it "
            "of another task? If these are the values that the model gave, --force takes them."
        )
    return np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float32)


def stands_for(values: Sequence[Any], labels: NDArray[np.int64]) -> dict[Any, int]:
    """The class that each of ``values`` mostly stands beside."""
    rows: dict[Any, list[int]] = {}
    for value, label in zip(values, labels.tolist(), strict=True):
        rows.setdefault(value, []).append(label)
    return {value: int(np.bincount(found).argmax()) for value, found in rows.items()}


def counted(names: Sequence[str], noun: str) -> str:
    """``3 ids ('a', 'b', ...)``."""
    shown = ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({shown})"
