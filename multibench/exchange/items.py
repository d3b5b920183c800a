"""Predictions that were made elsewhere, in the words of this package: what they are of, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from multibench.checkpoints import FAMILIES, Checkpoint
from multibench.errors import DataError
from multibench.recipes import Hyperparameters
from multibench.scoring.fit import Fitted
from multibench.tasks import Examples, Task

__all__ = ["FinetuningSeeds", "Item", "Origin", "known_settings", "origin_of"]

FinetuningSeeds: TypeAlias = Literal["nested", "shared", "unknown"]
"""Whether fine-tuning seed 3 of one checkpoint shares its noise with seed 3 of every other (``shared``) or not."""


@dataclass(frozen=True)
class Origin:
    """The pretrained checkpoint that runs were fine-tuned from."""

    family: str
    checkpoint: str
    pretraining_seed: int | None = None
    step: int | None = None
    parameters: int | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Origin:
        """A checkpoint of the catalogue."""
        return cls(
            checkpoint.family,
            checkpoint.id,
            checkpoint.pretraining_seed,
            checkpoint.step,
            checkpoint.parameters,
        )


@cache
def origin_of(family: str, seed: int | None, step: int | None) -> Origin:
    """The checkpoint of this family, seed and step: the catalogue's, if it has exactly one, or one of that name."""
    if family in FAMILIES.names():
        known = [
            checkpoint
            for checkpoint in FAMILIES.get(family).checkpoints
            if (checkpoint.pretraining_seed, checkpoint.step) == (seed, step)
            and checkpoint.alias_of is None
            and checkpoint.finetuned_on is None
        ]
        if len(known) == 1:
            return Origin.of(known[0])
    parts = [family, "" if seed is None else f"seed_{seed}", "" if step is None else f"step_{step}"]
    return Origin(family, "-".join(filter(None, parts)), seed, step)


@dataclass(frozen=True)
class Item:
    """Predictions of one run on one split.

    ``read`` gives them for the examples of that split and raises ``DataError`` if it cannot. ``file`` is where they
    are, ``place`` where the source speaks of them. ``settings`` are the hyperparameters that it states.
    ``class_order`` are the classes of its outputs, where the source states them; ``null_odds`` is a file with the odds
    of no answer.
    """

    origin: Origin
    trained_on: Task
    finetuning_seed: int | None
    settings: Mapping[str, Any]
    task: Task
    split: str
    file: Path
    place: str
    read: Callable[[Examples], Fitted] = field(repr=False)
    class_order: tuple[str, ...] | None = None
    null_odds: Path | None = None

    @property
    def evaluation(self) -> str:
        """``task.split``."""
        return f"{self.task.name}.{self.split}"

    def labels(self) -> dict[str, Any]:
        """What the run is listed under, as ``PlannedRun.labels`` has it."""
        return {
            "family": self.origin.family,
            "checkpoint": self.origin.checkpoint,
            "pretraining_seed": self.origin.pretraining_seed,
            "step": self.origin.step,
            "parameters": self.origin.parameters,
            "task": self.trained_on.name,
            "finetuning_seed": self.finetuning_seed,
            "held_out": None,
        }


@cache
def _partial() -> type[BaseModel]:
    """Hyperparameters of which any may be unknown."""
    fields: dict[str, Any] = {
        name: (Annotated[field.annotation, Field(), *field.metadata] | None, None)
        for name, field in Hyperparameters.model_fields.items()
    }
    return create_model("KnownSettings", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def known_settings(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every hyperparameter by name, None where ``given`` does not say. Raises ``DataError`` for an illegal value."""
    try:
        return _partial().model_validate(dict(given)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{where}: {first['loc'][0]} is {first['input']!r}: {first['msg']}.") from error
