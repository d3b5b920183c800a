"""Prediction files in the layouts that are in use, read into one form.

==========================  =====================================  ======================================
layout                      first bytes                            used by
==========================  =====================================  ======================================
``{id: answer}`` JSON       ``{``                                  the SQuAD scripts
tab-separated               ``index<TAB>prediction``               the GLUE server
comma-separated             ``pairID,gold_label``                  the HANS script, MultiNLI
parquet                     ``PAR1``                               multibench itself
==========================  =====================================  ======================================

The layout is recognised by the content, never by the name of the file.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError, ResultsError
from multibench.metrics.squad import ANSWER_OUTPUTS
from multibench.results.store import read_predictions
from multibench.tasks import Task
from multibench.tasks.files import read_text
from multibench.tasks.table import short

__all__ = ["PredictionFile", "read_prediction_file"]


class _Layout(NamedTuple):
    """A text layout. HANS calls row i ``exi``, hence the ``prefix`` of ids."""

    separator: str
    prefix: str = ""
    ignores_unknown: bool = False


# First line, in lower case -> layout.
_LAYOUTS = {
    "index\tprediction": _Layout("\t"),
    "pairid,gold_label": _Layout(",", prefix="ex", ignores_unknown=True),
}
_EXPECTED = "'index<TAB>prediction' (GLUE) or 'pairID,gold_label' (HANS)"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """What a file says about each of the ``n`` examples that it names.

    ``outputs`` is class numbers int64 ``(n,)``, scores float64 ``(n,)``, or as they are stored
    (``multibench.results.Predictions``) float32 ``(n, outputs)``; None where there are ``texts`` alone.
    ``texts`` are answers, for spans only. ``labels`` ``(n,)`` are those that the file itself carries.
    ``prefix`` stands before an example's id in this layout. ``ignores_unknown``: whether the layout's official
    reader passes over ids that the split has not.
    """

    path: Path
    ids: tuple[str, ...]
    outputs: NDArray[Any] | None
    texts: tuple[str, ...] | None = None
    labels: NDArray[Any] | None = None
    prefix: str = ""
    ignores_unknown: bool = False


def read_prediction_file(task: Task, path: Path) -> PredictionFile:
    """The predictions for ``task`` in the file ``path``.

    Raises ``DataError``, with the line or id, for anything that is not in one of the layouts or names
    an example twice, and ``ResultsError`` for a damaged parquet file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"The prediction file {path} cannot be read: {error.strerror}.") from error
    if start == b"PAR1":
        return _stored(task, path)
    text = read_text(path)
    return _answers(path, text) if task.kind == "span" else _rows(task, path, text)


def _answers(path: Path, text: str) -> PredictionFile:
    """SQuAD's JSON: one object, question ids to answers."""

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
            f"{path} holds no JSON object; expected question ids with their answers, {{id: text}}."
        )
    for name, answer in answers.items():
        if not name.isprintable():
            raise DataError(f"{path}: {short(name)} is no id of a question.")
        if not isinstance(answer, str):
            raise DataError(
                f'{path}: the answer to {name!r} is {short(answer)}, not a text; expected {{id: text}}, with "" for '
                "no answer."
            )
    return PredictionFile(path, tuple(answers), None, texts=tuple(answers.values()), ignores_unknown=True)


def _rows(task: Task, path: Path, text: str) -> PredictionFile:
    """A header, then an id and a label or score on each line."""
    header, *lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines and lines[-1] == "":
        lines.pop()
    layout = _LAYOUTS.get(header.strip().lower())
    if layout is None:
        raise DataError(f"The first line of {path} is {short(header)}; expected {_EXPECTED}.")
    ids: dict[str, int] = {}
    values: list[float] = []
    codes = _class_codes(task)
    for number, line in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        cells = line.strip(" ").split(layout.separator)
        if len(cells) != 2 or not cells[0]:
            raise DataError(f"{where}: {short(line)} is not an id and a prediction. Is the file cut off?")
        if cells[0] in ids:
            raise DataError(f"{where}: the id {cells[0]!r} is already on line {ids[cells[0]]}.")
        ids[cells[0]] = number
        values.append(_class_of(task, codes, cells[1], where) if codes else _score_of(cells[1], where))
    outputs = np.array(values, dtype=np.int64 if codes else np.float64)
    return PredictionFile(
        path, tuple(ids), outputs, prefix=layout.prefix, ignores_unknown=layout.ignores_unknown
    )


def _class_codes(task: Task) -> dict[str, int]:
    """Every way in which files write a class of ``task``; empty for regression."""
    codes = {_folded(name): k for k, name in enumerate(task.labels)}
    for layout in (task.files, task.official):
        if layout is not None:
            codes |= {_folded(name): k for k, name in enumerate(layout.label_codes or ())}
    for label, names in (task.merges or {}).items():
        # A model of the other task may have said any of the labels that count as this one.
        codes |= {_folded(name): task.labels.index(label) for name in names}
    return codes


def _folded(label: str) -> str:
    """HANS writes ``non-entailment`` what GLUE writes ``not_entailment``."""
    return re.sub("^(non|not)[-_]", "not_", label)


def _class_of(task: Task, codes: dict[str, int], label: str, where: str) -> int:
    code = codes.get(_folded(label))
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


def _stored(task: Task, path: Path) -> PredictionFile:
    """What multibench stored of one evaluation."""
    try:
        stored = read_predictions(path)
    except (TypeError, OverflowError) as error:
        raise ResultsError(f"{path} cannot be read as predictions: {error}.") from error

    def refuse(what: str) -> NoReturn:
        raise DataError(f"{path} holds no predictions for {task.name}: {what}.")

    width = len(ANSWER_OUTPUTS) if task.kind == "span" else task.outputs
    if any(not isinstance(name, str) for name in stored.ids):
        refuse("its ids are not texts")
    if len(set(stored.ids)) < len(stored.ids):
        refuse("an id occurs twice")
    if stored.outputs.dtype.kind != "f" or stored.outputs.shape[1] != width:
        refuse(f"it has {stored.outputs.shape[1]} columns of {stored.outputs.dtype}, not {width} of numbers")
    if not np.isfinite(stored.outputs if task.kind != "span" else stored.outputs[:, :-1]).all():
        refuse("some outputs are NaN or infinite")
    if task.kind == "span" and (
        stored.texts is None or any(not isinstance(text, str) for text in stored.texts)
    ):
        refuse("its column of texts is missing or has gaps")
    if stored.labels is not None and stored.labels.dtype.kind not in "if":
        refuse(f"its labels are {stored.labels.dtype}")
    return PredictionFile(path, stored.ids, stored.outputs, texts=stored.texts, labels=stored.labels)
