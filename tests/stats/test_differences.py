"""Examples on which two families differ: exact p-values, their limits, and the rate of false ones."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from multibench.errors import StatisticsError
from multibench.stats import example_differences


def table(n_base: int, n_experiment: int, n_runs: int = 1) -> dict[str, Any]:
    """One row a run; seeds of the experiment are called as those of base."""
    seeds = [*range(n_base), *range(n_experiment)]
    return {
        "seed": np.repeat(seeds, n_runs),
        "finetune_seed": np.tile(np.arange(n_runs), len(seeds)),
        "intervention": np.repeat([False] * n_base + [True] * n_experiment, n_runs),
    }


def test_unpaired_p_values_are_fishers_for_right_and_wrong() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((11, 60)) < rng.random(60)
    right[:6] &= rng.random((6, 60)) < 0.7
    found = example_differences(table(6, 5), right.astype(int), np.ones(60, dtype=int))
    assert found.exact
    assert found.n_arrangements == math.comb(11, 5)
    for j in range(60):
        counts = right[:6, j].sum(), right[6:, j].sum()
        dealt = np.abs(np.arange(12) / 5 - (sum(counts) - np.arange(12)) / 6)
        chances = scipy_stats.hypergeom(11, sum(counts), 5).pmf(np.arange(12))
        seen = abs(counts[1] / 5 - counts[0] / 6)
        assert found.p_values[j] == pytest.approx(chances[dealt >= seen - 1e-9].sum())


def test_paired_p_values_are_those_of_all_signs() -> None:
    rng = np.random.default_rng(1)
    outputs, labels = rng.normal(0, 1, (14, 20)), rng.normal(0, 1, 20)
    found = example_differences(table(7, 7), outputs, labels, "pearson", paired_seeds=True)
    assert found.paired
    assert found.n_arrangements == 2**7
    error = np.abs(outputs - labels)
    gains = error[:7] - error[7:]
    for j in (0, 7, 19):
        exact = scipy_stats.permutation_test(
            (gains[:, j],), np.mean, permutation_type="samples", alternative="two-sided", n_resamples=10**6
        )
        assert found.p_values[j] == pytest.approx(exact.pvalue)
    assert found.difference == pytest.approx(gains.mean(axis=0))


def test_adjusted_p_values_are_statsmodels_on_those_that_could_reach_the_level() -> None:
    rng = np.random.default_rng(2)
    right = rng.random((12, 200)) < np.repeat([[0.95], [0.6]], 6, axis=0)
    found = example_differences(table(6, 6), right.astype(int), np.ones(200, dtype=int))
    pooled = right.sum(axis=0)
    # With 12 seeds, 4 of one kind at least are needed: 2 C(8, 6) / 924 = 0.061 with 4 of 6 against none is too much.
    least = np.array([example_least(k, 6, 6) for k in pooled])
    assert np.array_equal(found.testable, least <= 0.05)
    adjusted = multipletests(found.p_values[found.testable], method="fdr_bh")[1]
    assert found.adjusted[found.testable] == pytest.approx(adjusted)
    assert np.isnan(found.adjusted[~found.testable]).all()
    assert found.smallest_p == pytest.approx(2 / math.comb(12, 6))
    best = multipletests(least[found.testable], method="fdr_bh")[0].sum()
    assert found.can_name == (best > 0)
    assert found.needed is not None
    assert found.needed <= best
    assert np.sort(least)[found.needed - 1] <= 0.05 * found.needed / found.testable.sum()
    assert (
        found.order(5).tolist()
        == sorted(range(200), key=lambda j: (found.p_values[j], -abs(found.difference[j]), j))[:5]
    )


def example_least(right: int, n_base: int, n_experiment: int) -> float:
    """The smallest p-value of an example that ``right`` of all seeds have right."""
    possible = np.arange(max(0, right - n_base), min(right, n_experiment) + 1)
    chances = scipy_stats.hypergeom(n_base + n_experiment, right, n_experiment).pmf(possible)
    sizes = np.abs(possible / n_experiment - (right - possible) / n_base)
    return float(chances[sizes >= sizes.max() - 1e-9].sum())


def test_five_paired_seeds_can_name_no_example() -> None:
    right = np.repeat([0, 1], 5)[:, None] * np.ones((1, 30), dtype=int)
    found = example_differences(table(5, 5), right, np.ones(30, dtype=int), paired_seeds=True)
    assert found.smallest_p == pytest.approx(1 / 16)
    assert (found.testable.sum(), found.needed, found.can_name) == (0, None, False)
    assert not found.differs.any()
    unpaired = example_differences(table(5, 5), right, np.ones(30, dtype=int))
    assert unpaired.smallest_p == pytest.approx(1 / 126)
    assert unpaired.needed == 5
    assert unpaired.differs.all()
    six = np.repeat([0, 1], 6)[:, None] * np.ones((1, 30), dtype=int)
    assert example_differences(table(6, 6), six, np.ones(30, dtype=int), paired_seeds=True).differs.all()


def test_the_count_of_small_p_values_is_compared_with_all_exchanges() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((8, 40)) < 0.7
    found = example_differences(table(4, 4), right.astype(int), np.ones(40, dtype=int), alpha=0.1)
    counts = []
    for places in itertools.combinations(range(8), 4):
        order = [i for i in range(8) if i not in places] + list(places)
        again = example_differences(table(4, 4), right[order].astype(int), np.ones(40, dtype=int), alpha=0.1)
        counts.append(int((again.p_values <= 0.1 + 1e-9).sum()))
    assert found.few == int((found.p_values <= 0.1 + 1e-9).sum())
    assert found.by_chance == pytest.approx(np.mean(counts))
    assert found.p_any == pytest.approx(np.mean(np.array(counts) >= found.few))


def test_drawn_exchanges_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(4)
    right = (rng.random((14, 50)) < np.repeat([[0.4], [0.9]], 7, axis=0)).astype(int)
    for paired in (False, True):
        every = example_differences(table(7, 7), right, np.ones(50, dtype=int), paired_seeds=paired)
        drawn = example_differences(
            *(table(7, 7), right, np.ones(50, dtype=int)), paired_seeds=paired, n_arrangements=100, rng=0
        )
        assert every.exact
        assert not drawn.exact
        assert drawn.n_arrangements == 101
        assert np.abs(every.p_values - drawn.p_values).max() < 0.2
        assert drawn.p_values.min() >= 1 / 101


def study(rng: np.random.Generator, n_seeds: int, n_runs: int, n_examples: int, moved: int) -> np.ndarray:
    """Right or wrong under crossed seeds: skill of seeds, of runs, and their leanings on each example.

    The experiment is better by far on the first ``moved`` examples and equal on the others.
    """
    n = 2 * n_seeds
    shared = rng.normal(0, 0.7, (2, n_seeds, 1, 1)).reshape(n, 1, 1)
    leaning = rng.normal(0, 0.8, (n, 1, n_examples))
    margin = rng.normal(0, 1, n_examples) + shared + leaning + rng.normal(0, 0.6, (n, n_runs, n_examples))
    margin[:n_seeds, :, :moved] -= 4
    margin[n_seeds:, :, :moved] += 4
    return (margin > 0).reshape(n * n_runs, n_examples).astype(int)


@pytest.mark.parametrize("paired", [False, True])
def test_false_ones_stay_below_their_rate_with_crossed_seeds(paired: bool) -> None:
    rng = np.random.default_rng(5)
    n, repetitions = 60, 120
    labels = np.ones(n, dtype=int)
    rates, any_difference, found_true = [], [], []
    for _ in range(repetitions):
        found = example_differences(
            table(6, 6, 2), study(rng, 6, 2, n, 15), labels, paired_seeds=paired, rng=0
        )
        named = np.flatnonzero(found.differs)
        rates.append((named >= 15).sum() / max(1, len(named)))
        found_true.append((named < 15).sum())
        null = example_differences(table(6, 6, 2), study(rng, 6, 2, n, 0), labels, paired_seeds=paired, rng=0)
        any_difference.append([null.differs.any(), null.p_any <= 0.05])
    assert np.mean(rates) <= 0.05 + 0.02
    assert np.mean(found_true) > 8
    # No difference anywhere: at most 5 %; more than 14 of 120 come up once in a thousand times.
    assert (np.sum(any_difference, axis=0) <= 14).all()


def test_surplus_runs_are_left_out_and_one_checkpoint_each_compares_runs() -> None:
    rng = np.random.default_rng(6)
    right = (rng.random((10, 12)) < 0.6).astype(int)
    info = {"seed": [0, 0, 0, 1, 1, 1, 0, 0, 1, 1], "intervention": [False] * 6 + [True] * 4}
    found = example_differences(info, right, np.ones(12, dtype=int))
    assert "2 runs were left out" in found.warnings[0]
    info = {"seed": [0] * 10, "intervention": [False] * 6 + [True] * 4}
    found = example_differences(info, right, np.ones(12, dtype=int), paired_seeds=True)
    assert (found.units, found.n_units, found.paired) == ("fine-tuning runs", (6, 4), False)
    with pytest.raises(StatisticsError, match="One run a side"):
        example_differences(
            {"seed": [0, 1], "intervention": [False, True]}, right[:2], np.ones(12, dtype=int)
        )


def test_nothing_depends_on_the_order_of_runs() -> None:
    rng = np.random.default_rng(7)
    info, right = table(5, 6, 2), (rng.random((22, 30)) < 0.6).astype(int)
    order = rng.permutation(22)
    shuffled = {name: values[order] for name, values in info.items()}
    one = example_differences(info, right, np.ones(30, dtype=int), n_arrangements=50, rng=1)
    other = example_differences(shuffled, right[order], np.ones(30, dtype=int), n_arrangements=50, rng=1)
    assert one.to_dict() == other.to_dict()


@pytest.mark.parametrize("paired", [False, True])
def test_flips_are_counted_between_pairs_of_runs(paired: bool) -> None:
    right = np.random.default_rng(8).random((10, 40)) < 0.6
    info = table(5, 5)
    flips = example_differences(info, right.astype(int), np.ones(40, dtype=int), paired_seeds=paired).flips
    assert flips is not None
    first, second = right[:5], right[5:]
    pairs = [(i, i) for i in range(5)] if paired else list(itertools.product(range(5), repeat=2))
    assert flips.gained == pytest.approx(np.mean([(~first[i] & second[k]).mean() for i, k in pairs]))
    assert flips.lost == pytest.approx(np.mean([(first[i] & ~second[k]).mean() for i, k in pairs]))
    within = [(first[i] != first[k]).mean() for i, k in itertools.combinations(range(5), 2)]
    assert flips.base == pytest.approx(np.mean(within))


def test_only_methods_for_false_discoveries_are_taken() -> None:
    with pytest.raises(StatisticsError, match="`method` is 'holm'"):
        example_differences(table(5, 5), np.ones((10, 4), dtype=int), np.ones(4, dtype=int), method="holm")


def test_more_examples_that_could_differ_need_more_that_do() -> None:
    right = np.zeros((10, 11), dtype=int)
    right[5:] = 1
    for n, needed in ((6, 1), (7, 2), (11, 2)):
        found = example_differences(table(5, 5), right[:, :n], np.ones(n, dtype=int))
        assert found.needed == needed
        assert found.needed == math.ceil(n / 126 / 0.05)
    by = example_differences(table(5, 5), right, np.ones(11, dtype=int), method="benjamini-yekutieli")
    assert by.needed == math.ceil(11 / 126 / 0.05 * sum(1 / k for k in range(1, 12)))
