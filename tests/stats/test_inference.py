"""The interval and the tests that belong to it: one inversion, on the scale of the metric, blind to order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.base import Array
from multibench.stats import compare_groups, equivalence, estimate_group, inference, non_inferiority
from multibench.stats.anova import two_way
from multibench.stats.bounds import clopper_pearson
from multibench.stats.inference import Inference, with_one_more
from multibench.stats.surrogate import Moments, Surrogate, Term
from tests.stats.support import binary_sides, crossed_scores, grid_info, sides_info

METRIC_NAMES = ("accuracy", "f1", "mcc", "mean", "pearson")


def as_outputs(metric: str, preds: Array, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Answers as the metric takes them, and gold values."""
    if metric == "mean":
        return (preds == labels) + rng.normal(0, 0.2, preds.shape), labels
    if metric == "pearson":
        return preds + rng.normal(0, 0.4, preds.shape), labels + rng.normal(0, 0.4, labels.shape)
    return preds, labels


def random_comparison(case: int) -> dict[str, Any]:
    """Arguments of ``compare_groups``: all metrics, designs, levels, close to and far from 0."""
    rng = np.random.default_rng(case)
    metric = METRIC_NAMES[case % len(METRIC_NAMES)]
    seeds = (int(rng.integers(1, 7)), int(rng.integers(1, 7)))
    runs = int(rng.integers(1, 3))
    info, preds, labels = binary_sides(
        rng, seeds, runs, int(rng.integers(12, 90)), rng.choice([0.0, 0.5]), rng.choice([0.0, 0.5, 1.0])
    )
    if case % 7 == 0 and runs > 1:
        info["finetune_seed"] = np.tile(np.arange(runs), sum(seeds))
    outputs, gold = as_outputs(metric, preds, labels, rng)
    return {
        "run_info": info,
        "preds": outputs,
        "labels": gold,
        "metric": metric,
        "paired_seeds": bool(rng.random() < 0.5),
        "confidence": float(rng.choice([0.5, 0.9, 0.95, 0.99])),
    }


def test_an_interval_excludes_zero_exactly_where_the_p_value_says_so() -> None:
    outcomes = set()
    for case in range(140):
        given = random_comparison(case)
        found = compare_groups(**given, rng=0)
        one = found.inference
        assert one is not None
        if not one.known:
            assert one.estimate.reason
            continue
        alpha, estimate = 1 - given["confidence"], one.estimate
        excludes = estimate.low > 0 or estimate.high < 0
        two_sided = one.surrogate.beyond(estimate.value)
        assert excludes == (two_sided <= alpha), case
        assert one.p_greater + one.p_less == pytest.approx(1)
        assert two_sided == pytest.approx(2 * min(one.p_greater, one.p_less))
        assert (one.p_above(0), one.p_below(0)) == (one.p_greater, one.p_less)
        lone = 1 in (given["run_info"]["intervention"].sum(), (~given["run_info"]["intervention"]).sum())
        assert math.isnan(found.p_value) if lone else found.p_value == two_sided
        outcomes.add((excludes, lone))
    assert len(outcomes) == 4


def test_p_values_of_another_distribution_would_contradict_the_interval(monkeypatch) -> None:
    """What the test above would see if p-values came from a normal distribution."""
    monkeypatch.setattr(
        inference.Surrogate,
        "beyond_normal",
        lambda self, x: 2 * scipy_stats.norm.sf(abs(x) / math.sqrt(self.weights @ self.variances)),
        raising=False,
    )
    apart = 0
    for case in range(60):
        given = random_comparison(case)
        one = compare_groups(**given, rng=0).inference
        if one is not None and one.known:
            excludes = one.estimate.low > 0 or one.estimate.high < 0
            apart += excludes != (one.surrogate.beyond_normal(one.estimate.value) <= 1 - given["confidence"])
    assert apart > 0


