"""What a task is: a frozen record read from a TOML file of facts."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from multibench.errors import DataError
from multibench.registry import Registry

__all__ = ["TASKS", "HubLayout", "OfficialLayout", "OfficialSplit", "SplitFacts", "Task", "find_task"]

# Names of tasks and splits become file names, and `task.split` must come apart again.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

Kind = Literal["classification", "regression", "span"]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitFacts(_Facts):
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


class OfficialSplit(_Facts):
    """Where one split is in the original release, and in which columns."""

    file: str
    inputs: tuple[str | int, ...] = ()
    """A column's name, or its position from 0 where the file has no header; none for ``squad``."""
    label: str | int | None = None
    header: bool = True


class OfficialLayout(_Facts):
    """The original release: tab-separated files without quoting (``tsv``), or SQuAD's JSON (``squad``)."""

    format: Literal["tsv", "squad"] = "tsv"
    folder: str
    label_codes: tuple[str, ...] | None = None
    """How the files write class 0, 1, ...; the label names themselves if not given."""
    splits: dict[str, OfficialSplit]

    @model_validator(mode="after")
    def _columns_are_named(self) -> OfficialLayout:
        for name, split in self.splits.items():
            if (self.format == "tsv") != bool(split.inputs):
                expected = "needs 'inputs', its columns" if self.format == "tsv" else "has no columns to name"
                raise ValueError(f"the split {name} of a layout '{self.format}' {expected}")
        return self


class HubLayout(_Facts):
    """The same examples on the Hugging Face Hub."""

    id: str
    config: str
    label: str
    splits: dict[str, str]
    """Our split name -> theirs."""
    inputs: tuple[str, ...] | None = None
    """Column names there, if they differ from the task's."""
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    """A pinned commit. None where no source that could be read gives one."""


class BuiltinLayout(_Facts):
    """Examples that a module makes: it has ``split(task, split) -> list of row dictionaries``."""

    module: str
    label: str


class Task(_Facts):
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
    mean_tokens: float
    """Mean length of a training example in uncased WordPieces; for estimates of cost only."""
    licence: str
    source: str
    splits: dict[Annotated[str, Field(pattern=NAME)], SplitFacts]
    official: OfficialLayout | None = None
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
        if self.unanswerable and self.kind != "span":
            raise ValueError("'unanswerable' is for span tasks only")
        if self.official is not None and (self.official.format == "squad") != (self.kind == "span"):
            raise ValueError(f"a {self.kind} task cannot have the official format '{self.official.format}'")
        if self.merges is not None and set(self.merges) != set(self.labels):
            raise ValueError(f"'merges' speaks of {sorted(self.merges)}, the labels are {list(self.labels)}")
        missing = set(self.evaluations) - set(self.splits)
        if missing:
            raise ValueError(f"evaluations name splits without facts: {sorted(missing)}")
        return self

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
        return Task.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"The task file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"The task file {path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"The task file {path} cannot be used: {where}: {first['msg']}.") from error


def _built_in() -> Registry[Task]:
    registry: Registry[Task] = Registry("task", group="multibench.tasks")
    for path in sorted((Path(__file__).parent / "facts").glob("*.toml")):
        task = _read(path)
        registry.register(task.name, task)
    return registry


TASKS: Registry[Task] = _built_in()


@cache
def _from_file(path: Path, modified_ns: int) -> Task:
    return _read(path)


def find_task(name: str) -> Task:
    """The task called ``name``, or the one that the TOML file of that path describes.

    Raises ``UnknownNameError`` for an unknown name and ``DataError`` for an unusable file.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser().resolve()
        if not path.exists():
            raise DataError(f"There is no task file {path}.")
        return _from_file(path, path.stat().st_mtime_ns)
    return TASKS.get(name)
