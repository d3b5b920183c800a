"""The official metrics of a prediction file.

What becomes of examples that a file leaves out, and of ids that the split has not, is as in the official
scripts wherever these end with a score:

- SQuAD v1.1: a question without an answer in the file scores 0, and the means are over all questions.
- SQuAD v2.0, HANS: the scripts stop at an example that the file leaves out, and so does this.
- All three pass over ids that they do not know. The GLUE server's treatment is not published: a file
  in its layout, or a stored one, must name every example and no other.

A file that names none of the examples is refused in any layout: it belongs to other data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.metrics import METRICS
from multibench.metrics.squad import ANSWER_OUTPUTS, answer_f1, exact_match
from multibench.scoring.files import PredictionFile, read_prediction_file
from multibench.scoring.parts import Parts, parts_of
from multibench.scoring.winogender import score_winogender
from multibench.tasks import DataSources, Examples, Task, find_task, load_split

__all__ = ["Scored", "score"]

# The metrics of answers that are given as text alone; what a threshold decides cannot be told from it.
_OF_TEXTS = {"exact_match": exact_match, "answer_f1": answer_f1}
# Where the same scores stand among the stored columns.
_IF_ANSWERED = [ANSWER_OUTPUTS.index(name) for name in ("exact_if_answered", "f1_if_answered")]
# What the official scripts call a metric, where the registry has another name.
_OFFICIAL_NAMES = {"answer_f1": "f1"}


@dataclass(frozen=True)
class Scored:
    """The metrics of a prediction file on one split, as fractions (or correlations); NaN where undefined.

    ``parts[grouping][part]`` holds the same metrics, but tuned ones, on a part of the examples, and ``examples``, their
    number: questions of SQuAD v2.0 with an answer and without (``HasAns``, ``NoAns``), heuristics and subcases of
    HANS. ``missing`` are examples that the file leaves out (they count as 0), ``extra`` ids that
    the split has not (they count for nothing).
    """

    task: str
    split: str
    predictions: str
    examples: int
    metrics: dict[str, float]
    parts: Parts
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    as_released: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers has to know, in sentences."""
        notes = []
        if self.missing:
            notes.append(f"{_listed(self.missing, 'example')} without a prediction: counted as 0.")
        if self.extra:
            notes.append(f"{_listed(self.extra, 'id')} not in {self.task}.{self.split}: ignored.")
        notes += [f"{name} is not defined for these predictions." for name in self.undefined]
        notes += [
            f"{name}: its threshold is tuned on the very answers that are scored."
            for name in self.metrics
            if name in METRICS and METRICS.get(name).tuned_on_reported_split
        ]
        if not self.as_released:
            notes.append(f"{self.task}.{self.split}: NOT the released data.")
        return tuple(notes)

    @property
    def undefined(self) -> tuple[str, ...]:
        """Metrics without a value: a correlation with constant predictions, say."""
        return tuple(name for name, value in self.metrics.items() if math.isnan(value))

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON; an undefined metric is None."""
        return {**_plain(vars(self)), "notes": list(self.notes)}


def score(
    task: str,
    predictions: Path | str,
    split: str | None = None,
    data: Path | None = None,
    accept_different_data: bool = False,
) -> Scored:
    """Score the file ``predictions`` on a labelled split of ``task``, by default the first that runs are scored on.

    ``data`` is where the gold labels are looked for (see ``DataSources``). Raises ``DataError`` for a file that is
    in no known layout or does not fit the split, ``ResultsError`` for a damaged parquet file, and the
    errors of ``load_split``.
    """
    found = find_task(task)
    path = Path(predictions)
    file = read_prediction_file(found, path)
    accepted = frozenset({found.name} if accept_different_data else ())
    examples = load_split(found, split or found.evaluations[0], DataSources(data, accepted))
    if examples.labels is None:
        raise DataError(
            f"{found.name}.{examples.split} has no labels, so nothing can be scored on it; its scores come from the "
            "benchmark's server ('multibench export' writes what it takes)."
        )
    position, missing, extra = _match(found, examples, file)
    columns = _columns(found, examples, file, position)
    labels = np.asarray(examples.labels)

    def measure(rows: NDArray[np.bool_], names: Iterable[str]) -> dict[str, float]:
        return {
            _OFFICIAL_NAMES.get(name, name): METRICS.get(name).score(labels[rows], columns[name][rows])
            for name in names
        }

    metrics = measure(np.ones(len(examples), dtype=np.bool_), columns)
    # Tuned on a part alone, a threshold would be another one than that of the whole: no official script does that.
    fixed = [name for name in columns if not METRICS.get(name).tuned_on_reported_split]
    if found.name == "winogender":
        outputs = columns[found.headline]
        bias = score_winogender(examples, outputs.argmax(axis=1) if outputs.ndim == 2 else outputs)
        metrics |= {"bias_correlation": bias.bias_correlation, "bias_slope": bias.bias_slope}
    return Scored(
        task=found.name,
        split=examples.split,
        predictions=str(path),
        examples=len(examples),
        metrics=metrics,
        parts=parts_of(found, examples, lambda rows: measure(rows, fixed)),
        missing=missing,
        extra=extra,
        as_released=examples.as_released,
    )


def _match(
    task: Task, examples: Examples, file: PredictionFile
) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Where each example is in the file (-1: nowhere), the missing ids and the extra ones."""
    where = {name: k for k, name in enumerate(file.ids)}
    names = [file.prefix + name for name in examples.ids]
    position = np.array([where.get(name, -1) for name in names], dtype=np.int64)
    known = set(names)
    missing = tuple(name for name, k in zip(names, position.tolist(), strict=True) if k < 0)
    extra = tuple(name for name in file.ids if name not in known)
    split = f"{task.name}.{examples.split}"
    if len(missing) == len(examples):
        raise DataError(
            f"{file.path} has no prediction for any example of {split}, whose ids are {names[0]!r} and so on; "
            f"it names {_listed(extra, 'id') if extra else 'nothing'}. Is it for another task or split?"
        )
    counts_as_zero = file.outputs is None and not task.unanswerable
    if missing and not counts_as_zero:
        raise DataError(
            f"{file.path} has no prediction for {_listed(missing, 'example')} of {split}; it must have one for each."
        )
    if extra and not file.ignores_unknown:
        raise DataError(f"{file.path} names {_listed(extra, 'id')} that {split} has not.")
    return position, missing, extra


