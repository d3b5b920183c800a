"""Curves over steps: bands that hold together, and how often a step is claimed too early."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.stats import (
    compare_groups,
    components,
    dynamics,
    equivalence,
    estimate_group,
    joint,
    seed_agreement,
    settled_from,
    variance_components,
)
from multibench.stats.factors import PRETRAINING
from multibench.stats.inference import difference_inference
from multibench.stats.problem import prepare

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
    found = dynamics(INFO, outputs, labels, "accuracy", margin=0.1)
    assert [step.step for step in found.steps] == list(STEPS)
    steps = np.array(INFO["step"])
    for step in found.steps[:-1]:
        rows = np.isin(steps, [step.step, STEPS[-1]])
        info = {name: np.array(values)[rows] for name, values in INFO.items()}
        info["intervention"] = info["step"] == step.step
        direct = compare_groups(info, outputs[rows], labels, "accuracy", paired_seeds=True)
        assert step.difference is not None
        assert step.difference.estimate.value == pytest.approx(direct.difference.value, abs=1e-12)
        assert step.difference.estimate.half_width == pytest.approx(direct.difference.half_width, rel=1e-9)
        assert step.difference.p_value == pytest.approx(direct.p_value, rel=1e-9)
    own = steps == STEPS[0]
    table = {name: np.array(values)[own] for name, values in INFO.items()}
    alone = estimate_group(table, outputs[own], labels, "accuracy")
    score = found.steps[0].score
    assert (score.low, score.value, score.high) == pytest.approx(
        (alone.low, alone.value, alone.high), abs=1e-12
    )
    source = variance_components(table, outputs[own], labels, "accuracy", "crossed").source(PRETRAINING)
    assert source is not None
    assert found.steps[0].seed_sd.value == pytest.approx(source.sd.value)
    assert found.steps[0].seed_sd.high == pytest.approx(source.sd.high)
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


def test_results_do_not_depend_on_the_order_of_runs_or_examples() -> None:
    rng = np.random.default_rng(1)
    outputs, labels = study(rng)
    found = dynamics(INFO, outputs, labels, "mcc", margin=0.1)
    runs, examples = rng.permutation(len(outputs)), rng.permutation(len(labels))
    shuffled = {name: np.array(values)[runs] for name, values in INFO.items()}
    again = dynamics(shuffled, outputs[runs][:, examples], labels[examples], "mcc", margin=0.1)
    for one, other in zip(found.steps, again.steps, strict=True):
        assert one.band.low == pytest.approx(other.band.low, abs=1e-12)
        assert one.agreement is not None
        assert other.agreement is not None
        assert one.agreement.high == pytest.approx(other.agreement.high, abs=1e-12)


def test_a_band_is_wider_than_single_intervals_and_narrower_than_bonferronis() -> None:
    outputs, labels = study(np.random.default_rng(10))
    found = dynamics(INFO, outputs, labels, "accuracy")
    assert 0.95 < found.local_level <= 1 - 0.05 / len(STEPS)
    for step in found.steps:
        assert step.band.low < step.score.low
        assert step.score.high < step.band.high
        assert "all steps at once" in step.band.method


def test_steps_without_noise_need_no_band() -> None:
    y = np.repeat([0.25, 0.5, 0.75], 4)[:, None] + np.ones((12, 16)) * 5
    info = {"seed": list(range(4)) * 3, "step": np.repeat([1, 2, 3], 4).tolist()}
    found = dynamics(info, y, np.zeros(16), "mean")
    assert found.local_level == 0.95
    assert all(np.isnan(step.score.low) and "no noise" in step.score.reason for step in found.steps)


def test_bands_hold_for_all_steps_at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(joint, "DRAWS", 1_000)
    monkeypatch.setattr(joint, "GRID", 60)
    monkeypatch.setattr(components, "DRAWS", 10)  # seeds' deviations are not looked at
    truth = [0.5, 0.6, 0.7, 0.71, 0.71]
    rng = np.random.default_rng(2)
    held, alone = [], []
    for _ in range(70):
        found = dynamics(**scores_of(rng, truth, 8, 60), metric="mean")
        held.append(all(s.band.low <= t <= s.band.high for s, t in zip(found.steps, truth, strict=True)))
        alone.append(all(s.score.low <= t <= s.score.high for s, t in zip(found.steps, truth, strict=True)))
    # Binomial bounds: 0.95 gives less than 0.88 of 70 once in a hundred times.
    assert np.mean(held) >= 0.88
    assert np.mean(alone) < np.mean(held)


def claims(truth: Any, margin: float, repetitions: int, n_seeds: int = 8) -> list[int | None]:
    """What ``dynamics`` claims, without the rest of it."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(repetitions):
        problem = prepare(**scores_of(rng, truth, n_seeds, 60), metric="mean")
        steps = problem.table.column("step")
        groups = [
            problem.table.group(str(k), [row for row, step in enumerate(steps) if step == k + 1])
            for k in range(len(truth))
        ]
        differences = [
            (k + 1, difference_inference(problem, groups[-1], group, True))
            for k, group in enumerate(groups[:-1])
        ]
        found.append(settled_from(differences, margin).step)
    return found


