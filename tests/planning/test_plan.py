"""Plans: which runs there are, what is known of them without weights or data, and what they cost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.planning import Plan, PlannedRun, make_plan
from multibench.results import Predictions, index
from multibench.results import store as store_module
from multibench.suite import load_suite
from multibench.tasks import DataSources, load_split
from tests.support.command import multibench
from tests.support.stored import a_record
from tests.support.tiny import RECIPE, Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def test_runs_are_the_product_of_all_that_a_suite_lists(bench: Bench) -> None:
    bench.write(
        checkpoints=[{"path": str(bench.root / "bert")}, {"path": str(bench.root / "distilbert")}],
        tasks=[bench.task("pairs"), bench.task("tones")],
        recipe={**RECIPE, "learning_rate": [1e-3, 2e-3, 3e-3], "tasks": {"tones": {"learning_rate": 1e-3}}},
        finetuning_seeds="0-4",
    )
    plan = bench.plan()
    assert len(plan.runs) == 2 * (3 + 1) * 5
    assert plan.count("missing") == 40
    assert len({run.run_id for run in plan.runs}) == 40
    assert plan.todo() == list(plan.runs)
    assert not bench.results.exists()


def test_an_id_does_not_depend_on_suite_names_paths_or_options(bench: Bench) -> None:
    ids = [run.run_id for run in bench.plan().runs]
    (bench.root / "bert").rename(bench.root / "moved")
    (bench.root / "data").rename(bench.root / "elsewhere")
    bench.write(
        name="other",
        description="other words",
        checkpoints=[{"path": str(bench.root / "moved"), "step": 5}],
        finetuning_seeds=[1, 0],
        keep_weights="last",
        evaluations={"pairs": ["extra"]},
    )
    from multibench import api

    again = api.plan(bench.suite, bench.root / "other_results", bench.root / "elsewhere")
    assert [run.run_id for run in again.runs] == ids[::-1]


def test_what_is_not_on_this_machine_is_listed_without_identity(bench: Bench) -> None:
    bench.write(checkpoints=[{"family": "multiberts", "pretraining_seeds": "0-1"}], tasks=["rte"])
    plan = bench.plan()
    assert [run.run_id for run in plan.runs] == [None] * 4
    assert plan.count("missing") == 4
    remarks = " ".join(plan.remarks)
    assert "google/multiberts-seed_0 is not on this machine" in remarks
    assert "Put the official file at" in remarks
    outcome = multibench("plan", bench.suite, *bench.options)
    assert outcome.code == 0
    assert "to fetch" in outcome.out


def test_a_plan_says_what_is_wrong_with_the_data_of_every_evaluation(bench: Bench) -> None:
    (bench.data / "pairs/dev.tsv").write_text("sentence1\tsentence2\tlabel\n")
    for verb in ("plan", "run"):
        assert "dev.tsv holds no examples" in multibench(verb, bench.suite, *bench.options).refusal()
    assert bench.store.run_ids() == []


def test_the_json_of_a_plan_is_complete(bench: Bench) -> None:
    found = json.loads(multibench("plan", bench.suite, *bench.options, "--json").out)
    assert found["suite"] == "tiny"
    assert (found["runs"], found["missing"], found["done"]) == (2, 2, 0)
    assert [run["finetuning_seed"] for run in found["list"]] == [0, 1]
    assert all(run["evaluations"] == ["pairs.dev"] for run in found["list"])
    assert {run["settings"]["learning_rate"] for run in found["list"]} == {RECIPE["learning_rate"]}
    assert found["missing_cost"]["tokens"] == 2 * (48 * 2 + 24) * 12


def _verified(bench: Bench) -> Plan:
    """The plan that ``run`` makes."""
    return make_plan(load_suite(bench.suite), bench.store, DataSources(bench.data), verify=True)


def _record(run: PlannedRun, status: str, evaluations: dict[str, Any]) -> dict[str, Any]:
    assert run.identity is not None
    _, record = a_record()
    return {
        **record,
        "status": status,
        "identity": run.identity.to_dict(),
        "labels": run.labels(),
        "settings": run.settings.model_dump(mode="json"),
        "evaluations": evaluations,
    }


def _store_as_finished(bench: Bench) -> None:
    """What the suite's runs would leave behind, a long time ago."""
    for run in bench.plan().runs:
        assert run.identity is not None
        dev = load_split(run.task, "dev", DataSources(bench.data))
        outputs = np.zeros((len(dev), 2), np.float32)
        evaluation = {"metrics": {}, "headline": "accuracy", "examples": len(dev), "as_released": True}
        record = _record(run, "finished", {"pairs.dev": {**evaluation, "data": dev.fingerprint}})
        bench.store.write(
            run.identity.run_id, record, {}, {"pairs.dev": Predictions(dev.ids, outputs, dev.labels)}
        )
    for path in bench.store.runs.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))


def test_what_was_verified_before_is_trusted_until_it_changes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_WORTH_WRITING", 1)
    monkeypatch.setattr(index, "_SETTLED_NS", 0)
    _store_as_finished(bench)
    assert _verified(bench).count("done") == 2
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_sha256", lambda path: pytest.fail(f"{path} was read again"))
        assert _verified(bench).count("done") == 2
    harmed = bench.store.run_ids()[0]
    path = bench.store.path(harmed) / "predictions/pairs.dev.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    plan = _verified(bench)
    assert plan.damaged == {harmed}
    assert [run.state for run in plan.runs if run.run_id == harmed] == ["missing"]
    assert plan.count("done") == 1
    assert f"{harmed} is damaged and counts as missing: {path} does not match" in " ".join(plan.remarks)


def test_the_weights_of_stored_runs_are_known_when_they_are_gone(bench: Bench) -> None:
    """Runs of a checkpoint of the catalogue that was here keep their ids, and so count as done."""
    shutil.copytree(bench.root / "bert", bench.root / "checkpoints/google/multiberts-seed_0")
    bench.write(checkpoints=[{"ids": "google/multiberts-seed_0"}])
    suite, sources = load_suite(bench.suite), DataSources(bench.data)
    here = make_plan(suite, bench.store, sources, bench.root / "checkpoints")
    run = here.runs[0]
    assert run.identity is not None
    bench.store.write(run.identity.run_id, _record(run, "diverged", {}), {}, {})
    gone = make_plan(suite, bench.store, sources)
    assert [run.run_id for run in gone.runs] == [run.run_id for run in here.runs]
    assert [run.state for run in gone.runs] == ["diverged", "missing"]