def comparison(effect: float = 0.0, n_seeds: int = 8, level: float = 0.95) -> Inference:
    rng = np.random.default_rng(0)
    info = sides_info(grid_info(n_seeds, 1, True), grid_info(n_seeds, 1, True))
    y = (
        rng.normal(3, 0.01, (2 * n_seeds, 1))
        + rng.normal(0, 0.3, 200)
        + rng.normal(0, 0.1, (2 * n_seeds, 200))
    )
    y[n_seeds:] += effect
    found = compare_groups(info, y, np.zeros(200), "mean", True, confidence=level).inference
    assert found is not None
    return found


def test_equivalence_is_the_wider_interval_within_the_margin() -> None:
    verdicts = set()
    for effect in (0.0, 0.01, 0.03, 0.1):
        for alpha in (0.01, 0.05, 0.1):
            result, margin = comparison(effect), 0.03
            wide = result.surrogate.half_width(1 - 2 * alpha)
            value = result.estimate.value
            test = equivalence(result, margin, alpha)
            assert test.shown == (value + wide <= margin and value - wide >= -margin)
            assert test.p_value == max(test.p_low, test.p_high)
            verdicts.add(test.verdict)
            for bound in (value - wide, value + wide):
                assert min(result.p_above(bound), result.p_below(bound)) == pytest.approx(alpha, abs=1e-9)
            fine = non_inferiority(result, margin, alpha)
            assert fine.shown == (value - wide >= -margin)
    assert verdicts == {"equivalent", "different", "cannot tell"}
    assert non_inferiority(comparison(-0.1), 0.01).verdict == "inferior"
    with pytest.raises(StatisticsError, match="positive"):
        non_inferiority(comparison(), -1)


def test_an_unknown_interval_has_unknown_tests() -> None:
    info = sides_info(grid_info(1, 1), grid_info(1, 1))
    found = compare_groups(info, np.array([[1.5], [2.5]]), np.zeros(1), "mean", rng=0).inference
    assert found is not None
    assert not found.known
    assert "one example: its noise cannot be estimated" in found.estimate.reason
    assert math.isnan(found.p_above(0))
    assert not equivalence(found, 1.0).shown
    assert found.few == ()


@pytest.mark.parametrize("metric", METRIC_NAMES)
@pytest.mark.parametrize("clustered", [False, True])
def test_no_order_of_runs_or_examples_changes_a_bit(metric: str, clustered: bool) -> None:
    rng = np.random.default_rng(1)
    info, preds, labels = binary_sides(rng, (4, 5), 2, 60)
    outputs, gold = as_outputs(metric, preds, labels, rng)
    clusters = rng.integers(0, 12, 60) if clustered else None
    rows, columns = rng.permutation(len(preds)), rng.permutation(60)
    mixed = {name: values[rows] for name, values in info.items()}
    found = [
        compare_groups(i, p, g, metric, True, clusters=c).to_dict()
        for i, p, g, c in (
            (info, outputs, gold, clusters),
            (
                mixed,
                outputs[rows][:, columns],
                gold[columns],
                None if clusters is None else clusters[columns],
            ),
        )
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("n_seeds", [2, 3, 4, 5])
def test_few_seeds_have_a_wide_interval_and_say_what_one_more_would_buy(n_seeds: int) -> None:
    found = comparison(n_seeds=n_seeds)
    assert found.known
    if n_seeds == 5:
        assert found.few == ()
        return
    (few,) = found.few
    assert (few.factor, few.n_units) == ("pretraining seeds", n_seeds)
    assert few.now == pytest.approx(found.estimate.half_width)
    assert few.then < few.now
    more = with_one_more(found.moments, few.factor)
    term, then = found.moments.terms[few.factor], more.terms[few.factor]
    # The variance between levels is what it was; there is one level more.
    assert then.between * (n_seeds + 1) == pytest.approx(term.between * n_seeds)
    assert (then.df, then.n_levels) == (n_seeds, n_seeds + 1)
    assert few.then == pytest.approx(Surrogate(more).half_width(0.95))
    assert found.to_dict()["few"] == [few.to_dict()] if "few" in vars(found) else True


def test_clusters_that_repeat_an_example_say_what_single_examples_would() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(2, 1, (6, 40))
    info = sides_info(grid_info(3, 1, True), grid_info(3, 1, True))
    once = compare_groups(info, y, np.zeros(40), "mean").difference
    whole = compare_groups(
        info, np.repeat(y, 4, axis=1), np.zeros(160), "mean", clusters=np.repeat(np.arange(40), 4)
    ).difference
    naive = compare_groups(info, np.repeat(y, 4, axis=1), np.zeros(160), "mean").difference
    assert (whole.low, whole.high) == pytest.approx((once.low, once.high), rel=1e-9)
    assert naive.half_width < 0.8 * once.half_width
    assert whole.over == "pretraining seeds and clusters"


def test_all_right_in_clusters_counts_clusters() -> None:
    preds, clusters = np.ones((3, 120), dtype=int), np.repeat(np.arange(12), 10)
    found = estimate_group(
        {"seed": range(3)}, preds, preds[0], "accuracy", clusters=clusters, cluster_unit="articles"
    )
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 12), 1))
    assert "articles" in found.over


