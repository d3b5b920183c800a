"""Choosing one setting of a grid, by the rules that papers use."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from multibench.errors import SuiteError
from multibench.results import Chosen, Results, select_settings
from multibench.results.frame import StoredRun
from tests.support.stored import store_run

OUTPUTS = np.zeros((4, 2), dtype=np.float32)

# learning rate -> accuracy of (pretraining seed, fine-tuning seed). The best single run is of the
# worse setting, so that the rules differ.
SCORES = {
    2e-5: {(0, 0): 0.70, (0, 1): 0.72, (1, 0): 0.74, (1, 1): 0.76},
    5e-5: {(0, 0): 0.60, (0, 1): 0.61, (1, 0): 0.62, (1, 1): 0.90},
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for rate, runs in SCORES.items():
        for (pretraining, finetuning), score in runs.items():
            store_run(
                tmp_path / "suite",
                outputs=OUTPUTS,
                pretraining_seed=pretraining,
                finetuning_seed=finetuning,
                learning_rate=rate,
                metrics={"accuracy": score},
                suite={"selection": "best_mean_dev"},
            )
    return tmp_path


def _scores(chosen: Chosen) -> list[float]:
    return sorted(run.score("rte.dev", "accuracy") for run in chosen.runs)


def test_the_best_mean_keeps_one_setting_for_all_seeds(results: Path) -> None:
    for rule in (None, "best_mean_dev"):
        (chosen,) = select_settings(Results.open(results), rule)
        assert _scores(chosen) == [0.70, 0.72, 0.74, 0.76]
        assert chosen.varied == {"learning_rate": 2e-5}
        assert chosen.selection == "best mean over all seeds on rte.dev, of 2 settings"
        assert chosen.estimand == "mean"
        assert (chosen.task, chosen.group) == ("rte", ("multiberts", 2_000_000, 1000))


def test_the_best_run_is_chosen_for_each_checkpoint(results: Path) -> None:
    (chosen,) = select_settings(Results.open(results), "best_dev")
    assert _scores(chosen) == [0.72, 0.90]
    assert chosen.selection == "each checkpoint's best single run of 4 on rte.dev"
    assert chosen.varied == {}  # the two are of different settings
    (alone,) = select_settings(Results.open(results).where("pretraining_seed=1"), "best_dev")
    assert _scores(alone) == [0.90]
    assert alone.varied == {"learning_rate": 5e-5}


@pytest.mark.parametrize(("rule", "estimand"), [("none", "mean"), ("mean", "mean"), ("median", "median")])
def test_without_selection_each_setting_stands_alone(results: Path, rule: str, estimand: str) -> None:
    chosen = select_settings(Results.open(results), rule)
    assert [one.varied for one in chosen] == [{"learning_rate": 2e-5}, {"learning_rate": 5e-5}]
    assert [len(one.runs) for one in chosen] == [4, 4]
    assert {one.estimand for one in chosen} == {estimand}


def test_a_diverged_run_counts_as_nothing_in_the_choice(results: Path) -> None:
    store_run(
        results / "suite",
        outputs=None,
        status="diverged",
        pretraining_seed=2,
        learning_rate=2e-5,
        suite={"selection": "best_mean_dev"},
    )
    # Without a partner under the other rate it is no part of the choice ...
    (chosen,) = select_settings(Results.open(results))
    assert chosen.varied == {"learning_rate": 2e-5}
    assert chosen.selection.endswith("of 2 settings, compared on the 4 runs that all of them have")
    store_run(
        results / "suite",
        outputs=OUTPUTS,
        pretraining_seed=2,
        learning_rate=5e-5,
        metrics={"accuracy": 0.68},
        suite={"selection": "best_mean_dev"},
    )
    # ... with one it counts: 0.584 on average with it, against 0.682 of the other
    (chosen,) = select_settings(Results.open(results))
    assert chosen.varied == {"learning_rate": 5e-5}


def test_a_failed_run_is_left_out(results: Path) -> None:
    store_run(results / "suite", outputs=None, status="failed", pretraining_seed=2, learning_rate=2e-5)
    (chosen,) = select_settings(Results.open(results), "best_mean_dev")
    assert _scores(chosen) == [0.70, 0.72, 0.74, 0.76]


def test_groups_are_chosen_for_on_their_own(results: Path) -> None:
    for rate, score in ((2e-5, 0.1), (5e-5, 0.2)):
        store_run(
            results / "suite",
            outputs=OUTPUTS,
            step=0,
            learning_rate=rate,
            metrics={"accuracy": score},
            suite={"selection": "best_mean_dev"},
        )
    chosen = {one.group[1]: one.varied["learning_rate"] for one in select_settings(Results.open(results))}
    assert chosen == {0: 5e-5, 2_000_000: 2e-5}


def test_a_single_setting_is_no_selection(results: Path) -> None:
    (chosen,) = select_settings(Results.open(results).where("learning_rate=5e-5"))
    assert chosen.selection == "none (one setting)"
    assert chosen.varied == {}
    assert [(r.fields["pretraining_seed"], r.fields["finetuning_seed"]) for r in chosen.runs] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_an_unknown_rule_is_refused(results: Path) -> None:
    with pytest.raises(SuiteError, match="no selection rule 'best'"):
        select_settings(Results.open(results), "best")


def _held_out(folder: Path, share: float, scores: dict[float, float]) -> list[StoredRun]:
    """The stored runs as if they had been trained on less, with the score of their learning rate on the rest."""
    runs = []
    for run in Results.open(folder).stored:
        manifest = deepcopy(run.manifest)
        manifest["labels"]["held_out"] = share
        score = {"accuracy": scores[run.fields["learning_rate"]]}
        manifest["evaluations"]["rte.held_out"] = {**manifest["evaluations"]["rte.dev"], "metrics": score}
        runs.append(StoredRun(run.store, manifest))
    return runs


def test_what_was_held_out_is_chosen_on(results: Path) -> None:
    held_out = Results(_held_out(results, 0.1, {2e-5: 0.5, 5e-5: 0.6}))
    (chosen,) = select_settings(held_out)
    assert chosen.varied == {"learning_rate": 5e-5, "held_out": 0.1}
    assert chosen.selection == "best mean over all seeds on rte.held_out, of 2 settings"
    assert _scores(chosen) == [0.60, 0.61, 0.62, 0.90]  # dev has no say
    (best,) = select_settings(held_out, "best_dev")
    assert best.selection == "each checkpoint's best single run of 4 on rte.held_out"
    assert {run.fields["learning_rate"] for run in best.runs} == {5e-5}


def test_runs_with_and_without_a_held_out_part_stand_apart(results: Path) -> None:
    whole = Results.open(results).stored
    tenth = _held_out(results, 0.1, {2e-5: 0.5, 5e-5: 0.6})
    fifth = _held_out(results, 0.2, {2e-5: 0.6, 5e-5: 0.5})
    together = Results([*fifth, *whole, *tenth])
    assert [one.varied for one in select_settings(together)] == [
        {"learning_rate": 2e-5},
        {"learning_rate": 5e-5, "held_out": 0.1},
        {"learning_rate": 2e-5, "held_out": 0.2},
    ]
    assert len(together.where("held_out=0.1")) == len(tenth)
    assert len(together.where("held_out=none")) == len(whole)
