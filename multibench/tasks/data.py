"""Examples of one split in memory, their fingerprint, and the check against the task's facts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.tasks.task import SplitFacts, Task

__all__ = ["Answer", "Examples", "check_against_facts", "clusters", "strata"]

T = TypeVar("T")


class Answer(NamedTuple):
    """A gold answer: its text, and the character of the context at which it starts."""

    text: str
    start: int


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of one split, in the order of the release.

    ``texts[k][i]`` is input k of example i; ``labels`` is int64 class numbers ``(n,)``, float64
    scores ``(n,)``, or None where the split has no labels. Span tasks have questions and contexts as
    inputs, ``answers[i]`` with all gold answers of example i (none: it cannot be answered), and as
    labels 1 for answerable and 0. ``as_released`` is False if the size or the label distribution
    differs from the task's facts. ``metadata`` are further columns ``(n,)`` of texts, by name (HANS:
    heuristic and subcase); they take no part in training or in the fingerprint.
    """

    task: str
    split: str
    ids: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    labels: NDArray[np.int64] | NDArray[np.float64] | None
    origin: str
    as_released: bool = True
    answers: tuple[tuple[Answer, ...], ...] | None = None
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: int = 0
    """Rows of the source that have no label, and so are none of the examples; the ids count them."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def origin_name(self) -> str:
        """Where the examples come from, without the folders of the machine that they were read on."""
        return Path(self.origin).name if Path(self.origin).is_absolute() else self.origin

    @property
    def remark(self) -> str | None:
        """A sentence on rows that were left out, if any were."""
        if not self.left_out:
            return None
        rows = f"{self.left_out} row{'s' if self.left_out > 1 else ''}"
        return f"{self.task}.{self.split}: {rows} without a label left out, {len(self)} are used."

    @cached_property
    def gold_texts(self) -> tuple[tuple[str, ...], ...] | None:
        """The texts of all gold answers of each example, ``(n,)``; None where there are none to know."""
        return None if self.answers is None else tuple(tuple(a.text for a in each) for each in self.answers)

    def rows(self, kept: Sequence[int]) -> Examples:
        """Only these rows, in this order."""

        def of(column: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(column[i] for i in kept)

        return replace(
            self,
            ids=of(self.ids),
            texts=tuple(of(column) for column in self.texts),
            labels=None if self.labels is None else self.labels[list(kept)],
            answers=None if self.answers is None else of(self.answers),
            metadata={name: of(column) for name, column in self.metadata.items()},
        )

    def groups(self, name: str) -> dict[str, NDArray[np.int64]]:
        """The rows of each value of the metadata ``name``, in the order of first occurrence.

        Raises ``DataError`` if the examples have no such metadata.
        """
        if name not in self.metadata:
            raise DataError(
                f"{self.task}.{self.split} from {self.origin} has no '{name}'; "
                f"it has {', '.join(self.metadata) or 'no metadata'}."
            )
        rows: dict[str, list[int]] = {}
        for i, value in enumerate(self.metadata[name]):
            rows.setdefault(value, []).append(i)
        return {value: np.array(found, dtype=np.int64) for value, found in rows.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, texts, labels and answers in order: equal examples, equal fingerprint."""
        digest = hashlib.sha256()

        def add(value: str) -> None:
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(f"{len(encoded)}:".encode())
            digest.update(encoded)

        for column in (self.ids, *self.texts):
            digest.update(f"column {len(column)}\n".encode())
            for value in column:
                add(value)
        if self.labels is None:
            digest.update(b"unlabelled")
        else:
            digest.update(f"labels {self.labels.dtype.kind}\n".encode())
            digest.update(self.labels.astype("<i8" if self.labels.dtype.kind == "i" else "<f8").tobytes())
        for answers in self.answers or ():
            digest.update(f"answers {len(answers)}\n".encode())
            for answer in answers:
                digest.update(f"{answer.start} ".encode())
                add(answer.text)
        return digest.hexdigest()


def clusters(task: Task, examples: Examples) -> tuple[str, ...] | None:
    """What each example shares with others that are not independent of it, ``(n,)``: its article, its premise.

    None if the task's facts name no such thing, or the source of the examples did not have it.
    """
    return _column(task, examples, task.cluster)


def strata(task: Task, examples: Examples) -> tuple[str, ...] | None:
    """Which fixed part of the benchmark each example belongs to, ``(n,)``; None as for ``clusters``."""
    return _column(task, examples, task.strata)


def _column(task: Task, examples: Examples, name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    if name in task.inputs:
        # Examples of which only the labels are known have no texts.
        return examples.texts[task.inputs.index(name)] if examples.texts else None
    return examples.metadata.get(name)


def _difference(task: Task, facts: SplitFacts, examples: Examples) -> str | None:
    if len(examples) != facts.rows:
        return f"{len(examples)} examples instead of {facts.rows}"
    if examples.labels is None:
        return "no labels" if facts.labelled else None
    if facts.histogram is not None:
        counts = Counter(examples.labels.tolist())
        found = {name: counts.get(code, 0) for code, name in enumerate(task.label_names)}
        if found != facts.histogram:
            return f"label counts {found} instead of {facts.histogram}"
    if facts.mean_score is not None:
        mean = float(np.mean(examples.labels))
        if abs(mean - facts.mean_score) > 5.1e-5:
            return f"a mean score of {mean:.4f} instead of {facts.mean_score:.4f}"
    return None


def check_against_facts(task: Task, examples: Examples, accept_different: bool) -> Examples:
    """``examples`` as they are if they are what was released.

    If they are not, raises ``DataError``, or with ``accept_different`` returns them marked, so
    that every number that comes from them can say so.
    """
    facts = task.splits.get(examples.split)
    difference = _difference(task, facts, examples) if facts is not None else None
    if difference is None:
        return examples
    if not accept_different:
        raise DataError(
            f"{examples.origin} holds {difference} for {task.name}.{examples.split}: this is not the released "
            f"data. If that is meant, add '{task.name}' to 'accept_different_data' in the suite; every number "
            "from it will be marked."
        )
    return replace(examples, as_released=False)
