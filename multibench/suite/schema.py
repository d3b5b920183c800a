"""What a suite may say, and what its words mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from multibench.checkpoints import Checkpoint, find, select
from multibench.errors import MultibenchError, SuiteError
from multibench.recipes import RECIPES, SELECTION_RULES, Hyperparameters, Recipe
from multibench.registry import near_matches
from multibench.suite.document import Document, parse_override, read_document
from multibench.suite.modules import ModuleChoice
from multibench.tasks import Task, find_task

__all__ = ["CheckpointSelection", "RecipeChoice", "Suite", "load_suite"]

V = TypeVar("V")


class _Misplaced(ValueError):
    """Something wrong at ``location`` (keys and positions) below what is being validated."""

    def __init__(self, message: str, *location: str | int) -> None:
        super().__init__(message)
        self.location = location


def _known(look_up: Callable[[str], object]) -> AfterValidator:
    """Check that a name exists, so that an unknown one is reported with its line."""

    def check(name: str) -> str:
        try:
            look_up(name)
        except MultibenchError as error:
            raise ValueError(str(error)) from error
        return name

    return AfterValidator(check)


TaskName = Annotated[str, _known(find_task)]


def _expand_seeds(value: Any) -> Any:
    """``0-4``, ``0-4,7`` and a single number as lists of seeds."""
    if isinstance(value, bool):
        raise ValueError("expected seeds such as 0-4 or [0, 1, 2]")
    if isinstance(value, int):
        return [value]
    if isinstance(value, str) and value != "all":
        seeds: list[int] = []
        for part in value.split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdigit() or (dash and not last.isdigit()):
                raise ValueError(f"{part.strip()!r} is no seed and no range of seeds such as 0-4")
            seeds.extend(range(int(first), int(last if dash else first) + 1))
        return seeds
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_repeats(values: list[V]) -> list[V]:
    repeated = [value for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        raise ValueError(f"{repeated[0]} is listed twice")
    return values


SeedList = Annotated[
    list[Annotated[int, Field(ge=0)]],
    BeforeValidator(_expand_seeds),
    Field(min_length=1),
    AfterValidator(_no_repeats),
]
# What may stand beside each way of naming checkpoints.
_BESIDE = {
    "path": {"family", "pretraining_seed", "step"},
    "ids": set(),
    "family": {"pretraining_seeds", "steps", "include_aliases"},
}


class CheckpointSelection(_Model):
    """Some checkpoints: of a family, by id, or in local folders."""

    family: str | None = None
    """A family of the catalogue; with ``path``, the family name that the folder's runs are listed under."""
    pretraining_seeds: SeedList | Literal["all"] = "all"
    steps: (
        Annotated[list[int] | Literal["all"], BeforeValidator(lambda v: _as_list(v) if v != "all" else v)]
        | None
    ) = None
    """Pretraining steps; each seed's last one if not given."""
    ids: Annotated[list[str], BeforeValidator(_as_list)] | None = None
    path: str | None = None
    """A folder, absolute or below ``--checkpoints``."""
    pretraining_seed: int | None = None
    """Of the checkpoint in ``path``."""
    step: int | None = None
    """Of the checkpoint in ``path``."""
    include_aliases: bool = False
    """Also second names of one checkpoint, such as a final's ``step_2000k``."""

    @model_validator(mode="after")
    def _one_way(self) -> CheckpointSelection:
        if self.path is not None and self.ids is not None:
            raise ValueError("give 'path' or 'ids', not both")
        if self.path is None and self.ids is None and self.family is None:
            raise ValueError("expected one of 'family', 'ids' or 'path'")
        if self.path is None and (self.pretraining_seed is not None or self.step is not None):
            raise ValueError(
                "'pretraining_seed' and 'step' describe a 'path'; families take 'pretraining_seeds', 'steps'"
            )
        way = "path" if self.path is not None else "ids" if self.ids is not None else "family"
        ignored = sorted(self.model_fields_set - {way} - _BESIDE[way])
        if ignored:
            raise _Misplaced(f"'{ignored[0]}' says nothing beside '{way}'", ignored[0])
        if self.path is None:
            try:
                self.from_catalogue()
            except MultibenchError as error:
                raise _Misplaced(str(error), self._key_behind(str(error))) from error
        return self

    def _key_behind(self, message: str) -> str:
        """The key to look at after the catalogue has said ``message``."""
        if self.ids is not None:
            return "ids"
        if "the pretraining seed" in message:
            return "pretraining_seeds"
        return "steps" if "the step" in message else "family"

    def from_catalogue(self) -> Sequence[Checkpoint]:
        """The checkpoints that ``ids`` or ``family`` select; a ``path`` is no matter of the catalogue.

        Raises ``SuiteError`` for an empty selection, ``UnknownNameError`` for unknown names.
        """
        if self.ids is not None:
            return [find(name) for name in self.ids]
        assert self.family is not None
        return select(
            self.family,
            pretraining_seeds=None if self.pretraining_seeds == "all" else self.pretraining_seeds,
            steps="last" if self.steps is None else self.steps,
            aliases=self.include_aliases,
        )


