"""What a task is: a frozen record read from a TOML file of facts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from multibench.cache import expanded
from multibench.errors import DataError
from multibench.registry import Registry
from multibench.tasks.fitting import Kind, metric_fault
from multibench.tasks.layouts import BuiltinLayout, Columns, Facts, FileLayout, Format, HubLayout, LabelCodes

__all__ = ["TASKS", "SplitFacts", "Task", "find_task"]

# Names of tasks and splits become file names, and `task.split` must come apart again.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

_MAX_BYTES = 1_000_000
_FLAT: tuple[Format, ...] = ("tsv", "csv", "jsonl", "parquet")
_NESTED: tuple[Format, ...] = ("squad", "jsonl", "parquet")  # those that can hold lists of answers


class SplitFacts(Facts):
    """Size and label distribution of one split, as released."""

    rows: int
    histogram: dict[str, int] | None = None
    """Label name -> count, for classification; ``answerable`` and ``unanswerable`` for spans."""
    mean_score: float | None = None
    """Mean gold score to four decimals, for regression."""
    labelled: bool = True

    @model_validator(mode="after")
    def _histogram_adds_up(self) -> SplitFacts:
        if self.histogram is not None and sum(self.histogram.values()) != self.rows:
            raise ValueError(
                f"the histogram adds up to {sum(self.histogram.values())}, not to {self.rows} rows"
            )
        return self


class Task(Facts):
    """One task. ``labels[i]`` names class i; regression and span tasks have none.

    The inputs of a span task are the question and the context, in this order.
    """

    name: str = Field(pattern=NAME)
    version: int
    title: str
    description: str
    kind: Kind
    inputs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    score_range: tuple[float, float] | None = None
    unanswerable: bool = False
    """For spans: whether some questions have no answer, as in SQuAD v2.0."""
    metrics: tuple[str, ...]
    headline: str
    evaluations: tuple[str, ...]
    """Splits that a run is scored on unless a suite says otherwise."""
    merges: dict[str, tuple[str, ...]] | None = None
    """For an evaluation of another task's models: label -> that task's labels that count as it."""
    metadata: tuple[str, ...] = ()
    """Columns kept beside the examples where a source has them; for scores of parts, and for clusters."""
    cluster: str | None = None
    """The input or metadata that examples which are not independent share: a sample of those that there might be."""
    cluster_unit: str | None = None
    """What the clusters are, in the plural: ``articles``."""
    strata: str | None = None
    """The input or metadata that names fixed parts, which a score averages with the weights that they have."""
    stratum_unit: str | None = None
    """What the strata are, in the plural: ``subcases``."""
    strata_reason: str | None = None
    """Why they are fixed, and no sample of others that there might have been."""
    mean_tokens: float
    """Mean length of a training example, uncut, in uncased WordPieces; for estimates of cost only."""
    context_tokens: dict[int, int] = Field(default_factory=dict)
    """For spans: WordPieces of a context -> how many examples have about so many; for estimates of cost only."""
    licence: str
    source: str
    splits: dict[Annotated[str, Field(pattern=NAME)], SplitFacts]
    official: FileLayout | None = None
    """The original release."""
    files: FileLayout | None = None
    """Files of one's own, looked for after the original ones."""
    hub: HubLayout | None = None
    builtin: BuiltinLayout | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.headline not in self.metrics:
            raise ValueError(f"the headline metric {self.headline} is not among {list(self.metrics)}")
        if (self.kind == "classification") != bool(self.labels):
            raise ValueError("a classification task has labels, and no other task has")
        if self.kind == "span" and len(self.inputs) != 2:
            raise ValueError(f"the inputs of a span task are question and context, not {list(self.inputs)}")
        if (self.unanswerable or self.context_tokens) and self.kind != "span":
            raise ValueError("'unanswerable' and 'context_tokens' are for span tasks only")
        if self.cluster is not None and self.cluster not in (*self.inputs, *self.metadata):
            raise ValueError(f"'cluster' names {self.cluster}, which is no input and not among 'metadata'")
        self._refuse_groups()
        if self.merges is not None and set(self.merges) != set(self.labels):
            raise ValueError(f"'merges' speaks of {sorted(self.merges)}, the labels are {list(self.labels)}")
        missing = set(self.evaluations) - set(self.splits)
        if missing:
            raise ValueError(f"evaluations name splits without facts: {sorted(missing)}")
        for metric in self.metrics:
            fault = metric_fault(metric, self.kind, len(self.labels), self.unanswerable)
            if fault is not None:
                raise ValueError(fault)
        for name, layout in (("official", self.official), ("files", self.files)):
            if layout is not None:
                self._refuse_layout(name, layout)
        return self

    def _refuse_groups(self) -> None:
        """Raise ``ValueError`` for strata or units that say nothing."""
        if self.strata is not None and self.strata not in (*self.inputs, *self.metadata):
            raise ValueError(f"'strata' names {self.strata}, which is no input and not among 'metadata'")
        if self.strata is not None and self.strata == self.cluster:
            raise ValueError(f"{self.strata} is a sample ('cluster') or fixed ('strata'), not both")
        if self.strata is not None and not self.strata_reason:
            raise ValueError("'strata' needs a 'strata_reason': why these parts are no sample of others")
        if self.cluster_unit is not None and self.cluster is None:
            raise ValueError("'cluster_unit' says nothing without 'cluster'")
        if self.strata is None and (self.stratum_unit is not None or self.strata_reason is not None):
            raise ValueError("'stratum_unit' and 'strata_reason' say nothing without 'strata'")

    def _refuse_layout(self, name: str, layout: FileLayout) -> None:
        """Raise ``ValueError`` if the files of ``layout`` cannot hold this task's examples."""
        without = sorted(set(layout.splits) - set(self.splits))
        if without:
            raise ValueError(f"the layout '{name}' names splits without facts: {without}")
        self._refuse_codes(f"the layout '{name}'", layout.label_codes, layout.no_label)
        for split, file in layout.splits.items():
            self._refuse_codes(f"the split {split} of the layout '{name}'", file.label_codes, layout.no_label)
            for each in (file, file.instead) if file.instead else (file,):
                format_ = layout.format_of(each.file)
                if format_ is None:
                    raise ValueError(
                        f"the {name} format of {each.file} does not show in its ending: give 'format'"
                    )
                if format_ not in (_NESTED if self.kind == "span" else _FLAT):
                    raise ValueError(f"a {self.kind} task cannot have the {name} format '{format_}'")
            if layout.format_of(file.file) == "squad":
                if file.inputs or file.label or layout.inputs or layout.label:
                    raise ValueError(f"the split {split} of a layout 'squad' has no columns to name")
                continue
            columns = self.columns(layout, split)
            if columns.label is None and self.splits[split].labelled:
                raise ValueError(f"the layout '{name}' needs 'label', the column of labels, for {split}")
            if len(columns.inputs) != len(self.inputs):
                raise ValueError(
                    f"the split {split} has columns {list(columns.inputs)} for {list(self.inputs)}"
                )
            numbered = [isinstance(c, int) for c in (*columns.inputs, columns.label) if c is not None]
            if any(numbered) if file.header else not all(numbered):
                raise ValueError(f"columns of {split} are numbers from 0 if it has no header, else names")

    def _refuse_codes(self, where: str, given: LabelCodes | None, no_label: tuple[str, ...]) -> None:
        """Raise ``ValueError`` unless each class has a code, and no code is of two classes or of no label, too."""
        codes = given or self.labels
        each = [code for of in codes for code in ((of,) if isinstance(of, str) else of)]
        if len(codes) != len(self.labels) or len(set(each)) < len(each) or not all(codes):
            shown = [of if isinstance(of, str) else list(of) for of in codes]
            raise ValueError(f"{where} has label codes {shown} for {len(self.labels)} classes")
        both = sorted(set(no_label) & set(each))
        if both:
            raise ValueError(f"{where} names {both} as a label and as 'no_label'")
        if no_label and self.kind == "span":
            raise ValueError("'no_label' is for tasks with one label a row, not for span tasks")

    def columns(self, layout: FileLayout, split: str) -> Columns:
        """Which columns of the file of ``split`` in ``layout`` hold inputs and labels."""
        file = layout.splits[split]
        label = file.label if file.label is not None else layout.label
        return Columns(
            inputs=file.inputs or layout.inputs or self.inputs,
            label=label if self.splits[split].labelled else None,
            label_codes=file.label_codes or layout.label_codes,
            ids="id" if self.kind == "span" else None,
            no_label=layout.no_label if self.splits[split].labelled else (),
        )

    @property
    def held_out(self) -> float | None:
        """The share of the training examples that is kept out of training as the split ``held_out``, if any."""
        return None

    @property
    def outputs(self) -> int:
        """Width of the model's head: classes, 1 for regression, 2 for spans."""
        return {"classification": len(self.labels), "regression": 1, "span": 2}[self.kind]

    @property
    def label_names(self) -> tuple[str, ...]:
        """What label 0, 1, ... of an example means: the classes, or whether a question has an answer."""
        return ("unanswerable", "answerable") if self.kind == "span" else self.labels

    def class_map(self, trained: Task) -> list[list[int]] | None:
        """For each of this task's classes, the outputs of a model of ``trained`` that count as it.

        None if the outputs fit as they are. Raises ``DataError`` if a model of ``trained`` cannot be
        evaluated on this task.
        """
        if self.kind == trained.kind and self.labels == trained.labels:
            return None
        if self.merges is None or not all(
            set(names) <= set(trained.labels) for names in self.merges.values()
        ):
            raise DataError(
                f"A model of {trained.name} says {', '.join(trained.labels) or 'no classes'}; {self.name} asks for "
                f"{', '.join(self.labels) or 'no classes'}, and its facts do not say how to merge them."
            )
        return [[trained.labels.index(name) for name in self.merges[label]] for label in self.labels]


