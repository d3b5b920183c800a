"""A score that cannot be told from that of one answer to everything is marked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from multibench.reports import scores
from multibench.reports.constant import constant_answer, holds_constant
from multibench.results import Results
from multibench.stats import Estimate
from tests.support.command import multibench
from tests.support.stored import store_run

RTE = np.array([0] * 146 + [1] * 131)
"""The histogram of RTE's dev set: 52.7 % are of one class."""


def store(folder: Path, right: float, labels: np.ndarray = RTE, runs: int = 4) -> Path:
    """Runs that are right on a share of the examples."""
    rng = np.random.default_rng(0)
    for run in range(runs):
        said = np.where(rng.random(len(labels)) < right, labels, 1 - labels)
        outputs = np.eye(2, dtype=np.float32)[said]
        metrics = {"accuracy": 0.5, "f1": 0.5, "mcc": 0.0}
        store_run(folder / "suite", outputs=outputs, labels=labels, finetuning_seed=run, metrics=metrics)
    return folder


def interval(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 0.95, "m", "mean", 0.1, 0.0, 3, 6, 60)


def test_a_score_at_chance_is_marked_in_the_notes_and_in_json(tmp_path: Path) -> None:
    table = json.loads(multibench("scores", store(tmp_path, 0.52), "--format", "json").out)
    (row,) = table["rows"]
    assert row["constant_answer"] == pytest.approx(146 / 277)
    assert row["told_from_constant_answer"] is False
    value = f"{100 * row['score']['value']:.1f}"
    (note,) = [note for note in table["notes"] if "always saying" in note]
    assert note.endswith(f"rte.dev, accuracy: {value} cannot be told from always saying one class (52.7).")
    assert note in multibench("scores", tmp_path).out
    assert "constant answer" not in multibench("scores", tmp_path, "--format", "csv").out


def test_a_score_far_from_it_is_not(tmp_path: Path) -> None:
    table = scores(Results.open(store(tmp_path, 0.9)), "all")
    assert not [note for note in table.notes if "cannot be told" in note]
    assert {row["told from constant answer"] for row in table.rows} == {True}


def test_constant_runs_are_marked_by_every_metric(tmp_path: Path) -> None:
    for run in range(3):
        outputs = np.eye(2, dtype=np.float32)[np.zeros(277, dtype=int)]
        metrics = {"accuracy": 146 / 277, "mcc": 0.0}
        store_run(tmp_path / "suite", outputs=outputs, labels=RTE, finetuning_seed=run, metrics=metrics)
    table = scores(Results.open(tmp_path), "all")
    assert {row["told from constant answer"] for row in table.rows} == {False}
    assert any("mcc: 0.0 cannot be told from always saying one class (0.0)" in note for note in table.notes)
    assert any("accuracy: 52.7 cannot be told" in note for note in table.notes)


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        ("accuracy", [0, 0, 0, 1], 0.75),
        ("accuracy", [2, 1, 0, 2, 2], 0.6),
        ("mcc", [0, 0, 0, 1], 0.0),
        ("f1", [0, 0, 0, 1], 2 / 5),
        ("f1", [1, 1, 1, 0], 6 / 7),
        ("macro_f1", [0, 0, 0, 1], (6 / 7) / 2),
        ("pearson", [0.5, 1.0, 2.0], 0.0),
        ("spearman", [0.5, 1.0, 2.0], 0.0),
        ("exact_match", [1, 0, 0, 1, 0], 0.6),
        ("answer_f1", [1, 1], 0.0),
        ("mean", [0, 1], None),
    ],
)
def test_what_one_answer_scores(metric: str, labels: list[float], expected: float | None) -> None:
    found = constant_answer(metric, np.array(labels))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("value", "low", "high", "held"),
    [
        *((0.527, 0.5, 0.55, True), (0.6, 0.527, 0.7, True), (0.6, 0.55, 0.7, False), (0.4, 0.3, 0.5, False)),
        *(
            (0.527, math.nan, math.nan, True),
            (0.53, math.nan, math.nan, False),
            (math.nan, math.nan, math.nan, False),
        ),
    ],
)
def test_an_interval_holds_it_or_does_not(value: float, low: float, high: float, held: bool) -> None:
    assert holds_constant(interval(value, low, high), 0.527) is held