class RecipeChoice(_Model):
    """A recipe of the catalogue, with any hyperparameter replaced by a value or by a list of values."""

    base: Annotated[str, _known(RECIPES.get)] = "modern_glue"
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Hyperparameters of single tasks, over the others."""
    selection: str | None = None
    """How one setting of a grid is chosen; the recipe's own rule if not given."""


_CHOICE_KEYS = set(RecipeChoice.model_fields)


def _read_recipe(value: Any) -> Any:
    """A name, or a mapping in which hyperparameters may stand beside ``base``."""
    if isinstance(value, str):
        return {"base": value}
    if isinstance(value, dict):
        rest = {k: v for k, v in value.items() if k not in _CHOICE_KEYS}
        kept = {k: v for k, v in value.items() if k in _CHOICE_KEYS}
        given = kept.get("hyperparameters") or {}
        if isinstance(given, dict):  # anything else is refused with its line
            kept["hyperparameters"] = {**given, **rest}
        return kept
    return value


class Suite(_Model):
    """Checkpoints x tasks x settings of a recipe x fine-tuning seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    description: str = ""
    checkpoints: Annotated[list[CheckpointSelection], BeforeValidator(_as_list), Field(min_length=1)]
    tasks: Annotated[list[TaskName], BeforeValidator(_as_list), Field(min_length=1)]
    evaluations: dict[
        str, Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1), AfterValidator(_no_repeats)]
    ] = Field(default_factory=dict)
    """Task -> what its runs are scored on: ``split`` or ``task.split``; the task's own list if not given."""
    recipe: Annotated[RecipeChoice, BeforeValidator(_read_recipe)] = RecipeChoice()
    finetuning_seeds: SeedList = Field(default_factory=lambda: [0, 1, 2, 3, 4])
    keep_weights: Literal["none", "last"] = "none"
    metric: Annotated[list[ModuleChoice], BeforeValidator(_as_list)] = Field(default_factory=list)
    evaluate_only: bool = False
    """Apply the checkpoints' own heads and train nothing."""
    accept_different_data: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)
    """Tasks whose data may differ in size or labels from what was released; their numbers are marked."""

    @model_validator(mode="after")
    def _names_exist(self) -> Suite:
        rule = self.recipe.selection
        if rule is not None and rule not in SELECTION_RULES:
            raise _Misplaced(
                f"there is no selection rule '{rule}'; there are {', '.join(SELECTION_RULES)}",
                *("recipe", "selection"),
            )
        tasks: list[Task] = []
        for i, name in enumerate(self.tasks):
            task = find_task(name)
            if task.name in {other.name for other in tasks}:
                raise _Misplaced(f"the task {task.name} is listed twice", "tasks", i)
            if "train" not in task.splits and not self.evaluate_only:
                text = f"the task {task.name} has no training data; list it under 'evaluations'"
                raise _Misplaced(text, "tasks", i)
            tasks.append(task)
        listed = [*self.tasks, *(task.name for task in tasks)]
        for key in self.evaluations:
            self._refuse_other_task(key, listed, "evaluations", key)
        for key in self.recipe.tasks:
            self._refuse_other_task(key, listed, "recipe", "tasks", key)
        for task in tasks:
            listed += self._check_evaluations(task)
        for i, name in enumerate(self.accept_different_data):
            self._refuse_other_task(name, listed, "accept_different_data", i)
        return self

    def _check_evaluations(self, task: Task) -> list[str]:
        """Names of the tasks that models of ``task`` are applied to, which must be such that they can be."""
        key = next((key for key in self.names_of(task) if key in self.evaluations), task.name)
        names = []
        for i, target in enumerate(self.evaluations.get(key, task.evaluations)):
            try:
                other, _ = self.evaluation(task, target)
                other.class_map(task)  # raises if models of the one cannot be applied to the other
            except (MultibenchError, ValueError) as error:
                raise _Misplaced(str(error), "evaluations", key, i) from error
            names.append(other.name)
        return names

    def _refuse_other_task(self, name: str, known: list[str], *location: str | int) -> None:
        if name not in known:
            near = near_matches(name, known, limit=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(dict.fromkeys(known))}."
            raise _Misplaced(f"'{name}' is no task of this suite; {hint}", *location)

    def evaluation(self, task: Task, target: str) -> tuple[Task, str]:
        """``split`` or ``task.split`` as the task and split that are meant. Raises ``SuiteError``."""
        name, dot, split = target.rpartition(".")
        other = find_task(name) if dot else task
        if split not in other.splits:
            raise SuiteError(
                f"The task {other.name} has no split '{split}'; it has {', '.join(other.splits)}."
            )
        return other, split

    def evaluations_of(self, task: Task) -> list[tuple[Task, str]]:
        """What runs of ``task`` are scored on, its own splits first in the order given."""
        targets: Iterable[str] = self._for(task, self.evaluations) or task.evaluations
        return [self.evaluation(task, target) for target in targets]

    def names_of(self, task: Task) -> list[str]:
        """What this suite may call ``task``: its name, and the path that ``tasks`` lists it by."""
        return [task.name, *(name for name in self.tasks if find_task(name).name == task.name)]

    def _for(self, task: Task, table: Mapping[str, V]) -> V | None:
        """What ``table``, keyed by task, says about ``task``."""
        return next((table[key] for key in self.names_of(task) if key in table), None)

    @property
    def different_data_accepted(self) -> frozenset[str]:
        """Names of the tasks in ``accept_different_data``."""
        named = {name: find_task(name).name for name in self.tasks}
        return frozenset(named.get(name, name) for name in self.accept_different_data)

    @property
    def base_recipe(self) -> Recipe:
        """The catalogue's recipe that this suite starts from."""
        return RECIPES.get(self.recipe.base)

    @property
    def selection(self) -> str:
        """The rule by which one setting of a grid is chosen."""
        return self.recipe.selection or self.base_recipe.selection.rule

    def settings(self, task: Task) -> tuple[Hyperparameters, ...]:
        """The hyperparameter settings of ``task``: the recipe's grid with this suite's values put in."""
        overrides = {**self.recipe.hyperparameters, **(self._for(task, self.recipe.tasks) or {})}
        return self.base_recipe.settings(task.name, overrides)


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite in ``path`` with ``key=value`` overrides. Raises ``SuiteError`` with file and line."""
    document = read_document(path)
    document.data.setdefault("name", path.stem)
    for text in overrides:
        _apply(document, text)
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        raise SuiteError(_sentence(document, error)) from error
    for name in suite.tasks:
        task = find_task(name)
        try:
            suite.settings(task)
        except MultibenchError as error:
            where = document.where(_culprit(document, suite.names_of(task), str(error)))
            raise SuiteError(f"{where}: {error}") from error
    return suite


def _culprit(document: Document, names: Sequence[str], message: str) -> tuple[str | int, ...]:
    """Where the suite gives the hyperparameter that ``message`` names to the task called ``names``."""
    tables = [*(("recipe", "tasks", name) for name in names), ("recipe", "hyperparameters"), ("recipe",)]
    for table in tables:
        for at in (*document.overrides, *document.lines):
            if at[:-1] == table and re.search(rf"\b{re.escape(str(at[-1]))}\b", message):
                return at
    return ("recipe",)


def _apply(document: Document, text: str) -> None:
    keys, value = parse_override(text)
    target: Any = document.data
    location: tuple[str | int, ...] = ()
    for i, key in enumerate(keys):
        last = i == len(keys) - 1
        at: str | int = key
        if isinstance(target, list):
            if not key.isdigit() or int(key) >= len(target):
                raise SuiteError(
                    f"--set {text}: '{'.'.join(keys[:i])}' is a list of {len(target)}; "
                    f"expected a position from 0 to {len(target) - 1} instead of '{key}'."
                )
            at = int(key)
        elif not isinstance(target, dict):
            raise SuiteError(
                f"--set {text}: '{'.'.join(keys[:i])}' holds a single value, so it has no '{key}'."
            )
        elif key == "recipe" and not last and isinstance(target.get(key), str):
            target[key] = {"base": target[key]}
        location = (*location, at)
        if last:
            target[at] = value
        else:
            target = target[int(at)] if isinstance(target, list) else target.setdefault(at, {})
    document.overridden(location, text)


def _legal_keys(location: tuple[str | int, ...]) -> list[str]:
    parts: dict[str | int, list[str]] = {
        "checkpoints": [*CheckpointSelection.model_fields],
        "recipe": [*RecipeChoice.model_fields, *Hyperparameters.model_fields],
        "metric": [*ModuleChoice.model_fields],
    }
    return parts.get(location[0], [*Suite.model_fields]) if len(location) > 1 else [*Suite.model_fields]


def _sentence(document: Document, error: ValidationError) -> str:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    location = (*first["loc"], *(cause.location if isinstance(cause, _Misplaced) else ()))
    where = document.where(location)
    key = str(location[-1]) if location else ""
    if first["type"] == "extra_forbidden":
        legal = _legal_keys(location)
        near = near_matches(key, legal, limit=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(legal)}."
        return f"{where}: there is no key '{key}' here; {hint}"
    if first["type"] == "missing":
        return f"{where}: the suite lacks '{key}'."
    message = first["msg"].removeprefix("Value error, ")
    if message.endswith((".", "?")):  # a sentence of its own
        return f"{where}: {message}"
    name = ".".join(str(part) for part in location if not str(part).startswith(("list[", "literal[")))
    given = "" if isinstance(cause, _Misplaced) else f" (given: {_shown(first['input'])})"
    return f"{where}: {name + ': ' if name else ''}{message[:1].lower() + message[1:]}{given}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
