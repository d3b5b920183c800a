"""Stored runs as data frames and as labelled arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.errors import ResultsError
from multibench.results import Results
from tests.support.stored import store_run

# Distinct on every axis, so that a swapped one cannot go unnoticed.
PRETRAINING, FINETUNING, EXAMPLES, CLASSES = 2, 3, 5, 4


def _outputs(pretraining: int, finetuning: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([pretraining, finetuning])
    return rng.normal(size=(EXAMPLES, CLASSES)).astype(np.float32)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Six runs, and one that diverged."""
    for p in range(PRETRAINING):
        for f in range(FINETUNING):
            store_run(
                tmp_path / "suite",
                outputs=_outputs(p, f),
                pretraining_seed=p,
                finetuning_seed=f,
                metrics={"accuracy": (10 * p + f) / 100, "f1": None},
            )
    store_run(tmp_path / "suite", outputs=None, pretraining_seed=0, finetuning_seed=9, status="diverged")
    return tmp_path


def test_the_tensor_holds_each_run_in_its_place(results: Path) -> None:
    tensor = Results.open(results).predictions("rte.dev")
    assert tensor.outputs.shape == (PRETRAINING * FINETUNING, EXAMPLES, CLASSES)
    assert tensor.ids == tuple("01234")
    assert tensor.as_released
    for fields, outputs in zip(tensor.runs, tensor.outputs, strict=True):
        expected = _outputs(fields["pretraining_seed"], fields["finetuning_seed"])
        np.testing.assert_array_equal(outputs, expected)
    assert tensor.labels is not None
    np.testing.assert_array_equal(tensor.labels, np.arange(EXAMPLES) % 2)


def test_the_grid_has_both_seeds_as_axes(results: Path) -> None:
    first, second, grid = Results.open(results).predictions("rte.dev").grid()
    assert (first, second) == ([0, 1], [0, 1, 2])
    assert grid.shape == (PRETRAINING, FINETUNING, EXAMPLES, CLASSES)
    for p in first:
        for f in second:
            np.testing.assert_array_equal(grid[p, f], _outputs(p, f))


def test_a_hole_in_the_grid_is_nan(results: Path) -> None:
    store_run(results / "suite", outputs=_outputs(7, 1), pretraining_seed=7, finetuning_seed=1)
    first, second, grid = Results.open(results).predictions("rte.dev").grid()
    assert (first, second) == ([0, 1, 7], [0, 1, 2])
    assert np.isnan(grid[2, [0, 2]]).all()
    np.testing.assert_array_equal(grid[2, 1], _outputs(7, 1))


def test_unknown_pretraining_seeds_are_seeds_of_their_own(results: Path) -> None:
    for name in ("b", "a"):
        store_run(results / "suite", outputs=_outputs(8, 0), pretraining_seed=None, checkpoint=name)
    first, _, grid = Results.open(results).predictions("rte.dev").grid()
    assert first == [0, 1, "a", "b"]
    assert grid.shape[0] == 4


def test_two_runs_in_one_cell_are_refused(results: Path) -> None:
    store_run(results / "suite", outputs=_outputs(0, 0), learning_rate=3e-5)
    opened = Results.open(results)
    with pytest.raises(ResultsError, match="learning_rate"):
        opened.predictions("rte.dev").grid()
    first, _, _ = opened.where("learning_rate=2e-5").predictions("rte.dev").grid()
    assert first == [0, 1]


def test_runs_on_different_data_are_refused(results: Path) -> None:
    store_run(results / "suite", outputs=_outputs(5, 0), pretraining_seed=5, data="other dev data")
    with pytest.raises(ResultsError, match=r"different data for rte\.dev"):
        Results.open(results).predictions("rte.dev")


def test_runs_with_other_examples_are_refused(results: Path) -> None:
    ids = ("4", "3", "2", "1", "0")
    store_run(results / "suite", outputs=_outputs(5, 0), pretraining_seed=5, ids=ids)
    with pytest.raises(ResultsError, match="other examples"):
        Results.open(results).predictions("rte.dev")


def test_predictions_that_nobody_made_are_refused(results: Path) -> None:
    with pytest.raises(ResultsError, match=r"No stored run has predictions for rte\.test"):
        Results.open(results).predictions("rte.test")


def test_damaged_predictions_are_never_used(results: Path) -> None:
    path = next((results / "suite/runs").rglob("*.parquet"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    opened = Results.open(results)  # whole as yet
    path.write_bytes(raw)
    with pytest.raises(ResultsError, match="does not match its checksum"):
        opened.predictions("rte.dev")
    again = Results.open(results)
    assert again.damaged == (f"{path} does not match its checksum.",)
    assert len(again) == len(opened) - 1
    assert len(again.predictions("rte.dev").runs) == PRETRAINING * FINETUNING - 1


def test_the_runs_frame_has_one_row_a_run(results: Path) -> None:
    frame = Results.open(results).runs
    assert len(frame) == 7
    assert frame["run_id"].is_unique
    assert sorted(frame["finetuning_seed"]) == [0, 0, 1, 1, 2, 2, 9]
    assert frame.set_index("status").loc["diverged", "reason"] == "it diverged"
    assert set(frame["suite"]) == {"suite"}
    assert set(frame["learning_rate"]) == {2e-5}


def test_the_scores_frame_has_one_row_a_score(results: Path) -> None:
    frame = Results.open(results).scores
    assert len(frame) == 12
    accuracy = frame[frame["metric"] == "accuracy"].set_index(["pretraining_seed", "finetuning_seed"])
    assert accuracy.loc[(1, 2), "score"] == 0.12
    assert frame[frame["metric"] == "f1"]["score"].isna().all()
    assert set(frame["evaluation"]) == {"rte.dev"}


def test_filters_choose_runs(results: Path) -> None:
    opened = Results.open(results)
    assert len(opened.where("pretraining_seed=1")) == 3
    assert len(opened.where("status=finished,finetuning_seed=0|1")) == 4
    assert len(opened.where("family=nobody")) == 0
    assert opened.evaluations() == ["rte.dev"]


def test_a_run_that_two_suites_share_counts_once(results: Path) -> None:
    store_run(results / "other", outputs=_outputs(0, 0), pretraining_seed=0, finetuning_seed=0)
    assert len(Results.open(results)) == 7
    assert len(Results.open(results / "other")) == 1


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_results_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match="no results"):
        Results.open(tmp_path / name)
