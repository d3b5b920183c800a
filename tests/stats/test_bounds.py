"""Bounds of scores that end somewhere: they rise with every right answer, cover, and never close."""

from __future__ import annotations

import math
import time
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.stats import bounds, estimate_group
from multibench.stats.bounds import (
    Clusters,
    clopper_pearson,
    cluster_bounds,
    correlation_bounds,
    least_variance,
    most_of,
    share_bounds,
)
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


def test_a_bound_of_answers_that_runs_share_is_the_exact_one_and_rises_with_their_weight() -> None:
    for answers in (0.0, 0.4, 3.0):
        assert most_of(answers, 1.0, 71, 0.95) == pytest.approx(
            clopper_pearson(answers, 71, 0.95)[1], abs=1e-12
        )
        found = [most_of(answers, weight, 71, 0.95) for weight in (0.04, 0.1, 0.5, 1.0)]
        assert found == sorted(found)
        assert found[0] > answers / 71
        # What no run has is bounded by what any of them might.
        assert answers or len(set(found)) == 1
    rising = [most_of(answers, 0.1, 71, 0.95) for answers in np.linspace(0, 5, 50)]
    assert rising == sorted(rising)
    assert most_of(2, 1.0, 2, 0.95) == 1


def test_wrong_answers_that_runs_share_count_once_and_those_of_one_run_by_their_part() -> None:
    """Ten runs with five wrong answers each, the same or others: the exact part knows the difference."""
    shared = np.ones((10, 300), dtype=int)
    shared[:, :5] = 0
    own = np.ones((10, 300), dtype=int)
    for run in range(10):
        own[run, 5 * run : 5 * run + 5] = 0
    labels = np.ones(300, dtype=int)
    same, other = (estimate_group({"seed": range(10)}, y, labels, "accuracy") for y in (shared, own))
    one = estimate_group({"seed": [0]}, shared[:1], labels, "accuracy")
    assert (same.low, same.high) == pytest.approx((one.low, one.high), abs=1e-9)
    assert same.low < clopper_pearson(297, 300, 0.95)[0] < other.low


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


def over_clusters(right: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Bounds of one run with so many right answers in each cluster."""
    answers = np.concatenate([np.arange(size) < count for size, count in zip(sizes, right, strict=True)])
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = estimate_group(
        {"seed": [0]},
        answers[None].astype(int),
        np.ones(len(answers), dtype=int),
        "accuracy",
        clusters=labels,
    )
    return found.low, found.high


@pytest.mark.parametrize("per_cluster", [1, 3, 20])
@pytest.mark.parametrize("n_clusters", [8, 15, 35])
def test_wrong_answers_in_one_cluster_after_the_other_never_raise_a_bound(
    n_clusters: int, per_cluster: int
) -> None:
    sizes = np.full(n_clusters, 20)
    rows = [np.where(np.arange(n_clusters) < k, 20 - per_cluster, 20) for k in range(n_clusters // 2 + 1)]
    found = np.array([over_clusters(right, sizes) for right in rows])
    steps = np.diff(found, axis=0)
    assert (steps[:5] <= 1e-12).all()
    # Of many clusters the exact bounds fade from the sixth touched one on, in ten steps.
    assert (steps <= (1e-12 if n_clusters <= 15 else 0.012)).all()
    mirror = np.array([over_clusters(sizes - right, sizes) for right in rows])
    np.testing.assert_allclose(1 - mirror[:, ::-1], found, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_clusters", [6, 15, 40])
def test_one_more_right_answer_never_lowers_a_bound_over_few_clusters(n_clusters: int, seed: int) -> None:
    """Few of them at all, or few with a wrong answer, wherever the wrong answers stand."""
    rng = np.random.default_rng(seed)
    sizes = np.full(n_clusters, int(rng.integers(2, 20)))
    wrong = rng.binomial(sizes, rng.beta(0.5, 3, n_clusters)) + (np.arange(n_clusters) == 0)
    if n_clusters == 40:
        wrong[rng.permutation(40)[:35]] = 0
    wrong = np.minimum(wrong, sizes)
    before = over_clusters(sizes - wrong, sizes)
    for place in np.flatnonzero(wrong):
        after = over_clusters(sizes - wrong + (np.arange(n_clusters) == place), sizes)
        assert after[0] >= before[0] - 1e-12
        # The bound on the nearer end may move by a hair where one cluster is far off the others.
        assert after[1] >= before[1] - (1e-12 if (wrong > 0).sum() < 5 else 0.005)


@pytest.mark.parametrize("runs", [1, 3])
def test_bounds_over_clusters_of_unequal_size_hold_what_they_are_about(runs: int) -> None:
    rng = np.random.default_rng(runs)
    for _ in range(20):
        sizes = rng.integers(1, 30, int(rng.choice([6, 20, 48])))
        clusters = np.repeat(np.arange(len(sizes)), sizes)
        right = rng.random((runs, len(clusters))) < rng.beta(6, 1, len(sizes))[clusters]
        found = estimate_group(
            {"seed": range(runs)},
            right.astype(int),
            np.ones(len(clusters), dtype=int),
            "accuracy",
            clusters=clusters,
        )
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high - found.low > 1e-4


def test_of_clusters_those_with_most_wrong_answers_count_exactly() -> None:
    sizes = np.full(40, 1 / 40)
    few, many = Clusters(sizes, np.where(np.arange(40) < 2, 0.01, 0.0)), Clusters(sizes, 0.02 * sizes)
    exact = clopper_pearson(0.98 * 40, 40, 0.95)
    first, second = (cluster_bounds(0.98, 0.02, 40, 0.95, of) for of in (few, many))
    assert first == pytest.approx(exact)
    # Where all clusters have wrong answers there is nothing to be exact about.
    assert second == pytest.approx(bounds._score_bounds(0.98, 0.02))


@pytest.mark.parametrize("metric", ["f1", "mcc", "accuracy"])
def test_perfect_answers_over_clusters_leave_no_closed_interval(metric: str) -> None:
    labels = np.arange(200) % 2
    clusters = np.arange(200) // 5
    found = estimate_group({"seed": [0, 1]}, np.stack([labels] * 2), labels, metric, clusters=clusters)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(clopper_pearson(40, 40, 0.95)[0])
    worse = labels.copy()
    worse[0] = 1 - worse[0]
    after = estimate_group({"seed": [0, 1]}, np.stack([worse] * 2), labels, metric, clusters=clusters)
    assert after.low < after.value < after.high <= 1
    assert after.low <= found.low + 0.005


def test_bounds_over_many_clusters_are_fast() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.uniform(0, 0.5, 20_000)
    clusters = Clusters(np.full(20_000, 1 / 20_000), wrong / 20_000)
    started = time.perf_counter()
    cluster_bounds(1 - wrong.mean(), 0.01, 20_000, 0.95, clusters)
    assert time.perf_counter() - started < 0.2


def test_the_least_variance_of_a_difference_only_ever_adds() -> None:
    for n in (20, 277):
        found = [least_variance(k / n**2, n) * n**2 for k in range(12)]
        assert found == sorted(found)
        assert all(each >= k for k, each in enumerate(found))
        assert found[0] == 4
