"""Suites that hold out a part of train: never seen in training, scored, chosen on, and said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multibench.reports import compare, scores, variance
from multibench.results import Results
from multibench.tasks import DataSources, find_task, load_split
from tests.support.command import multibench
from tests.support.tiny import RECIPE, TRAIN_ROWS, Bench, make_bench

HELD_OUT = 12  # a quarter of 48


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two learning rates and two seeds, made with a quarter held out and with nothing held out. Read only."""
    made = make_bench(tmp_path_factory.mktemp("held_out"))
    recipe = {**RECIPE, "learning_rate": [1e-4, 3e-3], "epochs": 1, "selection": "best_mean_dev"}
    made.write(recipe=recipe, checkpoints=[{"path": str(made.root / "bert"), "family": "tiny"}])
    assert sum(made.run("recipe.held_out=0.25").made.values()) == 4
    assert sum(made.run().made.values()) == 4
    return made


def _held_out(bench: Bench) -> Results:
    return bench.opened().where("held_out=0.25")


def test_the_part_is_scored_and_never_trained_on(bench: Bench) -> None:
    whole = load_split(find_task(bench.task("pairs")), "train", DataSources(bench.data))
    for run in _held_out(bench).stored:
        assert run.manifest["training_data"]["examples"] == TRAIN_ROWS - HELD_OUT
        assert run.manifest["training_data"]["held_out"] == 0.25
        assert run.manifest["training_data"]["data"] != whole.fingerprint
        assert run.manifest["training"]["examples"] == TRAIN_ROWS - HELD_OUT  # one epoch
        assert list(run.manifest["evaluations"]) == ["pairs.dev", "pairs.held_out"]
        stored = run.store.predictions(run.run_id, "pairs.held_out")
        assert len(stored.ids) == HELD_OUT
        assert whole.labels is not None
        assert stored.labels is not None
        assert np.array_equal(stored.labels, whole.labels[[whole.ids.index(name) for name in stored.ids]])


def test_runs_that_hold_out_are_other_runs_and_the_rest_stay_as_they_were(bench: Bench) -> None:
    opened = bench.opened()
    whole = {run.run_id for run in opened.where("held_out=none").stored}
    cut = {run.run_id for run in _held_out(bench).stored}
    assert len(whole) == len(cut) == 4
    assert not whole & cut
    assert {run.run_id for run in bench.plan().runs} == whole
    assert {run.run_id for run in bench.plan("recipe.held_out=0.25").runs} == cut
    assert bench.plan("recipe.held_out=0.25").count("missing") == 0
    assert not cut & {run.run_id for run in bench.plan("recipe.held_out=0.5").runs}


def test_tables_name_the_split_that_was_chosen_on(bench: Bench) -> None:
    both = scores(bench.opened(), nboot=20)
    said = {(row["setting"], row["evaluation"]): row["selection"] for row in both.rows}
    assert len(said) == 3  # dev without, dev and held_out with a part held out
    for (setting, _), selection in said.items():
        split = "held_out" if "held_out 0.25" in str(setting) else "dev"
        assert selection == f"best mean over all seeds on pairs.{split}, of 2 settings"
    noise = variance(_held_out(bench))
    assert any("selection: best mean over all seeds on pairs.held_out" in note for note in noise.notes)
    compared = compare(bench.opened(), "held_out=0.25", "held_out=none", nboot=20)
    assert compared.rows[0]["selection"] == (
        "best mean over all seeds on pairs.held_out, of 2 settings / "
        "best mean over all seeds on pairs.dev, of 2 settings"
    )


def test_the_plan_counts_what_is_held_out(bench: Bench, tmp_path: Path) -> None:
    plans = [bench.plan(), bench.plan("recipe.held_out=0.25")]
    tokens = [plan.runs[0].cost.tokens for plan in plans]
    mean_tokens = plans[0].runs[0].task.mean_tokens
    assert tokens[0] == tokens[1]  # scored once instead of trained on once
    flops = [plan.runs[0].cost.flops or 0 for plan in plans]
    per_token = flops[0] / (mean_tokens * (3 * TRAIN_ROWS + 24))
    assert flops[0] - flops[1] == pytest.approx(2 * HELD_OUT * mean_tokens * per_token)
    shown = multibench("plan", bench.suite, *bench.options, "--set", "recipe.held_out=0.25").out
    assert "recipe modern_glue; 0.25 of train held out, to select on" in shown


def test_an_earlier_mixture_of_both_is_not_compared_unnoticed(bench: Bench) -> None:
    refusal = multibench(
        "compare", bench.results, "--base", "learning_rate=1e-4", "--expt", "learning_rate=3e-3"
    ).refusal()
    assert "held_out 0.25" in refusal
