"""Several groups, several tasks, several p-values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.stats import TaskRuns, adjust, macro_score, max_t, multibootstrap, multibootstrap_groups


def runs(seed=0, groups=("a", "b", "c"), seeds=5, n=60, shift=0.0):
    rng = np.random.default_rng(seed)
    info: dict[str, list[Any]] = {"seed": [], "group": []}
    rows, difficulty = [], rng.normal(0, 1, n)
    for g, group in enumerate(groups):
        for s in range(seeds):
            info["seed"].append(s)
            info["group"].append(group)
            rows.append(rng.normal(0.8, 0.2) + shift * g + difficulty + rng.normal(0, 1, n) > 0)
    return info, np.array(rows, dtype=int), np.ones(n, dtype=int)


def test_two_groups_draw_what_the_comparison_draws():
    info, preds, labels = runs(groups=("a", "b"))
    many = multibootstrap_groups(info, preds, labels, "accuracy", nboot=200, rng=4)
    pair = {**info, "intervention": [group == "b" for group in info["group"]]}
    two = multibootstrap(pair, preds, labels, "accuracy", nboot=200, rng=4)
    np.testing.assert_array_equal(many.samples, two.samples)
    assert many.differences["b - a"].low == two.delta.low


def test_three_groups_share_examples_and_paired_seeds():
    info, preds, labels = runs(shift=0.5)
    result = multibootstrap_groups(info, preds, labels, "accuracy", paired_seeds=True, nboot=500, rng=0)
    assert list(result.differences) == ["b - a", "c - a", "c - b"]
    assert result.scores["c"].value > result.scores["a"].value
    assert np.corrcoef(result.samples.T)[0, 1] > 0.2
    assert all(
        adjusted >= raw for raw, adjusted in zip(result.family.p_values, result.family.adjusted, strict=True)
    )
    with pytest.raises(StatisticsError, match="one group"):
        multibootstrap_groups({**info, "group": ["a"] * 15}, preds, labels, "accuracy")


def test_adjustments_against_hand_worked_values():
    values = {"a": 0.01, "b": 0.04, "c": 0.03}
    assert adjust(values).adjusted == pytest.approx((0.03, 0.06, 0.06))
    assert adjust(values, "benjamini-hochberg").adjusted == pytest.approx((0.03, 0.04, 0.04))
    by = 1 + 1 / 2 + 1 / 3
    assert adjust(values, "benjamini-yekutieli").adjusted == pytest.approx((0.03 * by, 0.04 * by, 0.04 * by))
    with pytest.raises(StatisticsError, match="holm"):
        adjust(values, "bonferroni")  # type: ignore[arg-type]


def test_max_t_keeps_the_family_wise_level_and_uses_correlation():
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        shared = rng.normal(0, 3, 500)
        draws = shared[:, None] + rng.normal(0, 1, (500, 6))
        estimates = rng.normal(0, 3) + rng.normal(0, 1, 6)
        family = max_t(list("abcdef"), estimates, draws)
        rejected += any(family.rejected)
    assert 0.02 < rejected / 400 < 0.085
    bonferroni = 6 * min(family.p_values)
    assert min(family.adjusted) <= min(1.0, bonferroni)


def tasks(seed=0, n_tasks=3, seeds=6, shared=1.0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(0, shared, seeds)
    made = []
    for k in range(n_tasks):
        n = 80 + 40 * k
        rows = quality[:, None] + 0.8 + rng.normal(0, 1, n) + rng.normal(0, 0.5, (seeds, n)) > 0
        labels = rng.integers(0, 2, n)
        preds = np.where(rows, labels, 1 - labels)
        made.append(TaskRuns(f"task{k}", {"seed": list(range(seeds))}, preds, labels, ("accuracy",)))
    return made


def test_macro_interval_respects_shared_seeds():
    result = macro_score(tasks(), nboot=3000, rng=0)
    per_task = [np.mean(np.asarray(task.preds) == task.labels) for task in tasks()]
    assert result.crossed.estimate.value == pytest.approx(np.mean(per_task))
    assert result.bootstrap.value == pytest.approx(np.mean(per_task))
    # As if seeds were independent between tasks the error would be too small.
    alone = [macro_score([task], nboot=3000, rng=0).crossed.estimate.standard_error for task in tasks()]
    assert result.crossed.estimate.standard_error > 1.2 * np.sqrt(np.sum(np.square(alone))) / 3
    assert result.bootstrap.standard_error == pytest.approx(result.crossed.estimate.standard_error, rel=0.25)


def test_macro_of_one_task_is_the_task_and_of_two_metrics_their_mean():
    one = tasks(n_tasks=1)[0]
    direct = multibootstrap_groups(
        {"seed": [*range(6), *range(6)], "group": [0] * 6 + [1] * 6},
        np.concatenate([one.preds, one.preds]),
        one.labels,
        "accuracy",
        nboot=50,
        rng=0,
    )
    assert macro_score([one], nboot=50, rng=0).tasks["task0"] == pytest.approx(direct.scores["0"].value)
    both = TaskRuns("t", one.run_info, one.preds, one.labels, ("accuracy", "f1"))
    f1 = TaskRuns("t", one.run_info, one.preds, one.labels, ("f1",))
    scores = [macro_score([task], nboot=50, rng=0).tasks for task in (one, f1, both)]
    assert scores[2]["t"] == pytest.approx((scores[0]["task0"] + scores[1]["t"]) / 2)


def test_macro_difference_pairs_seeds_and_drops_the_incomplete():
    made = []
    for k, task in enumerate(tasks()):
        preds = np.asarray(task.preds)
        info = {"seed": [*range(6), *range(6)], "intervention": [False] * 6 + [True] * 6}
        rows = np.concatenate([preds, preds])
        keep = [row for row in range(12) if not (k == 1 and row in (0, 6))]
        info = {key: [values[row] for row in keep] for key, values in info.items()}
        made.append(TaskRuns(task.name, info, rows[keep], task.labels, task.metrics))
    result = macro_score(made, compare=True, paired_seeds=True, nboot=100, rng=0)
    assert result.crossed.estimate.value == 0
    assert result.crossed.estimate.n_seeds == 5
    assert result.bootstrap.low == result.bootstrap.high == 0
    assert "dropped: 0" in result.warnings[0]
