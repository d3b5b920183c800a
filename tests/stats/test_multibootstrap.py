"""The released procedure reproduced, and the properties that any multi-bootstrap must have."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.stats import CostWarning, compare_groups, estimate_group, multibootstrap, multibootstrap_group

N_EXAMPLES = 12


def reference_inputs():
    j = np.arange(N_EXAMPLES)
    rows: list[Any] = []
    seeds, finetune, side = list[int](), list[int](), list[bool]()
    for which, n_seeds in ((0, 4), (1, 5)):
        for s in range(n_seeds):
            for f in range(2):
                value = 31 * s * s + 17 * f + 13 * j * j + 7 * s * j + which * (11 * s + 5 * j + 3)
                rows.append(value % 101 / 101)
                seeds.append(s)
                finetune.append(f)
                side.append(bool(which))
    labels = ((19 * j * j + 7) % 23) / 23
    return {"seed": seeds, "finetune_seed": finetune, "intervention": side}, np.array(rows), labels


def random_inputs(seed=0, seeds=(5, 4), runs=3, n=37):
    rng = np.random.default_rng(seed)
    info: dict[str, list[Any]] = {"seed": [], "intervention": []}
    scores = []
    difficulty = rng.normal(0, 1, n)
    for side, count in enumerate(seeds):
        for s in range(count):
            quality = rng.normal(0.8 + 0.1 * side, 0.2)
            for _ in range(runs):
                info["seed"].append(f"seed-{s}")
                info["intervention"].append(bool(side))
                scores.append(quality + difficulty + rng.normal(0, 1, n) > 0)
    labels = np.ones(n, dtype=int)
    return info, np.array(scores, dtype=int), labels


@pytest.fixture
def reference(shared_dir):
    return json.loads((shared_dir / "reference" / "multibootstrap_reference_case.json").read_text())


@pytest.mark.shared
@pytest.mark.parametrize(("index", "as_callable"), [*((i, False) for i in range(12)), (0, True), (8, True)])
@pytest.mark.filterwarnings("ignore::multibench.stats.CostWarning")
def test_the_released_outputs_to_the_last_digits(reference, index, as_callable):
    expected = reference["results"][index]
    info, preds, labels = reference_inputs()
    metric = expected["metric"]
    if as_callable:
        functions = {"mean": lambda _, y: y.mean(), "pearson": lambda x, y: np.corrcoef(x, y)[0, 1]}
        metric = functions[metric]
    result = multibootstrap(
        info,
        preds,
        labels,
        metric,
        paired_seeds=expected["paired_seeds"],
        sample_seeds=expected["sample_seeds"],
        sample_examples=expected["sample_examples"],
        nboot=reference["nboot"],
        rng=np.random.RandomState(reference["rng_seed"]),
        confidence=reference["confidence"],
    )
    np.testing.assert_allclose(result.samples[:3], expected["first_samples"], atol=1e-12)
    for side, estimate in (("base", result.base), ("expt", result.experiment), ("delta", result.delta)):
        found = [estimate.bootstrap_mean, estimate.low, estimate.high]
        np.testing.assert_allclose(
            found, [expected[side][key] for key in ("mean", "low", "high")], atol=1e-12
        )
    assert result.p_reference == pytest.approx(expected["delta"]["p"], abs=1e-12)
    assert result.p_reference_negative == pytest.approx(expected["p_expect_negative"], abs=1e-12)


def test_plug_in_estimates_are_no_means_of_draws():
    info, preds, labels = reference_inputs()
    result = multibootstrap(info, preds, labels, "mean", nboot=50, rng=0)
    seed_means = preds.mean(axis=1).reshape(9, 2).mean(axis=1)
    assert result.base.value == pytest.approx(seed_means[:4].mean(), abs=1e-14)
    assert result.delta.value == pytest.approx(0.0027227722772276697, abs=1e-12)


def closed_form(y):
    """Exact variance of one draw of the mean of ``y`` (seeds x examples), by the three-term formula."""
    s, x = y.shape
    a = y.mean(axis=1) - y.mean()
    b = y.mean(axis=0) - y.mean()
    e = y - y.mean() - a[:, None] - b
    return (a**2).sum() / s**2, (b**2).sum() / x**2, (e**2).sum() / (s * x) ** 2


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("balanced", [True, False])
def test_variance_of_draws_is_the_closed_form(paired, balanced):
    info, preds, labels = random_inputs(seeds=(5, 4))
    if not balanced:
        keep = np.array([i for i in range(len(preds)) if i not in (0, 1, 5, 20)])
        info = {key: [values[i] for i in keep] for key, values in info.items()}
        preds = preds[keep]
    nboot = 20_000
    result = multibootstrap(info, preds, labels, "accuracy", paired_seeds=paired, nboot=nboot, rng=3)
    seeds, side = np.array(info["seed"]), np.array(info["intervention"])
    y, z = (
        np.array(
            [preds[(seeds == s) & (side == flag)].mean(axis=0) for s in sorted(set(seeds[side == flag]))]
        )
        for flag in (False, True)
    )
    if paired:
        total = sum(closed_form(z[:4] - y[:4]))
    else:
        (a, _, e), (a2, _, e2) = closed_form(y), closed_form(z)
        shared = (z - z.mean()).mean(axis=0) - (y - y.mean()).mean(axis=0)
        total = a + e + a2 + e2 + (shared**2).sum() / y.shape[1] ** 2
    deltas = result.samples[:, 1] - result.samples[:, 0]
    assert deltas.var() == pytest.approx(total, rel=4 * np.sqrt(2 / nboot))
    assert deltas.mean() == pytest.approx(result.delta.value, abs=4 * np.sqrt(total / nboot))


def shuffled(info, preds, labels, rng, examples=True):
    rows = rng.permutation(len(preds))
    columns = rng.permutation(len(labels)) if examples else np.arange(len(labels))
    mixed = {key: [values[row] for row in rows] for key, values in info.items()}
    return mixed, preds[rows][:, columns], labels[columns]


@pytest.mark.parametrize(
    "metric", ["accuracy", "f1", "macro_f1", "weighted_f1", "mcc", "pearson", "spearman", "mean"]
)
def test_no_shuffling_of_runs_or_examples_changes_anything(metric):
    info, preds, _ = random_inputs()
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, preds.shape[1])
    values = preds + rng.normal(0, 0.1, preds.shape) if metric in ("pearson", "spearman", "mean") else preds
    before = multibootstrap(info, values, labels, metric, nboot=40, rng=5)
    mixed_info, mixed, mixed_labels = shuffled(info, values, labels, rng)
    after = multibootstrap(mixed_info, mixed, mixed_labels, metric, nboot=40, rng=5)
    np.testing.assert_array_equal(before.samples, after.samples)
    assert before.to_dict() == after.to_dict()


def test_duplicating_all_runs_of_a_seed_changes_nothing():
    info, preds, labels = random_inputs()
    before = multibootstrap(info, preds, labels, "accuracy", nboot=40, rng=5)
    twice = {key: values + values[:3] for key, values in info.items()}
    after = multibootstrap(twice, np.concatenate([preds, preds[:3]]), labels, "accuracy", nboot=40, rng=5)
    np.testing.assert_allclose(before.samples, after.samples, atol=1e-13)


def test_the_same_side_twice_has_no_effect_and_p_of_one():
    info, preds, labels = random_inputs(seeds=(4, 4))
    preds[12:] = preds[:12]
    result = multibootstrap(info, preds, labels, "accuracy", paired_seeds=True, nboot=100, rng=0)
    assert result.delta.value == result.delta.low == result.delta.high == 0
    assert result.p_value == 1
    assert result.p_reference == 1


def test_without_resampling_all_draws_are_the_point_estimate():
    info, preds, labels = random_inputs()
    result = multibootstrap(
        info, preds, labels, "mcc", sample_seeds=False, sample_examples=False, nboot=7, rng=0
    )
    np.testing.assert_allclose(result.samples[:, 0], result.base.value, atol=1e-14)
    assert "pretraining seeds or test examples" in result.delta.caveat


def test_one_seed_a_side_and_fixed_examples_give_zero_width_and_say_so():
    info, preds, labels = random_inputs(seeds=(1, 1))
    result = multibootstrap(info, preds, labels, "accuracy", sample_examples=False, nboot=30, rng=0)
    assert result.delta.high - result.delta.low == pytest.approx(0, abs=1e-14)
    assert len([w for w in result.warnings if "one pretraining seed" in w]) == 2


def test_interval_and_p_value_say_the_same():
    rng = np.random.default_rng(0)
    outcomes = set()
    for case in range(60):
        info, preds, labels = random_inputs(seed=case, seeds=(3, 3), n=25)
        result = multibootstrap(
            info,
            preds,
            labels,
            "accuracy",
            nboot=int(rng.integers(99, 400)),
            rng=case,
            interval=("percentile", "basic", "rescaled")[case % 3],
        )
        excludes = result.delta.low > 0 or result.delta.high < 0
        assert excludes == (result.p_value <= 0.05)
        outcomes.add(excludes)
    assert outcomes == {True, False}


def test_dropped_seeds_are_named():
    info, preds, labels = random_inputs(seeds=(5, 4))
    result = multibootstrap(info, preds, labels, "accuracy", paired_seeds=True, nboot=10, rng=0)
    assert any("seed-4" in warning for warning in result.warnings)
    assert result.delta.n_seeds == 4


def test_fast_and_released_paths_agree_in_distribution():
    info, preds, labels = random_inputs()
    slow = multibootstrap(info, preds, labels, "f1", nboot=4000, rng=np.random.RandomState(0))
    fast = multibootstrap(info, preds, labels, "f1", nboot=4000, rng=0)
    for a, b in zip(slow.samples.T, fast.samples.T, strict=True):
        assert a.std() == pytest.approx(b.std(), rel=0.07)
        assert a.mean() == pytest.approx(b.mean(), abs=5 * a.std() / np.sqrt(4000))


HASH_PROGRAM = """
import json, sys
import numpy as np
from multibench.stats import compare_all, compare_groups, multibootstrap
rng = np.random.default_rng(0)
seeds = [f"seed-{k}" for k in range(7)]
info = {"seed": seeds * 2, "intervention": [False] * 7 + [True] * 7, "group": ["b"] * 7 + ["a"] * 7}
preds, labels = rng.integers(0, 2, (14, 50)), rng.integers(0, 2, 50)
pair = compare_groups(info, preds, labels, "mcc", True)
many = compare_all(info, preds, labels, "f1")
boot = multibootstrap(info, preds, labels, "f1", nboot=50, rng=3)
print(json.dumps([pair.to_dict(), many.to_dict(), boot.to_dict(), boot.samples.tolist()]))
"""


def test_hash_seeds_change_nothing():
    outputs = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", HASH_PROGRAM], capture_output=True, text=True, check=True, env=environment
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    json.loads(outputs.pop())


def test_crossed_fine_tuning_seeds_add_their_own_factor():
    rng = np.random.default_rng(0)
    info = {"seed": np.repeat(np.arange(4), 3), "finetune_seed": np.tile(np.arange(3), 4)}
    info["intervention"] = np.zeros(12, dtype=bool)
    scores = np.tile([0.0, 1.0, 2.0], 4)[:, None] + np.zeros((12, 9))
    both = {key: np.concatenate([values, values]) for key, values in info.items()}
    both["intervention"][12:] = True
    preds = np.concatenate([scores, scores + rng.normal(0, 1e-9, scores.shape)])
    flat = multibootstrap(both, preds, np.zeros(9), "mean", nboot=3000, rng=0)
    crossed = multibootstrap(both, preds, np.zeros(9), "mean", nboot=3000, rng=0, runs="crossed")
    nested = multibootstrap(both, preds, np.zeros(9), "mean", nboot=3000, rng=0, runs="nested")
    # Averaged runs hide the shared effect; crossed shows its variance 2/3 over 3 runs; nested over 12.
    assert flat.base.standard_error == pytest.approx(0, abs=1e-6)
    assert crossed.base.standard_error == pytest.approx(np.sqrt(2 / 9), rel=0.05)
    assert nested.base.standard_error == pytest.approx(np.sqrt(2 / 36), rel=0.05)
    # Fine-tuning seeds are shared by the sides as well, so the difference does not have it.
    assert crossed.delta.standard_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("estimand", ["median", "best-of-3"])
def test_other_estimands_equal_the_same_functional_of_the_resample(estimand):
    scores = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    info = {"seed": [*range(5), *range(5)], "intervention": [False] * 5 + [True] * 5}
    preds = np.repeat(np.concatenate([scores, scores + 1])[:, None], 3, axis=1)
    result = multibootstrap(
        info,
        preds,
        np.zeros(3),
        "mean",
        estimand=estimand,
        nboot=200,
        rng=np.random.RandomState(0),
        sample_examples=False,
    )
    draw = np.random.RandomState(0)
    for value in result.samples[:, 0]:
        resample = scores[draw.choice(5, 5)]
        draw.choice(5, 5)
        if estimand == "median":
            expected = np.median(resample)
        else:
            trials = np.array(list(itertools.product(resample, repeat=3)))
            expected = trials.max(axis=1).mean()
        assert value == pytest.approx(expected)


def test_a_callable_equals_the_registered_metric():
    info, preds, labels = random_inputs(n=15)
    labels[:7] = 0
    kwargs: dict[str, Any] = {"nboot": 25, "confidence": 0.9}
    named = multibootstrap(info, preds, labels, "f1", rng=np.random.RandomState(1), **kwargs)

    def f1(gold, guess):
        hits = ((gold == 1) & (guess == 1)).sum()
        total = (gold == 1).sum() + (guess == 1).sum()
        return 2 * hits / total if total else 0.0

    called = multibootstrap(info, preds, labels, f1, rng=np.random.RandomState(1), **kwargs)
    np.testing.assert_allclose(named.samples, called.samples, atol=1e-14)


def test_a_costly_callable_warns():
    info, preds, labels = random_inputs(n=15, seeds=(1, 1), runs=1)

    def slow(gold, guess):
        time.sleep(0.02)
        return 0.5

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.warns(CostWarning, match="no weighted form"), contextlib.suppress(KeyboardInterrupt):
        multibootstrap(info, preds, labels, slow, nboot=1_000_000, rng=0, progress=stop)


STRATA = np.repeat(np.arange(3), (20, 30, 50))


def stratified_answers(seed=0, runs=4):
    """Answers of which the first stratum is all right, the second all wrong, the third half and half."""
    rng = np.random.default_rng(seed)
    right = np.concatenate([np.ones((runs, 20)), np.zeros((runs, 30)), rng.random((runs, 50)) < 0.5], axis=1)
    return {"seed": np.arange(runs) % max(1, runs)}, right.astype(int), np.ones(100, dtype=int)


def test_fixed_strata_keep_their_share_of_every_draw():
    info, preds, labels = stratified_answers(runs=1)
    fixed = multibootstrap_group(info, preds[:, :50], labels[:50], "accuracy", rng=0, strata=STRATA[:50])
    assert (fixed.value, fixed.low, fixed.high) == (0.4, 0.4, 0.4)
    found = multibootstrap_group(info, preds, labels, "accuracy", 4000, rng=0, strata=STRATA)
    share = preds[0, 50:].mean()
    assert found.standard_error == pytest.approx(0.5 * np.sqrt(share * (1 - share) / 50), rel=0.05)
    plain = multibootstrap_group(info, preds, labels, "accuracy", 4000, rng=0)
    assert plain.standard_error > 1.3 * found.standard_error
    assert "within strata" in found.method


def test_strata_are_kept_with_clusters_and_in_any_order_of_examples():
    info, preds, labels = stratified_answers()
    clusters = np.arange(100) // 5
    found = multibootstrap_group(info, preds, labels, "accuracy", rng=1, strata=STRATA, clusters=clusters)
    order = np.random.default_rng(2).permutation(100)
    again = multibootstrap_group(
        info,
        preds[:, order],
        labels[order],
        "accuracy",
        rng=1,
        strata=STRATA[order],
        clusters=clusters[order],
    )
    assert (again.low, again.high) == (found.low, found.high)
    constant = multibootstrap_group(
        {"seed": [0]}, preds[:1, :50], labels[:50], "accuracy", strata=STRATA[:50], clusters=clusters[:50]
    )
    assert constant.low == constant.high == constant.value


@pytest.mark.parametrize("interval", ["percentile", "rescaled"])
def test_one_stratum_is_none(interval):
    info, preds, labels = random_inputs()
    one, none = (
        multibootstrap(
            info, preds, labels, "accuracy", nboot=300, rng=3, interval=interval, strata=strata
        ).to_dict()
        for strata in (np.zeros(len(labels)), None)
    )
    assert one["delta"]["low"] == pytest.approx(none["delta"]["low"], abs=1e-12)
    assert one["p_value"] == none["p_value"]


def test_every_way_to_the_multibootstrap_takes_strata():
    info, preds, labels = stratified_answers()
    found = estimate_group(info, preds, labels, "accuracy", rng=0, method="multibootstrap", strata=STRATA)
    same = multibootstrap_group(info, preds, labels, "accuracy", rng=0, strata=STRATA)
    assert (found.low, found.high) == (same.low, same.high)
    sides = {"seed": [0, 1, 0, 1], "intervention": [False, False, True, True]}
    compared = compare_groups(
        sides, preds, labels, "accuracy", rng=0, method="multibootstrap", strata=STRATA
    ).bootstrap
    expected = multibootstrap(sides, preds, labels, "accuracy", rng=0, strata=STRATA)
    assert compared is not None
    np.testing.assert_array_equal(compared.samples, expected.samples)
    with pytest.raises(StatisticsError, match="neither clusters nor strata"):
        multibootstrap_group(info, preds, labels, "accuracy", rng=np.random.RandomState(0), strata=STRATA)


def test_clusters_are_drawn_whole():
    info, preds, labels = random_inputs(n=36)
    clusters = np.repeat(np.arange(6), 6)
    repeated = np.repeat(preds[:, ::6], 6, axis=1)
    whole = multibootstrap(info, repeated, labels, "accuracy", clusters=clusters, nboot=3000, rng=0)
    single = multibootstrap(info, preds[:, ::6], labels[::6], "accuracy", nboot=3000, rng=1)
    assert whole.delta.standard_error == pytest.approx(single.delta.standard_error, rel=0.07)


def test_collapsed_runs_count_as_zero_or_nan_and_are_reported():
    info, preds, _ = random_inputs()
    labels = np.arange(37.0)
    values = preds + np.random.default_rng(0).normal(0, 1, preds.shape)
    values[0] = 0.25
    result = multibootstrap(info, values, labels, "pearson", nboot=50, rng=0)
    assert result.n_collapsed_runs == 1
    assert any("count as 0" in warning for warning in result.warnings)
    assert not np.isnan(result.samples).any()
    strict = multibootstrap(info, values, labels, "pearson", nboot=50, rng=0, undefined="nan")
    assert np.isnan(strict.delta.value)
    assert strict.n_nan_draws == np.isnan(strict.samples).any(axis=1).sum() > 10
    assert strict.delta.reason
    assert strict.delta.to_dict()["value"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interval": "bca"}, "percentile, basic or rescaled"),
        ({"confidence": 95}, "between 0 and 1"),
        ({"nboot": 0}, "at least one draw"),
        ({"estimand": "best"}, "best-of-5"),
        ({"undefined": "drop"}, "collapsed"),
        ({"clusters": [1, 2]}, "clusters"),
        ({"runs": "crossed"}, "finetune_seed"),
        ({"rng": np.random.RandomState(0), "runs": "nested"}, "released procedure"),
        ({"metric": "accurracy"}, "Did you mean"),
    ],
)
def test_bad_options_are_one_sentence(change, words):
    info, preds, labels = random_inputs()
    given = {"metric": "accuracy", "rng": 0, "nboot": 5, **change}
    with pytest.raises((StatisticsError, KeyError), match=words):
        multibootstrap(info, preds, labels, **given)


def test_group_names_what_its_interval_does_not_cover():
    info, preds, labels = random_inputs(seeds=(1, 1), runs=6)
    one = {key: values[:6] for key, values in info.items()}
    estimate = multibootstrap_group(one, preds[:6], labels, "accuracy", rng=0)
    assert "fine-tuning runs" in estimate.method
    assert "other pretraining seeds" in estimate.caveat
    assert (estimate.n_seeds, estimate.n_runs, estimate.n_examples) == (1, 6, 37)
    alone = multibootstrap_group({"seed": [3]}, preds[:1], labels, "accuracy", rng=0)
    assert "neither" in alone.caveat
    assert alone.low < alone.value < alone.high
    several = multibootstrap_group({"seed": [0, 1, 2]}, preds[:3], labels, "accuracy", rng=0)
    assert several.caveat == ""
    assert "3 seeds, 3 runs, 37 examples" in str(several)


@pytest.mark.parametrize("nboot", [1, 2, 100])
@pytest.mark.parametrize("confidence", [0.001, 0.999, 0.999999])
def test_few_draws_at_a_high_level_have_their_extremes_for_bounds(nboot, confidence):
    info, preds, labels = random_inputs(seeds=(3, 3), n=20)
    own = {key: values[:9] for key, values in info.items()}
    found = multibootstrap_group(own, preds[:9], labels, "accuracy", nboot, 0, confidence)
    assert found.low <= found.high
    both = multibootstrap(info, preds, labels, "accuracy", nboot=nboot, rng=0, confidence=confidence)
    deltas = both.samples[:, 1] - both.samples[:, 0]
    assert deltas.min() <= both.delta.low <= both.delta.high <= deltas.max()


def test_draws_that_differ_from_zero_by_rounding_count_on_both_sides():
    from multibench.stats.intervals import p_values

    shaped = np.array([0.1 + 0.2 - 0.3, 0.0, -1e-17, 0.4])
    assert p_values(shaped) == (4 / 5, 5 / 5)
