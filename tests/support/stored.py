"""Stored runs without training: what a run would have left behind, with chosen numbers in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from multibench.recipes import Hyperparameters
from multibench.results import Predictions, RunIdentity, RunStore, store
from multibench.results.manifest import manifest_checksum
from multibench.seeds import derive_seeds
from multibench.tasks import find_task

SETTINGS = {"learning_rate": 2e-5, "batch_size": 32, "epochs": 3}


def predictions_of(outputs: NDArray[np.float32], labels: NDArray[Any] | None = None) -> Predictions:
    """Predictions for examples called 0, 1, ..."""
    return Predictions(tuple(str(i) for i in range(len(outputs))), outputs.astype(np.float32), labels)


def a_record(number: int = 0, **more: Any) -> tuple[str, dict[str, Any]]:
    """Id and record of a made-up run that was scored on nothing; ``number`` is its fine-tuning seed."""
    settings = Hyperparameters.model_validate(SETTINGS)
    identity = RunIdentity.of("some weights", find_task("rte"), "train data", settings, derive_seeds(number))
    labels = {
        "family": "multiberts",
        "checkpoint": "some",
        "pretraining_seed": 0,
        "step": 2_000_000,
        "parameters": 1000,
        "task": "rte",
        "finetuning_seed": number,
    }
    record: dict[str, Any] = {
        "status": "finished",
        "reason": None,
        "identity": identity.to_dict(),
        "labels": labels,
        "suite": {"name": "suite", "recipe": "modern_glue", "selection": "none"},
        "settings": settings.model_dump(mode="json"),
        "evaluations": {},
        "training": {},
        "provenance": {},
    }
    return identity.run_id, {**record, **more}


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of the run in ``folder`` and give it checksums that are right, as a stranger could."""
    path = folder / "run.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["checksum"] = manifest_checksum(manifest)
    path.write_text(json.dumps(manifest))


def store_run(
    folder: Path,
    *,
    outputs: NDArray[np.float32] | None,
    task: str = "rte",
    evaluation: str = "rte.dev",
    pretraining_seed: int | None = 0,
    finetuning_seed: int = 0,
    step: int | None = 2_000_000,
    checkpoint: str | None = None,
    family: str = "multiberts",
    status: str = "finished",
    metrics: dict[str, float | None] | None = None,
    data: str = "dev data",
    suite: dict[str, str] | None = None,
    ids: tuple[str, ...] | None = None,
    scored_as_released: bool = True,
    trained_as_released: bool = True,
    weights: str | None = None,
    training_data: str = "train data",
    labels: NDArray[Any] | None = None,
    provenance: dict[str, Any] | None = None,
    version: int = store.SCHEMA_VERSION,
    design: str | None = None,
    beside: dict[str, tuple[NDArray[np.float32], NDArray[Any]]] | None = None,
    **settings: Any,
) -> str:
    """Store one run of ``task`` in ``folder`` (``RESULTS/SUITE``) and return its id.

    ``weights`` and ``training_data`` are the digests in its identity; those of weights are the checkpoint's name if not
    given. ``labels`` are the gold classes, 0 and 1 in turn if not given. ``beside`` maps further evaluations to
    outputs and labels.
    """
    hyperparameters = Hyperparameters.model_validate({**SETTINGS, **settings})
    name = checkpoint or f"{family}-seed_{pretraining_seed}-step_{step}"
    identity = RunIdentity.of(
        weights or name, find_task(task), training_data, hyperparameters, derive_seeds(finetuning_seed)
    )
    evaluations: dict[str, Any] = {}
    predictions = {}
    if outputs is not None:
        evaluations[evaluation] = {
            "metrics": metrics or {"accuracy": 0.5},
            "headline": "accuracy",
            "examples": len(outputs),
            "data": data,
            "as_released": scored_as_released,
            "origin": "dev.tsv",
        }
        made = predictions_of(outputs, np.arange(len(outputs)) % 2 if labels is None else labels)
        predictions[evaluation] = Predictions(ids or made.ids, made.outputs, made.labels)
    for further, (rows, gold) in (beside or {}).items():
        evaluations[further] = {**evaluations[evaluation], "examples": len(rows)}
        predictions[further] = predictions_of(rows, gold)
    record = {
        "status": status,
        "reason": None if status == "finished" else f"it {status}",
        "identity": identity.to_dict(),
        "labels": {
            "family": family,
            "checkpoint": name,
            "pretraining_seed": pretraining_seed,
            "step": step,
            "parameters": 1000,
            "task": task,
            "finetuning_seed": finetuning_seed,
            **({} if design is None else {"finetuning_seed_design": design}),
        },
        "suite": {"name": folder.name, "recipe": "modern_glue", "selection": "none", **(suite or {})},
        "settings": hyperparameters.model_dump(mode="json"),
        "evaluations": evaluations,
        "training": {},
        "training_data": {"as_released": trained_as_released},
        "provenance": {"host": "elsewhere", **(provenance or {})},
    }
    with patch.object(store, "SCHEMA_VERSION", version):
        RunStore(folder).write(identity.run_id, record, {"loss": [1.0, 0.5]}, predictions)
    return identity.run_id
