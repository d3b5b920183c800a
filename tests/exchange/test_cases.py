"""Small cases that users would bring, each with its right value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from multibench.results import Results
from multibench.stats.estimate import plain
from multibench.tasks import DataSources, find_task, load_split
from tests.support.cases import Case
from tests.support.command import Outcome, multibench

pytestmark = pytest.mark.shared


def _import(*options: Any, index: str = "index.tsv", out: str = "res") -> Outcome:
    return multibench(
        "import", "predictions", "preds", "--index", index, "--out", out, "--data", "data", *options
    )


def _score(*words: Any) -> dict[str, float]:
    done = multibench("score", *words, "--data", "data", "--format", "json")
    assert done.code == 0, done.err
    found: dict[str, float] = json.loads(done.out)["metrics"]
    return found


def _stored(evaluation: str, metric: str, out: str = "res") -> list[float]:
    return [100 * run.score(evaluation, metric) for run in Results.open(out).stored]


def _mean(out: str = "res") -> float:
    rows = json.loads(multibench("scores", out, "--format", "json").out)["rows"]
    (value,) = [
        cell["value"] for row in rows for cell in row.values() if isinstance(cell, dict) and "value" in cell
    ]
    return 100 * float(value)


def test_b01_an_index_is_no_class_score(case: Case) -> None:
    case("b01")
    assert _import().code == 0
    assert _mean() == pytest.approx(96.67, abs=0.005)
    (run,) = Results.open("res").stored
    assert run.manifest["imported"]["taken"] == {
        "mood.dev": "ids from the first column, outputs from the second"
    }


def test_b02_one_run_in_another_class_order(case: Case) -> None:
    folder = case("b02")
    refused = _import().refusal()
    assert "line 6 (4.csv)" in refused
    assert "28.00 % in the order bad, good of the others, and 72.00 % in the order good, bad" in refused
    first, *rows = (folder / "index.tsv").read_text().splitlines()
    orders = ["", "", "", "", "good,bad"]
    lines = [f"{first}\tclass_order", *(f"{row}\t{order}" for row, order in zip(rows, orders, strict=True))]
    (folder / "index.tsv").write_text("\n".join(lines) + "\n")
    assert _import().code == 0
    assert _mean() == pytest.approx(74.5)


def test_b03_labels_of_its_own_that_contradict(case: Case) -> None:
    case("b03")
    refused = _import().refusal()
    assert "4.csv has labels of its own, and these agree with data/mood/dev.tsv in 42.00 %" in refused
    assert "Against its own labels its accuracy is 72.50 %" in refused


def test_b04_f1_of_three_classes(case: Case) -> None:
    folder = case("b04")
    refused = multibench("score", "tone.toml", "pred.tsv", "--data", "data").refusal()
    assert "'f1' is that of one of two classes, and the task has 3" in refused
    for metric, value in (("macro_f1", 34.51), ("micro_f1", 40.00)):
        text = (folder / "tone.toml").read_text().replace('"f1"', f'"{metric}"')
        (folder / f"{metric}.toml").write_text(text)
        assert 100 * _score(f"{metric}.toml", "pred.tsv")[metric] == pytest.approx(value, abs=0.005)


def _intervals(*words: Any) -> list[dict[str, Any]]:
    done = multibench(*words, "--format", "json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    return [cell for row in rows for cell in row.values() if isinstance(cell, dict) and "low" in cell]


def test_b06_all_right_is_no_certainty(case: Case) -> None:
    case("b06")
    assert _import().code == 0
    (score,) = _intervals("scores", "res")
    exact = binomtest(40, 40).proportion_ci(0.95, "exact")
    assert (score["value"], score["high"]) == (1.0, 1.0)
    assert score["low"] == pytest.approx(exact.low)


def test_b19_nothing_right_is_no_proof_of_equality(case: Case) -> None:
    case("b19")
    assert _import().code == 0
    exact = binomtest(0, 40).proportion_ci(0.95, "exact")
    for score in _intervals("scores", "res"):
        assert (score["value"], score["low"]) == (0.0, 0.0)
        assert score["high"] == pytest.approx(exact.high)
    words = ("compare", "res", "--base", "family=a", "--expt", "family=b")
    difference = next(one for one in _intervals(*words) if one["estimand"].startswith("difference"))
    assert difference["low"] < -exact.high < exact.high < difference["high"]


def test_b07_three_classes_on_a_task_of_two(case: Case) -> None:
    case("b07")
    done = _import()
    assert done.code == 0, done.err
    assert "merged after the highest score is taken" in done.out
    assert _mean() == pytest.approx(77.5)
    assert 100 * _score("trap.toml", "preds/run.tsv")["accuracy"] == pytest.approx(77.5)


def test_b08_probabilities_without_a_header(case: Case) -> None:
    case("b08")
    assert 100 * _score("mood.toml", "test_results.tsv")["accuracy"] == pytest.approx(85)
    stated = _score("mood.toml", "test_results.tsv", "--class-order", "bad,good")
    assert 100 * stated["accuracy"] == pytest.approx(85)


def test_b09_import_reads_what_score_reads(case: Case) -> None:
    folder = case("b09")
    for index in sorted(folder.glob("index_*.tsv")):
        assert _import(index=index.name, out=index.stem).code == 0, index.name
        assert _mean(index.stem) == pytest.approx(88.75)
    for path in (folder / "preds").iterdir():
        assert 100 * _score("mood.toml", path)["accuracy"] == pytest.approx(88.75)


def test_b10_odds_of_no_answer(case: Case) -> None:
    case("b10")
    words = ("ask.toml", "predictions.json", "--null-odds", "null_odds.json")
    assert 100 * _score("ask.toml", "predictions.json")["exact_match"] == pytest.approx(40)
    found = _score(*words)
    assert 100 * found["exact_match"] == pytest.approx(40)
    assert 100 * found["best_exact_match"] == pytest.approx(77.5)
    assert 100 * _score(*words, "--null-threshold", "0")["exact_match"] == pytest.approx(67.5)
    assert "threshold, 1.156," in multibench("score", *words, "--data", "data").out


def test_b11_gaps_and_unknown_questions(case: Case) -> None:
    case("b11")
    assert 100 * _score("ask.toml", "preds/a.json")["exact_match"] == pytest.approx(95)
    done = _import()
    assert "2 examples ('q3', 'q7') without a prediction: counted as 0." in done.out
    assert "1 id ('unknown1') not in ask.dev: ignored." in done.out
    assert _stored("ask.dev", "exact_match") == pytest.approx([95])


def test_b12_rows_without_a_gold_label(case: Case) -> None:
    folder = case("b12")
    facts = folder / "nli.toml"
    facts.write_text(facts.read_text().replace('label = "label"', 'label = "label"\nno_label = ["-"]'))
    for split in ("train", "dev"):
        examples = load_split(find_task("nli.toml"), split, DataSources(Path("data")))
        assert (len(examples), examples.left_out) == (34, 6)


@pytest.mark.parametrize("how", ["several codes a class", "codes a split"])
def test_b13_two_spellings_of_a_class(how: str, case: Case) -> None:
    folder = case("b13")
    facts = folder / "nli.toml"
    text = facts.read_text()
    if how == "codes a split":
        text = text.replace(
            'train = "train.tsv"',
            'train = { file = "train.tsv", label_codes = ["entailment", "neutral", "contradictory"] }',
        )
    else:
        codes = 'label_codes = ["entailment", "neutral", ["contradiction", "contradictory"]]'
        text = text.replace('label = "label"', f'label = "label"\n{codes}')
    facts.write_text(text)
    for split in ("train", "dev"):
        examples = load_split(find_task("nli.toml"), split, DataSources(Path("data")))
        assert np.bincount(np.asarray(examples.labels)).tolist() == [10, 10, 10]


def test_b14_scores_without_predictions(case: Case) -> None:
    case("b14")
    found = json.loads(multibench("scores-alone", "base", "large", "--format", "json").out)
    assert found["marked"] == "scores alone"
    base, large = found["groups"]
    assert (base["mean"], large["mean"]) == pytest.approx((0.78976, 0.83386))
    assert (base["sd"], large["sd"]) == pytest.approx((0.01353, 0.00850), abs=5e-6)
    (pair,) = found["differences"]
    assert (pair["welch_low"], pair["welch_high"]) == pytest.approx((0.027065, 0.061135), abs=1e-6)
    assert pair["permutation_p"] == pytest.approx(2 / 252)
    assert plain(pair) == pair


def test_b17_ties_are_broken_as_in_the_source(case: Case) -> None:
    case("b17")
    done = _import()
    assert "89.00 %" in done.out
    assert _mean() == pytest.approx(89)


@pytest.mark.parametrize("key", ["mood.toml", "mood"])
def test_b18_a_stated_order_is_used_or_refused(key: str, case: Case) -> None:
    case("b18")
    refused = _import("--class-order", f"{key}=good,bad").refusal()
    assert "stated as good, bad, and the labels contradict it" in refused
    done = _import("--class-order", f"{key}=good,bad", "--force")
    assert done.code == 0, done.err
    assert _mean() == pytest.approx(34.3)
    assert "labels contradict it" in done.out
