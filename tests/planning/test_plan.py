"""Plans: which runs there are, what is known of them without weights or data, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import multibench
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
        checkpoints=[{"path": str(bench.root / "moved"), "family": "f", "pretraining_seed": 3, "step": 5}],
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
