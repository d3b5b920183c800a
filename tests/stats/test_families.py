"""Several groups and several p-values: decisions that agree with intervals, and their family-wise error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.errors import StatisticsError
from multibench.stats import adjust, compare_all, compare_groups, joint
from multibench.stats.groups import ranks_of
from multibench.stats.joint import Joint, Together, correlation_of, joint_of
from multibench.stats.surrogate import Moments, Term


def runs(seed=0, groups=("a", "b", "c"), seeds=5, n=60, shift=0.0, sd=0.2):
    """Right and wrong answers of several groups; the same seeds have the same names, not the same quality."""
    rng = np.random.default_rng(seed)
    info: dict[str, list[Any]] = {"seed": [], "group": []}
    rows, difficulty = [], rng.normal(0, 1, n)
    for g, group in enumerate(groups):
        for s in range(seeds):
            info["seed"].append(s)
            info["group"].append(group)
            rows.append(rng.normal(0.8, sd) + shift * g + difficulty + rng.normal(0, 1, n) > 0)
    return info, np.array(rows, dtype=int), np.ones(n, dtype=int)


@pytest.mark.parametrize("paired", [True, False])
def test_two_groups_are_the_comparison(paired):
    info, preds, labels = runs(groups=("a", "b"), shift=0.4)
    many = compare_all(info, preds, labels, "accuracy", paired)
    pair = {**info, "intervention": [group == "b" for group in info["group"]]}
    two = compare_groups(pair, preds, labels, "accuracy", paired)
    assert many.differences["b - a"].estimate == two.difference
    assert (many.scores["a"], many.scores["b"]) == (two.base, two.experiment)
    # A family of one needs no adjustment.
    assert many.together["b - a"] == Together(two.difference, two.p_value)


def test_three_groups_share_examples_and_paired_seeds():
    info, preds, labels = runs(shift=0.5)
    found = compare_all(info, preds, labels, "accuracy", paired_seeds=True)
    assert list(found.differences) == ["b - a", "c - a", "c - b"]
    assert found.names == ("a", "b", "c")
    for name, one in found.differences.items():
        together = found.together[name]
        assert together.simultaneous.value == one.estimate.value
        assert together.simultaneous.low < one.estimate.low
        assert together.simultaneous.high > one.estimate.high
        assert together.simultaneous.method.endswith("simultaneous")
    missing = np.array([row for row in range(15) if row != 7])
    less = {name: np.array(values)[missing] for name, values in info.items()}
    dropped = compare_all(less, preds[missing], labels, "accuracy", paired_seeds=True)
    assert dropped.differences["b - a"].estimate.n_seeds == 4
    assert "Seeds of a not in all groups were dropped: 2." in dropped.warnings
    with pytest.raises(StatisticsError, match="one group"):
        compare_all({**info, "group": ["a"] * 15}, preds, labels, "accuracy")
    with pytest.raises(StatisticsError, match="no seed is in all groups"):
        compare_all({**info, "seed": range(15)}, preds, labels, "accuracy", paired_seeds=True)


def test_adjusted_p_values_agree_with_simultaneous_intervals(monkeypatch):
    monkeypatch.setattr(joint, "DRAWS", 2_000)
    outcomes = set()
    for case in range(24):
        rng = np.random.default_rng(case)
        level = float(rng.choice([0.5, 0.8, 0.95, 0.99]))
        info, preds, labels = runs(
            case, "abcd"[: rng.integers(3, 5)], int(rng.integers(2, 6)), 50, rng.choice([0, 0.4])
        )
        found = compare_all(info, preds, labels, "accuracy", bool(case % 2), level)
        n = len(found.differences)
        for name, one in found.differences.items():
            together = found.together[name]
            excludes = together.simultaneous.low > 0 or together.simultaneous.high < 0
            assert excludes == (together.p_adjusted <= 1 - level), (case, name)
            assert one.p_value <= together.p_adjusted <= min(1, n * one.p_value) + 1e-15
            assert together.simultaneous.low <= one.estimate.low
            outcomes.add(excludes)
    assert outcomes == {True, False}


def normal_joint(correlation: float, df: float = np.inf, n: int = 4) -> Joint:
    matrix = np.full((n, n), correlation)
    np.fill_diagonal(matrix, 1)
    return Joint([Moments(0.0, 1.0, df)] * n, matrix)


def test_adjustment_and_local_level_are_each_others_inverse():
    terms = {"a": Term(1.0, 4, 0.2, 5)}
    family = Joint([Moments(0.0, 0.5, 70, terms)] * 3, np.full((3, 3), 0.5) + 0.5 * np.eye(3))
    for level in (0.3, 0.5, 0.8, 0.95, 0.99, 0.999, 0.9999, 0.999999):
        local = 1 - family.local_level(level)
        assert (1 - level) / 3 * (1 - 1e-9) <= local <= 1 - level
        assert family.adjusted(local) == pytest.approx(1 - level, rel=1e-9)
        assert family.adjusted(local * 1.001) > 1 - level
    assert np.isnan(family.adjusted(np.nan))


def test_the_local_level_is_scipys_where_it_is_known():
    assert normal_joint(0).local_level(0.95) == pytest.approx(0.95**0.25, abs=0.0015)  # Sidak
    assert normal_joint(1, 7).local_level(0.95) == pytest.approx(0.95, abs=0.004)
    half = scipy_stats.norm.ppf((1 + normal_joint(0.6).local_level(0.95)) / 2)
    matrix = np.full((4, 4), 0.6) + 0.4 * np.eye(4)
    held = scipy_stats.multivariate_normal(np.zeros(4), matrix).cdf(
        np.full(4, half), lower_limit=np.full(4, -half)
    )
    assert held == pytest.approx(0.95, abs=0.004)


def test_correlations_are_those_of_what_estimates_share():
    """Three pairs of three means with independent noise of one size: a half, by what is common to two pairs."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (3, 4000))
    noise -= noise.mean(axis=1, keepdims=True)
    effects = [{"examples": (1.0, noise[b] - noise[a])} for a, b in ((0, 1), (0, 2), (1, 2))]
    found = correlation_of(effects)
    expected = np.corrcoef([own["examples"][1] for own in effects])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[0, 1] == pytest.approx(0.5, abs=0.05)
    assert found[0, 2] == pytest.approx(-0.5, abs=0.05)
    other = correlation_of([effects[0], {"seeds": (1.0, noise[0])}])
    np.testing.assert_array_equal(other, np.eye(2))


