"""Single runs, equivalence, selection, collapsed runs: against hand-worked values and other libraries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from multibench.errors import StatisticsError
from multibench.stats import (
    best_of_grid,
    best_of_n,
    collapse_rate,
    collapsed_runs,
    compare_groups,
    equivalence,
    mcnemar,
    non_inferiority,
    paired_permutation,
    probability_of_improvement,
    selection_optimism,
    with_and_without_collapsed,
)


def test_mcnemar_is_the_exact_binomial_test():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.random(60) < 0.7, rng.random(60) < 0.8
        b, c = int((first & ~second).sum()), int((~first & second).sum())
        result = mcnemar(first, second)
        assert (result.only_base_right, result.only_experiment_right) == (b, c)
        assert result.p_value == pytest.approx(binomtest(c, b + c).pvalue, abs=1e-12)
        assert result.p_greater == pytest.approx(binomtest(c, b + c, alternative="greater").pvalue)
    assert mcnemar([1, 0], [1, 0]).p_value == 1
    with pytest.raises(StatisticsError, match="right"):
        mcnemar([0.5, 1], [1, 0])


def test_permutation_test_agrees_with_all_exchanges_written_out():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 9)
    first, second = rng.integers(0, 2, 9), np.where(rng.random(9) < 0.8, labels, 1 - labels)
    null = []
    for swap in itertools.product([False, True], repeat=9):
        one, two = np.where(swap, second, first), np.where(swap, first, second)
        null.append((two == labels).mean() - (one == labels).mean())
    observed = (second == labels).mean() - (first == labels).mean()
    exact = np.mean(np.abs(null) >= abs(observed) - 1e-12)
    result = paired_permutation(labels, first, second, "accuracy", 20_000, rng=0)
    assert result.difference == pytest.approx(observed)
    assert result.p_value == pytest.approx(exact, abs=0.015)
    assert result.n_permutations == 20_000
    same = paired_permutation(labels, first, first, "mcc", 200, rng=0)
    assert same.p_value == 1


def comparison(effect=0.0, seed=0):
    rng = np.random.default_rng(seed)
    info = {"seed": [*range(8), *range(8)], "intervention": [False] * 8 + [True] * 8}
    y = rng.normal(0, 0.01, (16, 1)) + rng.normal(0, 0.3, (1, 400)) + rng.normal(0, 0.1, (16, 400))
    y[8:] += effect
    return compare_groups(info, y, np.zeros(400), "mean", True, nboot=2000, rng=0)


def test_equivalence_is_the_wider_interval_within_the_margin():
    for effect in (0.0, 0.02, 0.1):
        result = comparison(effect)
        assert result.crossed is not None
        for given in (result.crossed, result.bootstrap):
            test = equivalence(given, 0.03)
            estimate = given.estimate if given is result.crossed else result.bootstrap.delta
            assert test.p_value == max(test.p_low, test.p_high)
            assert test.shown == (test.p_value <= 0.05)
            if estimate.low > 0.03:
                assert test.verdict == "different"
        # Ninety per cent interval within the margin if and only if shown.
        from scipy.stats import t

        half = t.ppf(0.95, result.crossed.df) * result.crossed.estimate.standard_error
        value = result.crossed.estimate.value
        assert equivalence(result.crossed, 0.03).shown == (value + half < 0.03 and value - half > -0.03)
    assert equivalence(comparison(0.0).crossed, 0.03).verdict == "equivalent"
    assert non_inferiority(comparison(0.1).crossed, 0.01).shown
    assert non_inferiority(comparison(-0.1).crossed, 0.01).verdict == "inferior"
    with pytest.raises(StatisticsError, match="positive"):
        non_inferiority(comparison().crossed, -1)


def test_probability_of_improvement():
    result = probability_of_improvement([1, 2, 3], [2, 3, 4], rng=0)
    assert result.value == pytest.approx((3 + 2 + 1 + 0.5 * 2) / 9)
    assert 0 <= result.low < result.value < result.high <= 1
    with pytest.raises(StatisticsError, match="NaN"):
        probability_of_improvement([math.nan], [1])


def test_best_of_n_is_the_mean_over_all_subsets():
    scores = np.random.default_rng(0).random(7)
    for n in range(1, 8):
        subsets = [max(chosen) for chosen in itertools.combinations(scores, n)]
        assert best_of_n(scores, n, nboot=10, rng=0).value == pytest.approx(np.mean(subsets))
    with pytest.raises(StatisticsError, match="without bias"):
        best_of_n(scores, 8)


def test_best_of_grid_is_the_mean_over_all_choices_of_runs():
    scores = np.random.default_rng(1).random((3, 4))
    choices = itertools.product(*(itertools.combinations(row, 2) for row in scores))
    expected = np.mean([max(max(pair) for pair in choice) for choice in choices])
    result = best_of_grid(scores, 2, nboot=50, rng=0)
    assert result.value == pytest.approx(expected)
    assert result.low <= result.value <= result.high + 1e-12
    whole = best_of_grid(scores, 4, nboot=50, rng=0)
    assert whole.value == pytest.approx(scores.max())
    assert math.isnan(whole.low)
    assert whole.reason


def test_optimism_of_choosing_among_equals():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 200)
    preds = np.where(rng.random((20, 200)) < 0.8, labels, 1 - labels)
    result = selection_optimism(preds, labels, "accuracy", 400, rng=0)
    # Best of 20 independent halves: about 1.87 sd of a score on 100 examples above its mean.
    assert result.value == pytest.approx(1.87 * math.sqrt(0.16 / 100), rel=0.35)
    assert result.mc_error < 0.01
    single = selection_optimism(preds[:1], labels, "accuracy", 400, rng=0)
    assert single.value == pytest.approx(0, abs=1e-12)


def test_collapse_rate_is_exact():
    for k, n in ((0, 5), (2, 10), (7, 7)):
        found = collapse_rate(k, n)
        interval = binomtest(k, n).proportion_ci(0.95, "exact")
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_collapsed_runs_stay_in_the_primary_estimate():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 50)
    preds = np.where(rng.random((6, 50)) < 0.9, labels, 1 - labels)
    preds[2] = 1
    assert collapsed_runs(labels, preds) == (False, False, True, False, False, False)
    result = with_and_without_collapsed({"seed": range(6)}, preds, labels, "mcc")
    assert result.rate.value == pytest.approx(1 / 6)
    assert result.all_runs.value == pytest.approx(result.without_collapsed.value * 5 / 6)
    assert (result.all_runs.n_runs, result.without_collapsed.n_runs) == (6, 5)
    every = with_and_without_collapsed({"seed": range(6)}, preds * 0, labels, "mcc")
    assert every.all_runs.value == 0
    assert every.without_collapsed.reason == "every run collapsed"
