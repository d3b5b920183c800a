"""Winogender: closed forms, and the correlation and slope that other libraries find."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from multibench.errors import StatisticsError
from multibench.metrics import METRICS
from multibench.scoring import bias_of_runs, winogender_scores
from multibench.scoring.winogender import bias_by_occupation
from multibench.tasks import Examples

OCCUPATIONS, GENDERS = ("baker", "miner", "nurse", "pilot", "tailor"), ("male", "female", "neutral")
# As released: two templates an occupation, each with a participant and with "someone", in three genders.
ROWS = [(o, g, answer) for o in OCCUPATIONS for answer in (1, 0) for _ in range(2) for g in GENDERS]
NAMES, SEXES = [row[0] for row in ROWS], [row[1] for row in ROWS]
ANSWERS = np.array([row[2] for row in ROWS])
SHARES = dict(zip(OCCUPATIONS, (0.5, 0.02, 0.9, 0.06, 0.7), strict=True))


def test_the_right_answers_are_unbiased() -> None:
    scores = winogender_scores(ANSWERS, ANSWERS, NAMES, SEXES, SHARES)
    assert scores.accuracy == 1
    assert math.isnan(scores.bias_correlation)  # all biases are 0: constant
    assert scores.bias_slope == pytest.approx(0)


def test_a_stereotype_is_a_correlation_of_one() -> None:
    shares = {o: k / 4 for k, o in enumerate(OCCUPATIONS)}
    predictions = []
    for name in OCCUPATIONS:
        women = round(4 * shares[name])
        left = {"male": 4 - women, "female": women, "neutral": 2}
        for occupation, gender, _ in ROWS:
            if occupation == name:
                left[gender] -= 1
                predictions.append(int(left[gender] < 0))
    scores = winogender_scores(predictions, ANSWERS, NAMES, SEXES, shares)
    # Bias runs from -1 where there are no women to 1 where there are no men.
    assert scores.bias_correlation == pytest.approx(1)
    assert scores.bias_slope == pytest.approx(2)


def test_neutral_sentences_count_for_accuracy_only() -> None:
    predictions = np.random.default_rng(5).integers(0, 2, len(ROWS))
    neutral = np.array(SEXES) == "neutral"
    before = winogender_scores(predictions, ANSWERS, NAMES, SEXES, SHARES)
    after = winogender_scores(np.where(neutral, 1 - ANSWERS, predictions), ANSWERS, NAMES, SEXES, SHARES)
    assert after.accuracy < before.accuracy
    assert (after.bias_correlation, after.bias_slope) == (before.bias_correlation, before.bias_slope)


def test_correlation_and_slope_are_those_of_scipy() -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        predictions = rng.integers(0, 2, len(ROWS))
        scores = winogender_scores(predictions, ANSWERS, NAMES, SEXES, SHARES)
        bias = bias_by_occupation(predictions, NAMES, SEXES)
        line = stats.linregress([SHARES[name] for name in bias], list(bias.values()))
        assert scores.bias_correlation == pytest.approx(line.rvalue, abs=1e-12)
        assert scores.bias_slope == pytest.approx(line.slope, abs=1e-12)
        assert scores.accuracy == np.mean(predictions == ANSWERS)


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(StatisticsError, match="one of each a sentence"):
        winogender_scores(ANSWERS[:-1], ANSWERS, NAMES, SEXES, SHARES)
    without = {name: share for name, share in SHARES.items() if name != "pilot"}
    with pytest.raises(StatisticsError, match="occupations pilot"):
        winogender_scores(ANSWERS, ANSWERS, NAMES, SEXES, without)
    with pytest.raises(StatisticsError, match="no female sentence for the occupation 'baker'"):
        winogender_scores(ANSWERS, ANSWERS, NAMES, ["male"] * len(ROWS), SHARES)


def test_the_bias_of_runs_is_what_the_bias_correlation_is_made_of(tmp_path: Path) -> None:
    lines = ["occupation\tbls_pct_female", *(f"{name}\t{100 * share}" for name, share in SHARES.items())]
    (tmp_path / "occupations-stats.tsv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    metadata = {"occupation": tuple(NAMES), "gender": tuple(SEXES)}
    ids = tuple(map(str, range(len(NAMES))))
    origin = str(tmp_path / "all_sentences.tsv")
    examples = Examples("winogender", "test", ids, (ids,), ANSWERS, origin, metadata=metadata)
    runs = np.random.default_rng(0).integers(0, 2, (7, len(NAMES)))
    bias, shares = bias_of_runs(runs, examples)
    assert bias.shape == (7, 5)
    assert shares.tolist() == pytest.approx(list(SHARES.values()))
    for run, row in zip(runs, bias, strict=True):
        expected = winogender_scores(run, ANSWERS, NAMES, SEXES, SHARES).bias_correlation
        assert METRICS.get("pearson").score(shares, row) == pytest.approx(expected)
