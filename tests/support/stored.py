"""Stored runs without training: what a run would have left behind, with chosen numbers in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from multibench.recipes import Hyperparameters
from multibench.results import Predictions, RunIdentity, RunStore, store
from multibench.seeds import derive_seeds
from multibench.tasks import find_task

SETTINGS = {"learning_rate": 2e-5, "batch_size": 32, "epochs": 3}


def predictions_of(outputs: NDArray[np.float32], labels: NDArray[Any] | None = None) -> Predictions:
    """Predictions for examples called 0, 1, ..."""
    return Predictions(tuple(str(i) for i in range(len(outputs))), outputs.astype(np.float32), labels)


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
    version: int = store.SCHEMA_VERSION,
    design: str | None = None,
    **settings: Any,
) -> str:
    """Store one run of ``task`` in ``folder`` (``RESULTS/SUITE``) and return its id."""
    hyperparameters = Hyperparameters.model_validate({**SETTINGS, **settings})
    name = checkpoint or f"{family}-seed_{pretraining_seed}-step_{step}"
    identity = RunIdentity.of(
        name, find_task(task), "train data", hyperparameters, derive_seeds(finetuning_seed)
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
        made = predictions_of(outputs, np.arange(len(outputs)) % 2)
        predictions[evaluation] = Predictions(ids or made.ids, made.outputs, made.labels)
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
        "provenance": {"host": "elsewhere"},
    }
    with patch.object(store, "SCHEMA_VERSION", version):
        RunStore(folder).write(identity.run_id, record, {"loss": [1.0, 0.5]}, predictions)
    return identity.run_id
