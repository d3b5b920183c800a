"""The luck of a choice taken off: means without bias, misses on both sides, nothing where nothing was chosen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from multibench.stats import chosen, estimate_group
from multibench.stats.chosen import Choice, choice_of_runs, choice_of_settings
from multibench.stats.problem import prepare


def settings_of(
    rng: np.random.Generator, truth: np.ndarray, n_seeds: int, n: int, own: float = 0.05
) -> tuple[np.ndarray, list[int], list[tuple[int, int]]]:
    """Normal scores of each setting (means ``truth``) with each seed on the same examples; settings, and seeds."""
    y = truth[:, None, None] + rng.normal(0, 0.5, n) + rng.normal(0, own, (len(truth), n_seeds, 1))
    y = y + rng.normal(0, 1, (len(truth), n_seeds, n)) + rng.normal(0, 0.5, (len(truth), 1, n))
    settings = np.repeat(np.arange(len(truth)), n_seeds).tolist()
    return y.reshape(-1, n), settings, [(s, 0) for _ in truth for s in range(n_seeds)]


def simulated(truth: np.ndarray, repetitions: int, n_seeds: int = 5, n: int = 60) -> tuple[np.ndarray, ...]:
    """Errors of the plain and of the corrected mean of what was chosen, and where 80 % intervals miss the truth."""
    rng = np.random.default_rng(0)
    plain, corrected, misses = [], [], []
    for _ in range(repetitions):
        y, settings, rows = settings_of(rng, truth, n_seeds, n)
        choice = choice_of_settings(y, y, settings, rows)
        assert choice is not None
        best = int(y.reshape(len(truth), -1).mean(axis=1).argmax())
        own = y[best * n_seeds : (best + 1) * n_seeds]
        taken = np.full(n_seeds, -choice.optimism)
        found = estimate_group(
            {"seed": range(n_seeds)}, own, np.zeros(n), "mean", confidence=0.8, corrections=taken
        )
        plain.append(own.mean() - truth[best])
        corrected.append(found.value - truth[best])
        misses.append((truth[best] > found.high) - int(truth[best] < found.low))
    return np.array(plain), np.array(corrected), np.array(misses)


def test_the_bias_of_the_best_of_eight_is_removed() -> None:
    plain, corrected, misses = simulated(np.zeros(8), 100)
    assert plain.mean() > 10 * corrected.std() / np.sqrt(len(corrected))
    assert abs(corrected.mean()) < 0.25 * plain.mean()
    # Misses of 80 % intervals: few, and on both sides; without the correction nearly all on one.
    assert (misses == 0).mean() > 0.8
    assert max((misses > 0).sum(), (misses < 0).sum()) <= 3 * min((misses > 0).sum(), (misses < 0).sum()) + 2


def test_settings_that_differ_are_taken_for_too_good_less_often_than_by_their_plain_means() -> None:
    """A choice on a part of the data is a worse one than that on all: what is left is a little too low."""
    plain, corrected, misses = simulated(0.05 * np.arange(8), 100)
    assert -0.6 * plain.mean() < corrected.mean() < 0.02
    assert (misses == 0).mean() > 0.75


def test_a_setting_that_truly_is_the_best_keeps_nearly_all_of_its_score() -> None:
    """On halves of seeds and examples it would often have lost to one of its equals' luck."""
    plain, corrected, _ = simulated(np.array([0.0] * 6 + [0.1, 0.3]), 100)
    assert plain.mean() < 0.05
    assert -0.045 < corrected.mean() < 0.02


def test_every_score_is_taken_once_a_division_and_the_choice_saw_none_of_its_row_or_part() -> None:
    """By hand, on three seeds with two runs of one of them, and seven examples."""
    rng = np.random.default_rng(11)
    rows = [(0, 0), (0, 1), (1, 0), (2, 0)]
    y = rng.normal(0, 1, (3, 4, 7))
    units = np.array([0, 0, 1, 2])
    total = 0.0
    for division in range(chosen.DIVISIONS):
        codes = chosen._parts(7, division).argmax(axis=1)
        for r, j in np.ndindex(4, 7):
            seen = y[:, units != units[r]][:, :, codes != codes[j]].mean(axis=(1, 2))
            total += y[seen.argmax(), r, j]
    best = y.mean(axis=(1, 2)).argmax()
    expected = y[best].mean() - total / y[0].size / chosen.DIVISIONS
    found = choice_of_settings(y.reshape(12, 7), y.reshape(12, 7), np.repeat([0, 1, 2], 4).tolist(), rows * 3)
    assert found is not None
    assert found.optimism == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n_seeds", "n"), [(1, 1), (1, 4), (3, 1), (2, 2)])
