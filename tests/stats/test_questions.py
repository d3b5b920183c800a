"""Single runs, best runs, wins, collapsed runs: against hand-worked values and other libraries."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from scipy.stats import binomtest

from multibench.errors import StatisticsError
from multibench.stats import (
    best_of_grid,
    best_of_n,
    collapse_rate,
    collapsed_runs,
    expected_best,
    mcnemar,
    paired_permutation,
    probability_of_improvement,
    selection,
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


def test_probability_of_improvement_counts_pairs():
    result = probability_of_improvement([1, 2, 3], [2, 3, 4])
    assert result.value == pytest.approx((3 + 2 + 1 + 0.5 * 2) / 9)
    assert 0 <= result.low < result.value < result.high <= 1
    turned = probability_of_improvement([2, 3, 4], [1, 2, 3])
    assert (turned.low, turned.high) == pytest.approx((1 - result.high, 1 - result.low))
    with pytest.raises(StatisticsError, match="NaN"):
        probability_of_improvement([math.nan, 1], [1, 2])
    with pytest.raises(StatisticsError, match="two seeds at least"):
        probability_of_improvement([1], [1, 2])


def test_a_side_that_always_wins_leaves_room_for_the_others_chance():
    for n in (2, 3, 5, 25):
        found = probability_of_improvement(range(n), range(100, 100 + n))
        assert (found.value, found.high) == (1, 1)
        assert 0 < found.low < 1 - 0.5 / n
    widths = [probability_of_improvement([1, 4], [2, 3], level).half_width for level in (0.5, 0.9, 0.99)]
    assert widths == sorted(widths)


@pytest.mark.parametrize("n", [3, 5])
def test_probability_of_improvement_covers(n):
    from scipy.stats import norm

    rng = np.random.default_rng(n)
    for shift, spread in ((0.0, 1.0), (1.5, 1.0), (0.7, 3.0)):
        true = norm.cdf(shift / math.hypot(1, spread))
        held = []
        for _ in range(250):
            found = probability_of_improvement(rng.normal(0, 1, n), rng.normal(shift, spread, n))
            held.append(found.low <= true <= found.high)
        assert np.mean(held) >= 0.93, (shift, spread)


def test_the_expected_best_is_the_mean_over_all_subsets():
    scores = np.random.default_rng(0).random(7)
    for n in range(1, 8):
        subsets = [max(chosen) for chosen in itertools.combinations(scores, n)]
        assert expected_best(scores, n) == pytest.approx(np.mean(subsets))
    with pytest.raises(StatisticsError, match="without bias"):
        expected_best(scores, 8)
    with pytest.raises(StatisticsError, match="NaN"):
        expected_best([1, math.nan], 1)


def test_the_median_best_is_that_of_all_subsets():
    scores = np.random.default_rng(1).random(9)
    for n in range(1, 10):
        subsets = sorted(max(chosen) for chosen in itertools.combinations(scores, n))
        assert best_of_n(scores, n).value == subsets[math.ceil(len(subsets) / 2) - 1]
    with pytest.raises(StatisticsError, match="without bias"):
        best_of_n(scores, 10)


@pytest.mark.parametrize(("n", "total"), [(1, 10), (2, 20), (5, 30)])
def test_the_best_of_n_is_covered_whatever_the_distribution(n, total):
    rng = np.random.default_rng(n)
    share = 0.5 ** (1 / n)
    held = []
    for _ in range(300):
        # The quantile of a uniform is its share; order statistics do not care about the scale.
        found = best_of_n(rng.random(total), n)
        held.append(found.low <= share <= found.high)
    assert np.mean(held) >= 0.93
    chosen = best_of_n(np.arange(total), n)
    order = np.arange(total)
    # Exact: the number of trials below the quantile is binomial.
    from scipy.stats import binom

    low, high = int(chosen.low), int(chosen.high)
    assert list(order[[low, high]]) == [low, high]
    assert binom.cdf(low, total, share) <= 0.025
    assert 1 - binom.cdf(high, total, share) <= 0.025
    assert binom.cdf(low + 1, total, share) > 0.025
    assert 1 - binom.cdf(high - 1, total, share) > 0.025


@pytest.mark.parametrize(
    ("n", "total", "level"), [(5, 5, 0.95), (5, 25, 0.95), (20, 25, 0.95), (1, 4, 0.95), (2, 9, 0.99)]
)
def test_too_few_trials_have_no_interval_and_the_reason_says_how_many_would_do(n, total, level):
    scores = np.random.default_rng(0).random(total)
    found = best_of_n(scores, n, level)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    said = re.fullmatch(rf"{total} trials are too few to bound it; (\d+) would do", found.reason)
    assert said is not None
    needed = int(said.group(1))
    more = np.random.default_rng(0).random(needed)
    assert not math.isnan(best_of_n(more, n, level).low)
    assert math.isnan(best_of_n(more[:-1], n, level).low)


def test_bounds_from_the_wrong_quantile_would_not_cover(monkeypatch):
    """The median of single trials in the place of that of the best."""
    own = selection._order_bounds
    monkeypatch.setattr(selection, "_order_bounds", lambda values, share, tail: own(values, 0.5, tail))
    rng = np.random.default_rng(2)
    found = [best_of_n(rng.random(30), 5) for _ in range(100)]
    assert np.mean([one.low <= 0.5 ** (1 / 5) <= one.high for one in found]) < 0.5


def test_best_of_grid_is_the_mean_over_all_choices_of_runs_and_has_no_interval():
    scores = np.random.default_rng(1).random((3, 4))
    choices = itertools.product(*(itertools.combinations(row, 2) for row in scores))
    expected = np.mean([max(max(pair) for pair in choice) for choice in choices])
    result = best_of_grid(scores, 2)
    assert result.value == pytest.approx(expected)
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert "no interval is known" in result.reason
    assert best_of_grid(scores, 4).value == pytest.approx(scores.max())
    with pytest.raises(StatisticsError, match="`seeds_each` is 5"):
        best_of_grid(scores, 5)


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
    shifted = with_and_without_collapsed({"seed": range(6)}, preds, labels, "mcc", corrections=[-0.03] * 6)
    assert shifted.without_collapsed.value == pytest.approx(result.without_collapsed.value - 0.03)
    every = with_and_without_collapsed({"seed": range(6)}, preds * 0, labels, "mcc")
    assert every.all_runs.value == 0
    assert every.without_collapsed.reason == "every run collapsed"
