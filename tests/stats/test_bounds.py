"""Bounds of scores that end somewhere: they rise with every right answer, cover, and never close."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.stats import bounds, estimate_group
from multibench.stats.bounds import clopper_pearson, correlation_bounds, least_variance, share_bounds
from multibench.stats.surrogate import Moments, Surrogate

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
SIZES = [*range(2, 26), 30, 37, 50, 71, 99, 150, 277, 300]


@lru_cache(maxsize=1000)
def quantile(df: int, level: float) -> float:
    return Surrogate(Moments(0.0, 1.0, df)).half_width(level)


def one_run(right: int, n: int, level: float) -> tuple[float, float]:
    """Bounds of one run with so many right answers of ``n``."""
    share = right / n
    half = quantile(n - 1, level) * math.sqrt(share * (1 - share) / (n - 1))
    return share_bounds(share, half, n, level)


@pytest.mark.parametrize("level", LEVELS)
def test_one_more_right_answer_never_lowers_a_bound_and_no_interval_is_closed(level: float) -> None:
    for n in SIZES:
        found = np.array([one_run(right, n, level) for right in range(n + 1)])
        assert (np.diff(found, axis=0) >= -1e-12).all(), n
        assert ((found >= 0) & (found <= 1)).all(), n
        assert (found[:, 1] - found[:, 0] > 1e-4).all(), n
        shares = np.arange(n + 1) / n
        assert ((found[:, 0] <= shares) & (shares <= found[:, 1])).all(), n


def test_the_numbers_of_whole_inferences_are_those(monkeypatch) -> None:
    for right in (0, 3, 40, 69, 71):
        preds = (np.arange(71) < right).astype(int)[None]
        found = estimate_group({"seed": [0]}, preds, np.ones(71, dtype=int), "accuracy")
        assert (found.low, found.high) == pytest.approx(one_run(right, 71, 0.95))


def test_all_right_is_the_exact_binomial_of_examples_however_many_runs() -> None:
    for runs in (1, 5):
        preds = np.ones((runs, 71), dtype=int)
        found = estimate_group({"seed": range(runs)}, preds, np.ones(71, dtype=int), "accuracy")
        exact = scipy_stats.binomtest(71, 71).proportion_ci(0.95, "exact")
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
        assert found.low == pytest.approx(0.949, abs=5e-4)
        none = estimate_group({"seed": range(runs)}, 1 - preds, np.ones(71, dtype=int), "accuracy")
        assert (none.low, none.high) == pytest.approx((1 - exact.high, 1 - exact.low))


def coverage(n: int, truth: np.ndarray) -> np.ndarray:
    """Of one run at 95 %, by all numbers of right answers there can be."""
    found = np.array([one_run(right, n, 0.95) for right in range(n + 1)])
    chances = scipy_stats.binom.pmf(np.arange(n + 1)[:, None], n, truth[None])
    held = (found[:, :1] <= truth[None]) & (truth[None] <= found[:, 1:])
    return np.asarray((chances * held).sum(axis=0))


TRUTH = np.concatenate(
    [np.linspace(0.0005, 0.05, 200), np.linspace(0.05, 0.95, 400), np.linspace(0.95, 0.9995, 200)]
)


@pytest.mark.parametrize("n", [71, 277])
def test_one_run_is_covered_wherever_the_truth_lies(n: int) -> None:
    found = coverage(n, TRUTH)
    assert found.min() >= 0.93
    assert 0.945 < found.mean() < 0.985


def test_bounds_without_the_exact_part_would_not_cover(monkeypatch) -> None:
    monkeypatch.setattr(bounds, "clopper_pearson", lambda right, n, level: (1.0, 0.0))
    assert coverage(71, TRUTH).min() < 0.9


def test_exact_bounds_are_scipys() -> None:
    for right, n in ((0, 9), (3, 9), (9, 9), (200, 277)):
        for level in (0.5, 0.95, 0.999):
            exact = scipy_stats.binomtest(right, n).proportion_ci(level, "exact")
            assert clopper_pearson(right, n, level) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_score_bounds_with_a_binomial_variance_are_wilsons() -> None:
    """Far from the ends, where exact bounds do not count."""
    z = scipy_stats.norm.ppf(0.975)
    for right in (60, 138, 250):
        half = z * math.sqrt(right / 300 * (1 - right / 300) / 300)
        wilson = scipy_stats.binomtest(right, 300).proportion_ci(0.95, "wilson")
        assert share_bounds(right / 300, half, 300, 0.95) == pytest.approx(
            (wilson.low, wilson.high), abs=1e-9
        )


def test_seeds_widen_shares_and_never_push_them_out() -> None:
    for value in (0.5, 0.9, 0.99, 1.0):
        widths = [np.diff(share_bounds(value, half, 100, 0.95))[0] for half in (0.01, 0.1, 1.0, 100.0)]
        assert widths == sorted(widths)
        assert share_bounds(value, math.inf, 100, 0.95)[1] <= 1
    assert share_bounds(0.5, math.inf, 100, 0.95) == (0, 1)


def test_a_correlation_of_one_run_is_scipys_interval() -> None:
    rng = np.random.default_rng(0)
    for truth in (-0.5, 0.2, 0.8, 0.95):
        gold = rng.normal(0, 1, 277)
        given = truth * gold + math.sqrt(1 - truth**2) * rng.normal(0, 1, 277)
        found = estimate_group({"seed": [0]}, given[None], gold, "pearson")
        known = scipy_stats.pearsonr(gold, given).confidence_interval(0.95)
        slack = 0.1 * (known.high - known.low)
        assert found.low == pytest.approx(known.low, abs=slack)
        assert found.high == pytest.approx(known.high, abs=slack)


def test_correlations_stay_within_their_ends_and_widen_towards_zero() -> None:
    low, high = correlation_bounds(0.98, 0.3)
    assert -1 < low < 0.98 < high < 1
    assert 0.98 - low > high - 0.98
    assert all(math.isnan(bound) for bound in correlation_bounds(1.0, 0.1))


@pytest.mark.parametrize("metric", ["f1", "mcc"])
def test_perfect_answers_have_an_exact_bound_on_what_decides(metric: str) -> None:
    labels = (np.arange(60) < 20).astype(int)
    found = estimate_group({"seed": range(3)}, np.stack([labels] * 3), labels, metric)
    # F1 counts positive labels and positive answers, MCC hangs on the rarer class.
    least = clopper_pearson(40 if metric == "f1" else 20, 40 if metric == "f1" else 20, 0.95)[0]
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(least)


def test_of_clusters_those_that_were_touched_count() -> None:
    exact = clopper_pearson(0.98 * 40, 40, 0.95)
    few, many = (share_bounds(0.98, 0.02, 40, 0.95, touched=(40, wrong)) for wrong in (2, 9))
    assert few[0] == pytest.approx(exact[0])
    assert exact[0] < many[0] < 0.98 < many[1] <= few[1]


def test_the_least_variance_of_a_difference_only_ever_adds() -> None:
    for n in (20, 277):
        found = [least_variance(k / n**2, n) * n**2 for k in range(12)]
        assert found == sorted(found)
        assert all(each >= k for k, each in enumerate(found))
        assert found[0] == 4
