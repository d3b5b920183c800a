"""The decision: its interval by hand and by scipy, and its error rates in worlds of known truth."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from multibench.errors import StatisticsError
from multibench.reference import ALPHA, DEFAULT_MARGIN, Published, judge
from multibench.reference.verdict import decisions, interval, standard_error

SCORES = np.array([0.842, 0.846, 0.843, 0.845, 0.841])
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "verdicts.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdict_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_one_published_run_is_taken_to_vary_as_ours_do() -> None:
    found = judge(SCORES, Published(0.844, 1)).difference
    half = stats.t.ppf(0.95, 4) * SCORES.std(ddof=1) * math.sqrt(1 / 5 + 1)
    assert found.value == pytest.approx(SCORES.mean() - 0.844)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert found.level == 1 - 2 * ALPHA == 0.9
    assert found.n_runs == 5


def test_with_a_known_spread_the_interval_is_welch_s() -> None:
    theirs = np.array([0.840, 0.849, 0.838, 0.851, 0.845, 0.843, 0.850])
    found = judge(SCORES, Published(theirs.mean(), 7, sd=theirs.std(ddof=1))).difference
    low, high = stats.ttest_ind(SCORES, theirs, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_rounding_widens_the_interval_by_half_a_digit() -> None:
    bare, printed = (judge(SCORES, Published(0.84, 5, rounding=r)).difference for r in (0.0, 0.0005))
    assert printed.low == pytest.approx(bare.low - 0.0005)
    assert printed.high == pytest.approx(bare.high + 0.0005)


@pytest.mark.parametrize(
    ("shift", "margin", "word"),
    [
        (0.0, 0.01, "match"),
        (0.05, 0.01, "differs"),
        (-0.05, 0.01, "differs"),
        (0.01, 0.01, "cannot tell"),
        (0.0, 0.0001, "cannot tell"),
    ],
)
def test_the_three_verdicts(shift: float, margin: float, word: str) -> None:
    verdict = judge(SCORES + shift, Published(SCORES.mean(), 5), margin)
    assert verdict.word == word
    assert bool(verdict.why) == (word == "cannot tell")
    assert verdict.to_dict()["difference"]["value"] == pytest.approx(shift)


def test_match_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = rng.normal(0.008, 0.004, 6)
        word = judge(scores, Published(0.0, 10**9)).word
        p = max(
            stats.ttest_1samp(scores, -DEFAULT_MARGIN, alternative="greater").pvalue,
            stats.ttest_1samp(scores, DEFAULT_MARGIN, alternative="less").pvalue,
        )
        assert (word == "match") == (p < ALPHA)


def test_what_cannot_be_told_says_whether_more_runs_would_help() -> None:
    few = judge(SCORES[:2], Published(0.8435, 10))
    assert (few.word, few.why) == (
        "cannot tell",
        "the interval reaches over the margin of 1 point; more fine-tuning seeds would narrow it",
    )
    hopeless = judge(SCORES * 10 - 7.6, Published(0.8435, 1))
    assert hopeless.why.endswith("and the published figure alone is known to 3.4 points only")


@pytest.mark.parametrize(
    ("scores", "said"),
    [([0.84], "one fine-tuning seed"), ([0.84, 0.84, 0.84], "all runs have the same score")],
)
def test_unknown_spread_is_no_certainty(scores: list[float], said: str) -> None:
    verdict = judge(scores, Published(0.84, 5))
    assert verdict.word == "cannot tell"
    assert verdict.why.startswith(said)
    assert math.isnan(verdict.difference.low)


def test_scores_of_released_weights_are_exact_but_for_rounding() -> None:
    published = Published(0.869, 1, rounding=0.0005, exact=True)
    assert judge([0.8692], published).word == "match"
    assert judge([0.85], published).word == "differs"
    assert judge([0.8592], published).word == "cannot tell"


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.0, math.nan])
def test_margins_that_are_none_are_refused(margin: float) -> None:
    with pytest.raises(StatisticsError, match="a fraction between 0 and 1"):
        judge(SCORES, Published(0.84, 1), margin)


@pytest.mark.parametrize("scores", [[], [[0.1, 0.2]], [0.1, math.nan]])
def test_scores_with_gaps_are_refused(scores: list[float]) -> None:
    with pytest.raises(StatisticsError, match="without gaps"):
        judge(scores, Published(0.84, 1))


def test_arrays_are_decided_as_single_differences_are() -> None:
    error, df = standard_error([0.002, 0.002], 5, [math.nan, 0.002], 5)
    assert df.tolist() == pytest.approx([4, 8])
    low, high = interval([0.0, 0.05], error, df, 0.0, 0.9)
    assert low.shape == high.shape == error.shape == (2,)
    assert decisions([0.0, 0.05], error, df, 0.0, 0.01).tolist() == ["match", "differs"]
    assert decisions([math.nan], [0.01], [4], 0.0, 0.01).tolist() == ["cannot tell"]
    assert decisions([0.0], [math.nan], [4], 0.0, 0.01).tolist() == ["cannot tell"]


def test_differs_takes_the_interval_of_95_percent() -> None:
    error = SCORES.std(ddof=1) * math.sqrt(1 / 5 + 1)
    between = DEFAULT_MARGIN + error * (stats.t.ppf(0.95, 4) + stats.t.ppf(0.975, 4)) / 2
    verdict = judge(SCORES, Published(SCORES.mean() - between, 1))
    assert verdict.difference.low > DEFAULT_MARGIN
    assert (verdict.word, verdict.why) == (
        "cannot tell",
        "the interval lies beyond the margin of 1 point, but the 95 % one does not",
    )
    beyond = DEFAULT_MARGIN + error * stats.t.ppf(0.976, 4)
    assert judge(SCORES, Published(SCORES.mean() - beyond, 1)).word == "differs"


def _allowed(repetitions: int) -> float:
    """Five percent, and three standard errors of a simulated share of five percent."""
    return ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / repetitions)


def _check_errors(study: ModuleType, design: object, repetitions: int) -> dict[float, dict[str, float]]:
    found = {
        t: study.rates(design, t, repetitions, np.random.default_rng([7, int(10 * t)])) for t in study.TRUTHS
    }
    for truth, rates in found.items():
        if truth >= 1:
            assert rates["match"] <= _allowed(repetitions), truth
        if truth <= 1:
            assert rates["differs"] <= _allowed(repetitions), truth
    return found


def _kept(study: ModuleType) -> list[object]:
    """All designs in which the two sides vary alike, or the published spread is known."""
    return [*study.SIZES, *(d for name, d in study.ASSUMPTIONS.items() if "of ours" not in name)]


def test_false_verdicts_are_at_most_five_percent_and_true_ones_come(study: ModuleType) -> None:
    for design in _kept(study):
        _check_errors(study, design, 4_000)
    rates = _check_errors(study, study.Design(5, 5, 0.003), 20_000)
    assert rates[0.0]["match"] > 0.97
    assert rates[2.0]["differs"] > 0.95
    # At exactly the margin a false match is as likely as it may be, and so is half of what may be called different.
    assert rates[1.0]["match"] == pytest.approx(ALPHA, abs=0.006)
    assert rates[1.0]["differs"] == pytest.approx(ALPHA / 2, abs=0.005)
    # Where the margin is nothing beside the noise, the other half is used up, too: either side may reject.
    wide = _check_errors(study, study.Design(5, 5, 1.0, fall=100.0), 20_000)
    assert wide[0.0]["differs"] == pytest.approx(ALPHA, abs=0.006)


@pytest.mark.slow
def test_false_verdicts_are_at_most_five_percent_at_length(study: ModuleType) -> None:
    for design in _kept(study):
        _check_errors(study, design, 150_000)


def test_a_noisier_publication_is_what_the_error_rates_do_not_cover(study: ModuleType) -> None:
    """The assumption that docs/references.md names is one: without it the errors are larger."""
    design = study.ASSUMPTIONS["one published run, spread one and a half of ours"]
    assert study.rates(design, 1.0, 20_000, np.random.default_rng(0))["differs"] > 0.06
