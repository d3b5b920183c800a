"""What a suite may say, and what its words mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from multibench.errors import MultibenchError, SuiteError
from multibench.recipes import RECIPES, SELECTION_RULES, Hyperparameters, Recipe
from multibench.registry import nearest_or_all
from multibench.seeds import FinetuningSeedDesign
from multibench.suite.document import Document, parse_override, read_document
from multibench.suite.entries import (
    CheckpointSelection,
    Closed,
    Misplaced,
    RecipeChoice,
    SeedList,
    as_list,
    check_pairs,
    known,
    no_repeats,
    read_recipe_choice,
)
from multibench.suite.modules import ModuleChoice
from multibench.tasks import HELD_OUT, Task, find_task, with_held_out

__all__ = ["RESERVED", "CheckpointSelection", "RecipeChoice", "Suite", "load_suite"]

RESERVED = frozenset({"runs", "tmp", "claims", "damaged", "replaced", "index.jsonl"})
"""Names of what is in a suite's own folder: a suite of such a name would be taken for that of another."""

V = TypeVar("V")

TaskName = Annotated[str, known(find_task)]


class Suite(Closed):
    """Checkpoints x tasks x settings of a recipe x fine-tuning seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    description: str = ""
    checkpoints: Annotated[list[CheckpointSelection], BeforeValidator(as_list), Field(min_length=1)]
    tasks: Annotated[list[TaskName], BeforeValidator(as_list), Field(min_length=1)]
    evaluations: dict[
        str, Annotated[list[str], BeforeValidator(as_list), Field(min_length=1), AfterValidator(no_repeats)]
    ] = Field(default_factory=dict)
    """Task -> what its runs are scored on: ``split`` or ``task.split``; the task's own list if not given."""
    recipe: Annotated[RecipeChoice, BeforeValidator(read_recipe_choice)] = RecipeChoice()
    finetuning_seeds: SeedList = Field(default_factory=lambda: [0, 1, 2, 3, 4])
    finetuning_seed_design: FinetuningSeedDesign = "nested"
    """``nested``: each pretraining seed has fine-tuning seeds of its own; ``shared``: all checkpoints have the same."""
    keep_weights: Literal["none", "last"] = "none"
    metric: Annotated[list[ModuleChoice], BeforeValidator(as_list)] = Field(default_factory=list)
    evaluate_only: bool = False
    """Apply the checkpoints' own heads and train nothing."""
    class_order: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Task -> its classes in the order of the outputs of checkpoints' own heads, where these do not name them."""
    accept_different_data: Annotated[list[str], BeforeValidator(as_list)] = Field(default_factory=list)
    """Tasks whose data may differ in size or labels from what was released; their numbers are marked."""

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name.lower() in RESERVED:
            raise ValueError(
                f"a suite cannot be called '{name}', since in a folder of results that is a part of a suite's own "
                f"folder; so are {', '.join(sorted(RESERVED - {name.lower()}))}"
            )
        return name

    @model_validator(mode="after")
    def _names_exist(self) -> Suite:
        rule = self.recipe.selection
        if rule is not None and rule not in SELECTION_RULES:
            raise Misplaced(
                f"there is no selection rule '{rule}'; there are {', '.join(SELECTION_RULES)}",
                *("recipe", "selection"),
            )
        if self.recipe.held_out is not None and self.evaluate_only:
            raise Misplaced("nothing is trained, so nothing can be held out", "recipe", "held_out")
        check_pairs(self.checkpoints)
        tasks: list[Task] = []
        for i, name in enumerate(self.tasks):
            task = find_task(name)
            if task.name in {other.name for other in tasks}:
                raise Misplaced(f"the task {task.name} is listed twice", "tasks", i)
            if "train" not in task.splits and not self.evaluate_only:
                text = f"the task {task.name} has no training data; list it under 'evaluations'"
                raise Misplaced(text, "tasks", i)
            try:
                tasks.append(self.task(name))
            except MultibenchError as error:
                raise Misplaced(str(error), "recipe", "held_out") from error
        listed = [*self.tasks, *(task.name for task in tasks)]
        for key in self.evaluations:
            self._refuse_other_task(key, listed, "evaluations", key)
        for key in self.recipe.tasks:
            self._refuse_other_task(key, listed, "recipe", "tasks", key)
        for task in tasks:
            listed += self._check_evaluations(task)
        for i, name in enumerate(self.accept_different_data):
            self._refuse_other_task(name, listed, "accept_different_data", i)
        for name, order in self.class_order.items():
            self._refuse_other_task(
                name, [name for task in tasks for name in self.names_of(task)], "class_order", name
            )
            self._check_class_order(name, order)
        return self

    def _check_class_order(self, name: str, order: tuple[str, ...]) -> None:
        labels = find_task(name if name in self.tasks else self._path_of(name)).labels
        if not self.evaluate_only:
            text = "'class_order' speaks of checkpoints' own heads: it needs 'evaluate_only: true'"
            raise Misplaced(text, "class_order")
        if sorted(order) != sorted(labels):
            raise Misplaced(
                f"expected the classes of {name} ({', '.join(labels) or 'it has none'}), each once, in the order "
                f"of the outputs; given were {', '.join(order) or 'none'}",
                "class_order",
                name,
            )

    def _path_of(self, name: str) -> str:
        """What ``tasks`` calls the task ``name``."""
        return next((listed for listed in self.tasks if find_task(listed).name == name), name)

    def states(self, task: Task, name: str) -> bool:
        """Whether this suite gives the hyperparameter ``name`` for ``task``, rather than its recipe."""
        return name in self.recipe.hyperparameters or name in (self._for(task, self.recipe.tasks) or {})

    def stated_order(self, task: Task) -> tuple[str, ...] | None:
        """What ``class_order`` says of ``task``; None if nothing."""
        return self._for(task, self.class_order)

    def _check_evaluations(self, task: Task) -> list[str]:
        """Names of the tasks that models of ``task`` are applied to, which must be such that they can be."""
        key = next((key for key in self.names_of(task) if key in self.evaluations), task.name)
        names = []
        for i, target in enumerate(self.evaluations.get(key, task.evaluations)):
            try:
                other, _ = self.evaluation(task, target)
                other.class_map(task)  # raises if models of the one cannot be applied to the other
            except (MultibenchError, ValueError) as error:
                raise Misplaced(str(error), "evaluations", key, i) from error
            names.append(other.name)
        return names

    def _refuse_other_task(self, name: str, known: list[str], *location: str | int) -> None:
        if name not in known:
            hint = nearest_or_all(name, known)
            raise Misplaced(f"'{name}' is no task of this suite; {hint}", *location)

    def evaluation(self, task: Task, target: str) -> tuple[Task, str]:
        """``split`` or ``task.split`` as the task and split that are meant. Raises ``SuiteError``."""
        name, dot, split = target.rpartition(".")
        other = self.task(name) if dot else task
        if split not in other.splits:
            raise SuiteError(
                f"The task {other.name} has no split '{split}'; it has {', '.join(other.splits)}."
            )
        return other, split

    def evaluations_of(self, task: Task) -> list[tuple[Task, str]]:
        """What runs of ``task`` (as ``Suite.task`` gives it) are scored on, in the order given; ``held_out`` last."""
        targets: Iterable[str] = self._for(task, self.evaluations) or task.evaluations
        if task.held_out is not None:
            targets = [target for target in targets if target not in (HELD_OUT, f"{task.name}.{HELD_OUT}")]
            targets.append(HELD_OUT)
        return [self.evaluation(task, target) for target in targets]

    def task(self, name: str) -> Task:
        """The task called ``name``; if runs are trained on it, less what ``recipe.held_out`` keeps out of training."""
        task = find_task(name)
        share = self.recipe.held_out
        trained = any(find_task(listed).name == task.name for listed in self.tasks)
        return task if share is None or not trained else with_held_out(task, share)

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
                    f"--set {text}: '{'.'.join(keys[:i])}' is a list of {len(target)}; expected a position from 0 to "
                    f"{len(target) - 1} instead of '{key}'."
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
    location = (*first["loc"], *(cause.location if isinstance(cause, Misplaced) else ()))
    where = document.where(location)
    key = str(location[-1]) if location else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no key '{key}' here; {nearest_or_all(key, _legal_keys(location))}"
    if first["type"] == "missing":
        return f"{where}: the suite lacks '{key}'."
    message = first["msg"].removeprefix("Value error, ")
    if message.endswith((".", "?")):  # a sentence of its own
        return f"{where}: {message}"
    name = ".".join(str(part) for part in location if "[" not in str(part))
    given = "" if isinstance(cause, Misplaced) else f" (given: {_shown(first['input'])})"
    return f"{where}: {name + ': ' if name else ''}{message[:1].lower() + message[1:]}{given}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
