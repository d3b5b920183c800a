"""Weighted metrics against scikit-learn and scipy on the resample written out, 500 random cases each."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from multibench.metrics import F1, METRICS

CASES = 500
CLASSES = ("accuracy", "f1", "macro_f1", "mcc", "micro_f1", "weighted_f1")


def classes_case(rng, n_classes):
    n, runs = int(rng.integers(2, 40)), int(rng.integers(1, 3))
    labels = rng.integers(0, n_classes, n)
    outputs = np.where(rng.random((runs, n)) < 0.6, labels, rng.integers(0, n_classes, (runs, n)))
    if rng.random() < 0.2:
        outputs[0] = rng.integers(n_classes)
    if rng.random() < 0.1:
        labels[:] = labels[0]
    return labels, outputs


def values_case(rng):
    n, runs = int(rng.integers(3, 40)), int(rng.integers(1, 3))
    levels = int(rng.choice([2, 4, 1000]))
    labels = rng.integers(0, levels, n) / levels * 5
    outputs = labels + rng.normal(0, 1.5, (runs, n)) + rng.choice([0.0, 1e4])
    if rng.random() < 0.5:
        outputs = np.round(outputs)
    if rng.random() < 0.2:
        outputs[0] = 0.1
    if rng.random() < 0.1:
        labels[:] = 2.2
    return labels, outputs


def weights_case(rng, n, draws=2):
    kind = rng.random()
    if kind < 0.7:
        return rng.multinomial(n, np.full(n, 1 / n), size=draws)
    weights = rng.integers(0, 3, (draws, n))
    weights[:, 0] += 1
    return weights


def library(function, labels, outputs, weights):
    scores = np.empty((len(weights), len(outputs)))
    for b, weight in enumerate(weights):
        index = np.repeat(np.arange(len(labels)), weight)
        for r, output in enumerate(outputs):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores[b, r] = function(labels[index], output[index])
    return scores


def averaged(kind):
    return lambda x, y: f1_score(x, y, average=kind, zero_division=0)


def correlation(function):
    def score(x, y):
        if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
            return np.nan
        return function(x, y).statistic

    return score


@pytest.mark.parametrize(
    ("name", "function", "n_classes"),
    [
        ("accuracy", accuracy_score, 3),
        ("f1", lambda x, y: f1_score(x, y, zero_division=0), 2),
        ("mcc", matthews_corrcoef, 2),
        ("mcc", matthews_corrcoef, 4),
        ("macro_f1", averaged("macro"), 2),
        ("macro_f1", averaged("macro"), 4),
        ("micro_f1", averaged("micro"), 3),
        ("weighted_f1", averaged("weighted"), 2),
        ("weighted_f1", averaged("weighted"), 4),
    ],
)
def test_classification(name, function, n_classes):
    rng = np.random.default_rng(1)
    metric = METRICS.get(name)
    for _ in range(CASES):
        labels, outputs = classes_case(rng, n_classes)
        weights = weights_case(rng, len(labels), draws=1)
        expected = library(function, labels, outputs, weights)
        np.testing.assert_allclose(metric.draws(labels, outputs, weights), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "function"), [("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr)]
)
def test_correlation(name, function):
    rng = np.random.default_rng(2)
    metric = METRICS.get(name)
    undefined = 0
    for _ in range(CASES):
        labels, outputs = values_case(rng)
        weights = weights_case(rng, len(labels))
        expected = library(correlation(function), labels, outputs, weights)
        undefined += np.isnan(expected).sum()
        np.testing.assert_allclose(metric.draws(labels, outputs, weights), expected, atol=1e-9)
    assert undefined > 100, "constant predictions and labels must be among the cases"


def test_mean():
    rng = np.random.default_rng(3)
    metric = METRICS.get("mean")
    for _ in range(CASES):
        labels, outputs = values_case(rng)
        weights = weights_case(rng, len(labels))
        expected = library(lambda _, y: y.mean(), labels, outputs, weights)
        np.testing.assert_allclose(metric.draws(labels, outputs, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("name", [*CLASSES, "mean", "pearson", "spearman"])
def test_influence_is_the_derivative_by_the_weight(name):
    rng = np.random.default_rng(4)
    metric = METRICS.get(name)
    for _ in range(50):
        if name in CLASSES:
            labels, outputs = classes_case(rng, 2 if name == "f1" else 3)
        else:
            labels, outputs = values_case(rng)
            outputs = outputs % 1e4
        n, step = len(labels), 1e-5
        up = metric.draws(labels, outputs, np.ones((n, n)) + step * np.eye(n))
        down = metric.draws(labels, outputs, np.ones((n, n)) - step * np.eye(n))
        values = metric.influence(labels, outputs)
        np.testing.assert_allclose(values, n * (up - down).T / (2 * step), atol=2e-4 * n)
        defined = ~np.isnan(values).any(axis=1)
        np.testing.assert_allclose(values[defined].sum(axis=1), 0, atol=1e-7 * n)


def test_class_scores_are_argmaxed_and_single_outputs_squeezed():
    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 3, 11), rng.random((4, 11, 3))
    metric = METRICS.get("mcc")
    weights = np.ones((1, 11), dtype=int)
    np.testing.assert_array_equal(
        metric.draws(labels, scores, weights), metric.draws(labels, scores.argmax(2), weights)
    )
    assert METRICS.get("accuracy").score(labels, scores[0]) == np.mean(scores[0].argmax(1) == labels)
    values = rng.random((4, 11, 1))
    np.testing.assert_array_equal(
        METRICS.get("pearson").draws(rng.permutation(11), values, weights).shape, (1, 4)
    )


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "weighted_f1"])
def test_some_runs_and_examples_of_an_averaged_f1(name):
    rng = np.random.default_rng(6)
    labels, outputs = rng.integers(0, 3, 30), rng.integers(0, 3, (4, 30))
    prepared = METRICS.get(name).prepare(labels, outputs)
    kept, runs = np.flatnonzero(labels != 2), [3, 1]
    expected = [METRICS.get(name).score(labels[kept], outputs[run, kept]) for run in runs]
    np.testing.assert_allclose(prepared.select(runs, kept).scores(), expected, atol=1e-15)
    assert prepared.rows().shape == (30, 5)


def test_f1_of_another_positive_class():
    labels, outputs = np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 2, 0])
    assert F1(positive=2).score(labels, outputs) == f1_score(labels == 2, outputs == 2)


def test_runs_of_a_collapsed_model():
    labels = np.array([0, 1, 1, 0, 1])
    assert METRICS.get("mcc").score(labels, np.ones(5, dtype=int)) == 0
    assert METRICS.get("f1").score(labels * 0, labels * 0) == 0
    for name in ("pearson", "spearman"):
        assert np.isnan(METRICS.get(name).score(labels, np.full(5, 0.1)))
        assert np.isnan(METRICS.get(name).influence(labels, np.full((1, 5), 0.1))).all()
