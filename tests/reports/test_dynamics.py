"""The table over steps: its numbers are those of the statistics, and it says what it claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multibench
from multibench.errors import ResultsError
from multibench.reports.cells import Quantity
from multibench.reports.dynamics import dynamics, step_curves
from multibench.results import Results
from multibench.stats import Estimate
from multibench.stats import dynamics as analyse
from tests.support.command import multibench as command
from tests.support.stored import store_run

STEPS = (0, 500, 12_000)
N_SEEDS, N_EXAMPLES = 6, 80
LABELS = np.arange(N_EXAMPLES) % 2


def outputs_of(step: int, seed: int, finetuning_seed: int) -> Any:
    """Right or wrong from a shared difficulty; nothing changes after step 500."""
    hard = np.random.default_rng(1).normal(0, 1, N_EXAMPLES)
    noise = np.random.default_rng([2, step, seed, finetuning_seed]).normal(0, 0.5, N_EXAMPLES)
    right = 0.3 + 1.2 * (step > 0) - hard + noise > 0
    return np.eye(2, dtype=np.float32)[np.where(right, LABELS, 1 - LABELS)]


def store(
    folder: Path, family: str = "pocket", steps: Any = STEPS, n_seeds: int = N_SEEDS, **more: Any
) -> None:
    for step in steps:
        for seed in range(n_seeds):
            for run in range(2):
                made = outputs_of(step, seed, run)
                store_run(
                    folder / "study",
                    outputs=made,
                    family=family,
                    step=step,
                    pretraining_seed=seed,
                    finetuning_seed=run,
                    **more,
                )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    store(folder)
    return Results.open(folder)


def test_rows_are_the_statistics_of_the_stored_predictions(results: Results) -> None:
    table = dynamics(results, margin=0.1)
    assert [row["step"].value for row in table.rows if isinstance(row["step"], Quantity)] == list(STEPS)
    runs = [(step, seed, run) for step in STEPS for seed in range(N_SEEDS) for run in range(2)]
    info = {
        "step": [step for step, _, _ in runs],
        "seed": [seed for _, seed, _ in runs],
        "finetune_seed": [run for _, _, run in runs],
    }
    direct = analyse(info, np.stack([outputs_of(*run) for run in runs]), LABELS, "accuracy", 0.1)
    assert direct.settled is not None
    assert direct.settled.step == 500
    for row, step in zip(table.rows, direct.steps, strict=True):
        band = row["score [95 % band]"]
        assert isinstance(band, Estimate)
        assert (band.value, band.n_seeds) == (step.band.value, N_SEEDS)
        assert band == step.band
        assert row["score [95 %]"] == step.score
        assert band.low < step.score.low
        assert row["agreement of seeds [95 % band]"] == step.agreement_band
        assert row["sd of seeds"] == step.seed_sd
    assert [row["settled"] for row in table.rows] == [False, True, "last"]
    assert [row["p (from here on equivalent)"] for row in table.rows] == [*direct.settled.p_values, None]
    (note,) = (note for note in table.notes if "from step 500 on" in note)
    assert "within 10 points" in note
    assert "at most 5%" in note


def test_without_a_margin_nothing_is_claimed(results: Results) -> None:
    table = dynamics(results)
    assert "settled" not in table.columns
    assert not any("too early" in note for note in table.notes)


def test_families_settings_and_steps_are_kept_apart(tmp_path: Path) -> None:
    store(tmp_path, n_seeds=2)
    store(tmp_path, n_seeds=2, learning_rate=5e-5)
    store(tmp_path, family="multiberts", n_seeds=2, steps=(0, 500))
    store(tmp_path, family="lonely", n_seeds=2, steps=(0,))
    curves, refused = step_curves(Results.open(tmp_path))
    assert refused == []
    assert [(curve.family, curve.settings[0], len(curve.found.steps)) for curve in curves] == [
        ("multiberts", "", 2),
        ("pocket", "lr 2e-05", 3),
        ("pocket", "lr 5e-05", 3),
    ]
    only, _ = step_curves(Results.open(tmp_path), family="multiberts")
    assert [curve.family for curve in only] == ["multiberts"]


def test_a_curve_that_cannot_be_drawn_does_not_hide_the_others(tmp_path: Path) -> None:
    store(tmp_path, n_seeds=2)
    for step, seed in ((0, 0), (500, 1)):
        made = outputs_of(step, seed, 0)
        store_run(tmp_path / "study", outputs=made, family="broken", step=step, pretraining_seed=seed)
    table = dynamics(Results.open(tmp_path))
    assert {row["family"] for row in table.rows} == {"pocket"}
    assert any(
        "broken" in note and "No pretraining seed has runs at every step" in note for note in table.notes
    )
    with pytest.raises(ResultsError, match="No pretraining seed has runs at every step"):
        dynamics(Results.open(tmp_path), family="broken")


@pytest.mark.parametrize("asked", [{"task": "mrpc"}, {"family": "multiberts"}, {"metric": "mcc"}])
def test_asking_for_what_is_not_there_is_said(results: Results, asked: dict[str, Any]) -> None:
    with pytest.raises(
        ResultsError, match=f"two steps or more that were scored.*{next(iter(asked.values()))}"
    ):
        dynamics(results, **asked)


def test_the_verb_is_the_function(tmp_path: Path) -> None:
    store(tmp_path, n_seeds=2)
    outcome = command("dynamics", str(tmp_path), "--margin", "0.1", "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    printed = json.loads(outcome.out)
    assert printed == json.loads(multibench.dynamics(Results.open(tmp_path), margin=0.1).render("json"))
    assert printed["dynamics"][0]["n_seeds"] == 2
    outcome = command("dynamics", str(tmp_path), "--margin", "-1")
    assert outcome.code == 2
    assert "give a positive fraction" in outcome.err
