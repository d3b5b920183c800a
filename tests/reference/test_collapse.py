"""Runs that collapse, scores that were perhaps chosen, and margins by task: by hand and by simulation."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from multibench.reference import (
    ALPHA,
    DEFAULT_MARGIN,
    MARGINS,
    TRIED,
    ConstantAnswer,
    Measured,
    Published,
    constant_answer,
    judge,
    margin_of,
)
from multibench.reference.collapse import plausible_collapses
from multibench.reference.verdict import best_quantile
from multibench.tasks import TASKS
from tests.reference.test_verdict import study

__all__ = ["study"]

SCORES = np.array([0.660, 0.668, 0.655, 0.663, 0.671])
RTE = {"entailment": 146, "not_entailment": 131}
CONSTANT = constant_answer("accuracy", RTE, 277)


def test_the_constant_answer_has_the_exact_interval_of_its_share() -> None:
    assert CONSTANT is not None
    exact = stats.binomtest(146, 277).proportion_ci(0.95, "exact")
    assert CONSTANT.value == pytest.approx(146 / 277)
    assert (CONSTANT.low, CONSTANT.high) == pytest.approx((exact.low, exact.high))
    assert str(CONSTANT) == "52.7 [46.6, 58.7]"


@pytest.mark.parametrize(
    ("metric", "histogram", "value"),
    [
        ("accuracy", {"a": 3479, "b": 3123, "c": 3213}, 3479 / 9815),
        ("f1", {"not_equivalent": 129, "equivalent": 279}, 2 * 279 / (279 + 408)),
        ("f1", {"not_duplicate": 25545, "duplicate": 14885}, 0.0),
        ("answer_f1", {"unanswerable": 5945, "answerable": 5928}, 5945 / 11873),
        ("best_exact_match", {"unanswerable": 5945, "answerable": 5928}, 5945 / 11873),
        ("mcc", {"unacceptable": 322, "acceptable": 721}, 0.0),
        ("pearson", None, 0.0),
    ],
)
def test_what_the_constant_answer_scores(metric: str, histogram: dict[str, int] | None, value: float) -> None:
    n = sum((histogram or {"": 1500}).values())
    found = constant_answer(metric, histogram, n)
    assert found is not None
    assert found.value == pytest.approx(value)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("metric", "histogram"),
    [
        ("accuracy", None),
        ("macro_f1", RTE),
        ("f1", {"a": 3, "b": 3, "c": 3}),
        ("answer_f1", {"unanswerable": 0, "answerable": 10570}),
        ("mean", {"unanswerable": 5, "answerable": 5}),
    ],
)
def test_where_nothing_is_known_of_the_constant_answer(metric: str, histogram: dict[str, int] | None) -> None:
    assert constant_answer(metric, histogram, 100) is None


@pytest.mark.parametrize("n", [1, 2, 5, 10, 25, 125])
def test_plausible_collapses_come_in_more_than_five_percent(n: int) -> None:
    most = plausible_collapses(n)
    assert most >= 1
    assert stats.binom.sf(most, n, 0.1) <= 0.05
    if most > 1:
        assert stats.binom.sf(most - 1, n, 0.1) > 0.05


def _why(published: Published, **known: Any) -> tuple[str, str]:
    runs = Measured(**{"constant": CONSTANT, **known})
    verdict = judge(SCORES, published, 0.03, runs=runs)
    return verdict.word, verdict.why


def test_no_difference_is_called_where_a_score_is_at_the_level_of_the_commonest_answer() -> None:
    assert _why(Published(0.85, 5)) == ("differs", "")
    word, why = _why(Published(0.56, 5))
    assert (word, "the published score is no better than" in why) == ("cannot tell", True)
    assert "52.7 [46.6, 58.7]" in why
    word, why = _why(Published(0.85, 5), scores=(0.53, *SCORES))
    assert (word, why.startswith("a measured run, 53.0, is no better than")) == ("cannot tell", True)
    word, why = _why(Published(0.85, 5), collapsed=1)
    assert (word, why.startswith("1 run of those measured collapsed")) == ("cannot tell", True)
    # Released weights as they are cannot have collapsed, and what is unknown withholds nothing.
    assert _why(Published(0.53, 1, exact=True))[0] == "differs"
    assert _why(Published(0.53, 5), constant=None)[0] == "differs"


def test_a_published_collapse_that_would_make_the_gap_withholds_differs() -> None:
    """66.3 but for one run of four at 52.7 is 62.9."""
    assert CONSTANT is not None
    truth = float(SCORES.mean())
    hit = (3 * truth + CONSTANT.value) / 4
    verdict = judge(SCORES, Published(hit, 4), 0.01, runs=Measured(constant=CONSTANT))
    assert verdict.word == "cannot tell"
    assert verdict.why.startswith("1 run that collapsed among the 4 published ones, to the score of always")
    # A spread that such a run would have made larger rules it out.
    known = judge(SCORES, Published(hit, 4, sd=0.004), 0.01, runs=Measured(constant=CONSTANT))
    assert known.word == "differs"
    mnli = Measured(constant=ConstantAnswer(0.354, 0.345, 0.364))
    several = (21 * (truth + 0.18) + 4 * 0.354) / 25
    assert judge(SCORES + 0.18, Published(several, 25), 0.01, runs=mnli).why[:6] == "4 runs"
    assert judge(SCORES + 0.18, Published(several - 0.0196, 25), 0.01, runs=mnli).why[:6] == "5 runs"
    assert judge(SCORES + 0.18, Published(several - 0.06, 25), 0.01, runs=mnli).word == "differs"
    # A published score above the measured ones is no sign of a collapse among the published runs.
    assert judge(SCORES, Published(0.70, 4), 0.01, runs=Measured(constant=CONSTANT)).word == "differs"


def test_a_collapse_on_one_side_of_a_published_difference_counts() -> None:
    constant = ConstantAnswer(0.35, 0.34, 0.36)
    scores = np.array([0.010, 0.011, 0.009, 0.0105, 0.0095])
    published = Published(0.11, 5, sides=(0.84, 0.73))
    assert judge(scores, published, 0.005, runs=Measured((0.84,), constant=constant)).why.startswith("1 run")
    far = Published(0.05, 5, sides=(0.84, 0.79))
    assert judge(scores, far, 0.005, runs=Measured((0.84,), constant=constant)).word == "differs"


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_best_of_one_is_the_t_quantile_and_that_of_ten_is_met_by_simulation(n: int) -> None:
    assert best_quantile(n, 0.05, 1) == pytest.approx(
        stats.t.ppf(0.95, n - 1) * math.sqrt(1 + 1 / n), rel=1e-3
    )
    rng = np.random.default_rng(n)
    measured, published = rng.normal(size=(40_000, n)), rng.normal(size=(40_000, TRIED)).max(axis=1)
    beyond = published - measured.mean(axis=1) > best_quantile(n, 0.05) * measured.std(axis=1, ddof=1)
    assert beyond.mean() == pytest.approx(0.05, abs=0.004)


def test_a_single_dev_score_reaches_up_only_and_says_so() -> None:
    scores = np.array([0.842, 0.846, 0.843, 0.845, 0.841])
    plain, chosen = (judge(scores, Published(0.8415, 1, perhaps_chosen=c)) for c in (False, True))
    assert chosen.difference.low == plain.difference.low
    assert chosen.difference.high - chosen.difference.value == pytest.approx(
        best_quantile(5, ALPHA) * scores.std(ddof=1)
    )
    assert (plain.word, chosen.word) == ("match", "cannot tell")
    assert chosen.why.startswith("the published figure is one score on dev, which may be the best of several")
    # A little above the measured mean, the best of ten is no difference; a little below, it is.
    low, high = (judge(scores, Published(0.8434 + by, 1, perhaps_chosen=True)) for by in (-0.018, 0.018))
    assert (low.word, high.word) == ("differs", "cannot tell")
    assert judge(scores, Published(0.8434 + 0.018, 1)).word == "differs"
    assert "would differ" in high.why
    both = judge(scores - 0.8, Published(0.04, 1, perhaps_chosen=True, sides=(0.84, 0.80))).difference
    assert both.high - both.value == pytest.approx(both.value - both.low)


def _allowed(nominal: float, repetitions: int) -> float:
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / repetitions)


def test_false_verdicts_stay_rare_where_one_run_in_ten_collapses(study: ModuleType) -> None:
    for name, design in study.COLLAPSES.items():
        for truth in (-1.0, 0.0, 1.0):
            found = study.rates(design, truth, 2_000, np.random.default_rng([3, int(truth + 1)]))
            assert found["differs"] <= 0.065, name
            # A mean over 25 runs of which nobody knows the spread can meet the margin by its collapses.
            if truth and design.published < 25:
                assert found["match"] <= _allowed(ALPHA, 2_000), name
    bare = study.Design(5, 5, 0.003, collapse=0.1, known=False)
    seen = study.rates(bare, 0.0, 4_000, np.random.default_rng(0), withhold=False)
    assert seen["differs"] > 0.1  # what the rule is there for


def test_false_verdicts_stay_rare_where_the_published_score_was_the_best_of_ten(study: ModuleType) -> None:
    for name, design in study.CHOSEN.items():
        for truth in (-1.0, 0.0, 1.0):
            found = study.rates(design, truth, 4_000, np.random.default_rng([5, int(truth + 1)]))
            assert found["differs"] <= _allowed(ALPHA, 4_000), name
            if truth:
                assert found["match"] <= _allowed(ALPHA, 4_000), name
    naive = study.Design(5, 1, 0.003, tried=10)
    assert study.rates(naive, 1.0, 4_000, np.random.default_rng(0))["match"] > 0.15


@pytest.mark.parametrize("name", sorted(MARGINS))
def test_margins_are_a_standard_error_of_a_usual_score_or_a_point(name: str) -> None:
    task, facts = TASKS.get(name), MARGINS[name]
    rows = task.splits[task.evaluations[0]].rows
    variance = facts.score * (1 - facts.score)
    if task.headline in ("mcc", "pearson"):
        variance = 1 - facts.score**2 if task.headline == "mcc" else (1 - facts.score**2) ** 2
    error = math.sqrt(variance / rows)
    assert facts.margin == pytest.approx(max(DEFAULT_MARGIN, math.ceil(200 * error) / 200))
    assert f"{rows:,} " in facts.reason
    assert f"{100 * error:.1f} points" in facts.reason


def test_tasks_without_a_margin_of_their_own_have_a_point() -> None:
    assert margin_of("rte") == 0.03
    assert margin_of("pocket_inference") == margin_of("nothing") == DEFAULT_MARGIN
