"""Planning: what a design shows is what simulated data show, and plans are the cheapest that do it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.stats import Noise, compare_groups, comparison_noise, plan_comparison, power, power_of
from multibench.stats.surrogate import Moments, Surrogate, Term
from tests.stats.support import grid_info, sides_info


def noise(paired: bool) -> Noise:
    return Noise(4e-5, 1e-5, 0.02, 0.03, 0.02, paired)


def test_variances_are_those_of_a_mean_of_seeds_runs_and_examples() -> None:
    own = noise(True)
    assert own.seeds(8, 2) == pytest.approx((4e-5 + 5e-6) / 8)
    assert own.cells(8, 2, 400) == pytest.approx((0.03 + 0.01) / 3200)
    assert own.examples(8, 2, 400) == pytest.approx(0.02 / 400 + 0.04 / 3200)
    assert power_of(own, 0.01, 8, 2, 400).standard_error ** 2 == pytest.approx(
        own.seeds(8, 2) + own.examples(8, 2, 400)
    )


@pytest.mark.parametrize("paired", [True, False])
def test_power_and_width_hold_in_simulation(paired: bool) -> None:
    """Mean squares drawn from their distributions, tested with the surrogate, 1,500 times."""
    own, effect, s, r, x, repetitions = replace(noise(paired), pretraining=3e-4), 0.03, 5, 2, 400, 1_500
    rng = np.random.default_rng(4)
    n_sides = 1 if paired else 2
    seeds, cells, rest = (
        own.seeds(s, r) / n_sides, own.cells(s, r, x) / n_sides, own.examples(s, r, x)
    )  # fmt: skip
    means = rng.normal(effect, math.sqrt(own.seeds(s, r) + rest), repetitions)
    between = (seeds + cells) * rng.chisquare(s - 1, (repetitions, n_sides)) / (s - 1)
    rejected, widths = 0, []
    for mean, squares in zip(means, between, strict=True):
        terms = {str(k): Term(ms, s - 1, cells, s) for k, ms in enumerate(squares)}
        found = Surrogate(Moments(mean, rest, x - 1, terms))
        rejected += found.beyond(mean) <= 0.05
        if len(widths) < 300:
            widths.append(found.half_width(0.95))
    planned = power_of(own, effect, s, r, x)
    assert 0.2 < planned.power < 0.9
    assert rejected / repetitions == pytest.approx(planned.power, abs=0.04)
    assert np.mean(widths) == pytest.approx(planned.half_width, rel=0.05)


@pytest.mark.parametrize("paired", [True, False])
def test_whole_comparisons_reject_as_often_as_planned(paired: bool) -> None:
    """Scores of all runs on all examples, by the printed p-value."""
    own, effect, s, r, x, n = noise(paired), 0.015, 4, 2, 200, 120
    rng = np.random.default_rng(5)
    info = sides_info(grid_info(s, r, True), grid_info(s, r, True))
    half = 1.0 if paired else math.sqrt(0.5)
    rejected = 0
    for _ in range(n):
        # All noise of a paired difference sits on one side; unpaired, each side has half.
        y = np.full((2, s, r, x), 3.0)
        y[1] += effect + rng.normal(0, math.sqrt(own.example), x)
        for side in (1,) if paired else (0, 1):
            y[side] += half * rng.normal(0, math.sqrt(own.pretraining), (s, 1, 1))
            y[side] += half * rng.normal(0, math.sqrt(own.finetuning), (s, r, 1))
            y[side] += half * rng.normal(0, math.sqrt(own.pretraining_example), (s, 1, x))
            y[side] += half * rng.normal(0, math.sqrt(own.residual), (s, r, x))
        rejected += compare_groups(info, y.reshape(-1, x), np.zeros(x), "mean", paired).p_value <= 0.05
    expected = power_of(own, effect, s, r, x).power
    assert rejected / n == pytest.approx(expected, abs=0.04 + 3 * math.sqrt(expected * (1 - expected) / n))


def test_power_that_forgets_the_seeds_noise_would_be_seen() -> None:
    own = replace(noise(True), pretraining=3e-4)
    planned = power_of(own, 0.03, 5, 2, 400).power
    assert power_of(replace(own, pretraining=0.0), 0.03, 5, 2, 400).power > planned + 0.08


def test_more_of_anything_helps_and_no_effect_is_found_at_the_level() -> None:
    own = noise(False)
    first = power_of(own, 0.01, 5, 1, 500)
    for more in ((6, 1, 500), (5, 2, 500), (5, 1, 900)):
        assert power_of(own, 0.01, *more).power > first.power
        assert power_of(own, 0.01, *more).half_width < first.half_width
    assert power_of(own, 0.0, 5, 1, 500).power <= 0.05
    assert power_of(own, -0.01, 5, 1, 500).power == first.power
    still = power_of(Noise(0, 0, 0, 0, 0, True), 0.01, 2, 1, 10)
    assert (still.power, still.half_width) == (1, 0)


def test_designs_without_an_interval_are_refused() -> None:
    for design in ((1, 5, 100), (5, 0, 100), (5, 1, 1)):
        with pytest.raises(StatisticsError, match="no error estimate"):
            power_of(noise(True), 0.01, *design)
    with pytest.raises(StatisticsError, match="must be 0 or more"):
        Noise(-1, 0, 0, 0, 0, True)
    with pytest.raises(StatisticsError, match="effect of 0"):
        plan_comparison(noise(True), 0.0, n_examples=100)
    with pytest.raises(StatisticsError, match="power, a half-width"):
        plan_comparison(noise(True), 0.01, n_examples=100, power=None)


def test_the_plan_is_the_cheapest_design_that_does_it() -> None:
    seeds, runs = range(2, 16), (1, 2, 3)
    plan = plan_comparison(noise(True), 0.012, n_examples=2000, hours_per_run=0.5, seeds=seeds, runs=runs)
    assert plan.enough
    assert plan.best is not None
    every = [power_of(noise(True), 0.012, s, r, 2000) for s in seeds for r in runs]
    cheapest = min(2 * d.n_seeds * d.n_runs * 0.5 for d in every if d.power >= 0.8)
    assert plan.best.hours == cheapest == 2 * plan.best.n_seeds * plan.best.n_runs * 0.5
    assert plan.best.power >= 0.8
    # A pilot that is sure of itself has no range.
    assert plan.low == plan.best == plan.high
    short = plan_comparison(
        noise(True), 0.012, n_examples=2000, budget_hours=cheapest - 0.1, hours_per_run=0.5, seeds=seeds
    )
    assert not short.enough
    assert "within the budget" in short.reason
    assert short.best is not None
    assert short.best.hours < cheapest
    broke = plan_comparison(noise(True), 0.01, n_examples=2000, budget_hours=1)
    assert broke.best is None
    assert "the smallest design costs 4 GPU hours" in broke.reason


def test_no_number_of_seeds_makes_up_for_too_few_examples() -> None:
    hopeless = plan_comparison(noise(True), 0.001, n_examples=300, runs=(1,))
    assert not hopeless.enough
    assert "even with infinitely many seeds 300 examples give a power of" in hopeless.reason
    assert hopeless.best is not None
    assert hopeless.high is None


def test_a_half_width_can_be_planned_for() -> None:
    plan = plan_comparison(noise(False), 0.01, n_examples=5000, power=None, half_width=0.008, runs=(1, 2))
    assert plan.best is not None
    assert plan.best.half_width <= 0.008
    fewer = power_of(noise(False), 0.01, plan.best.n_seeds - 1, plan.best.n_runs, 5000)
    assert fewer.half_width > 0.008


def test_an_uncertain_pilot_gives_a_range_of_plans() -> None:
    own = replace(noise(False), low=1e-5, high=1.2e-4)
    plan = plan_comparison(own, 0.012, n_examples=2000, runs=(1, 2))
    assert plan.best is not None
    assert plan.low is not None
    assert plan.high is not None
    assert plan.low.hours < plan.best.hours < plan.high.hours
    assert (
        plan.high
        == plan_comparison(replace(own, pretraining=1.2e-4), 0.012, n_examples=2000, runs=(1, 2)).best
    )


def test_measured_noise_gives_back_the_printed_standard_error_and_a_range() -> None:
    rng = np.random.default_rng(5)
    s, r, x = 10, 3, 300
    y = (
        rng.normal(3, 0.1, (2, s, 1, 1))
        + rng.normal(0, 0.05, (2, s, r, 1))
        + rng.normal(0, 0.5, (1, 1, 1, x))
    )
    y = (
        y
        + rng.normal(0, 0.2, (2, s, 1, x))
        + rng.normal(0, 0.4, (2, s, r, x))
        + rng.normal(0, 0.3, (2, 1, 1, x))
    )
    info = sides_info(grid_info(s, r, True), grid_info(s, r, True))
    for paired in (True, False):
        measured = comparison_noise(info, y.reshape(-1, x), np.zeros(x), "mean", paired)
        found = compare_groups(info, y.reshape(-1, x), np.zeros(x), "mean", paired)
        variance = measured.seeds(s, r) + measured.examples(s, r, x)
        assert math.sqrt(variance) == pytest.approx(found.difference.standard_error, rel=1e-6)
        assert measured.low < measured.pretraining < measured.high
    with pytest.raises(StatisticsError, match="one seed on a side"):
        comparison_noise(
            sides_info(grid_info(1, 3), grid_info(2, 3)), y.reshape(-1, x)[:9], np.zeros(x), "mean"
        )


def test_the_range_of_a_pilot_holds_the_truth_in_four_of_five() -> None:
    rng = np.random.default_rng(6)
    info = sides_info(grid_info(6, 1, True), grid_info(6, 1, True))
    held = []
    for _ in range(150):
        y = 3 + rng.normal(0, 0.2, (12, 1)) + rng.normal(0, 0.5, 40) + rng.normal(0, 0.3, (12, 40))
        own = comparison_noise(info, y, np.zeros(40), "mean")
        held.append(own.low <= 2 * 0.2**2 <= own.high)
    assert 0.74 < np.mean(held) < 0.95


def test_nodes_of_a_chi_square_have_its_moments() -> None:
    for df in (1, 2, 4, 24):
        nodes, weights = (np.array(values) for values in power._chi_nodes(df))
        assert weights.sum() == pytest.approx(1)
        assert weights @ nodes == pytest.approx(1)
        assert weights @ nodes**2 == pytest.approx(1 + 2 / df)
