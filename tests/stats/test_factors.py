"""The parts of a variance against closed forms in plain loops, statsmodels' analysis of variance and REML."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats as scipy_stats
from statsmodels.stats.anova import anova_lm

from multibench.stats import compare_groups, factors
from multibench.stats.factors import FINETUNING, PRETRAINING, difference_parts, group_parts, is_shared
from multibench.stats.inference import group_inference
from multibench.stats.layout import pair, sides
from multibench.stats.problem import prepare
from tests.stats.support import crossed_scores, grid_info, group_problem, nested_scores, sides_info


def parts_of(info: dict[str, Any], scores: np.ndarray) -> Any:
    problem, group = group_problem(info, scores)
    return group_parts(problem.pseudo_scores, group, problem.units_df)


def squares(table: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of rows, columns and what is left, by loops."""
    rows, columns = len(table), len(table[0])
    mean = sum(map(sum, table)) / rows / columns
    row = [sum(r) / columns for r in table]
    column = [sum(r[j] for r in table) / rows for j in range(columns)]
    error = sum(
        (table[i][j] - row[i] - column[j] + mean) ** 2 for i in range(rows) for j in range(columns)
    ) / max(1, (rows - 1) * (columns - 1))
    return (
        columns * sum((r - mean) ** 2 for r in row) / max(1, rows - 1),
        rows * sum((c - mean) ** 2 for c in column) / (columns - 1),
        error,
    )


def nested_variance(table: np.ndarray) -> float:
    """Of the mean of a table of seeds by examples."""
    seed, example, error = squares(table)
    return (example + max(0.0, seed - error)) / table.size


def grid_squares(y: np.ndarray) -> dict[str, float]:
    """Mean squares of three crossed factors by statsmodels."""
    p, f, x = (index.ravel() for index in np.indices(y.shape))
    frame = pd.DataFrame({"y": y.ravel(), "p": p, "f": f, "x": x})
    table = anova_lm(smf.ols("y ~ (C(p) + C(f) + C(x)) ** 2", frame).fit())
    return {
        name.replace("C(", "").replace(")", "").replace(":", ""): float(row.sum_sq / row.df)
        for name, row in table.iterrows()
    }


def grid_variance(y: np.ndarray) -> float:
    """Of the mean of pretraining by shared fine-tuning seeds by examples, no part below 0."""
    ms = grid_squares(y)
    seeds = max(0.0, ms["p"] - ms["px"])
    shared = max(0.0, ms["f"] - ms["fx"] - ms["pf"] + ms["Residual"])
    return (ms["x"] + seeds + shared) / y.size


@pytest.mark.parametrize("sizes", [[1] * 5, [3] * 4, [1, 2, 4, 1, 3], [2, 2]])
@pytest.mark.parametrize("own", [0.0, 0.4])
def test_nested_runs_are_averaged_within_their_seed(sizes: list[int], own: float) -> None:
    rng = np.random.default_rng(sum(sizes))
    for n in (7, 23):
        info, y = nested_scores(rng, sizes, n, own)
        found = parts_of(info, y)
        means = np.array([y[info["seed"] == s].mean(axis=0) for s in range(len(sizes))])
        assert found.moments.value == pytest.approx(means.mean())
        assert found.moments.variance == pytest.approx(nested_variance(means), rel=1e-12)
        assert found.moments.examples_df == n - 1
        (term,) = found.moments.terms.values()
        assert (term.df, term.n_levels) == (len(sizes) - 1, len(sizes))
        assert found.over == (PRETRAINING,)


