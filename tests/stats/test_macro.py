"""A macro score over tasks: against closed forms over seeds that tasks share."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.errors import StatisticsError
from multibench.stats import TaskRuns, compare_groups, estimate_group, macro_score
from tests.stats.support import grid_info, sides_info


def tasks(
    seed: int = 0, n_tasks: int = 3, seeds: int = 6, shared: float = 1.0, weights: Any = None
) -> list[TaskRuns]:
    """Tasks of 80, 120, ... examples whose scores rise and fall together with the pretraining seed."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(0, shared, seeds)
    made = []
    for k in range(n_tasks):
        n = 80 + 40 * k
        rows = quality[:, None] + 0.8 + rng.normal(0, 1, n) + rng.normal(0, 0.5, (seeds, n)) > 0
        labels = rng.integers(0, 2, n)
        preds = np.where(rows, labels, 1 - labels)
        weight = 1.0 if weights is None else weights[k]
        made.append(
            TaskRuns(f"task{k}", {"seed": list(range(seeds))}, preds, labels, ("accuracy",), weight=weight)
        )
    return made


def right(task: TaskRuns) -> np.ndarray:
    return np.asarray(np.asarray(task.preds) == np.asarray(task.labels), dtype=float)


def interaction(table: np.ndarray) -> float:
    """Mean square of seeds by examples."""
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float((rest**2).sum() / (table.shape[0] - 1) / (table.shape[1] - 1))


def closed_form(tables: list[np.ndarray], weights: np.ndarray) -> float:
    """Squared standard error: examples of each task, and seeds by their macro scores less the interactions."""
    examples = sum(w**2 * scipy_stats.sem(t.mean(axis=0)) ** 2 for w, t in zip(weights, tables, strict=True))
    seeds = sum(w * t.mean(axis=1) for w, t in zip(weights, tables, strict=True))
    noise = sum(w**2 * interaction(t) / t.size for w, t in zip(weights, tables, strict=True))
    return float(examples + max(0.0, scipy_stats.sem(seeds) ** 2 - noise))


@pytest.mark.parametrize("weights", [(1, 1, 1), (2, 1, 0.5)])
def test_the_interval_respects_seeds_that_tasks_share(weights: tuple[float, ...]) -> None:
    made = tasks(weights=weights)
    found = macro_score(made)
    shares = np.array(weights) / sum(weights)
    tables = [right(task) for task in made]
    assert found.estimate.value == pytest.approx(shares @ [t.mean() for t in tables])
    assert found.tasks == {f"task{k}": pytest.approx(t.mean()) for k, t in enumerate(tables)}
    assert found.estimate.standard_error**2 == pytest.approx(closed_form(tables, shares), rel=1e-9)
    # As if seeds were independent between tasks the error would be too small.
    alone = [macro_score([task]).estimate.standard_error for task in made]
    assert found.estimate.standard_error > 1.2 * math.sqrt(np.sum(np.square(shares * alone)))
    assert 0 <= found.estimate.low < found.estimate.value < found.estimate.high <= 1


def test_the_macro_of_one_task_is_the_task_and_of_two_metrics_their_mean() -> None:
    (one,) = tasks(n_tasks=1)
    found, direct = (
        macro_score([one]).estimate,
        estimate_group(one.run_info, one.preds, one.labels, "accuracy"),
    )
    assert (found.value, found.low, found.high) == pytest.approx(
        (direct.value, direct.low, direct.high), rel=1e-9
    )
    both = TaskRuns("t", one.run_info, one.preds, one.labels, ("accuracy", "f1"))
    f1 = TaskRuns("t", one.run_info, one.preds, one.labels, ("f1",))
    scores = [macro_score([task]).estimate.value for task in (one, f1, both)]
    assert scores[2] == pytest.approx((scores[0] + scores[1]) / 2)


def test_corrections_move_the_score_and_nothing_else() -> None:
    plain = tasks(weights=(2, 1, 1))
    moved = [replace(plain[0], corrections=np.full(6, -0.02)), *plain[1:]]
    first, second = (macro_score(made).estimate for made in (plain, moved))
    assert second.value == pytest.approx(first.value - 0.01)
    assert second.standard_error == pytest.approx(first.standard_error)


