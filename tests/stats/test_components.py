"""Variance components against known ones, and the planning that rests on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.stats import (
    Noise,
    compare_groups,
    comparison_noise,
    plan_comparison,
    power_of,
    variance_components,
)

TRUE = {
    "pretraining": 4e-4,
    "finetuning": 1e-4,
    "example": 0.09,
    "pretraining_example": 0.01,
    "residual": 0.04,
}


def nested_scores(rng, s=6, f=3, x=150, drop=()):
    sd = {name: math.sqrt(value) for name, value in TRUE.items()}
    y = rng.normal(0, sd["pretraining"], (s, 1, 1)) + rng.normal(0, sd["finetuning"], (s, f, 1))
    y = y + rng.normal(0, sd["example"], (1, 1, x)) + rng.normal(0, sd["pretraining_example"], (s, 1, x))
    y = (y + rng.normal(0, sd["residual"], (s, f, x))).reshape(s * f, x)
    keep = [i for i in range(s * f) if i not in drop]
    info = {"seed": np.repeat(np.arange(s), f)[keep], "finetune_seed": np.tile(np.arange(f), s)[keep]}
    return info, y[keep], np.zeros(x)


@pytest.mark.parametrize("drop", [(), (1, 2, 5, 9)])
def test_nested_components_are_unbiased_and_their_intervals_cover(drop):
    rng = np.random.default_rng(0)
    found: dict[str, list[Any]] = {name: [] for name in TRUE}
    for _ in range(150):
        info, y, labels = nested_scores(rng, drop=drop)
        components = variance_components(info, y, labels, "mean")
        for name, true in TRUE.items():
            part = components.parts[name]
            found[name].append((part.value / true, part.low <= true <= part.high))
    for name, results in found.items():
        values, held = np.array(results, dtype=float).T
        assert values.mean() == pytest.approx(1, abs=4 * values.std() / math.sqrt(150)), name
        assert held.mean() > 0.88, name


def test_crossed_components_are_unbiased():
    rng = np.random.default_rng(1)
    s, f, x = 5, 4, 60
    true = {
        "pretraining": 0.04,
        "finetuning_shared": 0.09,
        "pretraining_finetuning": 0.01,
        "example": 0.25,
        "pretraining_example": 0.16,
        "finetuning_example": 0.01,
        "residual": 0.36,
    }
    shapes = {
        "pretraining": (s, 1, 1),
        "finetuning_shared": (1, f, 1),
        "pretraining_finetuning": (s, f, 1),
        "example": (1, 1, x),
        "pretraining_example": (s, 1, x),
        "finetuning_example": (1, f, x),
        "residual": (s, f, x),
    }
    info = {"seed": np.repeat(np.arange(s), f), "finetune_seed": np.tile(np.arange(f), s)}
    found: dict[str, list[Any]] = {name: [] for name in true}
    for _ in range(200):
        y = np.zeros((s, f, x))
        for name, shape in shapes.items():
            y += rng.normal(0, math.sqrt(true[name]), shape)
        components = variance_components(info, y.reshape(s * f, x), np.zeros(x), "mean", "crossed")
        for name in true:
            found[name].append(components.parts[name].value)
    for name, values in found.items():
        error = np.std(values) / math.sqrt(200)
        assert np.mean(values) == pytest.approx(true[name], abs=4 * error), name
    assert sum(components.shares.values()) == pytest.approx(1)


def test_variance_of_the_mean_is_what_the_parts_add_up_to():
    info, y, labels = nested_scores(np.random.default_rng(2))
    components = variance_components(info, y, labels, "mean")
    part = {name: max(0.0, estimate.value) for name, estimate in components.parts.items()}
    expected = (
        part["pretraining"] / 6
        + part["finetuning"] / 18
        + part["example"] / 150
        + part["pretraining_example"] / 900
        + part["residual"] / 2700
    )
    assert components.variance() == pytest.approx(expected)
    assert components.variance(n_seeds=12) < components.variance()


def test_what_a_design_cannot_separate_is_unknown_with_a_reason():
    rng = np.random.default_rng(3)
    info, y, labels = nested_scores(rng, f=1)
    alone = variance_components(info, y, labels, "mean")
    assert math.isnan(alone.parts["finetuning"].value)
    assert "one run a seed" in alone.parts["finetuning"].reason
    one = variance_components({"seed": [0] * 5}, y[:5], labels, "mean")
    assert "one pretraining seed" in one.parts["pretraining"].reason
    assert not math.isnan(one.parts["finetuning"].value)
    with pytest.raises(StatisticsError, match="give several runs"):
        variance_components({"seed": [0]}, y[:1], labels, "mean")
    info, y, labels = nested_scores(rng, drop=(0,))
    with pytest.raises(StatisticsError, match="Complete the grid"):
        variance_components(info, y, labels, "mean", "crossed")


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
    assert components.parts["residual"].value == pytest.approx(0.030242438, abs=1e-8)
    assert components.parts["example"].value == pytest.approx(0.099215488, abs=1e-8)
    assert math.sqrt(components.parts["finetuning"].value) == pytest.approx(0.0016282583, abs=1e-9)
    assert components.shares["example"] > 0.9


def noise(paired):
    return Noise(4e-5, 1e-5, 0.02, 0.03, 0.02, paired)


@pytest.mark.parametrize("paired", [True, False])
def test_power_holds_in_simulation(paired):
    """Simulated data, tested with the crossed interval, reject as often as the formula says."""
    assumed, effect = noise(paired), 0.012
    s, r, x = 8, 2, 400
    rng = np.random.default_rng(4)
    info = {
        "seed": np.tile(np.repeat(np.arange(s), r), 2),
        "intervention": np.repeat([False, True], s * r),
    }
    half = 1.0 if paired else math.sqrt(0.5)
    rejected = 0
    n = 120
    for _ in range(n):
        # All noise of a paired difference sits on one side; unpaired, each side has half.
        y = np.zeros((2, s, r, x))
        y[1] += effect + rng.normal(0, math.sqrt(assumed.example), x)
        for side in (1,) if paired else (0, 1):
            y[side] += half * rng.normal(0, math.sqrt(assumed.pretraining), (s, 1, 1))
            y[side] += half * rng.normal(0, math.sqrt(assumed.finetuning), (s, r, 1))
            y[side] += half * rng.normal(0, math.sqrt(assumed.pretraining_example), (s, 1, x))
            y[side] += half * rng.normal(0, math.sqrt(assumed.residual), (s, r, x))
        result = compare_groups(info, y.reshape(-1, x), np.zeros(x), "mean", paired, nboot=1, rng=0)
        rejected += result.p_value <= 0.05
    expected = power_of(assumed, effect, s, r, x).power
    assert 0.2 < expected < 0.9
    assert rejected / n == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))


def test_the_plan_is_the_cheapest_design_that_does_it():
    plan = plan_comparison(noise(True), 0.01, n_examples=2000, hours_per_run=0.5)
    assert plan.enough
    assert plan.best is not None
    assert plan.best.power >= 0.8
    assert all(d.power < 0.8 for d in plan.designs if d.hours < plan.best.hours)
    assert plan.best.hours == 2 * plan.best.n_seeds * plan.best.n_runs * 0.5
    short = plan_comparison(
        noise(True), 0.01, n_examples=2000, budget_hours=plan.best.hours - 0.1, hours_per_run=0.5
    )
    assert not short.enough
    assert short.reason
    hopeless = plan_comparison(noise(True), 0.001, n_examples=300)
    assert "endless seeds" in hopeless.reason
    width = plan_comparison(noise(False), 0.01, n_examples=5000, power=None, half_width=0.008)
    assert width.best is not None
    assert width.best.half_width <= 0.008


def test_measured_noise_gives_back_what_the_crossed_interval_saw():
    rng = np.random.default_rng(5)
    s, r, x = 10, 3, 300
    y = (
        rng.normal(0, 0.1, (2, s, 1, 1))
        + rng.normal(0, 0.05, (2, s, r, 1))
        + rng.normal(0, 0.5, (1, 1, 1, x))
    )
    y = (
        y
        + rng.normal(0, 0.2, (2, s, 1, x))
        + rng.normal(0, 0.4, (2, s, r, x))
        + rng.normal(0, 0.3, (2, 1, 1, x))
    )
    info = {
        "seed": np.tile(np.repeat(np.arange(s), r), 2),
        "intervention": np.repeat([False, True], s * r),
    }
    for paired in (True, False):
        measured = comparison_noise(info, y.reshape(-1, x), np.zeros(x), "mean", paired)
        result = compare_groups(info, y.reshape(-1, x), np.zeros(x), "mean", paired, nboot=1, rng=0)
        variance = measured.seeds(s, r) + measured.examples(s, r, x)
        assert math.sqrt(variance) == pytest.approx(result.delta.standard_error, rel=0.02)
    with pytest.raises(StatisticsError, match="must be 0 or more"):
        Noise(-1, 0, 0, 0, 0, True)
