"""Sources of noise: they add up to the printed standard error, and say what they cannot tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.errors import StatisticsError
from multibench.stats import estimate_group, variance_components
from multibench.stats.anova import two_way
from multibench.stats.components import Components, Source, components_of
from multibench.stats.factors import FINETUNING, PRETRAINING
from multibench.stats.inference import group_inference
from tests.stats.support import crossed_scores, grid_info, group_problem, nested_scores


def random_design(case: int) -> tuple[dict[str, Any], np.ndarray, dict[str, Any]]:
    """Nested or shared seeds, equal or unequal runs, holes, one pretraining seed, clusters, strata; and options."""
    rng = np.random.default_rng(case)
    n = int(rng.integers(10, 60))
    kind = case % 5
    if kind == 0:
        info, y = nested_scores(rng, rng.integers(1, 4, rng.integers(2, 7)).tolist(), n, rng.choice([0, 0.5]))
    elif kind == 1:
        info, y = nested_scores(rng, [int(rng.integers(2, 6))], n)
    elif kind == 2:
        info, y = nested_scores(rng, [2] * int(rng.integers(2, 6)), n, rng.choice([0, 0.5]))
    else:
        p, f = int(rng.integers(2, 6)), int(rng.integers(2, 4))
        info, y = grid_info(p, f), crossed_scores(rng, p, f, n).reshape(p * f, n)
        if kind == 4 and p * f > 6:
            kept = np.delete(np.arange(p * f), rng.integers(p * f))
            info, y = {name: values[kept] for name, values in info.items()}, y[kept]
    options: dict[str, Any] = {}
    if case % 3 == 0:
        options["clusters"] = rng.integers(0, n // 3, n)
    if case % 4 == 0:
        options["strata"] = np.arange(n) % 3 if "clusters" not in options else options["clusters"] % 2
    return info, y, options


def source_of(found: Components, factor: str) -> Source:
    source = found.source(factor)
    assert source is not None
    return source


def test_parts_add_up_to_the_printed_standard_error_in_every_design() -> None:
    splits = set()
    for case in range(60):
        info, y, options = random_design(case)
        problem, group = group_problem(info, y, **options)
        found, one = components_of(problem, group), group_inference(problem, group)
        assert sum(s.part for s in found.sources) == pytest.approx(
            one.moments.variance, rel=1e-9, abs=1e-15
        ), case
        assert found.standard_error == pytest.approx(one.estimate.standard_error, rel=1e-9)
        printed = estimate_group(info, y, np.zeros(y.shape[1]), "mean", **options)
        assert found.standard_error == pytest.approx(printed.standard_error, rel=1e-9)
        splits.add(tuple(s.factor for s in found.sources))
        for source in found.sources:
            assert source.part >= 0
            assert source.share.low <= source.share.value <= source.share.high
            assert source.share.low >= 0
            assert source.share.high <= 1
            assert source.one_more <= found.standard_error + 1e-12
            assert math.isnan(source.sd.value) == (source.n_units < 3)
            if source.n_units >= 3:
                assert source.sd.low == 0
                assert source.sd.value <= source.sd.high
        assert sum(s.share.value for s in found.sources) == pytest.approx(1)
    assert (PRETRAINING, FINETUNING, "clusters") in splits
    assert (PRETRAINING, FINETUNING, "examples") in splits


def test_nested_parts_are_the_nested_analysis_of_variance() -> None:
    s, f, n = 6, 3, 40
    rng = np.random.default_rng(1)
    info, y = nested_scores(rng, [f] * s, n, 0.6)
    y += rng.normal(0, 0.3, (s * f, 1))
    found = variance_components(info, y, np.zeros(n), "mean", "nested")
    runs, means = y.mean(axis=1).reshape(s, f), y.reshape(s, f, n).mean(axis=1)
    cells = sum(float(two_way(own).ms_error) for own in y.reshape(s, f, n)) / s
    finetuning = runs.var(axis=1, ddof=1).mean() - cells / n
    seeds = means.mean(axis=1).var(ddof=1) - float(two_way(means).ms_error) / n
    assert finetuning > 0
    assert seeds - finetuning / f > 0
    assert source_of(found, FINETUNING).part == pytest.approx(finetuning / (s * f))
    assert source_of(found, PRETRAINING).part == pytest.approx(seeds / s - finetuning / (s * f))
    assert source_of(found, "examples").part == pytest.approx(scipy_stats.sem(means.mean(axis=0)) ** 2)
    assert source_of(found, FINETUNING).sd.value == pytest.approx(math.sqrt(finetuning))
    assert source_of(found, PRETRAINING).sd.value == pytest.approx(math.sqrt(seeds - finetuning / f))
    assert source_of(found, PRETRAINING).contribution == pytest.approx(
        math.sqrt(source_of(found, PRETRAINING).part)
    )


def test_one_more_unit_of_each_factor() -> None:
    info, y = nested_scores(np.random.default_rng(2), [3] * 5, 50, 0.6)
    found = variance_components(info, y, np.zeros(50), "mean")
    total, seed, runs = (
        found.standard_error**2, source_of(found, PRETRAINING), source_of(found, FINETUNING)
    )  # fmt: skip
    assert seed.one_more**2 == pytest.approx(total - seed.part / 6)
    assert runs.one_more**2 == pytest.approx(total - runs.part / 4)
    assert source_of(found, "examples").one_more ** 2 == pytest.approx(
        total - source_of(found, "examples").part / 51
    )


def test_labels_that_recur_are_not_analysed_as_nested_nor_own_ones_as_crossed() -> None:
    y = np.random.default_rng(3).normal(0, 1, (6, 20))
    with pytest.raises(StatisticsError, match="recur across pretraining seeds"):
        variance_components(grid_info(3, 2), y, np.zeros(20), "mean", "nested")
    with pytest.raises(StatisticsError, match="no label in common"):
        variance_components(grid_info(3, 2, own_labels=True), y, np.zeros(20), "mean", "crossed")
    assert (
        "crossed with 2 fine-tuning seeds"
        in variance_components(grid_info(3, 2), y, np.zeros(20), "mean").design
    )
    with pytest.raises(StatisticsError, match="give several runs"):
        variance_components({"seed": [0]}, y[:1], np.zeros(20), "mean")
    with pytest.raises(StatisticsError, match="One cluster shows no noise"):
        variance_components(grid_info(3, 2), y, np.zeros(20), "mean", clusters=np.zeros(20))


def test_two_units_are_not_enough_to_say_how_they_differ() -> None:
    y = crossed_scores(np.random.default_rng(4), 5, 2, 30).reshape(10, 30)
    found = variance_components(grid_info(5, 2), y, np.zeros(30), "mean")
    shared = source_of(found, FINETUNING)
    assert shared.sd.reason == "not estimable: 2 fine-tuning seeds"
    assert math.isnan(shared.sd.value)
    assert math.isnan(shared.sd.high)
    assert shared.sd.to_dict()["high"] is None
    assert not math.isnan(source_of(found, PRETRAINING).sd.high)


def test_the_spread_of_shares_cannot_pass_a_half() -> None:
    rng = np.random.default_rng(5)
    labels = np.ones(60, dtype=int)
    preds = (rng.random((3, 60)) < np.array([0.05, 0.5, 0.95])[:, None]).astype(int)
    found = variance_components({"seed": range(3)}, preds, labels, "accuracy")
    assert source_of(found, PRETRAINING).sd.value <= source_of(found, PRETRAINING).sd.high == 0.5
    free = variance_components({"seed": range(3)}, preds * 10.0, labels, "mean")
    assert free.source(PRETRAINING).sd.high > 5


def test_a_share_and_an_upper_bound_hold_their_truth() -> None:
    """Normal scores of ten seeds, of which a third of the variance of the mean is their own."""
    rng = np.random.default_rng(6)
    s, n, sd = 10, 50, 0.2
    true = sd**2 / s / (sd**2 / s + 1 / n * 0.25 + 0.25 / (s * n))
    held, bounded = [], []
    for _ in range(120):
        y = rng.normal(0, sd, (s, 1)) + rng.normal(0, 0.5, n) + rng.normal(0, 0.5, (s, n)) + 3
        source = source_of(variance_components({"seed": range(s)}, y, np.zeros(n), "mean"), PRETRAINING)
        held.append(source.share.low <= true <= source.share.high)
        bounded.append(sd <= source.sd.high)
    assert np.mean(held) >= 0.9
    assert np.mean(bounded) >= 0.9


def test_what_cannot_be_told_from_zero_is_an_f_test() -> None:
    rng = np.random.default_rng(7)
    for sd in (0.0, 1.0):
        y = rng.normal(0, sd, (6, 1)) + rng.normal(0, 1, 40) + rng.normal(0, 0.5, (6, 40))
        source = source_of(variance_components({"seed": range(6)}, y, np.zeros(40), "mean"), PRETRAINING)
        table = two_way(y)
        known = scipy_stats.f.sf(float(table.ms_seed / table.ms_error), 5, 5 * 39)
        assert source.p_value == pytest.approx(known)
        assert source.told_from_zero == (known <= 0.05)
        assert source.told_from_zero == (sd > 0)


def test_one_checkpoint_has_its_runs_and_one_run_a_seed_says_so() -> None:
    info, y = nested_scores(np.random.default_rng(8), [4], 20)
    alone = variance_components(info, y, np.zeros(20), "mean")
    assert [source.factor for source in alone.sources] == [FINETUNING, "examples"]
    assert alone.design == "4 fine-tuning runs of one pretraining seed"
    info, y = nested_scores(np.random.default_rng(9), [1] * 4, 20)
    single = variance_components(info, y, np.zeros(20), "mean")
    assert "their part holds that of fine-tuning seeds" in single.design
    assert single.source(FINETUNING) is None
    assert "%" in str(single)


@pytest.mark.shared
def test_real_predictions(shared_dir):
    """Ten fine-tuning seeds of BERT-base on MNLI: where their noise is."""
    folder = shared_dir / "data" / "predictions" / "bert_base_mnli_10_seeds"
    labels = np.loadtxt(folder / "MNLI_dev_labels", dtype=int)
    names = sorted((folder / "MNLI").glob("*.tsv"))
    preds = np.stack([np.loadtxt(name) for name in names])
    info = {"seed": [0] * 10, "finetune_seed": [name.stem.rsplit("=", 1)[1] for name in names]}
    components = variance_components(info, preds, labels, "accuracy")
    assert components.mean == pytest.approx(0.8472032603, abs=1e-9)
    # Mean squares of the table of right answers, computed apart from this package.
    n, residual, example = len(labels), 0.030242438, 0.099215488
    assert source_of(components, FINETUNING).sd.value == pytest.approx(0.0016282583, abs=1e-9)
    assert source_of(components, "examples").part == pytest.approx((example + residual / 10) / n, abs=1e-12)
    assert source_of(components, "examples").share.value > 0.9