def two_sided(
    n_tasks: int = 2, effect: float = 0.0
) -> tuple[list[TaskRuns], list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(4)
    made, first, second = [], [], []
    quality = rng.normal(0, 0.3, (2, 5, 1))
    for k in range(n_tasks):
        y = 3 + quality + rng.normal(0, 1, 30 + 10 * k) + rng.normal(0, 0.4, (2, 5, 30 + 10 * k))
        y[1] += effect
        first.append(y[0])
        second.append(y[1])
        info = sides_info(grid_info(5, 1), grid_info(5, 1))
        info["finetune_seed"] = np.arange(10)
        made.append(TaskRuns(f"t{k}", info, np.concatenate(list(y)), np.zeros(30 + 10 * k), ("mean",)))
    return made, first, second


def test_paired_differences_are_those_of_macro_scores() -> None:
    made, first, second = two_sided(effect=0.2)
    found = macro_score(made, compare=True, paired_seeds=True)
    differences = [b - a for a, b in zip(first, second, strict=True)]
    assert found.estimate.value == pytest.approx(np.mean([d.mean() for d in differences]))
    assert found.estimate.standard_error**2 == pytest.approx(
        closed_form(differences, np.array([0.5, 0.5])), rel=1e-9
    )
    excludes = found.estimate.low > 0 or found.estimate.high < 0
    assert excludes == (found.inference.p_value <= 0.05)


def test_unpaired_differences_of_one_task_are_the_comparison() -> None:
    (one,), _, _ = two_sided(1)
    for paired in (True, False):
        found = macro_score([one], compare=True, paired_seeds=paired).inference
        direct = compare_groups(one.run_info, one.preds, one.labels, "mean", paired)
        assert found.estimate.half_width == pytest.approx(direct.difference.half_width, rel=1e-9)
        assert found.p_value == pytest.approx(direct.p_value, rel=1e-9)


def test_fine_tuning_seeds_that_all_tasks_share_are_one_factor() -> None:
    rng = np.random.default_rng(5)
    luck = rng.normal(0, 0.5, (1, 3, 1))
    made, tables = [], []
    for k in range(2):
        n = 20 + 5 * k
        y = 3 + rng.normal(0, 0.2, (4, 1, 1)) + luck + rng.normal(0, 1, n) + rng.normal(0, 0.3, (4, 3, n))
        tables.append(y)
        made.append(TaskRuns(f"t{k}", grid_info(4, 3), y.reshape(12, n), np.zeros(n), ("mean",)))
    found = macro_score(made).inference
    labels = sum(y.mean(axis=(0, 2)) for y in tables) / 2
    assert found.moments.terms["fine-tuning seeds"].between == pytest.approx(scipy_stats.sem(labels) ** 2)
    assert "fine-tuning seeds" in found.estimate.over


def test_differences_pair_seeds_and_drop_the_incomplete() -> None:
    made = []
    for k, task in enumerate(tasks()):
        preds = np.asarray(task.preds)
        info = {"seed": [*range(6), *range(6)], "intervention": [False] * 6 + [True] * 6}
        rows = np.concatenate([preds, preds])
        keep = [row for row in range(12) if not (k == 1 and row in (0, 6))]
        info = {key: [values[row] for row in keep] for key, values in info.items()}
        made.append(TaskRuns(task.name, info, rows[keep], task.labels, task.metrics))
    found = macro_score(made, compare=True, paired_seeds=True)
    assert found.estimate.value == 0
    assert found.estimate.n_seeds == 5
    # Sides that give the same answers have the width that so many unanimous examples leave open.
    assert 0.001 < found.estimate.high == -found.estimate.low < 0.05
    assert found.inference.p_value == 1
    assert "dropped: 0" in found.warnings[0]


def test_what_is_no_macro_score_is_refused() -> None:
    with pytest.raises(StatisticsError, match="none was given"):
        macro_score([])
    first, second = tasks(n_tasks=2)
    apart = TaskRuns("x", {"seed": range(10, 16)}, second.preds, second.labels, ("accuracy",))
    with pytest.raises(StatisticsError, match="No pretraining seed has runs in every task"):
        macro_score([first, apart])
    with pytest.raises(StatisticsError, match="no metric"):
        macro_score([TaskRuns("x", first.run_info, first.preds, first.labels, ())])
