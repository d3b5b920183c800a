"""What the entries of a suite may say: checkpoints, seeds, the recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from multibench.checkpoints import FAMILIES, Checkpoint, find, select
from multibench.checkpoints.catalogue.checkpoint import LOCAL_FAMILY
from multibench.errors import MultibenchError
from multibench.recipes import RECIPES
from multibench.registry import nearest_or_all

__all__ = [
    "CheckpointSelection",
    "Closed",
    "Misplaced",
    "RecipeChoice",
    "SeedList",
    "as_list",
    "check_pairs",
    "known",
    "no_repeats",
    "read_recipe_choice",
]

V = TypeVar("V")

_MOST_SEEDS = 10_000


class Misplaced(ValueError):
    """Something wrong at ``location`` (keys and positions) below what is being validated."""

    def __init__(self, message: str, *location: str | int) -> None:
        super().__init__(message)
        self.location = location


def known(look_up: Callable[[str], object]) -> AfterValidator:
    """Check that a name exists, so that an unknown one is reported with its line."""

    def check(name: str) -> str:
        try:
            look_up(name)
        except MultibenchError as error:
            raise ValueError(str(error)) from error
        return name

    return AfterValidator(check)


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
            if not _is_seed(first) or (dash and not _is_seed(last)):
                shown = part.strip()
                shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
                raise ValueError(f"{shown!r} is no seed and no range of seeds such as 0-4")
            wanted = range(int(first), int(last if dash else first) + 1)
            if len(seeds) + len(wanted) > _MOST_SEEDS:
                raise ValueError(
                    f"{part.strip()} makes more than {_MOST_SEEDS:,} seeds, more than any study has"
                )
            seeds.extend(wanted)
        return seeds
    if isinstance(value, list) and len(value) > _MOST_SEEDS:
        raise ValueError(f"{len(value):,} seeds are listed, more than any study has (up to {_MOST_SEEDS:,})")
    return value


def _is_seed(text: str) -> bool:
    """Whether it is a whole number as everyone writes it: 010 is 8 to some readers of YAML, and 10 to others."""
    return re.fullmatch(r"0|[1-9][0-9]{0,17}", text) is not None


def as_list(value: Any) -> Any:
    """A single value as a list of one."""
    return value if isinstance(value, list) or value is None else [value]


class Closed(BaseModel):
    """An entry that has no keys but its own, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def no_repeats(values: list[V]) -> list[V]:
    """``values``, texts or numbers, as they are. Raises ``ValueError`` if one is there twice."""
    seen: set[V] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value} is listed twice")
        seen.add(value)
    return values


SeedList = Annotated[
    list[Annotated[int, Field(ge=0)]],
    BeforeValidator(_expand_seeds),
    Field(min_length=1),
    AfterValidator(no_repeats),
]
# What may stand beside each way of naming checkpoints.
_BESIDE = {
    "path": {"family", "pretraining_seed", "step", "paired_with"},
    "ids": {"paired_with"},
    "family": {"pretraining_seeds", "steps", "include_aliases", "include_languages", "paired_with"},
}


class CheckpointSelection(Closed):
    """Some checkpoints: of a family, by id, or in local folders."""

    family: str | None = None
    """A family of the catalogue; with ``path``, the family name that the folder's runs are listed under."""
    pretraining_seeds: SeedList | Literal["all"] = "all"
    steps: (
        Annotated[list[int] | Literal["all"], BeforeValidator(lambda v: as_list(v) if v != "all" else v)]
        | None
    ) = None
    """Pretraining steps; each seed's last one if not given."""
    ids: Annotated[list[str], BeforeValidator(as_list)] | None = None
    path: str | None = None
    """A folder, absolute or below ``--checkpoints``."""
    pretraining_seed: int | None = None
    """Of the checkpoint in ``path``."""
    step: int | None = None
    """Of the checkpoint in ``path``."""
    include_languages: bool = False
    """Also the checkpoints of a family whose texts are of other languages than English, or of many."""
    include_aliases: bool = False
    """Also second names of one checkpoint, such as a final's ``step_2000k``."""
    paired_with: str | None = None
    """The family (``multiberts``), or family and size (``multiberts/109482240``), whose pretraining seeds these are.

    Equal pretraining seeds then share their nested fine-tuning seeds with it."""

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
            raise Misplaced(f"'{ignored[0]}' says nothing beside '{way}'", ignored[0])
        if self.path is None:
            try:
                self.from_catalogue()
            except MultibenchError as error:
                raise Misplaced(str(error), self._key_behind(str(error))) from error
        return self

    def _key_behind(self, message: str) -> str:
        """The key to look at after the catalogue has said ``message``."""
        if self.ids is not None:
            return "ids"
        if "the pretraining seed" in message:
            return "pretraining_seeds"
        return "steps" if "the step" in message else "family"

    def families(self) -> set[str]:
        """The families of the checkpoints; empty where they cannot be known from the catalogue."""
        if self.path is not None:
            return {self.family or LOCAL_FAMILY}
        return {checkpoint.family for checkpoint in self.from_catalogue()}

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
            languages=self.include_languages,
        )


def check_pairs(selections: Sequence[CheckpointSelection]) -> None:
    """Raise ``Misplaced`` where ``paired_with`` names no family, or one that is itself paired with another."""
    of_suite = {family for one in selections for family in one.families()}
    known = [*FAMILIES.names(), *of_suite]
    elsewhere = {
        family: one.paired_with for one in selections if one.paired_with for family in one.families()
    }
    for i, one in enumerate(selections):
        pair = one.paired_with
        if pair is None:
            continue
        family = pair if pair in known else pair.rpartition("/")[0]
        if family not in known:
            raise Misplaced(
                f"'{pair}' is no family of the catalogue or of this suite; {nearest_or_all(pair, known)}",
                *("checkpoints", i, "paired_with"),
            )
        beyond = elsewhere.get(family)
        if beyond is not None and family not in (beyond, beyond.rpartition("/")[0]):
            raise Misplaced(
                f"{family} is itself paired with {beyond}; name that instead", "checkpoints", i, "paired_with"
            )


class RecipeChoice(Closed):
    """A recipe of the catalogue, with any hyperparameter replaced by a value or by a list of values."""

    base: Annotated[str, known(RECIPES.get)] = "modern_glue"
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Hyperparameters of single tasks, over the others."""
    selection: str | None = None
    """How one setting of a grid is chosen; the recipe's own rule if not given."""
    held_out: float | None = Field(default=None, gt=0, lt=1)
    """The share of each task's training examples that is kept out of training and chosen on, instead of dev."""


_CHOICE_KEYS = set(RecipeChoice.model_fields)


def read_recipe_choice(value: Any) -> Any:
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