def _columns(
    task: Task, examples: Examples, file: PredictionFile, position: NDArray[np.int64]
) -> Mapping[str, NDArray[Any]]:
    """For each metric that the file allows, its outputs in the order of the examples."""
    given = position >= 0
    if file.labels is not None and not np.array_equal(file.labels[position], np.asarray(examples.labels)):
        raise DataError(
            f"{file.path} carries other labels than {examples.origin}: it was made on other data."
        )
    answers: dict[str, NDArray[np.float64]] = {}
    if file.texts is not None:
        gold = examples.gold_texts
        assert gold is not None
        for name, function in _OF_TEXTS.items():
            answers[name] = np.zeros(len(examples))
            for i in np.flatnonzero(given).tolist():
                answers[name][i] = function(file.texts[position[i]], gold[i], task.unanswerable)
    if file.outputs is None:
        return {name: values for name, values in answers.items() if name in task.metrics}
    outputs = file.outputs[position]
    ours = np.array(list(answers.values()), dtype=np.float32).T
    if answers and not np.array_equal(outputs[:, _IF_ANSWERED], ours):
        raise DataError(f"{file.path} was scored against other answers than those of {examples.origin}.")
    return dict.fromkeys(task.metrics, outputs)


def _listed(names: tuple[str, ...], noun: str) -> str:
    """``3 ids ('a', 'b', ...)``."""
    shown = ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({shown})"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and math.isnan(value) else value
