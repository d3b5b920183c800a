"""The crossed interval, its place beside the bootstrap, and what it says of one checkpoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.stats import compare_groups, estimate_group, multibootstrap
from multibench.stats.anova import seed_variance, two_way
from multibench.stats.crossed import crossed_interval


def two_sides(seed=0, seeds=(6, 7), runs=2, n=83, sd=0.3, effect=0.0):
    rng = np.random.default_rng(seed)
    info: dict[str, list[Any]] = {"seed": [], "intervention": []}
    rows = []
    difficulty = rng.normal(0, 1, n)
    for side, count in enumerate(seeds):
        for s in range(count):
            quality = rng.normal(1 + effect * side, sd)
            for _ in range(runs):
                info["seed"].append(s)
                info["intervention"].append(bool(side))
                rows.append(quality + difficulty + rng.normal(0, 1, n) > 0)
    return info, np.array(rows, dtype=int), np.ones(n, dtype=int)


def test_mean_squares_against_their_definition():
    y = np.random.default_rng(0).normal(size=(2, 4, 7))
    table = two_way(y)
    for k in range(2):
        a = y[k].mean(axis=1) - y[k].mean()
        b = y[k].mean(axis=0) - y[k].mean()
        e = y[k] - y[k].mean() - a[:, None] - b
        assert table.ms_seed[k] == pytest.approx(7 * (a**2).sum() / 3)
        assert table.ms_unit[k] == pytest.approx(4 * (b**2).sum() / 6)
        assert table.ms_error[k] == pytest.approx((e**2).sum() / 18)
        exact = (a**2).sum() / 16 + (b**2).sum() / 49 + (e**2).sum() / 28**2
        assert table.bootstrap_variance[k] == pytest.approx(exact)


def test_the_seed_part_vanishes_smoothly_and_is_the_usual_one_where_seeds_dominate():
    ms = np.array([0.5, 1.0, 1.0001, 1000.0])
    part, measure = seed_variance(ms, np.ones(4), 5, 10)
    assert part[0] == part[1] == measure[0] == measure[1] == 0
    assert 0 < part[2] < 1e-6
    assert part[3] == pytest.approx(999 / 50, rel=1e-5)
    assert measure[3] == pytest.approx(1000 / 50, rel=1e-4)


def test_without_interaction_and_with_many_examples_it_is_the_t_interval_over_seeds():
    rng = np.random.default_rng(1)
    y = rng.normal(0, 1, (6, 1)) + np.zeros((6, 50))
    table = two_way(y)
    error, df, half = crossed_interval([table], np.var(y.mean(axis=0), ddof=1), 50, 0.95)
    spread = y[:, 0].std(ddof=1) / math.sqrt(6)
    assert float(error) == pytest.approx(spread, rel=1e-9)
    assert float(df) == pytest.approx(5)
    assert float(half) == pytest.approx(t.ppf(0.975, 5) * spread)


def test_one_seed_a_side_is_the_paired_t_interval_over_examples():
    info, preds, labels = two_sides(seeds=(1, 1), runs=1)
    result = compare_groups(info, preds, labels, "accuracy", rng=0, nboot=100)
    test = ttest_rel(preds[1], preds[0])
    interval = test.confidence_interval(0.95)
    assert result.crossed is not None
    assert result.crossed.estimate.low == pytest.approx(interval.low)
    assert result.crossed.estimate.high == pytest.approx(interval.high)
    assert result.crossed.p_value == pytest.approx(test.pvalue)
    assert "these checkpoints" in result.crossed.estimate.estimand


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("metric", ["accuracy", "mcc", "f1", "macro_f1"])
def test_interval_and_p_value_agree_and_estimates_are_plug_in(paired, metric):
    for seed in range(8):
        info, preds, labels = two_sides(seed=seed, effect=0.25)
        labels[::3] = 0
        result = compare_groups(info, preds, labels, metric, paired, rng=0, nboot=60)
        crossed = result.crossed
        assert crossed is not None
        assert (crossed.estimate.low > 0 or crossed.estimate.high < 0) == (crossed.p_value < 0.05)
        assert crossed.estimate.value == pytest.approx(result.bootstrap.delta.value, abs=1e-12)
        assert crossed.p_greater + crossed.p_less == pytest.approx(1)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "mcc", "pearson", "spearman"])
def test_rescaled_bootstrap_and_crossed_interval_have_the_same_standard_error_where_seeds_dominate(metric):
    info, preds, labels = two_sides(sd=1.5, n=300, seeds=(6, 6), runs=1)
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 300)
    noise = rng.normal(0, 1, preds.shape)
    right = preds == 1
    preds = np.where(right, labels, 1 - labels)
    values = preds + 0.3 * noise if metric in ("pearson", "spearman") else preds
    result = compare_groups(
        info, values, labels, metric, rng=1, nboot=4000, interval="rescaled", paired_seeds=False
    )
    assert result.crossed is not None
    ratio = result.bootstrap.delta.standard_error / result.crossed.estimate.standard_error
    assert ratio == pytest.approx(1, abs=0.08)


def test_clusters_widen_the_interval_as_repeating_examples_would():
    info, preds, labels = two_sides(n=40)
    once = compare_groups(info, preds, labels, "accuracy", rng=0, nboot=50)
    four = np.repeat(preds, 4, axis=1)
    clusters = np.repeat(np.arange(40), 4)
    whole = compare_groups(info, four, np.repeat(labels, 4), "accuracy", rng=0, nboot=50, clusters=clusters)
    naive = compare_groups(info, four, np.repeat(labels, 4), "accuracy", rng=0, nboot=50)
    assert whole.delta.half_width == pytest.approx(once.delta.half_width)
    assert naive.crossed is not None
    assert once.crossed is not None
    assert naive.crossed.examples == pytest.approx(once.crossed.examples / 4, rel=0.05)


def test_one_checkpoint_has_two_estimands_and_both_are_named():
    info, preds, labels = two_sides(seeds=(1, 8), sd=0.8)
    result = compare_groups(info, preds, labels, "accuracy", rng=0, nboot=50)
    assert result.crossed is not None
    assert result.procedure is not None
    assert "this checkpoint" in result.crossed.estimate.estimand
    assert "procedures'" in result.procedure.estimate.estimand
    assert "assumes" in result.procedure.estimate.caveat
    assert result.procedure.estimate.half_width > result.crossed.estimate.half_width
    # The lone seed adds S times what the family's seeds add, all but its fine-tuning runs' own noise.
    family = two_way(preds[2:].reshape(8, 2, -1).mean(axis=1))
    part, _ = seed_variance(family.ms_seed, family.ms_error, 8, preds.shape[1])
    gained = result.procedure.estimate.standard_error**2 - result.crossed.estimate.standard_error**2
    assert gained == pytest.approx(8 * float(part))


@pytest.mark.parametrize(
    ("seeds", "kwargs", "expected"),
    [
        ((6, 6), {}, "crossed"),
        ((6, 3), {}, "none"),
        ((6, 4), {"paired_seeds": True}, "none"),
        ((1, 6), {}, "crossed"),
        ((6, 6), {"estimand": "median"}, "bootstrap"),
    ],
)
def test_recommendation(seeds, kwargs, expected):
    info, preds, labels = two_sides(seeds=seeds)
    result = compare_groups(info, preds, labels, "accuracy", rng=0, nboot=50, **kwargs)
    assert result.recommended == expected
    assert result.why
    assert result.to_dict()["recommended"] == expected
    assert expected in str(result)


def test_a_callable_has_only_the_bootstrap():
    info, preds, labels = two_sides(seeds=(5, 5), runs=1, n=20)
    result = compare_groups(info, preds, labels, lambda x, y: float(np.mean(x == y)), rng=0, nboot=10)
    assert result.crossed is None
    assert "influence" in result.why
    with pytest.raises(StatisticsError, match="influence values"):
        multibootstrap(info, preds, labels, lambda x, y: 0.0, rng=0, nboot=10, interval="rescaled")


def test_group_estimate_keeps_collapsed_runs():
    labels = np.arange(30.0)
    values = labels + np.random.default_rng(0).normal(0, 5, (6, 30))
    good = estimate_group({"seed": range(6)}, values, labels, "pearson")
    values[0] = 1.5
    bad = estimate_group({"seed": range(6)}, values, labels, "pearson")
    scores = METRICS.get("pearson").prepare(labels, values[1:]).scores()
    assert bad.value == pytest.approx(scores.sum() / 6)
    assert bad.half_width > good.half_width
    collapsed = estimate_group({"seed": range(6)}, values, labels, "pearson", undefined="nan")
    assert math.isnan(collapsed.value)
    assert collapsed.reason