@pytest.mark.parametrize("shape", [(3, 2, 4), (2, 2, 3), (4, 3, 6), (2, 4, 5)])
def test_shared_fine_tuning_seeds_are_a_factor_of_a_three_way_table(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    for sds in ((0.3, 0.8, 0.2), (0.5, 0.0, 0.6)):
        y = crossed_scores(rng, *shape, sds)
        found = parts_of(grid_info(*shape[:2]), y.reshape(-1, shape[2]))
        assert found.moments.variance == pytest.approx(grid_variance(y), rel=1e-9)
        assert found.moments.terms[FINETUNING].interaction_df == (shape[0] - 1) * (shape[1] - 1)
        assert found.over == (PRETRAINING, FINETUNING)


def test_a_shared_factor_that_is_not_looked_at_would_be_seen(monkeypatch) -> None:
    y = crossed_scores(np.random.default_rng(1), 3, 3, 6, (0.1, 0.9, 0.1))
    monkeypatch.setattr(factors, "is_shared", lambda group: False)
    assert parts_of(grid_info(3, 3), y.reshape(-1, 6)).moments.variance < 0.5 * grid_variance(y)


def test_one_shared_fine_tuning_seed_is_said_not_to_be_covered() -> None:
    y = crossed_scores(np.random.default_rng(2), 4, 1, 9)
    found = parts_of(grid_info(4, 1), y.reshape(-1, 9))
    assert found.moments.variance == pytest.approx(nested_variance(y[:, 0]), rel=1e-12)
    assert "one fine-tuning seed for all checkpoints" in found.caveats[0]
    assert parts_of(grid_info(4, 1, own_labels=True), y.reshape(-1, 9)).caveats == ()


def test_one_pretraining_seed_has_its_runs_for_a_factor_and_one_run_none() -> None:
    info, y = nested_scores(np.random.default_rng(3), [5], 11)
    found = parts_of(info, y)
    assert list(found.moments.terms) == [FINETUNING]
    assert found.moments.variance == pytest.approx(nested_variance(y), rel=1e-12)
    assert "other pretraining seeds are not covered" in found.caveats[0]
    alone = parts_of({"seed": [0]}, y[:1])
    assert alone.moments.terms == {}
    assert alone.moments.variance == pytest.approx(scipy_stats.sem(y[0]) ** 2)
    assert "neither other pretraining seeds" in alone.caveats[0]


def difference_of(info: dict[str, Any], y: np.ndarray, paired: bool) -> Any:
    problem = prepare(info, y, np.zeros(y.shape[1]), "mean")
    base, experiment = sides(problem.table)
    if paired:
        base, experiment = pair(base, experiment, [])
    return difference_parts(problem.pseudo_scores, base, experiment, paired, problem.units_df)


@pytest.mark.parametrize("seed", range(4))
def test_nested_differences_paired_and_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    info, y = nested_scores(rng, [2, 1, 3, 1, 2], 13)
    other, z = nested_scores(rng, [1, 1, 2, 3, 1], 13)
    first, second = (
        np.array([rows[i["seed"] == s].mean(axis=0) for s in range(5)]) for i, rows in ((info, y), (other, z))
    )
    both = sides_info(info, other), np.concatenate([y, z])
    paired = difference_of(*both, paired=True)
    assert paired.moments.variance == pytest.approx(nested_variance(second - first), rel=1e-12)
    assert list(paired.moments.terms) == [PRETRAINING]
    unpaired = difference_of(*both, paired=False)
    of_seeds = sum(max(0.0, ms[0] - ms[2]) / t.size for t in (first, second) for ms in [squares(t)])
    of_examples = scipy_stats.sem(second.mean(axis=0) - first.mean(axis=0)) ** 2
    assert unpaired.moments.variance == pytest.approx(of_seeds + of_examples, rel=1e-12)
    assert unpaired.moments.value == pytest.approx(second.mean() - first.mean())


def test_shared_grids_on_both_sides_paired_are_the_grid_of_differences() -> None:
    rng = np.random.default_rng(5)
    y, z = crossed_scores(rng, 4, 3, 6), crossed_scores(rng, 4, 3, 6)
    rows = np.concatenate([y.reshape(12, 6), z.reshape(12, 6)])
    found = difference_of(sides_info(grid_info(4, 3), grid_info(4, 3)), rows, paired=True)
    assert found.moments.variance == pytest.approx(grid_variance(z - y), rel=1e-9)


def test_labels_that_both_sides_share_count_by_their_difference_without_pairs() -> None:
    rng = np.random.default_rng(6)
    luck = rng.normal(0, 2, (1, 3, 1))
    y, z = crossed_scores(rng, 4, 3, 6) + luck, crossed_scores(rng, 5, 3, 6) + luck
    info = sides_info(grid_info(4, 3), grid_info(5, 3))
    rows = np.concatenate([y.reshape(12, 6), z.reshape(15, 6)])
    found = difference_of(info, rows, paired=False)
    shared, _, error = squares(z.mean(axis=0) - y.mean(axis=0))
    own = [grid_squares(t) for t in (y, z)]
    extra = sum((ms["pf"] - ms["Residual"]) / t.size for ms, t in zip(own, (y, z), strict=True))
    seeds = sum(max(0.0, ms["p"] - ms["px"]) / t.size for ms, t in zip(own, (y, z), strict=True))
    expected = seeds + max(0.0, (shared - error) / 18 - extra)
    expected += scipy_stats.sem(z.mean(axis=(0, 1)) - y.mean(axis=(0, 1))) ** 2
    assert found.moments.variance == pytest.approx(expected, rel=1e-9)
    # Luck that is common to both sides is none of the difference's; other labels could not know.
    info["finetune_seed"] = np.where(info["intervention"], info["finetune_seed"] + 50, info["finetune_seed"])
    assert difference_of(info, rows, paired=False).moments.variance > 5 * expected


def test_one_checkpoint_a_side_is_paired_by_equal_fine_tuning_seeds() -> None:
    rng = np.random.default_rng(7)
    y, z = rng.normal(0, 1, (4, 9)), rng.normal(0, 1, (4, 9))
    info = sides_info(grid_info(1, 4), grid_info(1, 4))
    turned = np.array([2, 0, 3, 1])
    info["finetune_seed"][4:] = turned
    found = difference_of(info, np.concatenate([y, z[turned]]), paired=True)
    assert found.moments.variance == pytest.approx(nested_variance(z - y), rel=1e-12)
    info["finetune_seed"][4:] += 10
    apart = difference_of(info, np.concatenate([y, z[turned]]), paired=True)
    assert sorted(apart.moments.terms) == [f"{FINETUNING}: base", f"{FINETUNING}: experiment"]


def test_a_grid_with_holes_has_an_interval_that_covers() -> None:
    rng = np.random.default_rng(8)
    kept = np.delete(np.arange(12), [5, 10])
    info = {name: values[kept] for name, values in grid_info(4, 3).items()}
    held = []
    for _ in range(120):
        y = crossed_scores(rng, 4, 3, 12, (0.2, 0.6, 0.2)).reshape(12, 12)
        problem, group = group_problem(info, y[kept])
        assert is_shared(group)
        found = group_inference(problem, group).estimate
        held.append(found.low <= 3 <= found.high)
    assert np.mean(held) >= 0.93


def test_a_label_that_recurs_by_chance_takes_nothing_off_nested_seeds() -> None:
    rng = np.random.default_rng(9)
    widths = []
    for _ in range(40):
        info, y = nested_scores(rng, [2] * 5, 12, 0.5)
        again = {**info, "finetune_seed": info["finetune_seed"].copy()}
        again["finetune_seed"][2] = info["finetune_seed"][0]
        own = []
        for table in (info, again):
            problem, group = group_problem(table, y)
            own.append(group_inference(problem, group).estimate.half_width)
        widths.append(own)
    nested, recurring = np.median(widths, axis=0)
    assert recurring > 0.9 * nested


def test_an_additive_grid_with_a_hole_is_completed_exactly() -> None:
    rows, columns, examples = np.arange(4.0), np.array([0.0, 5, 9]), np.array([0.0, 1, 4, 2])
    y = rows[:, None, None] + columns[None, :, None] + examples
    kept = np.delete(np.arange(12), [4])
    info = {name: values[kept] for name, values in grid_info(4, 3).items()}
    problem, group = group_problem(info, y.reshape(12, 4)[kept])
    grid = factors.grid_of(problem.pseudo_scores, group)
    assert grid.missing == 1
    assert grid.interaction_df == 5
    np.testing.assert_allclose(np.sort(grid.values, axis=None), np.sort(y, axis=None), atol=1e-8)


def reml(frame: pd.DataFrame, parts: tuple[str, ...]) -> float:
    """Standard error of the mean by restricted maximum likelihood."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = smf.mixedlm(
            "y ~ 1", frame.assign(g=1), groups="g", vc_formula={p: f"0 + C({p})" for p in parts}
        )
        return float(model.fit(reml=True, method="bfgs", gtol=1e-7).bse["Intercept"])


def test_standard_errors_are_those_of_reml_where_all_parts_are_positive() -> None:
    rng = np.random.default_rng(3)
    s, f, x = 5, 2, 8
    y = rng.normal(0, 0.5, (s, 1, 1)) + rng.normal(0, 0.6, (s, f, 1)) + rng.normal(0, 1, (1, 1, x))
    y = y + rng.normal(0, 0.4, (s, 1, x)) + rng.normal(0, 0.3, (s, f, x))
    i, j, k = (index.ravel() for index in np.indices(y.shape))
    frame = pd.DataFrame({"y": y.ravel(), "s": i, "sf": i * f + j, "x": k, "sx": i * x + k})
    found = parts_of(grid_info(s, f, own_labels=True), y.reshape(-1, x))
    assert math.sqrt(found.moments.variance) == pytest.approx(reml(frame, ("s", "sf", "x", "sx")), rel=1e-4)


def test_standard_errors_of_shared_seeds_are_those_of_reml() -> None:
    rng = np.random.default_rng(11)
    p, f, x = 4, 3, 6
    y = crossed_scores(rng, p, f, x, (0.6, 0.6, 0.5))
    i, j, k = (index.ravel() for index in np.indices(y.shape))
    names = {"pf": i * f + j, "px": i * x + k, "fx": j * x + k}
    frame = pd.DataFrame({"y": y.ravel(), "p": i, "f": j, "x": k, **names})
    found = parts_of(grid_info(p, f), y.reshape(-1, x))
    assert math.sqrt(found.moments.variance) == pytest.approx(
        reml(frame, ("p", "f", "x", "pf", "px", "fx")), rel=1e-4
    )


def test_what_is_printed_has_that_standard_error() -> None:
    rng = np.random.default_rng(12)
    info, y = nested_scores(rng, [1] * 5, 13)
    other, z = nested_scores(rng, [1] * 5, 13)
    found = compare_groups(
        sides_info(info, other), np.concatenate([y, z]), np.zeros(13), "mean", paired_seeds=True
    )
    assert found.difference.standard_error == pytest.approx(math.sqrt(nested_variance(z - y)))
    assert found.base.standard_error == pytest.approx(math.sqrt(nested_variance(y)))
    assert found.difference.over == "pretraining seeds and examples"
