"""Scores at the best threshold against every threshold there is, in the sample and in resamples of it."""

from __future__ import annotations

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.squad import answer_outputs, refused
from multibench.stats import multibootstrap_group

RUNS, EXAMPLES, DRAWS = 3, 19, 40
COLUMNS = {"best_exact_match": 2, "best_answer_f1": 3}


def _split(seed: int, grid: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and outputs; null odds are rounded to multiples of ``grid``, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, EXAMPLES)
    f1 = rng.choice([0, 0.4, 2 / 3, 1], size=(RUNS, EXAMPLES)) * labels
    odds = rng.normal(size=(RUNS, EXAMPLES)) + 1.5 * (labels == 0)
    odds = np.round(odds / grid) * grid if grid else odds
    odds[0, 0] = np.inf  # no answer was possible
    outputs = np.stack([f1 == 1, f1, f1 == 1, f1, odds], axis=2).astype(np.float32)
    return labels, outputs


def _at(threshold: float, labels: np.ndarray, outputs: np.ndarray, column: int) -> float:
    """One run's score at one threshold."""
    scores = np.where(refused(outputs[:, 4], threshold), labels == 0, outputs[:, column].astype(float))
    return float(scores.mean())


def _brute_force(labels: np.ndarray, outputs: np.ndarray, column: int) -> tuple[float, float]:
    """The best score of one run, and the lowest threshold that gives it."""
    candidates = [-np.inf, *np.unique(outputs[:, 4]).tolist()]
    scores = [_at(threshold, labels, outputs, column) for threshold in candidates]
    best = max(scores)
    return best, next(t for t, score in zip(candidates, scores, strict=True) if score > best - 1e-12)


