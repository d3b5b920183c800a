"""The surrogate's distribution against Student's, the normal, Welch's and simulated ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from multibench.errors import StatisticsError
from multibench.stats import compare_groups, surrogate
from multibench.stats.surrogate import Moments, Surrogate, Term
from tests.stats.support import grid_info, sides_info

DRAWS = 2_000_000
LEVELS = (0.5, 0.8, 0.95, 0.99)


def only(term: Term) -> Moments:
    return Moments(0.0, 0.0, math.inf, {"seeds": term})


@pytest.mark.parametrize("df", [1, 2, 4, 24])
def test_one_factor_without_error_is_students_t(df: int) -> None:
    found = Surrogate(only(Term(0.09, df, 0.0, df + 1)))
    assert found.half_width(0.95) == pytest.approx(0.3 * scipy_stats.t.ppf(0.975, df), rel=3e-6)
    for x in (0.1, 0.6, 2.0):
        assert found.beyond(x) == pytest.approx(2 * scipy_stats.t.sf(x / 0.3, df), rel=1e-5)
        assert found.above(-x) == pytest.approx(scipy_stats.t.cdf(x / 0.3, df), rel=1e-5)


@pytest.mark.parametrize("df", [1, 3, 29, 30, 70, 276])
def test_examples_alone_are_students_t(df: int) -> None:
    found = Surrogate(Moments(0.0, 0.25, df))
    for level, far in ((0.8, 1e-5), (0.95, 2e-5), (0.999, 1e-2)):
        assert found.half_width(level) == pytest.approx(0.5 * scipy_stats.t.ppf((1 + level) / 2, df), rel=far)


def test_known_variances_give_the_normal_distribution() -> None:
    found = Surrogate(Moments(0.0, 4.0, math.inf))
    for level in LEVELS:
        assert found.half_width(level) == pytest.approx(2 * scipy_stats.norm.ppf((1 + level) / 2), rel=1e-9)
    nearly = Surrogate(Moments(0.0, 4.0, math.inf, {"seeds": Term(5.0, 5_000, 0.0, 5_001)}))
    assert nearly.half_width(0.95) == pytest.approx(3 * scipy_stats.norm.ppf(0.975), rel=1e-3)


def simulated(moments: Moments, rng: np.random.Generator) -> np.ndarray:
    """Sorted absolute errors, drawn as the module says in words; degrees of freedom must be far apart."""

    def factor(df: float) -> np.ndarray:
        return df / rng.chisquare(df, DRAWS) if math.isfinite(df) else np.ones(DRAWS)

    variance = moments.examples * factor(moments.examples_df)
    for term in moments.terms.values():
        held = np.maximum(term.error, term.interaction * factor(term.interaction_df))
        variance += (term.between * factor(term.df) - held).clip(min=0)
    return np.sort(np.abs(rng.standard_normal(DRAWS)) * np.sqrt(variance))


CASES = {
    "one of two seeds": Moments(0.0, 1.0, 70, {"a": Term(2.0, 1, 0.5, 2)}),
    "two factors": Moments(0.0, 1.0, 276, {"a": Term(1.5, 2, 0.3, 3), "b": Term(0.8, 9, 0.6, 10)}),
    "interaction": Moments(
        0.0,
        0.4,
        20,
        {"a": Term(1.5, 24, 0.3, 25), "b": Term(2.0, 4, 0.2, 5, interaction=0.7, interaction_df=8)},
    ),
    "three factors": Moments(
        0.0,
        0.2,
        math.inf,
        {
            "a": Term(1.0, 24, 0.1, 25),
            "b": Term(0.7, 9, 0.3, 10, interaction=0.25, interaction_df=216),
            "c": Term(0.5, 2, 0.4, 3),
        },
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_quantiles_are_those_of_two_million_draws(name: str) -> None:
    moments = CASES[name]
    found, errors = Surrogate(moments), simulated(moments, np.random.default_rng(7))
    for level in LEVELS:
        expected = errors[int(level * DRAWS)]
        assert found.half_width(level) == pytest.approx(expected, rel=0.01), level


def test_a_term_that_is_left_out_or_an_interaction_that_is_not_looked_at_would_be_seen(monkeypatch) -> None:
    for name, change in (("two factors", {"between": 0.0}), ("interaction", {"interaction": 0.0})):
        moments = CASES[name]
        expected = Surrogate(moments).half_width(0.95)  # that of two million draws, as shown above
        points = surrogate._term_points
        with monkeypatch.context() as patch:
            patch.setattr(surrogate, "_term_points", lambda t, p=points, c=change: p(replace(t, **c)))
            assert Surrogate(moments).half_width(0.95) != pytest.approx(expected, rel=0.01)


def random_moments(rng: np.random.Generator) -> Moments:
    terms = {}
    for k in range(rng.integers(0, 4)):
        df = int(rng.choice([1, 2, 3, 4, 9, 24, 49]))
        interaction = float(rng.exponential(0.5)) if rng.random() < 0.4 else 0.0
        terms[str(k)] = Term(
            float(rng.exponential(1)),
            df,
            float(rng.exponential(0.5)),
            df + 1,
            interaction,
            float(rng.choice([2, 8, 40])) if interaction else math.inf,
        )
    return Moments(
        0.0, float(10 ** rng.uniform(-4, 1)), float(rng.choice([1, 5, 29, 30, 500, math.inf])), terms
    )


def test_interval_and_p_value_are_one_inversion() -> None:
    rng = np.random.default_rng(0)
    for _ in range(120):
        found = Surrogate(random_moments(rng))
        for level in (float(rng.uniform(0.5, 0.999)), 0.95):
            assert found.beyond(found.half_width(level)) == pytest.approx(1 - level, abs=1e-9)
            assert found.above(found.half_width(level)) == pytest.approx((1 - level) / 2, abs=1e-9)


def test_half_widths_grow_with_the_level_and_with_each_mean_square() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        moments = random_moments(rng)
        widths = [Surrogate(moments).half_width(level) for level in (0.5, 0.9, 0.95, 0.999)]
        assert widths == sorted(widths)
        wider = Surrogate(replace(moments, examples=moments.examples * 1.5)).half_width(0.95)
        assert wider > widths[2] * (1 - 1e-6)
        # Not so of two factors with alike degrees of freedom: Welch's rise as their parts become equal.
        for name, term in list(moments.terms.items())[:1]:
            alone = replace(moments, terms={name: term})
            more = replace(moments, terms={name: replace(term, between=term.between * 1.5)})
            assert Surrogate(more).half_width(0.95) >= Surrogate(alone).half_width(0.95) * (1 - 1e-6)


@pytest.mark.parametrize("sizes", [(5, 5), (3, 3), (2, 2), (5, 8), (9, 6), (25, 15)])
def test_two_sides_without_noise_of_examples_are_welchs_t_test(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(sizes))
    scores = [rng.normal(70, 1, sizes[0]), rng.normal(71, 2, sizes[1])]
    info = sides_info(*(grid_info(size, 1, own_labels=True) for size in sizes))
    y = np.repeat(np.concatenate(scores)[:, None], 6, axis=1)
    found = compare_groups(info, y, np.zeros(6), "mean")
    welch = scipy_stats.ttest_ind(scores[1], scores[0], equal_var=False)
    assert found.p_value == pytest.approx(welch.pvalue, rel=1e-5)
    interval = welch.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (interval.low, interval.high), rel=1e-5
    )


def test_paired_seeds_without_noise_of_examples_are_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(70, 2, 6)
    second = first + rng.normal(0.5, 0.5, 6)
    info = sides_info(grid_info(6, 1), grid_info(6, 1))
    y = np.repeat(np.concatenate([first, second])[:, None], 4, axis=1)
    found = compare_groups(info, y, np.zeros(4), "mean", paired_seeds=True)
    assert found.p_value == pytest.approx(scipy_stats.ttest_rel(second, first).pvalue, rel=1e-6)


def test_no_error_at_all_has_no_width_and_an_unknown_part_no_surrogate() -> None:
    still = Surrogate(Moments(0.0, 0.0, math.inf, {"a": Term(0.0, 4, 0.0, 5)}))
    assert still.half_width(0.95) == 0
    assert still.beyond(0.1) == 0
    assert still.beyond(0) == 1
    assert still.above(0) == 0
    assert still.above(-0.1) == 1
    with pytest.raises(StatisticsError, match="unknown"):
        Surrogate(Moments(0.0, math.nan, 5))
    with pytest.raises(StatisticsError, match="unknown"):
        Surrogate(Moments(0.0, 1.0, 5, {"a": Term(-0.1, 4, 0.0, 5)}))


def test_the_point_of_a_term_is_the_analysis_of_variance_estimate() -> None:
    assert Term(1.0, 4, 0.3, 5, interaction=0.2, residual=0.1).point == pytest.approx(0.6)
    assert Term(0.1, 4, 0.3, 5).point == 0
    moments = Moments(0.0, 0.5, 10, {"a": Term(1.0, 4, 0.3, 5), "b": Term(0.1, 4, 0.3, 5)})
    assert moments.variance == pytest.approx(1.2)
