"""Bad input, registration and import cost."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from multibench.errors import StatisticsError, UnknownNameError
from multibench.metrics import METRICS


def test_the_registry_names_what_it_has():
    assert METRICS.names() == [
        "accuracy",
        "answer_f1",
        "best_answer_f1",
        "best_exact_match",
        "exact_match",
        "f1",
        "macro_f1",
        "mcc",
        "mean",
        "micro_f1",
        "pearson",
        "spearman",
        "weighted_f1",
    ]
    for metric in METRICS:
        assert metric.title
        assert METRICS.get(metric.name) is metric
    with pytest.raises(UnknownNameError, match="Did you mean 'spearman'"):
        METRICS.get("spearmen")


@pytest.mark.parametrize(
    ("name", "labels", "outputs", "words"),
    [
        ("accuracy", [0, 1], [[0.5, 0.1]], "class numbers"),
        ("accuracy", [0, 1], [[0, 1, 1]], "2 labels"),
        ("accuracy", [[0], [1]], [[0, 1]], "expected \\(n_examples,\\)"),
        ("accuracy", [0, 1], [[[0.2], [0.3]]], "one score an example"),
        ("f1", [0, 1], [[[0.2, np.nan], [0.3, 1]]], "NaN"),
        ("mcc", ["a", "b"], [[0, 1]], "class numbers"),
        ("mean", [0, 0], [[np.nan, 1]], "NaN"),
        ("pearson", [0, np.inf], [[0, 1]], "infinite"),
        ("pearson", [0, 1], [[[0, 1], [1, 2]]], "expected one"),
        ("spearman", [], [[]], "no examples"),
    ],
)
def test_bad_input_is_one_sentence(name, labels, outputs, words):
    with pytest.raises(StatisticsError, match=words):
        METRICS.get(name).prepare(labels, outputs)


def test_weights_must_fit():
    with pytest.raises(StatisticsError, match="2 examples"):
        METRICS.get("accuracy").draws([0, 1], [[0, 1]], np.ones((3, 4)))


def test_importing_metrics_and_stats_brings_nothing_heavy():
    code = (
        "import sys, multibench.metrics, multibench.stats;"
        "heavy = {'pandas', 'statsmodels', 'sklearn', 'torch', 'scipy'} & set(sys.modules);"
        "raise SystemExit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
