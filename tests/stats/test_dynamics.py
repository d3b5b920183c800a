"""Curves over steps: bands that hold together, and how often a step is claimed too early."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.errors import StatisticsError
from multibench.stats import (
    compare_groups,
    dynamics,
    equivalence,
    seed_agreement,
    settled_from,
    variance_components,
)
from multibench.stats.curve import Curve, curve_of, joint_level

STEPS = (20_000, 100_000, 500_000, 2_000_000)
INFO = {
    "seed": [s for s in range(6) for _ in STEPS for _ in range(2)],
    "step": [step for _ in range(6) for step in STEPS for _ in range(2)],
    "finetune_seed": [f for _ in range(6) for _ in STEPS for f in range(2)],
}


def study(rng: np.random.Generator, n_examples: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Class scores ``(48, n_examples, 2)`` of the runs of ``INFO``, and labels."""
    labels = rng.integers(0, 2, n_examples)
    hard = rng.normal(0, 1, n_examples)
    outputs = np.zeros((len(INFO["seed"]), n_examples, 2))
    for row, step in enumerate(INFO["step"]):
        margin = 0.4 * STEPS.index(step) - hard + rng.normal(0, 0.7, n_examples)
        outputs[row, np.arange(n_examples), labels] = margin
    return outputs, labels


def scores_of(rng: np.random.Generator, truth: Any, n_seeds: int, n_examples: int) -> dict[str, Any]:
    """Normal per-example scores with means ``truth`` over steps; seeds and examples shared by all steps."""
    n_steps = len(truth)
    walk = np.cumsum(rng.normal(0, 0.01, (n_steps, n_seeds)), axis=0)
    walk += rng.normal(0, 0.01, n_seeds)
    y = np.array(truth)[:, None, None] + walk[:, :, None] + rng.normal(0, 0.3, n_examples)
    y = y + rng.normal(0, 0.1, (n_steps, 1, n_examples)) + rng.normal(0, 0.2, (n_steps, n_seeds, n_examples))
    seeds, steps = np.meshgrid(np.arange(n_seeds), np.arange(n_steps))
    info = {"seed": seeds.ravel(), "step": steps.ravel() + 1}
    return {"run_info": info, "preds": y.reshape(-1, n_examples), "labels": np.zeros(n_examples)}


