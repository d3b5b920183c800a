"""Base against experiment: which method is used when, what single runs may say, and looking more than once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.stats import (
    compare_groups,
    estimate_group,
    joint,
    joint_of,
    mcnemar,
    multibootstrap,
    multibootstrap_group,
    paired_permutation,
)
from multibench.stats.compare import looks_at_every_seed
from tests.stats.support import binary_sides, crossed_scores, grid_info, sides_info


@pytest.mark.parametrize("paired", [True, False])
def test_the_published_method_is_the_multi_bootstrap_itself(paired):
    info, preds, labels = binary_sides(np.random.default_rng(0), (5, 4), 2)
    found = compare_groups(info, preds, labels, "mcc", paired, 80, 3, 0.9, method="multibootstrap")
    boot = multibootstrap(info, preds, labels, "mcc", paired, nboot=80, rng=3, confidence=0.9)
    assert (found.base, found.experiment, found.difference) == (boot.base, boot.experiment, boot.delta)
    assert found.p_value == boot.p_value
    assert found.inference is None
    assert found.bootstrap is not None
    np.testing.assert_array_equal(found.bootstrap.samples, boot.samples)
    one = estimate_group({"seed": range(5)}, preds[:5], labels, "mcc", 80, 3, 0.9, method="multibootstrap")
    assert one == multibootstrap_group({"seed": range(5)}, preds[:5], labels, "mcc", 80, 3, 0.9)


def test_what_has_no_influence_values_is_bootstrapped_and_all_else_is_not():
    info, preds, labels = binary_sides(np.random.default_rng(1), (3, 3), n=30)
    called = compare_groups(
        info, preds, labels, lambda gold, given: float(np.mean(gold == given)), nboot=20, rng=0
    )
    median = compare_groups(info, preds, labels, "accuracy", nboot=20, rng=0, estimand="median")
    for found in (called, median):
        assert found.inference is None
        assert found.bootstrap is not None
        assert found.difference == found.bootstrap.delta
    plain = compare_groups(info, preds, labels, "accuracy")
    assert plain.bootstrap is None
    assert plain.inference is not None
    assert plain.difference.mc_error == 0
    assert plain.difference.value == pytest.approx(called.difference.value)
    assert plain.delta is plain.difference


def test_the_interval_of_a_side_is_that_of_the_group_alone():
    info, preds, labels = binary_sides(np.random.default_rng(2), (4, 6), 2)
    found = compare_groups(info, preds, labels, "f1")
    for side, estimate in ((False, found.base), (True, found.experiment)):
        own = info["intervention"] == side
        alone = estimate_group({name: values[own] for name, values in info.items()}, preds[own], labels, "f1")
        assert estimate.to_dict() == pytest.approx(alone.to_dict())


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_always_valid_intervals_spend_the_error_over_all_numbers_of_seeds(seeds):
    info, preds, labels = binary_sides(np.random.default_rng(3), (seeds, seeds + 2), effect=0.6)
    plain = compare_groups(info, preds, labels, "accuracy", confidence=0.9)
    found = compare_groups(info, preds, labels, "accuracy", confidence=0.9, always_valid=True)
    pairs = seeds * (seeds - 1)
    level = 1 - 0.1 / pairs
    assert looks_at_every_seed(0.9, seeds) == pytest.approx(level)
    deeper = compare_groups(info, preds, labels, "accuracy", confidence=level)
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (deeper.difference.low, deeper.difference.high), rel=1e-9
    )
    assert found.difference.level == 0.9
    assert found.difference.method.endswith("always valid")
    assert found.p_value == pytest.approx(min(1.0, plain.p_value * pairs))
    excludes = found.difference.low > 0 or found.difference.high < 0
    assert excludes == (found.p_value <= 0.1)
    # 1/2 + 1/6 + 1/12 + ... is 1.
    assert sum(1 - looks_at_every_seed(0.9, s) for s in range(2, 10_000)) == pytest.approx(0.1, rel=1e-3)
    with pytest.raises(StatisticsError, match="always-valid"):
        compare_groups(info, preds, labels, "accuracy", always_valid=True, method="multibootstrap")


def test_what_follows_from_an_always_valid_interval_is_always_valid(monkeypatch):
    monkeypatch.setattr(joint, "DRAWS", 1_000)
    monkeypatch.setattr(joint, "GRID", 60)
    outcomes = set()
    for case in range(24):
        given = [
            binary_sides(np.random.default_rng(100 * case + k), (3, 3), n=60, effect=effect)
            for k, effect in enumerate((0.0, 0.8, 1.6))
        ]
        found = [compare_groups(*one, "accuracy", always_valid=True, rng=0).inference for one in given]
        plain = [compare_groups(*one, "accuracy", rng=0).inference for one in given]
        for one, other, held in zip(found, plain, joint_of(found, lambda k, name: (k, name)), strict=True):
            assert one is not None
            assert other is not None
            excludes = held.simultaneous.low > 0 or held.simultaneous.high < 0
            assert excludes == (held.p_adjusted <= 0.05)
            assert held.simultaneous.low <= one.estimate.low
            outcomes.add(excludes)
            assert one.p_above(0.02) == pytest.approx(min(1, 6 * other.p_above(0.02)))
            assert (one.p_above(0), one.p_below(0)) == (one.p_greater, one.p_less)
            assert one.few[0].now == pytest.approx((one.estimate.high - one.estimate.low) / 2, rel=1e-6) or (
                max(abs(one.estimate.low), abs(one.estimate.high)) == 1
            )
    assert outcomes == {True, False}


@pytest.mark.parametrize("always_valid", [False, True])
def test_what_is_unknown_has_no_p_value_of_one(always_valid):
    info = sides_info(grid_info(2, 1, True), grid_info(2, 1, True))
    found = compare_groups(info, np.full((4, 9), 7.0), np.zeros(9), "mean", always_valid=always_valid)
    assert found.inference is not None
    assert math.isnan(found.difference.low)
    assert all(math.isnan(p) for p in (found.p_value, found.inference.p_greater, found.inference.p_less))


def test_two_single_runs_have_mcnemars_test_and_no_p_value_of_procedures():
    info, preds, labels = binary_sides(np.random.default_rng(4), (1, 1), n=90, effect=0.8)
    found = compare_groups(info, preds, labels, "accuracy", rng=0)
    assert math.isnan(found.p_value)
    assert found.inference is not None
    assert math.isnan(found.inference.p_value)
    assert "two single runs" in found.about
    assert "no p-value" in str(found)
    assert found.runs == mcnemar(preds[0] == labels, preds[1] == labels)
    assert not math.isnan(found.difference.low)
    assert "this run" in found.difference.estimand
    mcc = compare_groups(info, preds, labels, "mcc", rng=7)
    known = paired_permutation(labels, preds[0], preds[1], METRICS.get("mcc"), rng=7)
    assert mcc.runs == known
    clustered = compare_groups(info, preds, labels, "accuracy", rng=0, clusters=np.arange(90) // 3)
    assert clustered.runs is not None
    assert "permutation" in clustered.runs.method


@pytest.mark.parametrize("counts", [(1, 5), (5, 1)])
def test_one_run_against_many_has_no_p_value_either(counts):
    info, preds, labels = binary_sides(np.random.default_rng(5), counts, effect=1.0)
    found = compare_groups(info, preds, labels, "accuracy")
    assert math.isnan(found.p_value)
    assert found.runs is None
    name = "base" if counts[0] == 1 else "experiment"
    assert found.about.startswith(f"the {name} is a single run")
    assert not math.isnan(found.difference.low)


def test_one_checkpoint_with_runs_is_about_that_checkpoint():
    info, preds, labels = binary_sides(np.random.default_rng(6), (1, 4), 3)
    found = compare_groups(info, preds, labels, "accuracy")
    assert "base is one checkpoint" in found.about
    assert "this checkpoint" in found.difference.estimand
    assert "one pretraining seed of the base" in found.difference.caveat
    assert not math.isnan(found.p_value)
    two = compare_groups(*binary_sides(np.random.default_rng(6), (1, 1), 3), "accuracy")
    assert two.about == "two checkpoints: other pretraining seeds are not covered"


def test_corrections_shift_scores_and_leave_their_spread():
    rng = np.random.default_rng(7)
    y = crossed_scores(rng, 6, 1, 20).reshape(6, 20)
    info = sides_info(grid_info(3, 1, True), grid_info(3, 1, True))
    plain = compare_groups(info, y, np.zeros(20), "mean")
    found = compare_groups(info, y, np.zeros(20), "mean", corrections=[0, 0, 0, -0.5, -0.5, -0.5])
    assert found.base == plain.base
    assert found.experiment.value == pytest.approx(plain.experiment.value - 0.5)
    assert found.difference.value == pytest.approx(plain.difference.value - 0.5)
    assert found.difference.standard_error == pytest.approx(plain.difference.standard_error)
    order = rng.permutation(6)
    mixed = compare_groups(
        {name: values[order] for name, values in info.items()},
        y[order],
        np.zeros(20),
        "mean",
        corrections=np.array([0, 0, 0, -0.5, -0.5, -0.5])[order],
    )
    assert mixed.difference == found.difference


def test_dropped_seeds_and_undefined_scores_are_named():
    info, preds, labels = binary_sides(np.random.default_rng(8), (5, 4))
    found = compare_groups(info, preds, labels, "accuracy", paired_seeds=True)
    assert found.warnings == ("Seeds of the base side without a partner were dropped: 4.",)
    assert found.difference.n_seeds == 4
    values = preds + np.random.default_rng(0).normal(0, 0.1, preds.shape)
    values[0] = 0.5
    collapsed = compare_groups(info, values, labels + 0.5 * values[1], "pearson")
    assert any(
        "1 runs have an undefined score" in text and "count as 0" in text for text in collapsed.warnings
    )
    with pytest.raises(StatisticsError, match="share none"):
        compare_groups({**info, "seed": range(9)}, preds, labels, "accuracy", paired_seeds=True)


def test_every_result_is_ready_for_json():
    import json

    info, preds, labels = binary_sides(np.random.default_rng(9), (1, 3))
    for method in ("surrogate", "multibootstrap"):
        found = compare_groups(info, preds, labels, "accuracy", method=method, nboot=20, rng=0)
        json.dumps(found.to_dict(), allow_nan=False)
        assert "difference" in str(found)