@pytest.mark.parametrize("grid", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", COLUMNS)
def test_no_threshold_is_better_in_the_sample_or_in_any_resample(name: str, grid: float) -> None:
    metric, column = METRICS.get(name), COLUMNS[name]
    rng = np.random.default_rng(1)
    for seed in range(8):
        labels, outputs = _split(seed, grid)
        expected = [_brute_force(labels, run, column) for run in outputs]
        np.testing.assert_allclose(
            [metric.score(labels, run) for run in outputs], [e[0] for e in expected], atol=1e-12
        )
        assert metric.thresholds(labels, outputs).tolist() == [e[1] for e in expected]
        counts = rng.multinomial(EXAMPLES, np.ones(EXAMPLES) / EXAMPLES, size=DRAWS)
        drawn = metric.draws(labels, outputs, counts)
        for draw, row in zip(drawn, counts, strict=True):
            resample = np.repeat(np.arange(EXAMPLES), row)
            for r in range(RUNS):
                best, _ = _brute_force(labels[resample], outputs[r, resample], column)
                assert draw[r] == pytest.approx(best, abs=1e-12)


def test_it_is_never_below_the_score_at_a_fixed_threshold() -> None:
    labels, outputs = _split(3)
    for name, fixed in (("best_exact_match", 2), ("best_answer_f1", 3)):
        for run in outputs:
            assert METRICS.get(name).score(labels, run) >= max(
                _at(t, labels, run, fixed) for t in np.linspace(-9, 9, 200)
            )


def test_where_every_question_has_an_answer_none_is_refused() -> None:
    outputs = answer_outputs(["cat", "dog sat"], [1.0, 9.0], [["cat"], ["dog"]], threshold=None)
    for best, plain in (("best_exact_match", "exact_match"), ("best_answer_f1", "answer_f1")):
        metric = METRICS.get(best)
        assert metric.score([1, 1], outputs) == METRICS.get(plain).score([1, 1], outputs)
    assert METRICS.get("best_answer_f1").thresholds([1, 1], outputs[None]) == 9.0
    assert METRICS.get("best_exact_match").thresholds([1, 1], outputs[None]) == 1.0  # the lowest of the best
    assert METRICS.get("best_exact_match").thresholds([0, 0], np.zeros((1, 2, 5))) == -np.inf


@pytest.mark.parametrize("name", COLUMNS)
def test_influence_values_are_derivatives_by_weights(name: str) -> None:
    labels, outputs = _split(5)
    prepared, step = METRICS.get(name).prepare(labels, outputs), 1e-7
    influence = prepared.influence()
    np.testing.assert_allclose(influence.sum(axis=1), 0, atol=1e-12)
    for i in range(EXAMPLES):
        weights = np.ones((1, EXAMPLES))
        weights[0, i] += step  # a step up: where several thresholds are best, a direction decides
        slope = (prepared.draws(weights)[0] - prepared.scores()) / step
        assert (EXAMPLES * slope >= influence[:, i] - 1e-5).all()
    labels, outputs = np.array([1, 1, 0, 0, 0]), np.zeros((1, 5, 5), dtype=np.float32)
    outputs[0, :, 4], outputs[0, :2, 2:4] = [0, 1, 2, 3, 4], 1  # one set of answered questions is best by far
    prepared = METRICS.get(name).prepare(labels, outputs)
    for i in range(5):
        weights = np.ones((1, 5))
        weights[0, i] -= step
        slope = (prepared.scores() - prepared.draws(weights)[0]) / step
        assert prepared.influence()[0, i] == pytest.approx(5 * slope[0], abs=1e-5)


def test_runs_and_examples_can_be_selected_and_counted_together() -> None:
    labels, outputs = _split(7, grid=0.5)
    metric = METRICS.get("best_answer_f1")
    prepared = metric.prepare(labels, outputs)
    some = prepared.select(np.array([2, 0]), np.arange(4, EXAMPLES))
    np.testing.assert_array_equal(some.scores(), metric.prepare(labels[4:], outputs[[2, 0], 4:]).scores())
    # An example that comes three times is one row with a weight of three.
    assert prepared.rows().shape == (EXAMPLES, 1 + 2 * RUNS)
    weights = np.ones((1, EXAMPLES))
    weights[0, 3] = 3
    thrice = np.concatenate([np.arange(EXAMPLES), [3, 3]])
    np.testing.assert_allclose(
        prepared.draws(weights)[0], metric.prepare(labels[thrice], outputs[:, thrice]).scores(), atol=1e-12
    )


def test_the_bootstrap_takes_it_in_any_order_of_examples() -> None:
    labels, outputs = _split(9, grid=0.5)
    info = {"seed": [0, 1, 2], "finetune_seed": [0, 0, 0]}
    order = np.random.default_rng(0).permutation(EXAMPLES)
    one, other = (
        multibootstrap_group(info, outputs[:, o], labels[o], "best_exact_match", nboot=200, rng=4)
        for o in (np.arange(EXAMPLES), order)
    )
    assert one == other
    assert one.low < one.value < one.high


def test_what_no_threshold_can_be_tuned_on_is_refused() -> None:
    labels, outputs = _split(0)
    metric = METRICS.get("best_exact_match")
    assert metric.tuned_on_reported_split
    assert not METRICS.get("exact_match").tuned_on_reported_split
    for wrong, words in (
        (outputs[..., 2], "no threshold can be tried on scores alone"),
        (outputs[..., :3], "3 values an example; expected exact, f1"),
        (outputs[:, :5], r"shape \(3, 5\) with 19 labels"),
        (np.where(np.arange(5) == 2, np.nan, outputs), "NaN or infinite values"),
        (np.where(np.arange(5) == 4, np.nan, outputs), "null odds for best_exact_match hold NaN"),
    ):
        with pytest.raises(StatisticsError, match=words):
            metric.prepare(labels, wrong)
    with pytest.raises(StatisticsError, match=r"1 for questions with an answer .* got \[0, 1, 2\]"):
        metric.prepare([0, 1, 2], outputs[:, :3])


@pytest.mark.parametrize("name", COLUMNS)
def test_a_draw_does_not_depend_on_how_many_there_are(name: str) -> None:
    labels, outputs = _split(0, 0.5)
    prepared = METRICS.get(name).prepare(labels, outputs)
    counts = np.random.default_rng(2).multinomial(EXAMPLES, np.ones(EXAMPLES) / EXAMPLES, size=131)
    alone = [prepared.draws(row[None])[0] for row in counts]
    assert prepared.draws(counts).tobytes() == np.array(alone).tobytes()
