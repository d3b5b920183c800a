"""Scores without predictions: means, spreads and tests that others compute, marked; and what is refused."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test, t, ttest_ind

import multibench as package
from multibench.errors import StatisticsError
from multibench.stats.alone import difference_alone, group_alone
from tests.support.command import multibench


def _runs(root: Path, group: str, scores: Sequence[Any], file: str = "all_results.json", **more: Any) -> Path:
    for seed, score in enumerate(scores):
        folder = root / group / f"seed_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        content = {"epoch": 3.0, "eval_loss": 0.6, "eval_samples": 277, "eval_accuracy": score, **more}
        (folder / file).write_text(json.dumps(content))
    return root / group


def _means(group: np.ndarray, other: np.ndarray, axis: int) -> Any:
    return np.abs(group.mean(axis=axis) - other.mean(axis=axis))


def _exchanged(expt: np.ndarray, base: np.ndarray) -> float:
    """The share of all exchanges with at least so large a difference."""
    sides: Any = (expt, base)
    done = permutation_test(
        sides, _means, n_resamples=sys.maxsize, vectorized=True, alternative="greater", axis=0
    )
    return float(done.pvalue)


@pytest.mark.parametrize("sizes", [(5, 5), (3, 7), (6, 4), (9, 8)])
def test_the_numbers_are_scipys(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(list(sizes))
    base, expt = rng.normal(0.8, 0.01, sizes[0]), rng.normal(0.81, 0.02, sizes[1])
    found = difference_alone(base.tolist(), expt.tolist(), 0.9)
    welch = ttest_ind(expt, base, equal_var=False)
    bounds = welch.confidence_interval(0.9)
    assert (found.welch_low, found.welch_high, found.welch_p) == pytest.approx(
        (bounds.low, bounds.high, welch.pvalue)
    )
    expected = _exchanged(expt, base) if found.exact else welch.pvalue
    assert found.permutation_p == pytest.approx(expected, abs=0 if found.exact else 0.02)
    group = group_alone(base.tolist(), 0.9)
    assert (group.mean, group.sd) == pytest.approx((base.mean(), base.std(ddof=1)))
    interval = t.interval(0.9, sizes[0] - 1, base.mean(), base.std(ddof=1) / np.sqrt(sizes[0]))
    assert (group.low, group.high) == pytest.approx(interval)


def test_a_permutation_interval_holds_the_shifts_that_are_not_rejected() -> None:
    rng = np.random.default_rng(2)
    base, expt = rng.normal(0, 1, 5), rng.normal(1, 1, 6)
    found = difference_alone(base.tolist(), expt.tolist(), 0.9)
    for shift, inside in [
        (found.permutation_low + 1e-6, True),
        (found.permutation_low - 1e-6, False),
        (found.permutation_high - 1e-6, True),
        (found.permutation_high + 1e-6, False),
    ]:
        assert (_exchanged(expt - shift, base) > 0.1) == inside


def test_many_runs_are_exchanged_at_random_and_repeatably() -> None:
    rng = np.random.default_rng(3)
    base, expt = rng.normal(0, 1, 20).tolist(), rng.normal(1, 1, 20).tolist()
    found = difference_alone(base, expt)
    assert not found.exact
    assert found == difference_alone(base, expt)
    assert found.permutation_p == pytest.approx(found.welch_p, abs=0.01)


@pytest.mark.parametrize("scores", [[], [0.5, float("nan")], [[0.5]]])
def test_no_scores_are_refused(scores: Any) -> None:
    with pytest.raises(StatisticsError, match="expected a list of finite numbers"):
        group_alone(scores)


def test_folders_of_runs(tmp_path: Path) -> None:
    base = _runs(tmp_path, "base", [0.80, 0.79, 0.785, 0.795])
    large = _runs(tmp_path, "large", [0.84, 0.83, 0.835])
    done = multibench("scores-alone", base, f"big={large}")
    assert done.code == 0, done.err
    assert done.out.count("scores alone") >= 3
    assert "no predictions stand behind these numbers (277 examples)" in done.out
    found = json.loads(multibench("scores-alone", base, f"big={large}", "--format", "json").out)
    assert [group["group"] for group in found["groups"]] == ["base", "big"]
    assert found["groups"][0]["mean"] == pytest.approx(0.7925)
    assert found["differences"][0]["difference"] == pytest.approx(0.835 - 0.7925)
    assert (found["marked"], found["examples"]) == ("scores alone", 277)
    rows = list(csv.DictReader(io.StringIO(multibench("scores-alone", base, large, "--format", "csv").out)))
    assert float(rows[0]["mean"]) == pytest.approx(0.7925)
    assert rows[2]["what"] == "large less base"
    assert {row["marked"] for row in rows} == {"scores alone"}
    assert package.scores_alone([str(base), str(large)], "accuracy").extra["metric"] == "eval_accuracy"


@pytest.mark.parametrize("form", ["table", "percent", "eval_results.json", "three groups"])
def test_other_sources_give_the_same(form: str, tmp_path: Path) -> None:
    a, b = [0.80, 0.79, 0.785], [0.84, 0.83, 0.835]
    if form == "table":
        lines = [
            "group\tseed\taccuracy",
            *(f"{g}\t{k}\t{x}" for g, xs in (("a", a), ("b", b)) for k, x in enumerate(xs)),
        ]
        (tmp_path / "scores.tsv").write_text("\n".join(lines) + "\n\n")
        sources = [str(tmp_path / "scores.tsv")]
    else:
        factor = 100 if form == "percent" else 1
        file = form if form.endswith(".json") else "all_results.json"
        sources = [str(_runs(tmp_path, g, [factor * x for x in xs], file)) for g, xs in (("a", a), ("b", b))]
        sources += [str(_runs(tmp_path, "c", [0.9, 0.91]))] if form == "three groups" else []
    found = package.scores_alone(sources).extra
    assert found["groups"][0]["mean"] == pytest.approx(np.mean(a))
    assert found["differences"][0]["difference"] == pytest.approx(np.mean(b) - np.mean(a))
    assert len(found["differences"]) == (3 if form == "three groups" else 1)


def test_few_runs_have_fewer_numbers_and_a_reason(tmp_path: Path) -> None:
    one, three = _runs(tmp_path, "one", [0.8]), _runs(tmp_path, "three", [0.7, 0.71, 0.72])
    done = multibench("scores-alone", one, three)
    assert "one: one run has no spread, so there is no interval." in done.out
    assert "too few runs for a permutation interval" in done.out
    found = json.loads(multibench("scores-alone", one, three, "--format", "json").out)
    assert found["groups"][0]["sd"] is None
    assert found["differences"][0]["welch_p"] is None


def test_copies_are_told(tmp_path: Path) -> None:
    base = _runs(tmp_path, "base", [0.8, 0.8, 0.79], eval_runtime=1.2345)
    assert "is the same as" in multibench("scores-alone", base).out


def _broken(root: Path, how: str) -> list[str]:
    base = _runs(root, "base", [0.8, 0.79])
    other = _runs(root, "other", [80.1, 79.0] if how == "units" else [0.7, 0.71])
    first = base / "seed_0" / "all_results.json"
    content = json.loads(first.read_text())
    if how == "samples":
        content["eval_samples"] = 500
    if how == "several":
        content["eval_f1"] = 0.7
    if how == "missing":
        del content["eval_accuracy"]
    if how == "text":
        content["eval_accuracy"] = "good"
    if how == "nan":
        content["eval_accuracy"] = float("nan")
    first.write_text("{" if how == "cut" else "[1]" if how == "list" else json.dumps(content))
    return [str(base), str(base) if how == "twice" else str(other)]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("units", "expected all scores as fractions, or all in percent"),
        ("samples", "scored on 500 examples and"),
        ("several", "several scores, eval_accuracy, eval_f1. Say which is meant: --metric NAME"),
        ("missing", "'eval_accuracy' is None, not a number"),
        ("text", "'eval_accuracy' is 'good', not a number"),
        ("nan", "'eval_accuracy' is nan, not a number"),
        ("cut", "is not valid JSON"),
        ("list", "expected one object with scores by name"),
        ("twice", "The group base is there twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(how: str, sentence: str, tmp_path: Path) -> None:
    assert sentence in multibench("scores-alone", *_broken(tmp_path, how)).refusal()


def test_sources_that_hold_no_scores(tmp_path: Path) -> None:
    base = _runs(tmp_path, "base", [0.8])
    assert "did you mean 'eval_accuracy'" in multibench("scores-alone", base, "--metric", "acuracy").refusal()
    assert "There is no folder or table" in multibench("scores-alone", tmp_path / "none").refusal()
    (tmp_path / "empty").mkdir()
    assert "in no folder below it" in multibench("scores-alone", tmp_path / "empty").refusal()
    (tmp_path / "t.csv").write_text("run,accuracy\na,0.1\n")
    assert "has no column 'group'" in multibench("scores-alone", tmp_path / "t.csv").refusal()