def test_one_cluster_has_a_score_and_no_interval() -> None:
    y = np.random.default_rng(7).normal(2, 1, (3, 20))
    found = estimate_group({"seed": range(3)}, y, np.zeros(20), "mean", clusters=["a"] * 20)
    assert found.value == pytest.approx(y.mean())
    assert math.isnan(found.low)
    assert "one cluster: its noise cannot be estimated" in found.reason


def test_of_hardly_any_discordant_answers_an_interval_is_that_of_an_exact_share() -> None:
    base = np.ones((1, 277), dtype=int)
    widths = []
    for discordant in range(8):
        other = base.copy()
        other[0, :discordant] = 0
        info = sides_info(grid_info(1, 1), grid_info(1, 1))
        found = compare_groups(info, np.concatenate([other, base]), base[0], "accuracy", rng=0).difference
        exact = clopper_pearson(discordant, 277, 0.95)
        assert found.low <= found.value <= found.high
        if discordant < 5:
            assert 0.8 * exact[1] <= found.high <= 1.35 * exact[1], discordant
        widths.append(found.half_width)
    assert widths[:5] == sorted(widths[:5])
    assert 0.5 < widths[5] / widths[4] < 1.5


def test_identical_sides_have_an_interval_for_shares_and_a_reason_for_correlations() -> None:
    rng = np.random.default_rng(3)
    info, preds, labels = binary_sides(rng, (4, 4), 1, 90)
    preds[4:] = preds[:4]
    share = compare_groups(info, preds, labels, "accuracy", True)
    assert share.difference.value == 0
    # Not one of 90 answers differs; of so many one in 25 could.
    assert share.difference.high == pytest.approx(-share.difference.low)
    assert share.difference.high == pytest.approx(1 - 0.025 ** (1 / 90), rel=0.15)
    assert share.p_value == 1
    for metric in ("mcc", "pearson"):
        found = compare_groups(info, preds, labels, metric, True)
        assert math.isnan(found.difference.low)
        assert "same answers" in found.difference.reason
        assert math.isnan(found.p_value)


def test_strata_are_averaged_with_their_shares() -> None:
    rng = np.random.default_rng(4)
    strata = np.repeat(np.arange(6), 30)
    y = rng.normal(0, 1, (1, 180)) + 5 * strata + 2
    found = estimate_group({"seed": [0]}, y, np.zeros(180), "mean", strata=strata)
    known = sum((30 / 180) ** 2 * scipy_stats.sem(y[0, strata == h]) ** 2 for h in range(6))
    assert found.standard_error == pytest.approx(math.sqrt(known), rel=1e-9)
    plain = estimate_group({"seed": [0]}, y, np.zeros(180), "mean")
    assert plain.standard_error > 5 * found.standard_error
    assert plain.value == pytest.approx(found.value)
    unequal = rng.permutation(np.repeat(np.arange(3), [30, 50, 100]))
    uneven = estimate_group({"seed": [0]}, y, np.zeros(180), "mean", strata=unequal)
    known = sum(((unequal == h).mean()) ** 2 * scipy_stats.sem(y[0, unequal == h]) ** 2 for h in range(3))
    assert uneven.standard_error == pytest.approx(math.sqrt(known), rel=0.05)
    with pytest.raises(StatisticsError, match="two strata"):
        estimate_group({"seed": [0]}, y, np.zeros(180), "mean", strata=strata, clusters=np.zeros(180))