def _read(path: Path) -> Task:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} is larger than {_MAX_BYTES:,} bytes: that is no task file.")
        return Task.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"The task file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"The task file {path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"The task file {path} cannot be used: {where}: {first['msg'].removeprefix('Value error, ')}."
        ) from error


def _built_in() -> Iterator[tuple[str, Task]]:
    for path in sorted((Path(__file__).parent / "facts").glob("*.toml")):
        task = _read(path)
        yield task.name, task


TASKS: Registry[Task] = Registry("task", group="multibench.tasks", built_in=_built_in)


@cache
def _from_file(path: Path, modified_ns: int) -> Task:
    task = _read(path)
    if task.builtin is not None:
        raise DataError(
            f"The task file {path} has a [builtin] table, which names code to run. Only the package's own tasks have "
            "one; write the examples to files and describe them under [files]."
        )
    return task


def find_task(name: str) -> Task:
    """The task called ``name``, or the one that the TOML file of that path describes.

    Raises ``UnknownNameError`` for an unknown name and ``DataError`` for an unusable file.
    """
    if name.endswith(".toml"):
        path = expanded(name).resolve()
        if not path.exists():
            raise DataError(f"There is no task file {path}.")
        task = _from_file(path, path.stat().st_mtime_ns)
        if task.name in TASKS.names() and task != TASKS.get(task.name):
            raise DataError(
                f"The task file {path} calls its task '{task.name}', which is the name of another task that multibench "
                "knows: their runs could not be told apart. Give it another name."
            )
        return task
    return TASKS.get(name)
