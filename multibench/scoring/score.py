"""The official metrics of a prediction file. What becomes of gaps and of unknown ids: see ``fit``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.metrics import METRICS
from multibench.metrics.squad import ANSWER_OUTPUTS, answer_f1, answer_outputs, exact_match
from multibench.metrics.threshold import BestThreshold
from multibench.scoring.answers import read_null_odds
from multibench.scoring.files import read_prediction_file
from multibench.scoring.fit import Fitted, counted, fit, values_of
from multibench.scoring.order import find_order, stated_order, tie_note
from multibench.scoring.parts import Parts, parts_of
from multibench.scoring.winogender import score_winogender
from multibench.tasks import DataSources, Examples, Task, find_task, load_split

__all__ = ["Scored", "odds_of", "score"]

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
    thresholds: dict[str, float] = field(default_factory=dict)
    """Metric -> the odds of no answer above which a question counts as unanswerable, for scores at the best one."""
    remarks: tuple[str, ...] = ()
    """What was taken as what: columns, the order of the classes, rows that were left out."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers has to know, in sentences."""
        notes = []
        if self.missing:
            notes.append(f"{counted(self.missing, 'example')} without a prediction: counted as 0.")
        if self.extra:
            notes.append(f"{counted(self.extra, 'id')} not in {self.task}.{self.split}: ignored.")
        notes += [f"{name} is not defined for these predictions." for name in self.undefined]
        notes += [
            f"{name}: its threshold{self._at(name)} is tuned on the very answers that are scored."
            for name in self.metrics
            if name in METRICS and METRICS.get(name).tuned_on_reported_split
        ]
        if not self.as_released:
            notes.append(f"{self.task}.{self.split}: NOT the released data.")
        return (*notes, *self.remarks)

    def _at(self, name: str) -> str:
        return f", {self.thresholds[name]:g}," if name in self.thresholds else ""

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
    *,
    class_order: Sequence[str] | None = None,
    null_odds: Path | str | None = None,
    null_threshold: float | None = None,
    force: bool = False,
) -> Scored:
    """Score the file ``predictions`` on a labelled split of ``task``, by default the first that runs are scored on.

    ``data`` is where the gold labels are looked for (see ``DataSources``). ``class_order`` states the classes of a
    file's scores or class numbers, in their order; else it is found by accuracy, and what was found is among the
    remarks. ``null_odds`` is a file with the odds of no answer, ``{id: number}``, for span tasks with unanswerable
    questions: scores at the best threshold need them; answers whose odds exceed ``null_threshold`` count as refused.
    Raises ``DataError`` for a file that is in no known layout or does not fit the split, for a class order that is not
    clear, or is contradicted unless told to ``force`` it, ``ResultsError`` for a damaged parquet file, and the
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
    fitted = fit(found, examples, file)
    sentences: tuple[str, ...] = ()
    if null_odds is not None or null_threshold is not None:
        columns = _answers_with_odds(found, examples, fitted, null_odds, null_threshold)
    else:
        columns, sentences = _outputs(found, examples, fitted, class_order, force)
    remarks = [*filter(None, (examples.remark, file.taken and f"{path.name}: {file.taken}.")), *sentences]
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
        missing=fitted.missing,
        extra=fitted.extra,
        as_released=examples.as_released,
        thresholds=_thresholds(columns, labels) if null_odds is not None else {},
        remarks=tuple(remarks),
    )


def _outputs(
    task: Task, examples: Examples, fitted: Fitted, class_order: Sequence[str] | None, force: bool
) -> tuple[Mapping[str, NDArray[Any]], tuple[str, ...]]:
    """For each metric its outputs in the order of the examples, and sentences on how they became classes."""
    file = fitted.file
    if file.kind in ("numbers", "scores"):
        outputs, sentences = _in_order(task, examples, fitted, class_order, force)
        return dict.fromkeys(task.metrics, outputs), sentences
    if class_order is not None:
        raise DataError(
            f"{file.path} says itself which class it means, so no class order can be stated for it."
        )
    if task.kind == "regression":
        values_of(task, fitted, str(file.path), force)
    return _columns(task, examples, fitted), ()


def _in_order(
    task: Task, examples: Examples, fitted: Fitted, names: Sequence[str] | None, force: bool
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Scores of the task's classes ``(n, classes)``; which class order was taken, what speaks against it, and ties."""
    file, outputs = fitted.file, fitted.outputs
    assert outputs is not None
    assert file.classes is not None
    stated = fitted.order if names is None else stated_order(task, names, file.classes)
    what = f"{task.name}.{examples.split}"
    known = names is None and stated is not None
    order = find_order(
        task,
        examples.labels,
        [outputs],
        what,
        stated,
        classes=file.classes,
        places=[str(file.path)],
        force=force or known,
    )
    order = replace(order, found="file", doubts=()) if known else order
    doubts = [f"{doubt}." for doubt in order.doubts]
    return order.apply(outputs), (f"{what}: {order.sentence()}.", *doubts, *tie_note(what, [outputs]))


