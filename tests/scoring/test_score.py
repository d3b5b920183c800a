"""Prediction files of every layout: the scores that the official scripts give, and what they do about gaps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multibench as package
from multibench.errors import DataError, ResultsError
from multibench.metrics.squad import answer_outputs
from multibench.reports.scored import scored_table
from multibench.results.store import Predictions, _write_predictions
from multibench.scoring import Scored, score
from multibench.tasks import DataSources, find_task, load_split
from tests.scoring.support import GOLD, HANS_ROWS, glue_text, hans_text, make_heuristics, make_questions
from tests.support.command import multibench
from tests.support.tiny import make_classification, make_regression

ANSWERED = {question: texts for question, texts in GOLD.items() if texts}
RIGHT = {question: texts[0] if texts else "" for question, texts in GOLD.items()}
HANS_RIGHT = {name: label for label, name, _, _ in HANS_ROWS}


def _score(task: Path, content: str | dict[str, str], **options: Any) -> Scored:
    path = task.with_name("predictions")
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return score(str(task), path, data=task.parent / "data", **options)


def _stored(task: Path, predictions: Predictions) -> Scored:
    _write_predictions(task.with_name("stored"), predictions)
    return score(str(task), task.with_name("stored"), data=task.parent / "data")


def _labels(task: Path) -> list[str]:
    folder = task.parent / "data" / task.stem
    return [line.split("\t")[-1] for line in (folder / "dev.tsv").read_text().splitlines()[1:]]


# GLUE's layout


@pytest.mark.parametrize("layout", ["official", "files"])
def test_codes_and_names_of_classes_both_count(tmp_path: Path, layout: str) -> None:
    task = make_classification(tmp_path)
    task.write_text(task.read_text().replace("[official", f"[{layout}"))
    codes = _labels(task)
    assert _score(task, glue_text(codes)).metrics == {"accuracy": 1, "f1": 1}
    names = {"no": "other", "yes": "same"}
    assert _score(task, glue_text(names[code] for code in codes)).metrics == {"accuracy": 1, "f1": 1}
    # A third of the labels is "no"; "yes" is the positive class.
    assert _score(task, glue_text(["no"] * 24)).metrics == {"accuracy": pytest.approx(1 / 3), "f1": 0}
    assert _score(task, glue_text(["yes"] * 24)).metrics == {
        "accuracy": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
    }


def test_rows_may_come_in_any_order_and_dress(tmp_path: Path) -> None:
    task = make_classification(tmp_path)
    codes = _labels(task)
    shuffled = {str(i): codes[i] for i in np.random.default_rng(0).permutation(24)}
    text = "\ufeff" + glue_text(shuffled).replace("index", "Index").replace("\n", "\r\n").rstrip()
    assert _score(task, text).metrics["accuracy"] == 1


def test_scores_are_correlated(tmp_path: Path) -> None:
    task = make_regression(tmp_path)
    gold = [float(label) for label in _labels(task)]
    assert _score(task, glue_text(gold)).metrics == pytest.approx({"pearson": 1, "spearman": 1})
    backwards = _score(task, glue_text(f"{-1e-3 * value:e}" for value in gold))
    assert backwards.metrics == pytest.approx({"pearson": -1, "spearman": -1})
    constant = _score(task, glue_text([2.5] * 24))
    assert all(math.isnan(value) for value in constant.metrics.values())
    assert constant.to_dict()["metrics"] == {"pearson": None, "spearman": None}
    assert constant.notes[0] == "pearson is not defined for these predictions."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.replace("\n7\tyes\n", "\n"), r"no prediction for 1 example \('7'\) of pairs.dev"),
        (lambda t: t + "24\tyes\n", r"names 1 id \('24'\) that pairs.dev has not"),
        (lambda t: t + "7\tno\n", "line 26: the id '7' is already on line 9"),
        (lambda t: t.replace("7\tyes", "7\tmaybe"), "line 9: the prediction is 'maybe'; pairs knows 'other'"),
        (lambda t: t.replace("7\tyes", "7"), "line 9: '7' is not an id and a prediction"),
        (lambda t: t.replace("7\tyes", "7\tyes\tno"), "is not an id and a prediction"),
        (lambda t: t.replace("7\tyes", ""), "line 9: '' is not an id and a prediction"),
        (lambda t: t.removeprefix("index\tprediction\n"), r"first line of .* is '0\\tno'; expected 'index"),
        (lambda t: t.replace("\t", ";"), "expected 'index<TAB>prediction'"),
        (lambda t: "index\tprediction\n", "no prediction for any example .* names nothing"),
        (lambda t: "", "first line"),
        (lambda t: "{}", "first line"),
    ],
)
def test_files_for_the_server_are_whole(tmp_path: Path, change: Any, sentence: str) -> None:
    task = make_classification(tmp_path)
    with pytest.raises(DataError, match=sentence):
        _score(task, change(glue_text(_labels(task))))


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "", "four", "1_0", "0x1", "٣", "1,5"])
def test_scores_are_numbers(tmp_path: Path, value: str) -> None:
    task = make_regression(tmp_path)
    with pytest.raises(DataError, match=r"line 4: .* (not a number|not an id)"):
        _score(task, glue_text(["1", "2", value] + ["3"] * 21))


def test_built_in_tasks_need_no_data(tmp_path: Path) -> None:
    task = find_task("pocket_inference")
    examples = load_split(task, task.evaluations[0], DataSources())
    said = dict(zip(examples.ids, (task.labels[k] for k in np.asarray(examples.labels)), strict=True))
    (tmp_path / "right.tsv").write_text(glue_text(said))
    assert score("pocket_inference", tmp_path / "right.tsv").metrics["accuracy"] == 1


# SQuAD's JSON


def test_gold_answers_score_one(tmp_path: Path) -> None:
    scored = _score(make_questions(tmp_path), RIGHT)
    assert scored.metrics == {"f1": 1, "exact_match": 1}
    assert scored.parts == {
        "answers": {
            "HasAns": {"examples": 3, "f1": 1, "exact_match": 1},
            "NoAns": {"examples": 2, "f1": 1, "exact_match": 1},
        }
    }


def test_answers_are_compared_as_words(tmp_path: Path) -> None:
    given = {"q1": "A red, quick fox!", "q2": "", "q3": "North", "q4": "", "q5": "seven"}
    scored = _score(make_questions(tmp_path), given)
    # q1: 2 of 3 words against "red fox": F1 4/5; q3 is exact without the article; q4 rightly unanswered.
    assert scored.metrics == pytest.approx({"f1": (0.8 + 0 + 1 + 1 + 0) / 5, "exact_match": 2 / 5})
    assert scored.parts["answers"]["HasAns"] == pytest.approx(
        {"examples": 3, "f1": 0.6, "exact_match": 1 / 3}
    )
    assert scored.parts["answers"]["NoAns"] == {"examples": 2, "f1": 0.5, "exact_match": 0.5}


def test_v1_counts_a_question_without_answer_as_zero(tmp_path: Path) -> None:
    task = make_questions(tmp_path, "answered", ANSWERED)
    scored = _score(task, {"q1": "fox", "q3": "north", "unheard": "of"})
    assert scored.metrics == pytest.approx({"f1": 2 / 3, "exact_match": 2 / 3})
    assert (scored.missing, scored.extra, scored.examples) == (("q2",), ("unheard",), 3)
    assert scored.parts == {}
    assert scored.notes == (
        "1 example ('q2') without a prediction: counted as 0.",
        "1 id ('unheard') not in answered.dev: ignored.",
    )


def test_v2_stops_at_a_question_without_prediction(tmp_path: Path) -> None:
    task = make_questions(tmp_path)
    with pytest.raises(DataError, match=r"no prediction for 1 example \('q4'\) of questions.dev"):
        _score(task, {q: text for q, text in RIGHT.items() if q != "q4"})
    assert _score(task, {**RIGHT, "unheard": "of"}).extra == ("unheard",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"q1": "fox", "q1": "red"}', "answers the question 'q1' twice"),
        ('{"q1": 7}', "the answer to 'q1' is 7, not a text"),
        ('{"q1": null}', "is None, not a text"),
        ('{"q1": ["fox"]}', "not a text"),
        ('{"q1": "fox"', "not valid JSON: .* cut off"),
        ('["fox"]', "holds no JSON object"),
        ('{"\\ud800": "fox"}', "is no id of a question"),
        ("{}", "no prediction for any example .* names nothing"),
        ('{"p1": "fox"}', r"names 1 id \('p1'\). Is it for another task"),
        ("index\tprediction\n", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"q1": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
)
def test_answers_are_texts_by_id(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        _score(make_questions(tmp_path, "answered", ANSWERED), content)


# HANS


def test_heuristics_and_subcases_have_their_scores(tmp_path: Path) -> None:
    scored = _score(make_heuristics(tmp_path), hans_text({**HANS_RIGHT, "ex2": "entailment"}))
    assert scored.metrics == {"accuracy": pytest.approx(5 / 6)}
    assert scored.parts["heuristic"] == {
        "lexical_overlap": {"examples": 3, "accuracy": 1},
        "constituent": {"examples": 3, "accuracy": pytest.approx(2 / 3)},
    }
    assert scored.parts["heuristic, label"]["constituent, not_entailment"] == {"examples": 2, "accuracy": 0.5}
    assert scored.parts["subcase"]["cn_a"] == {"examples": 2, "accuracy": 0.5}
    assert list(scored.parts["subcase"]) == ["ln_a", "le_a", "cn_a", "ce_a"]


@pytest.mark.parametrize(
    "label", ["non-entailment", "not_entailment", "non_entailment", "neutral", "contradiction"]
)
def test_all_but_entailment_is_no_entailment(tmp_path: Path, label: str) -> None:
    said = {name: "entailment" if right == "entailment" else label for name, right in HANS_RIGHT.items()}
    assert _score(make_heuristics(tmp_path), hans_text(said)).metrics == {"accuracy": 1}


def test_ids_that_hans_does_not_know_are_passed_over(tmp_path: Path) -> None:
    task = make_heuristics(tmp_path)
    assert _score(task, hans_text({**HANS_RIGHT, "ex77": "neutral"})).extra == ("ex77",)
    with pytest.raises(DataError, match=r"no prediction for 2 examples \('ex1', 'ex4'\)"):
        _score(task, hans_text({k: v for k, v in HANS_RIGHT.items() if k not in ("ex1", "ex4")}))
    # The script would take these for 'non-entailment', which nobody can have meant.
    for label in ("Entailment", " entailment", "entail", ""):
        with pytest.raises(DataError, match=f"line 3: the prediction is '{label}'"):
            _score(task, hans_text({**HANS_RIGHT, "ex1": label}))


# What multibench stores


def test_stored_class_scores_count_by_their_highest(tmp_path: Path) -> None:
    task = make_classification(tmp_path)
    labels = np.array([code == "yes" for code in _labels(task)], dtype=np.int64)
    outputs = np.eye(2, dtype=np.float32)[labels]
    ids = tuple(map(str, range(24)))
    assert _stored(task, Predictions(ids, outputs, labels)).metrics == {"accuracy": 1, "f1": 1}
    backwards = Predictions(ids[::-1], outputs[::-1], labels[::-1])
    assert _stored(task, backwards).metrics == {"accuracy": 1, "f1": 1}
    for wrong, sentence in [
        (Predictions(ids, outputs, 1 - labels), "carries other labels"),
        (Predictions(ids[:-1], outputs[:-1], labels[:-1]), "no prediction for 1 example"),
        (Predictions((*ids[:-1], "x"), outputs, labels), "no prediction for 1 example"),
        (Predictions(("0", *ids[:-1]), outputs, labels), "an id occurs twice"),
        (Predictions(ids, outputs[:, :1], labels), "1 columns of float32, not 2"),
        (Predictions(ids, outputs * np.float32("nan"), labels), "NaN or infinite"),
    ]:
        with pytest.raises(DataError, match=sentence):
            _stored(task, wrong)
    task.with_name("stored").write_bytes(b"PAR1 and no more")
    with pytest.raises(ResultsError, match="cannot be read as predictions"):
        score(str(task), task.with_name("stored"), data=task.parent / "data")


def test_stored_answers_keep_the_threshold_of_their_run(tmp_path: Path) -> None:
    task = make_questions(tmp_path)
    texts, odds = ("fox", "seven", "hares", "red", "red"), np.array([-2, 3, -1, 2, -1])
    outputs = answer_outputs(texts, odds, list(GOLD.values()), threshold=1.0)
    labels = np.array([1, 1, 1, 0, 0])
    scored = _stored(task, Predictions(tuple(GOLD), outputs, labels, texts))
    refused = {q: "" if o > 1 else t for q, t, o in zip(GOLD, texts, odds, strict=True)}
    assert scored.metrics == _score(task, refused).metrics == {"f1": 0.4, "exact_match": 0.4}
    with pytest.raises(DataError, match="scored against other answers"):
        _stored(task, Predictions(tuple(GOLD), outputs, labels, ("fox", "hares", *texts[2:])))
    with pytest.raises(DataError, match="column of texts is missing"):
        _stored(task, Predictions(tuple(GOLD), outputs, labels))


# The verb


def test_the_verb_prints_json_and_tables(tmp_path: Path) -> None:
    task = make_questions(tmp_path, "answered", ANSWERED)
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"q1": "fox", "q3": "north"}))
    words = ("score", task, path, "--data", tmp_path / "data")
    found = json.loads(multibench(*words, "--format", "json").out)
    assert found["task"] == "answered"
    assert found["metrics"] == pytest.approx({"exact_match": 2 / 3, "f1": 2 / 3})
    assert (found["missing"], found["extra"]) == (["q2"], [])
    text = multibench(*words)
    assert text.code == 0
    assert "66.67" in text.out
    assert "1 example ('q2') without a prediction: counted as 0." in text.out
    assert multibench(*words, "--format", "latex").out.count("66.67") == 2
    assert package.score(str(task), path, data=tmp_path / "data").to_dict() == found


def test_thresholds_tuned_on_the_split_are_marked(tmp_path: Path) -> None:
    task = make_questions(tmp_path)
    facts = task.read_text().replace('"exact_match"]', '"exact_match", "best_exact_match"]')
    task.write_text(facts)
    texts, odds = ("fox", "seven", "north", "red", "red"), np.array([-2, -3, -1, 2, 4])
    outputs = answer_outputs(texts, odds, list(GOLD.values()), threshold=5.0)
    scored = _stored(task, Predictions(tuple(GOLD), outputs, np.array([1, 1, 1, 0, 0]), texts))
    assert scored.metrics == {"f1": 0.6, "exact_match": 0.6, "best_exact_match": 1}
    assert scored.notes == ("best_exact_match: its threshold is tuned on the very answers that are scored.",)
    # On a part the threshold would be another one.
    assert set(scored.parts["answers"]["HasAns"]) == {"examples", "f1", "exact_match"}
    (whole, *parts) = scored_table(scored).rows
    assert "best_exact_match [%]" in whole
    assert not any("best_exact_match [%]" in part for part in parts)
    # Texts alone do not say what another threshold would do.
    assert set(_score(task, RIGHT).metrics) == {"f1", "exact_match"}


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    task = make_classification(tmp_path)
    path = tmp_path / "p.tsv"
    path.write_text(glue_text(["yes"] * 24))
    data = ("--data", tmp_path / "data")
    assert "has no labels" in multibench("score", task, path, "--split", "extra", *data).refusal()
    assert "has no split 'test'" in multibench("score", task, path, "--split", "test", *data).refusal()
    assert "cannot be read" in multibench("score", task, tmp_path / "none", *data).refusal()
    assert "cannot be read" in multibench("score", task, tmp_path, *data).refusal()
    assert "no task 'rt'" in multibench("score", "rt", path, *data).refusal()
    dev = tmp_path / "data/pairs/dev.tsv"
    dev.write_text("\n".join(dev.read_text().splitlines()[:-1]) + "\n")
    path.write_text(glue_text(["yes"] * 23))
    assert "not the released data" in multibench("score", task, path, *data).refusal()
    assert "Usage" in multibench("score", "--help").out
    accepted = multibench("score", task, path, *data, "--accept-different-data")
    assert "NOT the released data" in accepted.out