def test_numbers_are_those_of_the_other_statistics() -> None:
    outputs, labels = study(np.random.default_rng(0))
    found = dynamics(INFO, outputs, labels, "accuracy", margin=0.1, rng=0)
    assert [step.step for step in found.steps] == list(STEPS)
    steps = np.array(INFO["step"])
    for step in found.steps[:-1]:
        rows = np.isin(steps, [step.step, STEPS[-1]])
        info = {name: np.array(values)[rows] for name, values in INFO.items()}
        info["intervention"] = info["step"] == step.step
        direct = compare_groups(info, outputs[rows], labels, "accuracy", paired_seeds=True, nboot=10, rng=0)
        assert direct.crossed is not None
        assert step.difference is not None
        assert step.difference.estimate.value == pytest.approx(direct.crossed.estimate.value, abs=1e-12)
        assert step.difference.p_value == pytest.approx(direct.crossed.p_value)
    own = steps == STEPS[0]
    parts = variance_components(
        {name: np.array(values)[own] for name, values in INFO.items()},
        outputs[own],
        labels,
        "accuracy",
        "crossed",
    ).parts["pretraining"]
    assert found.steps[0].seed_sd.value == pytest.approx(np.sqrt(max(0, parts.value)))
    assert found.steps[0].seed_sd.high == pytest.approx(np.sqrt(parts.high))
    answers = outputs[own].argmax(axis=2)
    pairs = [(answers[a] == answers[b]).mean() for a in range(12) for b in range(12) if a // 2 != b // 2]
    agreement = found.steps[0].agreement
    assert agreement is not None
    assert agreement.value == pytest.approx(np.mean(pairs))
    own_table = {name: np.array(values)[own] for name, values in INFO.items()}
    wide = (
        seed_agreement(own_table, outputs[own], labels, confidence=1 - 0.05 / len(STEPS)).pairs[1].agreement
    )
    band = found.steps[0].agreement_band
    assert band is not None
    assert (band.low, band.high, band.level) == pytest.approx((wide.low, wide.high, 0.95))
    assert band.high > agreement.high


def test_claims_take_the_wider_interval_of_the_two() -> None:
    outputs, labels = study(np.random.default_rng(10))
    found = dynamics(INFO, outputs, labels, "accuracy", margin=0.5, rng=0)
    assert found.settled is not None
    for step, claim in zip(found.steps, found.settled.tests, strict=False):
        assert step.difference is not None
        assert claim.difference == step.difference.estimate.value
        assert claim.p_value >= equivalence(step.difference, 0.5).p_value


def test_results_do_not_depend_on_the_order_of_runs_or_examples() -> None:
    rng = np.random.default_rng(1)
    outputs, labels = study(rng)
    found = dynamics(INFO, outputs, labels, "mcc", margin=0.1, rng=3)
    runs, examples = rng.permutation(len(outputs)), rng.permutation(len(labels))
    shuffled = {name: np.array(values)[runs] for name, values in INFO.items()}
    again = dynamics(shuffled, outputs[runs][:, examples], labels[examples], "mcc", margin=0.1, rng=3)
    for one, other in zip(found.steps, again.steps, strict=True):
        assert one.band.low == pytest.approx(other.band.low, abs=1e-12)
        assert one.agreement is not None
        assert other.agreement is not None
        assert one.agreement.high == pytest.approx(other.agreement.high, abs=1e-12)


def test_the_local_level_is_scipys_where_it_is_known() -> None:
    def curve(correlation: float, df: float) -> Curve:
        matrix = np.full((4, 4), correlation)
        np.fill_diagonal(matrix, 1)
        return Curve(np.zeros(4), np.ones(4), np.full(4, df), matrix)

    assert joint_level(curve(0, 1e6), 0.95, 0) == pytest.approx(0.95**0.25, abs=0.0015)  # Sidak
    assert joint_level(curve(1, 7), 0.95, 0) == pytest.approx(0.95, abs=0.005)
    half = scipy_stats.norm.ppf((1 + joint_level(curve(0.6, 1e6), 0.95, 0)) / 2)
    normal = scipy_stats.multivariate_normal(np.zeros(4), curve(0.6, 1).correlation)
    held = normal.cdf(np.full(4, half), lower_limit=np.full(4, -half))
    assert held == pytest.approx(0.95, abs=0.005)
    assert joint_level(curve(0.6, 4), 0.95, 0) < 0.95**0.25  # variances go together, too


def test_a_curve_without_noise_needs_no_band() -> None:
    constant = np.ones((3, 4, 16)) * np.array([0.25, 0.5, 0.75])[:, None, None]
    curve = curve_of(constant, 0.95)
    assert joint_level(curve, 0.95, 0) == 0.95
    assert np.array_equal(curve.half_widths(0.95), np.zeros(3))


def test_bands_hold_for_all_steps_at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr("multibench.stats.curve.DRAWS", 2_000)
    truth = [0.5, 0.6, 0.66, 0.7, 0.71, 0.71]
    rng = np.random.default_rng(2)
    held, alone = [], []
    for repetition in range(120):
        found = dynamics(**scores_of(rng, truth, 8, 60), metric="mean", rng=repetition)
        held.append(all(s.band.low <= t <= s.band.high for s, t in zip(found.steps, truth, strict=True)))
        alone.append(all(s.score.low <= t <= s.score.high for s, t in zip(found.steps, truth, strict=True)))
    # Binomial bounds: 0.95 gives less than 0.88 of 120 once in a thousand times.
    assert np.mean(held) >= 0.88
    assert np.mean(alone) < np.mean(held)


def claims(truth: Any, margin: float, repetitions: int, n_seeds: int = 6) -> list[int | None]:
    rng = np.random.default_rng(3)
    found = []
    for repetition in range(repetitions):
        made = dynamics(**scores_of(rng, truth, n_seeds, 60), metric="mean", margin=margin, rng=repetition)
        assert made.settled is not None
        found.append(made.settled.step)
    return found


@pytest.mark.parametrize("n_steps", [3, 6])
def test_a_step_is_claimed_too_early_in_one_of_twenty_at_most(n_steps: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("multibench.stats.curve.DRAWS", 100)  # the band is not looked at
    margin = 0.05
    # Exactly a margin below the last up to the middle, equal to it afterwards: the worst case of the null.
    middle = n_steps // 2
    truth = [0.5 - margin] * middle + [0.5] * (n_steps - middle)
    found = claims(truth, margin, 120)
    early = [step is not None and step <= middle for step in found]
    assert sum(early) <= 14  # 120 at 0.05: more than 14 once in a thousand times
    assert sum(step is not None for step in found) > 20


def test_claims_are_nested_and_stop_at_the_first_that_fails() -> None:
    outputs, labels = study(np.random.default_rng(5), 400)
    found = dynamics(INFO, outputs, labels, "accuracy", rng=0)
    differences = [(s.step, s.difference) for s in found.steps if s.difference is not None]
    settled = settled_from(differences, 0.08)
    singles = [equivalence(difference, 0.08).p_value for _, difference in differences]
    assert settled.p_values == tuple(max(singles[k:]) for k in range(3))
    assert list(settled.p_values) == sorted(settled.p_values, reverse=True)
    expected = [step for (step, _), p in zip(differences, settled.p_values, strict=True) if p <= 0.05]
    assert settled.step == (expected[0] if expected else None)
    assert settled_from(differences, 0.9).step == STEPS[0]
    assert settled_from(differences, 1e-9).step is None
    assert "no step but the last" in str(settled_from(differences, 1e-9))
    with pytest.raises(StatisticsError, match="give a positive fraction"):
        settled_from(differences, -0.1)


def test_an_unknown_difference_ends_the_claims() -> None:
    outputs, labels = study(np.random.default_rng(5), 100)
    found = dynamics(INFO, outputs, labels, "accuracy", rng=0)
    differences = [(s.step, s.difference) for s in found.steps if s.difference is not None]
    step, known = differences[1]
    unknown = replace(known.estimate, value=float("nan"), standard_error=float("nan"))
    settled = settled_from([differences[0], (step, replace(known, estimate=unknown)), differences[2]], 0.9)
    assert settled.step == STEPS[2]
    assert np.isnan(settled.p_values[:2]).all()


def test_answers_to_questions_agree_where_both_are_exact() -> None:
    rng = np.random.default_rng(9)
    outputs = np.zeros((48, 30, 5))
    outputs[:, :, 0] = rng.integers(0, 2, (48, 30))
    outputs[:, :, 1] = np.maximum(outputs[:, :, 0], rng.uniform(0, 1, (48, 30)))
    found = dynamics(INFO, outputs, np.ones(30, dtype=int), "answer_f1", rng=0)
    own = outputs[np.array(INFO["step"]) == STEPS[0]][:, :, 0]
    pairs = [(own[a] == own[b]).mean() for a in range(12) for b in range(12) if a // 2 != b // 2]
    agreement = found.steps[0].agreement
    assert agreement is not None
    assert agreement.value == pytest.approx(np.mean(pairs))
    numbers = dynamics(INFO, outputs[:, :, 1], rng.uniform(0, 1, 30), "pearson", rng=0)
    assert numbers.steps[0].agreement is None


def test_too_few_seeds_make_no_claim() -> None:
    found = dynamics(
        **scores_of(np.random.default_rng(4), [0.5, 0.5], 3, 200), metric="mean", margin=0.3, rng=0
    )
    assert found.settled is not None
    assert found.settled.step is None
    assert "3 pretraining seeds are too few" in found.settled.reason
    assert found.settled.p_values[0] < 0.05


def test_one_seed_speaks_of_its_checkpoints_only() -> None:
    outputs, labels = study(np.random.default_rng(6))
    own = np.array(INFO["seed"]) == 2
    info = {name: np.array(values)[own] for name, values in INFO.items()}
    found = dynamics(info, outputs[own], labels, "accuracy", margin=0.9, rng=0)
    assert found.n_seeds == 1
    assert "one pretraining seed" in found.steps[0].score.caveat
    assert np.isnan(found.steps[0].seed_sd.value)
    assert found.steps[0].seed_sd.reason
    assert found.steps[0].agreement is not None
    assert "same pretraining seed" in found.steps[0].agreement.estimand
    assert found.settled is not None
    assert found.settled.step == STEPS[0]


def test_only_seeds_of_all_steps_count() -> None:
    outputs, labels = study(np.random.default_rng(7))
    keep = ~((np.array(INFO["seed"]) == 4) & (np.array(INFO["step"]) == STEPS[1]))
    info = {name: np.array(values)[keep] for name, values in INFO.items()}
    found = dynamics(info, outputs[keep], labels, "accuracy", rng=0)
    assert found.n_seeds == 5
    assert any("step 20,000 that other steps lack were left out: 4" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": [20_000] * 48}, "two steps at least; all runs are of step 20,000"),
        ({"step": [None] * 48}, "A run has no step"),
        ({"seed": list(range(48))}, "No pretraining seed has runs at every step"),
    ],
)
def test_what_is_no_curve_is_refused(change: dict[str, Any], message: str) -> None:
    outputs, labels = study(np.random.default_rng(8), 20)
    with pytest.raises(StatisticsError, match=message):
        dynamics({**INFO, **change}, outputs, labels, "accuracy")


def test_a_callable_metric_is_refused() -> None:
    outputs, labels = study(np.random.default_rng(8), 20)
    with pytest.raises(StatisticsError, match="callable without influence values"):
        dynamics(INFO, outputs, labels, lambda gold, given: 0.5)
