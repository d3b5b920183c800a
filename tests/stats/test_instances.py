"""Example by example: agreement of runs against libraries and by hand, difficulty, and errors of claims."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from multibench.errors import StatisticsError
from multibench.stats import difficulty, seed_agreement
from multibench.stats.instances import instances_of


def runs_of(n_seeds: int, n_runs: int) -> dict[str, Any]:
    seeds, runs = np.meshgrid(np.arange(n_seeds), np.arange(n_runs), indexing="ij")
    return {"seed": seeds.ravel(), "finetune_seed": runs.ravel()}


def answers_of(rng: np.random.Generator, n_seeds: int, n_runs: int, n_examples: int) -> tuple[Any, Any, Any]:
    """Classes 0 to 2 of crossed runs with seed effects on each example; the run table and labels."""
    leaning = rng.normal(0, 1.5, (1, 1, n_examples, 3)) + rng.normal(0, 0.8, (n_seeds, 1, n_examples, 3))
    scores = leaning + rng.normal(0, 0.6, (n_seeds, n_runs, n_examples, 3))
    answers = scores.reshape(n_seeds * n_runs, n_examples, 3).argmax(axis=2)
    return runs_of(n_seeds, n_runs), answers, rng.integers(0, 3, n_examples)


def test_agreement_of_two_runs_is_counted_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    answers = np.array([[0, 1, 1, 1, 0], [0, 0, 1, 0, 0]])
    (pair,) = seed_agreement({"seed": [0, 1]}, answers, labels).pairs
    assert pair.kind == "other pretraining seed"
    assert pair.agreement.value == pytest.approx(3 / 5)
    # Shares of classes over both runs: 6/10 and 4/10, so 0.52 agree by chance.
    assert pair.kappa.value == pytest.approx((0.6 - 0.52) / 0.48)
    assert pair.flips is not None
    assert pair.churn is not None
    assert pair.flips.value == pytest.approx(2 / 5)
    assert pair.accuracy_gap == pytest.approx(0.0)
    assert pair.churn.value == pytest.approx(2 / 5)
    assert "examples only" in pair.agreement.caveat


def test_kappa_is_statsmodels_with_one_run_a_seed() -> None:
    info, answers, labels = answers_of(np.random.default_rng(0), 6, 1, 80)
    (pair,) = seed_agreement(info, answers, labels).pairs
    counts, _ = aggregate_raters(answers.T)
    assert pair.kappa.value == pytest.approx(fleiss_kappa(counts, method="fleiss"))
    two = {"seed": [0, 1]}
    (pair,) = seed_agreement(two, answers[:2], labels).pairs
    # Cohen's chance takes each run's own shares of classes, which differ little here.
    assert pair.kappa.value == pytest.approx(cohen_kappa_score(answers[0], answers[1]), abs=0.01)


def test_kinds_of_pairs_are_those_of_a_double_loop() -> None:
    info, answers, labels = answers_of(np.random.default_rng(1), 4, 3, 50)
    found = {pair.kind: pair for pair in seed_agreement(info, answers, labels).pairs}
    correct = answers == labels
    kinds: dict[str, list[Any]] = {}
    for a, b in itertools.combinations(range(12), 2):
        same = info["seed"][a] == info["seed"][b]
        names = ["same pretraining seed" if same else "other pretraining seed"]
        if not same and info["finetune_seed"][a] == info["finetune_seed"][b]:
            names.append("other pretraining seed, same fine-tuning seed")
        flips = (correct[a] != correct[b]).mean()
        gap = abs(correct[a].mean() - correct[b].mean())
        for name in names:
            kinds.setdefault(name, []).append(((answers[a] == answers[b]).mean(), flips, gap))
    assert set(kinds) == set(found)
    for name, values in kinds.items():
        pair, (agreement, flips, gap) = found[name], np.mean(values, axis=0)
        assert pair.flips is not None
        assert pair.churn is not None
        assert pair.n_pairs == len(values)
        assert pair.agreement.value == pytest.approx(agreement)
        assert pair.flips.value == pytest.approx(flips)
        assert pair.accuracy_gap == pytest.approx(gap)
        assert pair.churn.value == pytest.approx(flips - gap)
    ranked = [found[name].agreement.value for name in list(kinds)[:2]]
    assert ranked[0] > ranked[1] + 0.1  # seeds have effects on examples


def test_standard_errors_are_those_of_leaving_out_one_at_a_time() -> None:
    info, answers, labels = answers_of(np.random.default_rng(2), 4, 2, 30)

    def kappas(rows: Any, examples: Any) -> float:
        kept = {name: values[rows] for name, values in info.items()}
        return seed_agreement(kept, answers[rows][:, examples], labels[examples]).pairs[1].kappa.value

    every, examples = np.arange(8), np.arange(30)
    by_seed = np.array([kappas(every[info["seed"] != s], examples) for s in range(4)])
    by_example = np.array([kappas(every, examples != j) for j in range(30)])
    variance = 3 / 4 * ((by_seed - by_seed.mean()) ** 2).sum()
    variance += 29 / 30 * ((by_example - by_example.mean()) ** 2).sum()
    error = seed_agreement(info, answers, labels).pairs[1].kappa.standard_error
    assert error == pytest.approx(math.sqrt(variance), rel=0.01)


def test_intervals_of_agreement_cover() -> None:
    rng = np.random.default_rng(3)
    truth = np.mean([seed_agreement(*made(rng, 30, 2_000)).pairs[0].agreement.value for _ in range(8)])
    held = []
    for _ in range(200):
        pair = seed_agreement(*made(rng, 6, 120)).pairs[0].agreement
        held.append(pair.low <= truth <= pair.high)
    assert np.mean(held) > 0.9  # 0.95 gives 180 or fewer of 200 about once in three hundred times


def made(rng: np.random.Generator, n_seeds: int, n_examples: int) -> tuple[Any, Any, Any]:
    """Right or wrong with seeds that differ in skill."""
    skill = rng.normal(1, 0.3, (n_seeds, 1)) + rng.normal(0, 1, n_examples)
    right = skill + rng.normal(0, 1, (n_seeds, n_examples)) > 0
    return {"seed": np.arange(n_seeds)}, right.astype(int), np.ones(n_examples, dtype=int)


def test_nothing_depends_on_the_order_of_runs() -> None:
    rng = np.random.default_rng(4)
    info, answers, labels = answers_of(rng, 4, 3, 40)
    order = rng.permutation(12)
    shuffled = {name: values[order] for name, values in info.items()}
    one = seed_agreement(info, answers, labels).to_dict()
    assert one == seed_agreement(shuffled, answers[order], labels).to_dict()
    one = difficulty(info, answers, labels).to_dict()
    assert one == difficulty(shuffled, answers[order], labels).to_dict()


def test_constant_answers_have_no_kappa() -> None:
    (pair,) = seed_agreement({"seed": [0, 1, 2]}, np.zeros((3, 9), dtype=int), np.zeros(9, dtype=int)).pairs
    assert pair.agreement.value == 1
    assert math.isnan(pair.kappa.value)
    assert "one class" in pair.kappa.reason


def test_numbers_have_distances_and_absolute_errors() -> None:
    rng = np.random.default_rng(5)
    labels, outputs = rng.uniform(0, 5, 30), rng.uniform(0, 5, (4, 30, 1))
    info = {"seed": [0, 0, 1, 1]}
    found = seed_agreement(info, outputs, labels, "pearson")
    assert found.pairs == ()
    between = [np.abs(outputs[a] - outputs[b]).mean() for a in (0, 1) for b in (2, 3)]
    assert found.distances["other pretraining seed"].value == pytest.approx(np.mean(between))
    hard = difficulty(info, outputs, labels, "pearson")
    assert hard.always is None
    assert hard.mean == pytest.approx(-np.abs(outputs[:, :, 0] - labels).mean(axis=0))
    assert hard.hardest(3).tolist() == np.argsort(hard.mean)[:3].tolist()


def test_answers_to_questions_are_right_or_wrong_and_have_their_f1() -> None:
    rng = np.random.default_rng(6)
    outputs = np.zeros((4, 20, 5))
    outputs[:, :, 0] = rng.integers(0, 2, (4, 20))
    outputs[:, :, 1] = np.maximum(outputs[:, :, 0], rng.uniform(0, 1, (4, 20)))
    labels, info = np.ones(20, dtype=int), {"seed": range(4)}
    assert difficulty(info, outputs, labels, "exact_match").mean == pytest.approx(
        outputs[:, :, 0].mean(axis=0)
    )
    hard = difficulty(info, outputs, labels, "answer_f1")
    assert hard.mean == pytest.approx(outputs[:, :, 1].mean(axis=0))
    assert hard.always == int(outputs[:, :, 0].all(axis=0).sum())
    (pair,) = seed_agreement(info, outputs, labels, "answer_f1").pairs
    assert pair.flips is not None
    assert pair.flips.value == pytest.approx(1 - pair.agreement.value)


def test_shrunken_difficulty_is_nearer_the_truth_and_knows_its_error() -> None:
    rng = np.random.default_rng(7)
    share = rng.beta(4, 2, 1_500)
    right = rng.random((5, 1_500)) < share
    found = difficulty({"seed": range(5)}, right.astype(int), np.ones(1_500, dtype=int))
    errors = [float(np.sqrt(((guess - share) ** 2).mean())) for guess in (found.mean, found.shrunk)]
    assert errors[1] < 0.8 * errors[0]
    assert found.error == pytest.approx(errors[1], rel=0.1)
    # Beta-binomial: variance of the shares over that of the observed means.
    variance = 4 * 2 / (6**2 * 7)
    assert found.reliability == pytest.approx(variance / (variance + 4 * 2 / (6 * 7) / 5), abs=0.05)
    assert found.always == int(right.all(axis=0).sum())
    assert found.never == int((~right).all(axis=0).sum())


def test_every_seed_weighs_the_same_in_difficulty() -> None:
    right = np.array([[1, 0], [1, 0], [1, 0], [0, 0]])
    found = difficulty({"seed": [0, 0, 0, 1]}, right, np.ones(2, dtype=int))
    assert found.mean.tolist() == [0.5, 0.0]


def test_one_run_says_nothing_of_others() -> None:
    found = difficulty({"seed": [0]}, np.array([[1, 0, 1]]), np.ones(3, dtype=int))
    assert np.isnan(found.shrunk).all()
    assert found.caveat
    with pytest.raises(StatisticsError, match="two runs at least"):
        seed_agreement({"seed": [0]}, np.array([[1, 0, 1]]), np.ones(3, dtype=int))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("best_exact_match", "tuned on all examples"),
        (lambda gold, given: 0.5, "need a registered metric"),
    ],
)
def test_metrics_without_single_examples_are_refused(metric: Any, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        instances_of({"seed": [0, 1]}, np.zeros((2, 4, 5)), np.ones(4, dtype=int), metric)


def test_intervals_end_where_shares_end() -> None:
    answers = np.zeros((5, 60), dtype=int)
    answers[4, :50] = 1
    (pair,) = seed_agreement({"seed": range(5)}, answers, np.zeros(60, dtype=int)).pairs
    assert pair.agreement.high == 1
    assert pair.flips is not None
    assert pair.flips.low == 0
    assert pair.agreement.value - pair.agreement.low > 1 - pair.agreement.value
