"""What a suite may say, and what its words mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from multibench.errors import SuiteError
from multibench.recipes import RECIPES, SELECTION_RULES, Hyperparameters, Recipe
from multibench.registry import near_matches
from multibench.suite.document import Document, parse_override, read_document
from multibench.tasks import Task, find_task

__all__ = ["CheckpointSelection", "RecipeChoice", "Suite", "load_suite"]


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


SeedList = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_expand_seeds), Field(min_length=1)]


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
        return self


class RecipeChoice(_Model):
    """A recipe of the catalogue, with any hyperparameter replaced by a value or by a list of values."""

    base: str = "modern_glue"
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
        kept["hyperparameters"] = {**(kept.get("hyperparameters") or {}), **rest}
        return kept
    return value


class Suite(_Model):
    """Checkpoints x tasks x settings of a recipe x fine-tuning seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    description: str = ""
    checkpoints: Annotated[list[CheckpointSelection], BeforeValidator(_as_list), Field(min_length=1)]
    tasks: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
    evaluations: dict[str, list[str]] = Field(default_factory=dict)
    """Task -> what its runs are scored on: ``split`` or ``task.split``; the task's own list if not given."""
    recipe: Annotated[RecipeChoice, BeforeValidator(_read_recipe)] = RecipeChoice()
    finetuning_seeds: SeedList = Field(default_factory=lambda: [0, 1, 2, 3, 4])
    keep_weights: Literal["none", "last"] = "none"
    evaluate_only: bool = False
    """Apply the checkpoints' own heads and train nothing."""
    accept_different_data: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)
    """Tasks whose data may differ in size or labels from what was released; their numbers are marked."""

    @model_validator(mode="after")
    def _names_exist(self) -> Suite:
        self.base_recipe  # noqa: B018  (raises for an unknown name)
        if self.recipe.selection is not None and self.recipe.selection not in SELECTION_RULES:
            raise ValueError(
                f"there is no selection rule '{self.recipe.selection}'; there are {', '.join(SELECTION_RULES)}"
            )
        for name in [*self.tasks, *self.accept_different_data]:
            find_task(name)
        unused = sorted(set(self.evaluations) - set(self.tasks))
        if unused:
            raise ValueError(f"'evaluations' speaks of {', '.join(unused)}, which 'tasks' does not list")
        for name in self.tasks:
            task = find_task(name)
            if "train" not in task.splits and not self.evaluate_only:
                raise ValueError(f"the task {task.name} has no training data; list it under 'evaluations'")
            for other, _ in self.evaluations_of(task):
                other.class_map(task)  # raises if models of the one cannot be applied to the other
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError("a task is listed twice")
        return self

    def evaluation(self, task: Task, target: str) -> tuple[Task, str]:
        """``split`` or ``task.split`` as the task and split that are meant."""
        name, dot, split = target.rpartition(".")
        other = find_task(name) if dot else task
        if split not in other.splits:
            raise ValueError(
                f"the task {other.name} has no split '{split}'; it has {', '.join(other.splits)}"
            )
        return other, split

    def evaluations_of(self, task: Task) -> list[tuple[Task, str]]:
        """What runs of ``task`` are scored on, its own splits first in the order given."""
        return [self.evaluation(task, target) for target in self.evaluations.get(task.name, task.evaluations)]

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
        overrides = {**self.recipe.hyperparameters, **self.recipe.tasks.get(task.name, {})}
        return self.base_recipe.settings(task.name, overrides)


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite in ``path`` with ``key=value`` overrides. Raises ``SuiteError`` with file and line."""
    document = read_document(path)
    document.data.setdefault("name", path.stem)
    for text in overrides:
        _apply(document, text)
    try:
        suite = Suite.model_validate(document.data)
        for task in suite.tasks:
            suite.settings(find_task(task))
    except ValidationError as error:
        raise SuiteError(_sentence(document, error)) from error
    return suite


def _apply(document: Document, text: str) -> None:
    keys, value = parse_override(text)
    target: Any = document.data
    for i, key in enumerate(keys[:-1]):
        if isinstance(target, list):
            if not key.isdigit() or int(key) >= len(target):
                raise SuiteError(
                    f"--set {text}: '{'.'.join(keys[:i])}' is a list of {len(target)}; expected a position."
                )
            target = target[int(key)]
            continue
        if key == "recipe" and isinstance(target.get(key), str):
            target[key] = {"base": target[key]}
        target = target.setdefault(key, {})
        if not isinstance(target, (dict, list)):
            raise SuiteError(
                f"--set {text}: '{'.'.join(keys[: i + 1])}' holds a single value, so it has no '{keys[i + 1]}'."
            )
    if isinstance(target, list):
        if not keys[-1].isdigit() or int(keys[-1]) >= len(target):
            raise SuiteError(
                f"--set {text}: expected a position from 0 to {len(target) - 1} as the last key."
            )
        target[int(keys[-1])] = value
    else:
        target[keys[-1]] = value


def _legal_keys(location: tuple[str | int, ...]) -> list[str]:
    head = location[0] if len(location) > 1 else None
    if head == "checkpoints":
        return list(CheckpointSelection.model_fields)
    if head == "recipe":
        return [*RecipeChoice.model_fields, *Hyperparameters.model_fields]
    return list(Suite.model_fields)


def _sentence(document: Document, error: ValidationError) -> str:
    first = error.errors()[0]
    location = tuple(first["loc"])
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
    name = ".".join(str(part) for part in location if not str(part).startswith(("list[", "literal[")))
    sentence = f"{name + ': ' if name else ''}{message[:1].lower()}{message[1:]}"
    return f"{where}: {sentence} (given: {_shown(first['input'])})."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
