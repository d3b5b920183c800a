"""Labels for predictions that were made elsewhere: of the task's own data, or of a file beside the predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multibench import network
from multibench.errors import DataError, UnavailableError
from multibench.scoring.fit import stands_for
from multibench.scoring.tables import read_numbers
from multibench.tasks import DataSources, Examples, Task, load_split
from multibench.tasks.data import check_against_facts

__all__ = ["Gold"]

# Published scores have three decimals.
_SAME_SCORE = 1e-3


@dataclass(frozen=True)
class Gold:
    """Where labels are looked for: below ``data``; ``accept_different`` allows data that are not the released ones.

    ``stated`` are class orders that the user gave, by task.
    """

    data: Path | None = None
    accept_different: bool = False
    stated: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def load(self, task: Task, split: str) -> Examples:
        """The split of the task's data, or of the Hub. Raises the errors of ``load_split``."""
        return load_split(task, split, self._sources(task))

    def below_data(self, task: Task, split: str) -> Examples | None:
        """The split of the task's data; None where the user gave none, or none of this task."""
        if self.data is None:
            return None
        try:
            with network.staying_offline():
                return self.load(task, split)
        except UnavailableError:
            return None

    def of_label_file(self, task: Task, split: str, path: Path) -> Examples:
        """The examples of a split of which ``path`` has a label a line.

        With data of the task these are its examples, and the file must have the same labels in the same rows under some
        numbering of the classes; without, they have no texts. Raises ``DataError`` if labels contradict each other
        or the task's facts, or it cannot be told which number is which class.
        """
        values = self._label_file(path)
        examples = self.below_data(task, split)
        if examples is None:
            return self._of_labels_alone(task, split, values, path)
        self._refuse_other_labels(task, examples, values, path)
        return examples

    def _sources(self, task: Task) -> DataSources:
        return DataSources(self.data, frozenset({task.name} if self.accept_different else ()))

    @staticmethod
    def _label_file(path: Path) -> NDArray[np.float64]:
        values = read_numbers(path)
        if values.shape[1] != 1:
            raise DataError(f"{path} has {values.shape[1]} columns; expected one label a line.")
        return values[:, 0]

    def _refuse_other_labels(
        self, task: Task, examples: Examples, values: NDArray[np.float64], path: Path
    ) -> None:
        labels = examples.labels
        if labels is None or len(labels) != len(values):
            raise DataError(
                f"{path} has {len(values)} labels and {examples.origin} has "
                f"{'none' if labels is None else len(labels)}: they are of different data."
            )
        if task.kind == "regression":
            other = np.abs(labels - values) > _SAME_SCORE
        else:
            other = _minority(values, labels.astype(np.int64))
        if other.any():
            raise DataError(
                f"{path} has other labels than {examples.origin} in {int(other.sum())} of {len(values)} rows, first in "
                f"line {int(np.flatnonzero(other)[0]) + 1}: other data, or another order of rows."
            )

    def _of_labels_alone(self, task: Task, split: str, values: NDArray[np.float64], path: Path) -> Examples:
        labels: NDArray[np.float64] | NDArray[np.int64] = values
        if task.kind == "classification":
            classes = self._classes(task, split, values, path)
            labels = np.array([classes[value] for value in values.tolist()], dtype=np.int64)
        ids = tuple(str(i) for i in range(len(values)))
        examples = Examples(task.name, split, ids, (), labels, str(path))
        return check_against_facts(task, examples, self.accept_different)

    def _classes(self, task: Task, split: str, values: NDArray[np.float64], path: Path) -> dict[float, int]:
        """The class of each number in a file of labels: told by how often each occurs, or by the stated order."""
        numbers, counts = np.unique(values, return_counts=True)
        facts = task.splits[split].histogram
        if facts is not None and sorted(counts.tolist()) == sorted(facts.values()):
            expected = [facts[name] for name in task.labels]
            if len(set(expected)) == len(expected):
                return {
                    number: expected.index(count)
                    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
                }
        stated = self.stated.get(task.name)
        if stated is not None and set(numbers.tolist()) <= set(range(len(stated))):
            return {float(k): class_ for k, class_ in enumerate(stated)}
        shown = ", ".join(
            f"{number:g} {count} times" for number, count in zip(numbers[:5], counts, strict=False)
        )
        raise DataError(
            f"{path} has the labels {shown}, from which it cannot be told which number is which class of {task.name}. "
            "Give the task's data (--data), or state what 0, 1 and so on mean: --class-order "
            f"{task.name}=CLASS0,CLASS1 and so on, each one of {', '.join(task.labels)}."
        )


def _minority(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows whose label is not the one that their number mostly stands for; all, if two numbers stand for one label."""
    numbers = values.tolist()
    meaning = stands_for(numbers, labels)
    if len(set(meaning.values())) < len(meaning):
        return np.ones(len(values), dtype=np.bool_)
    return np.asarray(labels != np.array([meaning[number] for number in numbers]))