def test_few_seeds_and_examples_leave_an_estimate(n_seeds: int, n: int) -> None:
    y, settings, rows = settings_of(np.random.default_rng(8), np.zeros(3), n_seeds, n)
    found = choice_of_settings(y, y, settings, rows)
    assert found is not None
    assert np.isfinite(found.optimism)
    if (n_seeds, n) == (1, 1):
        assert found.optimism == pytest.approx(0, abs=1e-12)  # nothing was left to score on


def test_settings_with_equally_many_right_answers_are_equal_in_every_order_of_runs() -> None:
    right = np.array([[1, 1, 0, 0, 1, 1, 0], [0, 1, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 0, 1]], dtype=float)
    y = right - right.mean(axis=1, keepdims=True) + right.mean(axis=1, keepdims=True)
    found = {
        choice_of_settings(y[list(order)], y[list(order)], list(order), [(0, 0)] * 3)
        for order in itertools.permutations(range(3))
    }
    assert len({round(one.optimism, 12) for one in found if one is not None}) == 1
    assert len({one.agreement for one in found if one is not None}) == 1


def test_where_one_setting_dominates_nothing_is_taken_off() -> None:
    y, settings, rows = settings_of(np.random.default_rng(1), np.array([0.0, 5.0, 0.0]), 4, 31)
    found = choice_of_settings(y, y, settings, rows)
    assert found is not None
    assert found.optimism == pytest.approx(0, abs=1e-12)
    assert (found.agreement, found.n_candidates) == (1, 3)


def test_equal_settings_are_told_by_how_seldom_parts_agree() -> None:
    y, settings, rows = settings_of(np.random.default_rng(2), np.zeros(6), 4, 40)
    found = choice_of_settings(y, y, settings, rows)
    assert found is not None
    assert found.optimism > 0
    assert found.agreement < 0.9


def test_no_order_of_runs_changes_anything() -> None:
    rng = np.random.default_rng(3)
    y, settings, rows = settings_of(rng, np.zeros(5), 4, 33)
    names = [f"rate {s}" for s in settings]
    first = choice_of_settings(y, y, names, rows)
    order = rng.permutation(len(y))
    again = choice_of_settings(y[order], y[order], [names[i] for i in order], [rows[i] for i in order])
    assert first is not None
    assert again is not None
    assert again.optimism == pytest.approx(first.optimism, abs=1e-12)
    assert again.agreement == first.agreement
    of_runs = choice_of_runs(y, y, [row[0] for row in rows])
    turned = choice_of_runs(y[order], y[order], [rows[i][0] for i in order])
    assert of_runs is not None
    assert turned is not None
    assert turned.optimism == pytest.approx(of_runs.optimism, abs=1e-12)


def test_rows_that_a_setting_lacks_are_left_out_and_one_setting_is_no_choice() -> None:
    y, settings, rows = settings_of(np.random.default_rng(4), np.zeros(3), 4, 20)
    kept = [i for i in range(len(y)) if i != 2]
    common = [i for i in kept if rows[i] != (2, 0)]
    found, expected = (
        choice_of_settings(y[k], y[k], [settings[i] for i in k], [rows[i] for i in k]) for k in (kept, common)
    )
    assert isinstance(found, Choice)
    assert found == expected
    assert choice_of_settings(y[:4], y[:4], [0] * 4, rows[:4]) is None
    assert choice_of_settings(y[:2], y[:2], [0, 1], [(0, 0), (1, 0)]) is None
    assert choice_of_runs(y[:4], y[:4], rows[:4]) is None


def test_the_best_run_of_each_checkpoint_loses_the_luck_of_the_examples_only() -> None:
    rng = np.random.default_rng(5)
    taken, kept = [], []
    for _ in range(60):
        quality = rng.normal(0, 0.1, (3, 4, 1))
        y = quality + rng.normal(0, 1, (3, 4, 80))
        found = choice_of_runs(y.reshape(12, 80), y.reshape(12, 80), np.repeat(np.arange(3), 4).tolist())
        assert found is not None
        assert found.n_candidates == 4
        best = y.mean(axis=2).argmax(axis=1)
        true = np.take_along_axis(quality[:, :, 0], best[:, None], 1).mean()
        plain = np.take_along_axis(y.mean(axis=2), best[:, None], 1).mean()
        taken.append(plain - found.optimism - true)
        kept.append(plain - true)
    # A choice on four fifths of the examples is hardly a worse one.
    assert np.mean(kept) > 0.05
    assert -0.3 * np.mean(kept) < np.mean(taken) < 0.1 * np.mean(kept)


def test_two_metrics_look_at_the_same_half_of_the_examples() -> None:
    """What is reported and what decides must have their units in one order."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 50)
    preds = np.where(rng.random((4, 50)) < 0.8, labels, 1 - labels)
    accuracy, mcc = (
        prepare({"seed": range(4)}, preds, labels, name, keep_examples=True).pseudo_scores
        for name in ("accuracy", "mcc")
    )
    for one, other in zip(accuracy, mcc, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.9