def test_estimates_without_an_interval_stay_as_they_are():
    info, preds, labels = runs(shift=0.3)
    found = compare_all(info, preds, labels, "accuracy")
    first, second, third = found.differences.values()
    unknown = replace(second, estimate=replace(second.estimate, low=np.nan, high=np.nan))
    key = lambda place, name: (place, name)  # noqa: E731
    together = joint_of([first, unknown, third], key)
    assert np.isnan(together[1].simultaneous.low)
    assert together[0].simultaneous.low < first.estimate.low
    assert joint_of([unknown], key)[0].p_adjusted == second.p_value


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_groups_are_told_apart_in_one_family_of_twenty(seeds, monkeypatch):
    monkeypatch.setattr(joint, "DRAWS", 1_000)
    monkeypatch.setattr(joint, "GRID", 60)
    found = [compare_all(*runs(1000 + case, seeds=seeds, n=40, sd=0.4), "accuracy") for case in range(100)]
    adjusted = np.array([min(one.p_adjusted for one in family.together.values()) for family in found])
    single = np.array([min(one.p_value for one in family.differences.values()) for family in found])
    assert (adjusted <= 0.05).mean() <= 0.09
    # Without adjustment the same test would fail.
    if seeds == 5:
        assert (single <= 0.05).mean() > 0.09


def test_ranks_count_who_is_surely_before_and_behind():
    info, preds, labels = runs(groups=("a", "b", "c"), shift=1.2, n=200, sd=0.05)
    apart = compare_all(info, preds, labels, "accuracy", paired_seeds=True)
    assert apart.ranks == {"a": (3, 3), "b": (2, 2), "c": (1, 1)}
    estimate = apart.differences["b - a"].estimate

    def bounds(low: float, high: float) -> Together:
        return Together(replace(estimate, low=low, high=high), 0.5)

    pairs = [(0, 1), (0, 2), (1, 2)]
    together = [bounds(-1, 1), bounds(0.1, 1), bounds(-0.2, 0.4)]
    assert ranks_of(3, pairs, together, ["x", "y", "z"]) == {"x": (2, 3), "y": (1, 3), "z": (1, 2)}


def test_adjustments_against_hand_worked_values():
    values = {"a": 0.01, "b": 0.04, "c": 0.03}
    assert adjust(values).adjusted == pytest.approx((0.03, 0.06, 0.06))
    assert adjust(values, "benjamini-hochberg").adjusted == pytest.approx((0.03, 0.04, 0.04))
    by = 1 + 1 / 2 + 1 / 3
    assert adjust(values, "benjamini-yekutieli").adjusted == pytest.approx((0.03 * by, 0.04 * by, 0.04 * by))
    with pytest.raises(StatisticsError, match="holm"):
        adjust(values, "bonferroni")  # type: ignore[arg-type]


def test_interpolation_between_equal_steps_is_numpys() -> None:
    values = np.random.default_rng(0).normal(0, 1, 400)
    x = np.concatenate([np.linspace(-8, 8, 1000), [-7.1, 7.1, 0.0]])
    expected = np.interp(x, np.linspace(-7.1, 7.1, 400), values)
    np.testing.assert_allclose(joint._interpolated(x, -7.1, 7.1, values), expected, rtol=0, atol=1e-12)
