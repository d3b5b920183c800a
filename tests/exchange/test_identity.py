"""The ids of imported runs: of what is said and predicted, and never those of runs that were made here."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from multibench.results.identity import ImportedIdentity, RunIdentity

IDENTITY = ImportedIdentity(
    task="rte",
    task_version=1,
    labels={"family": "multiberts", "pretraining_seed": 0, "finetuning_seed": 1},
    hyperparameters={"learning_rate": 2e-5, "batch_size": None},
    predictions={"rte.dev": "a" * 64},
)
CHANGES: dict[str, Any] = {
    "task": "wnli",
    "task_version": 2,
    "labels": {**IDENTITY.labels, "finetuning_seed": 2},
    "hyperparameters": {"learning_rate": 3e-5, "batch_size": None},
    "predictions": {"rte.dev": "b" * 64},
}
# Whoever changes what this comes from makes imported runs unknown: raise IMPORT_VERSION then.
GOLDEN_ID = "55162c6454ea4a82"


def test_the_id_of_a_given_import_never_changes() -> None:
    assert IDENTITY.run_id == GOLDEN_ID


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_decides(name: str) -> None:
    assert replace(IDENTITY, **{name: CHANGES[name]}).run_id != IDENTITY.run_id


def test_every_field_is_tried() -> None:
    assert set(CHANGES) == {field.name for field in fields(ImportedIdentity)}


def test_no_made_run_has_such_an_identity() -> None:
    made = RunIdentity("a" * 64, "rte", 1, None, {}, None).to_dict()
    imported = IDENTITY.to_dict()
    assert set(made) < set(imported)
    assert imported["domain"] == "imported"
    assert "domain" not in made
