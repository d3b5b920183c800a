"""The identity of a run: a hash of all that can change its numbers, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from multibench.recipes import SPAN_ONLY, Hyperparameters
from multibench.seeds import Seeds
from multibench.tasks.task import Task

__all__ = ["IDENTITY_VERSION", "IMPORT_VERSION", "ImportedIdentity", "RunIdentity", "recomputed_id"]

# All that a run which trains nothing depends on, besides what span tasks add.
_WITHOUT_TRAINING = ("max_length", "precision")

# Hyperparameters that came later than the versions below, with what runs had before: left out of the id there, so that
# older ids stay.
_LATER: dict[str, Any] = {"window_overlap": None}

# Raised when the same settings give other numbers than before: old runs then count as other runs. A new field needs no
# new version, it is left out at its default.
# 1: dropout masks from a generator of each run. 2: masks by counter, packed steps, predictions by the forward pass that
# trains.
IDENTITY_VERSION = 2
# The same for imported runs.
IMPORT_VERSION = 1

_SORTED = json.JSONEncoder(sort_keys=True)


@dataclass(frozen=True)
class RunIdentity:
    """What decides the numbers of a run.

    ``checkpoint`` is the content digest of weights, configuration and vocabulary;
    ``training_data`` the fingerprint of the training examples. A run that trains nothing has
    neither training data nor seeds. Suite, device, worker, evaluation batches, paths, threads and
    how many replicas were trained together are not part of it.
    """

    checkpoint: str
    task: str
    task_version: int
    training_data: str | None
    hyperparameters: dict[str, Any]
    seeds: Seeds | None

    @classmethod
    def of(
        cls,
        checkpoint: str,
        task: Task,
        training_data: str | None,
        settings: Hyperparameters,
        seeds: Seeds | None,
        class_order: list[int] | str | None = None,
    ) -> RunIdentity:
        """The identity of a run of ``task`` under ``settings``; settings that its kind ignores are left out.

        ``class_order`` belongs to runs that use a checkpoint's own head: which output is which class, or by which data
        that is found.
        """
        decisive = _decisive(settings, task.kind == "span", seeds is not None)
        if class_order is not None:
            decisive = {**decisive, "class_order": class_order}
        return cls(
            checkpoint=checkpoint,
            task=task.name,
            task_version=task.version,
            training_data=training_data,
            hyperparameters=decisive,
            seeds=seeds,
        )

    @cached_property
    def run_id(self) -> str:
        """16 hexadecimal digits."""
        return _id_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {
            "identity_version": IDENTITY_VERSION,
            "checkpoint": self.checkpoint,
            "task": self.task,
            "task_version": self.task_version,
            "training_data": self.training_data,
            "hyperparameters": self.hyperparameters,
            "seeds": None if self.seeds is None else dict(vars(self.seeds)),
        }


@dataclass(frozen=True)
class ImportedIdentity:
    """What a run is that was made elsewhere: what its source says about it, and its predictions.

    ``labels`` name checkpoint, seeds and task; ``hyperparameters`` are None where the source does not say;
    ``predictions`` maps each ``task.split`` to a digest. No such run is ever equal to one that was made here.
    """

    task: str
    task_version: int
    labels: dict[str, Any]
    hyperparameters: dict[str, Any]
    predictions: dict[str, str]

    @cached_property
    def run_id(self) -> str:
        """16 hexadecimal digits."""
        return _id_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """For ``run.json``, with the fields of ``RunIdentity``; what nobody knows of the run is None."""
        return {
            "domain": "imported",
            "identity_version": IMPORT_VERSION,
            "checkpoint": None,
            "task": self.task,
            "task_version": self.task_version,
            "training_data": None,
            "hyperparameters": self.hyperparameters,
            "seeds": None,
            "labels": self.labels,
            "predictions": self.predictions,
        }


def recomputed_id(identity: dict[str, Any]) -> str:
    """The id of the run whose ``identity`` stands in ``run.json``, as ``to_dict`` gave it, of whatever version."""
    return _id_of(identity)


def _id_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(_SORTED.encode(content).encode()).hexdigest()[:16]


@cache
def _decisive(settings: Hyperparameters, spans: bool, trains: bool) -> dict[str, Any]:
    """The hyperparameters that can change the numbers of a run; all runs with these settings share them."""
    values = settings.model_dump(mode="json")
    return {
        name: value
        for name, value in values.items()
        if (spans if name in SPAN_ONLY else trains or name in _WITHOUT_TRAINING)
        and not (name in _LATER and value == _LATER[name])
    }