def _answers_with_odds(
    task: Task, examples: Examples, fitted: Fitted, null_odds: Path | str | None, threshold: float | None
) -> Mapping[str, NDArray[Any]]:
    """For each metric the columns ``ANSWER_OUTPUTS``, with the odds of no answer of a file beside the answers."""
    file = fitted.file
    if not task.unanswerable or file.kind != "answers" or fitted.texts is None or null_odds is None:
        raise DataError(
            f"The odds of no answer and a threshold for them go with answers as texts, for a task with unanswerable "
            f"questions, and a threshold with a file of odds; {task.name} and {file.path} are given."
        )
    odds = odds_of(examples, Path(null_odds))
    outputs = answer_outputs(
        fitted.texts, odds, examples.gold_texts, math.inf if threshold is None else threshold
    )
    return dict.fromkeys(task.metrics, outputs)


def odds_of(examples: Examples, path: Path) -> NDArray[np.float64]:
    """The odds of no answer in the file ``path``, in the order of the examples ``(n,)``.

    Raises ``DataError`` if it lacks some; ids of no example are passed over, as the script of SQuAD v2.0 does.
    """
    odds = read_null_odds(path)
    missing = tuple(name for name in examples.ids if name not in odds)
    if missing:
        raise DataError(
            f"{path} has no odds for {counted(missing, 'question')} of {examples.task}.{examples.split}."
        )
    return np.array([odds[name] for name in examples.ids], dtype=np.float64)


def _thresholds(columns: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> dict[str, float]:
    """The best threshold for each metric that is tuned, as short as it was written."""
    found = {}
    for name, outputs in columns.items():
        metric = METRICS.get(name)
        if isinstance(metric, BestThreshold):
            value = metric.thresholds(labels, outputs[None])[0]
            found[name] = float(str(np.float32(value)))
    return found


def _columns(task: Task, examples: Examples, fitted: Fitted) -> Mapping[str, NDArray[Any]]:
    """For each metric that the file allows, its outputs in the order of the examples."""
    file = fitted.file
    answers: dict[str, NDArray[np.float64]] = {}
    if file.texts is not None:
        gold = examples.gold_texts
        assert gold is not None
        for name, function in _OF_TEXTS.items():
            answers[name] = np.zeros(len(examples))
            for i in np.flatnonzero(fitted.given).tolist():
                answers[name][i] = function(file.texts[fitted.position[i]], gold[i], task.unanswerable)
    outputs = fitted.outputs
    if outputs is None:
        return {name: values for name, values in answers.items() if name in task.metrics}
    ours = np.array(list(answers.values()), dtype=np.float32).T
    if answers and not np.array_equal(outputs[:, _IF_ANSWERED], ours):
        raise DataError(f"{file.path} was scored against other answers than those of {examples.origin}.")
    return dict.fromkeys(task.metrics, outputs)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and math.isnan(value) else value
