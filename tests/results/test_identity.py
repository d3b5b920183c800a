"""What decides a run's numbers is in its id, and nothing else is."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from typing import Any

import pytest

from multibench import api
from multibench.planning import PlannedRun
from multibench.recipes import SPAN_ONLY, Hyperparameters
from multibench.results import RunIdentity
from multibench.results.identity import IDENTITY_VERSION, recomputed_id
from multibench.seeds import Seeds, derive_seeds
from multibench.tasks import Task, find_task

# Every field of a planned run is in exactly one of these groups; a new one must be put into one.
DECIDES = {"task", "settings", "identity", "head"}
DECIDES_BY_CONTENT = {"folder"}  # through its digest, never its path
DECIDES_BY_SEEDS = {"finetuning_seed", "finetuning_seed_design", "origin"}
# A checkpoint's family, size and pretraining seed decide by the origin and the seeds, its step and its path do not.
DOES_NOT_DECIDE = {"checkpoint", "evaluations", "state", "stored"}

# Every option of a run is one of these: none may change an id.
OPTIONS = {
    "suite",
    "results",
    "data",
    "checkpoints",
    "overrides",  # change the suite's content, which is identified by what becomes of it
    "device",
    "threads",
    "workers",
    "replicas",
    "offline",
    "retry_failed",
    "quiet",
}

# Another legal value of every hyperparameter; all of them decide, those for spans in span tasks only.
OTHER: dict[str, Any] = {
    "learning_rate": 3e-5,
    "batch_size": 16,
    "epochs": 2.5,
    "max_length": 64,
    "optimizer": "bert_adam",
    "beta1": 0.8,
    "beta2": 0.98,
    "epsilon": 1e-7,
    "weight_decay": 0.1,
    "warmup": 0.06,
    "warmup_steps": 10,
    "schedule": "constant",
    "clip_norm": None,
    "dropout": 0.2,
    "attention_dropout": 0.2,
    "head_dropout": 0.2,
    "head_init": "truncated_normal",
    "shuffle_window": 100,
    "drop_last": True,
    "precision": "bf16",
    "batching": "bucketed",
    "doc_stride": 64,
    "window_overlap": 64,
    "max_question_length": 32,
    "n_best": 10,
    "max_answer_length": 20,
    "null_threshold": 0.5,
}
SETTINGS = Hyperparameters(learning_rate=2e-5, batch_size=32, epochs=3)


def _identity(
    settings: Hyperparameters = SETTINGS,
    checkpoint: str = "a" * 64,
    task: Task | None = None,
    training_data: str | None = "b" * 64,
    seeds: Seeds | None = derive_seeds(0),  # noqa: B008  (frozen)
) -> RunIdentity:
    return RunIdentity.of(checkpoint, task or find_task("rte"), training_data, settings, seeds)


def _span_task() -> Task:
    facts = find_task("rte").model_dump()
    changes = {
        "kind": "span",
        "labels": (),
        "official": None,
        "hub": None,
        "metrics": ("f1",),
        "headline": "f1",
    }
    return Task.model_construct(**{**facts, **changes})


def test_every_field_of_a_planned_run_is_in_one_group() -> None:
    groups = [DECIDES, DECIDES_BY_CONTENT, DECIDES_BY_SEEDS, DOES_NOT_DECIDE]
    names = [field.name for field in fields(PlannedRun)]
    assert sorted(name for group in groups for name in group) == sorted(names)


def test_every_option_of_a_run_is_known_not_to_decide() -> None:
    assert set(inspect.signature(api.run).parameters) == OPTIONS
    assert not OPTIONS & {field.name for field in fields(RunIdentity)}


def test_every_hyperparameter_has_another_value_here() -> None:
    assert set(OTHER) == set(Hyperparameters.model_fields)
    for name, value in OTHER.items():
        assert getattr(SETTINGS, name) != value


@pytest.mark.parametrize("name", OTHER)
def test_a_hyperparameter_changes_the_ids_of_the_runs_it_can_matter_to(name: str) -> None:
    # Not by validation: an optimizer brings its epsilon, and one field is to change at a time.
    changed = SETTINGS.model_copy(update={name: OTHER[name]})
    trained, spans = _identity(), _identity(task=_span_task())
    untrained = _identity(training_data=None, seeds=None)
    assert (_identity(changed).run_id != trained.run_id) == (name not in SPAN_ONLY)
    assert _identity(changed, task=_span_task()).run_id != spans.run_id
    without = _identity(changed, training_data=None, seeds=None)
    assert (without.run_id != untrained.run_id) == (name in {"max_length", "precision"})


def test_everything_else_in_the_identity_changes_the_id() -> None:
    identity = _identity()
    changes: dict[str, Any] = {
        "checkpoint": "c" * 64,
        "task": "wnli",
        "task_version": 2,
        "training_data": "d" * 64,
        "hyperparameters": {},
        "seeds": derive_seeds(1),
    }
    assert set(changes) == {field.name for field in fields(RunIdentity)}
    ids = {replace(identity, **{name: value}).run_id for name, value in changes.items()}
    assert len(ids | {identity.run_id}) == len(changes) + 1


def test_the_order_of_an_own_heads_classes_decides() -> None:
    orders = [None, [0, 1], [1, 0]]
    ids = {RunIdentity.of("a" * 64, find_task("rte"), None, SETTINGS, None, order).run_id for order in orders}
    assert len(ids) == 3


def test_each_of_the_three_seeds_changes_the_id() -> None:
    seeds = derive_seeds(0)
    ids = {_identity(seeds=replace(seeds, **{field.name: 7})).run_id for field in fields(Seeds)}
    assert len(ids | {_identity().run_id}) == 4


def test_seeds_of_a_fine_tuning_seed_are_independent_and_never_change() -> None:
    assert derive_seeds(0) == derive_seeds(0)
    every = [value for k in range(100) for value in vars(derive_seeds(k)).values()]
    assert len(set(every)) == 300
    assert all(0 <= value < 2**63 for value in every)
    assert derive_seeds(0) == Seeds(head=GOLDEN_SEEDS[0], order=GOLDEN_SEEDS[1], dropout=GOLDEN_SEEDS[2])


# Whoever changes what these come from makes every stored run unknown: raise IDENTITY_VERSION then.
GOLDEN_SEEDS = (5054035686115324183, 605146270404323088, 4317714539153683600)
GOLDEN_IDS = {1: "5462896d3fce63f3", 2: "6363d8352e80fca3"}
GOLDEN_UNTRAINED_IDS = {1: "771e6134ea97fe23", 2: "7fec1306d3e7442e"}


def test_the_id_of_a_given_identity_never_changes() -> None:
    """Of no version that ever was."""
    assert max(GOLDEN_IDS) == IDENTITY_VERSION
    for identity, golden in (
        (_identity(), GOLDEN_IDS),
        (_identity(training_data=None, seeds=None), GOLDEN_UNTRAINED_IDS),
    ):
        assert identity.run_id == golden[IDENTITY_VERSION]
        for version, run_id in golden.items():
            assert recomputed_id({**identity.to_dict(), "identity_version": version}) == run_id


def test_what_came_later_leaves_older_ids_alone() -> None:
    record = _identity(task=_span_task()).to_dict()
    assert set(SPAN_ONLY) - set(record["hyperparameters"]) == {"window_overlap"}


def test_the_record_says_what_the_id_is_made_of() -> None:
    record = _identity().to_dict()
    assert record.pop("identity_version") == IDENTITY_VERSION
    assert set(record) == {field.name for field in fields(RunIdentity)}
    assert record["hyperparameters"]["learning_rate"] == 2e-5
    assert not set(record["hyperparameters"]) & set(SPAN_ONLY)
