"""Answers against the rules of the official SQuAD scripts, cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.metrics.squad import (
    ANSWER_OUTPUTS,
    answer_f1,
    answer_outputs,
    exact_match,
    normalise_answer,
    refused,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat", "cat"),
        ("a", ""),
        ("", ""),
        ("An apple, a day.", "apple day"),
        ("the-cat", "thecat"),  # punctuation goes first, so no article is left to see
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("$3.50", "350"),
        ("“The” end", "“ ” end"),  # only ASCII punctuation is punctuation
        ("Ñandú\u00a0THE\tÉmile\n", "ñandú émile"),
        ("a_the b", "athe b"),
        ("1 a. m.", "1 m"),
        ("İstanbul", "i̇stanbul"),  # lower() gives two characters
        ("Straße", "straße"),
        ("東京 the 都", "東京 都"),
        ("thé the", "thé"),
        ("x – y", "x – y"),
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalise_answer(text) == normal


@pytest.mark.parametrize("unanswerable", [False, True])
@pytest.mark.parametrize(
    ("prediction", "gold", "exact", "f1"),
    [
        ("the Normans", ["Normans"], 1.0, 1.0),
        ("Norman people", ["the Normans", "Norman"], 0.0, 2 / 3),
        ("x", ["y"], 0.0, 0.0),
        ("b b c", ["b c c"], 0.0, 2 / 3),  # multiplicity counts: b and c are shared once each
        ("one two three", ["one", "one two", "four"], 0.0, 0.8),
        # The best exact match and the best F1 may come from different answers, and order is no matter for F1.
        ("two one", ["one two"], 0.0, 1.0),
        ("", ["x"], 0.0, 0.0),
    ],
)
def test_scores_of_both_scripts(
    prediction: str, gold: list[str], exact: float, f1: float, unanswerable: bool
) -> None:
    assert exact_match(prediction, gold, unanswerable) == exact
    assert answer_f1(prediction, gold, unanswerable) == pytest.approx(f1, abs=1e-15)


@pytest.mark.parametrize(
    ("prediction", "gold", "v1", "v2"),
    [
        ("", [], (0.0, 0.0), (1.0, 1.0)),  # a question without answers exists in v2.0 only
        ("The", [], (0.0, 0.0), (1.0, 1.0)),  # an article normalises to nothing
        ("cat", [], (0.0, 0.0), (0.0, 0.0)),
        ("a", ["A"], (1.0, 0.0), (1.0, 1.0)),  # v1.1 finds no shared word, v2.0 no gold answer that counts
        ("", ["the", "cat"], (1.0, 0.0), (0.0, 0.0)),  # v2.0 drops "the", so that only "cat" counts
    ],
)
def test_where_the_two_scripts_differ(
    prediction: str, gold: list[str], v1: tuple[float, float], v2: tuple[float, float]
) -> None:
    for unanswerable, expected in ((False, v1), (True, v2)):
        found = exact_match(prediction, gold, unanswerable), answer_f1(prediction, gold, unanswerable)
        assert found == expected


def test_the_threshold_decides_which_answer_counts() -> None:
    texts, gold = ["cat", "cat", "cat sat", "dog"], [["cat"], [], ["cat"], []]
    odds = [-1.0, 2.0, 0.5, 0.5]
    outputs = answer_outputs(texts, odds, gold, threshold=0.5)
    assert outputs.dtype == np.float32
    assert refused(odds, 0.5).tolist() == [
        False,
        True,
        False,
        False,
    ]  # more than the threshold, not equal to it
    expected = [
        [1, 1, 1, 1, -1.0],
        [1, 1, 0, 0, 2.0],
        [0, 2 / 3, 0, 2 / 3, 0.5],
        [0, 0, 0, 0, 0.5],
    ]
    np.testing.assert_allclose(outputs, expected, atol=1e-7)
    # What is stored is enough for any other threshold.
    strict = answer_outputs(texts, outputs[:, ANSWER_OUTPUTS.index("null_odds")], gold, threshold=0.4)
    no = refused(outputs[:, 4], 0.4)
    labels = np.array([1, 0, 1, 0])
    assert no.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(strict[:, 0], np.where(no, labels == 0, outputs[:, 2]))
    np.testing.assert_array_equal(strict[:, 1], np.where(no, labels == 0, outputs[:, 3]))


def test_without_unanswerable_questions_every_answer_counts() -> None:
    outputs = answer_outputs(["cat"], [100.0], [["cat"]], threshold=None)
    assert outputs[0].tolist() == [1, 1, 1, 1, 100]


def test_without_gold_only_the_null_odds_are_known() -> None:
    outputs = answer_outputs(["cat", ""], [0.25, np.inf], None, threshold=0.0)
    assert np.isnan(outputs[:, :4]).all()
    assert outputs[:, 4].tolist() == [0.25, np.inf]


def test_metrics_are_weighted_means_of_their_columns() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.random((3, 11, 5)).astype(np.float32)
    labels = rng.integers(0, 2, 11)
    for name, column in (("exact_match", 0), ("answer_f1", 1)):
        metric = METRICS.get(name)
        assert metric.score(labels, outputs[1]) == pytest.approx(outputs[1, :, column].astype(float).mean())
        counts = rng.multinomial(11, np.ones(11) / 11, size=7)
        drawn = metric.draws(labels, outputs, counts)
        assert drawn.shape == (7, 3)
        for b, row in enumerate(counts):
            resample = np.repeat(np.arange(11), row)
            for r in range(3):
                assert drawn[b, r] == pytest.approx(
                    metric.score(labels[resample], outputs[r, resample]), abs=1e-12
                )
        # Averages over runs come in without the axis of columns.
        np.testing.assert_allclose(metric.draws(labels, outputs[:, :, column], counts), drawn, atol=1e-12)


def test_other_outputs_are_refused() -> None:
    with pytest.raises(StatisticsError, match="3 values an example; expected exact, f1"):
        METRICS.get("exact_match").prepare([0, 1], np.zeros((1, 2, 3)))