def test_seeds_without_a_name_are_refused() -> None:
    y = np.random.default_rng(0).normal(0, 1, (3, 9))
    with pytest.raises(StatisticsError, match="NaN"):
        estimate_group({"seed": [0.0, 1.0, math.nan]}, y, np.zeros(9), "mean")
    with pytest.raises(StatisticsError, match="NaN"):
        estimate_group({"seed": [0, 0, 1], "finetune_seed": [0.0, math.nan, 0.0]}, y, np.zeros(9), "mean")


def test_differences_stay_within_what_is_possible() -> None:
    info = sides_info(grid_info(2, 1, True), grid_info(2, 1, True))
    preds = np.array([[0] * 9, [1] * 9, [1] * 9, [1] * 9])
    found = compare_groups(info, preds, np.ones(9, dtype=int), "accuracy").difference
    assert (found.low, found.high) == (-1, 1)


def test_collapsed_runs_stay_in_the_mean_and_unknown_ones_make_it_unknown() -> None:
    labels = np.arange(30.0)
    values = labels + np.random.default_rng(0).normal(0, 5, (6, 30))
    good = estimate_group({"seed": range(6)}, values, labels, "pearson")
    values[0] = 1.5
    bad = estimate_group({"seed": range(6)}, values, labels, "pearson")
    scores = METRICS.get("pearson").prepare(labels, values[1:]).scores()
    assert bad.value == pytest.approx(scores.sum() / 6)
    assert bad.high - bad.low > good.high - good.low
    unknown = estimate_group({"seed": range(6)}, values, labels, "pearson", undefined="nan")
    assert math.isnan(unknown.value)
    assert unknown.reason


def test_metrics_that_are_no_means_have_the_degrees_of_freedom_that_their_spread_shows() -> None:
    rng = np.random.default_rng(5)
    labels = (np.arange(300) < 12).astype(int)
    preds = np.where(rng.random((1, 300)) < 0.9, labels, 1 - labels)
    for metric, fewer in (("accuracy", False), ("f1", True), ("mcc", True)):
        found = compare_groups(
            sides_info(grid_info(1, 1), grid_info(1, 1)),
            np.concatenate([preds, np.where(rng.random((1, 300)) < 0.9, labels, 1 - labels)]),
            labels,
            metric,
            rng=0,
        ).inference
        assert found is not None
        assert (found.moments.examples_df < 150) == fewer, metric


def test_influence_of_shared_seeds_is_seen_by_the_printed_interval() -> None:
    y = crossed_scores(np.random.default_rng(6), 5, 2, 30, (0.1, 2.0, 0.1)).reshape(10, 30)
    shared = estimate_group(grid_info(5, 2), y, np.zeros(30), "mean")
    nested = estimate_group(grid_info(5, 2, own_labels=True), y, np.zeros(30), "mean")
    assert shared.half_width > 5 * nested.half_width
    assert "fine-tuning seeds" in shared.over


def test_mean_squares_against_their_definition() -> None:
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


def test_what_one_more_unit_buys_is_less_variance_and_more_degrees_of_freedom() -> None:
    moments = Moments(0.0, 0.01, 200, {"a": Term(1.0, 2, 0.1, 3), "b": Term(0.5, 1, 0.1, 2)})
    for name in moments.terms:
        more = with_one_more(moments, name)
        assert more.variance < moments.variance
        assert Surrogate(more).half_width(0.95) < Surrogate(moments).half_width(0.95)
