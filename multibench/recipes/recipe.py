"""What a recipe is: published hyperparameters, each with its status and source, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from multibench.errors import SuiteError
from multibench.recipes.hyperparameters import SPAN_ONLY, Hyperparameters, expand_grid
from multibench.registry import Registry, nearest_or_all

__all__ = ["RECIPES", "SELECTION_RULES", "STATUSES", "Base", "Fact", "Recipe", "Selection", "read_recipe"]

Status = Literal["stated", "code_default", "inferred", "unknown"]
STATUSES: dict[str, str] = {
    "stated": "the source says so",
    "code_default": "default value of the released code",
    "inferred": "our conclusion, or the nearest thing that can be run",
    "unknown": "in no source that was read; the value fills the gap",
}

Rule = Literal["none", "best_mean_dev", "best_dev", "median", "mean"]
SELECTION_RULES: dict[str, str] = {
    "none": "nothing is selected: one setting, every run counts",
    "best_mean_dev": "one setting for each family, step and task: the highest dev score, averaged over all "
    "pretraining and fine-tuning seeds; the score on held_out where a suite holds out a part of train",
    "best_dev": "for each checkpoint and task the single run with the highest dev score; on held_out likewise",
    "median": "one setting; the median over fine-tuning seeds is reported",
    "mean": "one setting; the mean over fine-tuning seeds is reported",
}

# In TOML, which has no null.
NOTHING = "none"

DEFAULT = "not mentioned: default of multibench"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(_Table):
    """One value, or a grid of values, and how it is known."""

    value: Any = None
    """A value, a tuple of values (a grid), or None."""
    status: Status
    source: str = Field(min_length=1)
    published: str | None = None
    """What the source has instead, where it is something that cannot be run here as it is."""

    @field_validator("value", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(None if item == NOTHING else item for item in value)
        return None if value == NOTHING else value

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return self.model_dump(mode="json")


class Selection(_Table):
    """How the reported setting or run is chosen: ``rule`` is one of ``SELECTION_RULES``."""

    rule: Rule
    status: Status
    source: str = Field(min_length=1)


class Base(_Table):
    """Another recipe, which fills what this one leaves open."""

    recipe: str
    status: Status | None = None
    """Status of what is taken from there; None: the status that it has there."""
    reason: str = Field(min_length=1)


class Recipe(_Table):
    """How a family was, or is to be, fine-tuned."""

    name: str
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    paper: str = Field(min_length=1)
    """The publication or repository that it comes from."""
    families: tuple[str, ...] = ()
    """The families whose checkpoints the source fine-tuned."""
    tasks: tuple[str, ...] = Field(min_length=1)
    """The tasks that the source speaks of."""
    selection: Selection
    finetuning_seeds: Fact
    """How many fine-tuning seeds were run, as published."""
    hyperparameters: dict[str, Fact]
    overrides: dict[str, dict[str, Fact]] = Field(default_factory=dict)
    """Task -> what differs there."""
    base: Base | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_legal(self) -> Recipe:
        legal = list(Hyperparameters.model_fields)
        for table in (self.hyperparameters, *self.overrides.values()):
            for name in table:
                if name not in legal:
                    hint = nearest_or_all(name, legal).rstrip(".")
                    raise ValueError(f"'{name}' is no hyperparameter; {hint}")
        if strange := sorted(set(self.overrides) - set(self.tasks)):
            raise ValueError(f"overrides speaks of {', '.join(strange)}, which tasks does not list")
        return self

    def facts(self, task: str) -> dict[str, Fact]:
        """Hyperparameter -> value, status and source for ``task``, in the order of ``Hyperparameters``.

        What the recipe does not say comes from its base, and then from the defaults of
        ``Hyperparameters``, with the status "unknown". What only span tasks use is left out unless
        the recipe or its base speaks of it. A task that the source does not speak of gets what holds
        for all. Raises ``SuiteError`` if the learning rate, batch size or epochs are nowhere given.
        """
        said = {**self.hyperparameters, **self.overrides.get(task, {})}
        base = self._base_facts(task)
        found = {}
        for name, field in Hyperparameters.model_fields.items():
            fact = said.get(name)
            if fact is None:
                fact = base.get(name)
            elif fact.status == "unknown" and fact.value is None:
                filled = base[name].value if name in base else None if field.is_required() else field.default
                fact = fact.model_copy(update={"value": filled})
            if fact is None and name not in SPAN_ONLY:
                if field.is_required():
                    raise SuiteError(
                        f"The recipe '{self.name}' gives no {name} for the task '{task}'; it speaks of "
                        f"{', '.join(self.tasks)}. Set it in the suite, or choose another recipe."
                    )
                fact = Fact(value=field.default, status="unknown", source=DEFAULT)
            if fact is not None:
                found[name] = fact
        optimizer, epsilon = found["optimizer"], found["epsilon"]
        if optimizer.value == "bert_adam" and epsilon.source == DEFAULT:
            found["epsilon"] = epsilon.model_copy(update={"value": 1e-6})
        return found

    def not_stated(self, task: str) -> dict[str, Fact]:
        """The part of ``facts(task)`` that its source does not state: defaults, conclusions and gaps."""
        return {name: fact for name, fact in self.facts(task).items() if fact.status != "stated"}

    def settings(self, task: str, changes: Mapping[str, Any] | None = None) -> tuple[Hyperparameters, ...]:
        """The recipe's grid for ``task``, in a stable order (see ``expand_grid``).

        ``changes`` replaces values, each by one value or a list. ``not_stated`` says which values
        are not the source's own. Raises ``SuiteError``.
        """
        changes = changes or {}
        where = f"the recipe '{self.name}'"
        facts = self._facts_or_less(task, changes)
        # Defaults are left to Hyperparameters, since one of them depends on another value.
        known = {name: fact.value for name, fact in facts.items() if fact.source != DEFAULT}
        return expand_grid({**known, **changes}, where)

    def _facts_or_less(self, task: str, changes: Mapping[str, Any]) -> dict[str, Fact]:
        """``facts(task)``, where a value that ``changes`` gives need not be known."""
        legal = [name for name in changes if name in Hyperparameters.model_fields]
        given = {name: Fact(status="stated", source="the suite") for name in legal}
        overrides = {task: {**self.overrides.get(task, {}), **given}}
        return self.model_copy(update={"overrides": overrides}).facts(task)

    def _base_facts(self, task: str) -> dict[str, Fact]:
        if self.base is None:
            return {}
        chain, last = [self.name], RECIPES.get(self.base.recipe)
        while last.name not in chain and last.base is not None:
            chain.append(last.name)
            last = RECIPES.get(last.base.recipe)
        if last.name in chain:
            raise SuiteError(f"The recipe '{last.name}' is its own base, by way of {', '.join(chain)}.")
        taken = {}
        for name, fact in RECIPES.get(self.base.recipe).facts(task).items():
            if self.base.status is None or fact.status == "unknown":
                taken[name] = fact
            else:
                source = f"{self.base.reason}: {self.base.recipe} has it from {fact.source}"
                taken[name] = fact.model_copy(update={"status": self.base.status, "source": source})
        return taken

    def in_full(self) -> dict[str, dict[str, Any]]:
        """``facts`` of every task, ready for JSON; tasks of which all is the same share an entry."""
        shared: list[tuple[list[str], dict[str, Fact]]] = []
        for task in self.tasks:
            facts = self.facts(task)
            alike = next((tasks for tasks, others in shared if others == facts), None)
            if alike is None:
                shared.append(([task], facts))
            else:
                alike.append(task)
        return {
            ", ".join(tasks): {name: fact.to_dict() for name, fact in facts.items()}
            for tasks, facts in shared
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but what comes from the base and the defaults, ready for JSON."""
        return self.model_dump(mode="json")


def read_recipe(path: str | Path) -> Recipe:
    """The recipe that a TOML file describes. Raises ``SuiteError`` if it cannot be used."""
    path = Path(path)
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SuiteError(f"The recipe file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SuiteError(f"The recipe file {path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SuiteError(f"The recipe file {path} cannot be used: {where}: {first['msg']}.") from error


def _built_in() -> Iterator[tuple[str, Recipe]]:
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        recipe = read_recipe(path)
        yield recipe.name, recipe


RECIPES: Registry[Recipe] = Registry("recipe", group="multibench.recipes", built_in=_built_in)