@pytest.mark.parametrize("n_steps", [3, 6])
def test_a_step_is_claimed_too_early_in_one_of_twenty_at_most(n_steps: int) -> None:
    margin = 0.05
    # Exactly a margin below the last up to the middle, equal to it afterwards: the worst case of the null.
    middle = n_steps // 2
    truth = [0.5 - margin] * middle + [0.5] * (n_steps - middle)
    found = claims(truth, margin, 120)
    early = [step is not None and step <= middle for step in found]
    assert sum(early) <= 14  # 120 at 0.05: more than 14 once in a thousand times
    assert sum(step is not None for step in found) > 20
    given = scores_of(np.random.default_rng(3), truth, 8, 60)
    whole = dynamics(**given, metric="mean", margin=margin).settled
    assert whole is not None
    assert whole.step == found[0]


def test_claims_are_nested_and_stop_at_the_first_that_fails() -> None:
    outputs, labels = study(np.random.default_rng(5), 400)
    found = dynamics(INFO, outputs, labels, "accuracy")
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
    found = dynamics(INFO, outputs, labels, "accuracy")
    differences = [(s.step, s.difference) for s in found.steps if s.difference is not None]
    step, known = differences[1]
    unknown = replace(known.estimate, value=float("nan"), low=float("nan"), high=float("nan"))
    settled = settled_from([differences[0], (step, replace(known, estimate=unknown)), differences[2]], 0.9)
    assert settled.step == STEPS[2]
    assert np.isnan(settled.p_values[:2]).all()


def test_answers_to_questions_agree_where_both_are_exact() -> None:
    rng = np.random.default_rng(9)
    outputs = np.zeros((48, 30, 5))
    outputs[:, :, 0] = rng.integers(0, 2, (48, 30))
    outputs[:, :, 1] = np.maximum(outputs[:, :, 0], rng.uniform(0, 1, (48, 30)))
    found = dynamics(INFO, outputs, np.ones(30, dtype=int), "answer_f1")
    own = outputs[np.array(INFO["step"]) == STEPS[0]][:, :, 0]
    pairs = [(own[a] == own[b]).mean() for a in range(12) for b in range(12) if a // 2 != b // 2]
    agreement = found.steps[0].agreement
    assert agreement is not None
    assert agreement.value == pytest.approx(np.mean(pairs))
    numbers = dynamics(INFO, outputs[:, :, 1], rng.uniform(0, 1, 30), "pearson")
    assert numbers.steps[0].agreement is None


def test_few_seeds_claim_what_their_wide_interval_shows() -> None:
    given = scores_of(np.random.default_rng(4), [0.5, 0.5], 3, 200)
    found = dynamics(**given, metric="mean", margin=0.3)
    difference = found.steps[0].difference
    assert difference is not None
    assert found.settled is not None
    wide = difference.surrogate.half_width(0.9)
    for margin in (
        0.9 * (wide + abs(difference.estimate.value)),
        1.1 * (wide + abs(difference.estimate.value)),
    ):
        settled = settled_from([(1, difference)], margin)
        assert (settled.step == 1) == (margin > wide + abs(difference.estimate.value))
    assert [few.n_units for few in difference.few] == [3]


def test_one_seed_speaks_of_its_checkpoints_only() -> None:
    outputs, labels = study(np.random.default_rng(6))
    own = np.array(INFO["seed"]) == 2
    info = {name: np.array(values)[own] for name, values in INFO.items()}
    found = dynamics(info, outputs[own], labels, "accuracy", margin=0.9)
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
    found = dynamics(info, outputs[keep], labels, "accuracy")
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
