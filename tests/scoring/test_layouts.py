"""``score`` and ``import`` read the same layouts, and come to the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.metrics.squad import ANSWER_OUTPUTS
from multibench.results import Results
from tests.scoring.support import make_questions
from tests.support.command import multibench
from tests.support.mood import Mood, lines


def _scores(said: np.ndarray, classes: int, order: list[int]) -> np.ndarray:
    """Probabilities of classes in this order of the columns, the highest that of what is said."""
    shares = np.full((len(said), classes), 0.2 / (classes - 1))
    shares[np.arange(len(said)), np.argsort(order)[said]] = 0.8
    return shares.round(4)


def _table(scores: np.ndarray, separator: str = "\t", header: str | None = None) -> str:
    return lines([separator.join(f"{x:.4f}" for x in row) for row in scores], header)


LAYOUTS: dict[str, Callable[[Mood, np.ndarray], str]] = {
    "a GLUE submission with names": lambda m, s: lines(
        [f"{i}\t{m.labels[k]}" for i, k in enumerate(s)], "index\tprediction"
    ),
    "the same with carriage returns and blank lines at the end": lambda m, s: (
        lines([f"{i}\t{m.labels[k]}\r" for i, k in enumerate(s)], "index\tprediction\r") + "\n\n"
    ),
    "HANS pairs": lambda m, s: lines([f"ex{i},{m.labels[k]}" for i, k in enumerate(s)], "pairID,gold_label"),
    "a frame headed by numbers": lambda m, s: _table(
        _scores(s, len(m.labels), [*range(len(m.labels))]), ",", ",".join(map(str, range(len(m.labels))))
    ),
    "probabilities without a header": lambda m, s: _table(_scores(s, len(m.labels), [*range(len(m.labels))])),
    "in another order of classes": lambda m, s: _table(
        _scores(s, len(m.labels), [*range(1, len(m.labels)), 0]), ","
    ),
    "blanks between numbers": lambda m, s: _table(_scores(s, len(m.labels), [*range(len(m.labels))]), " "),
    "lists of scores in a cell": lambda m, s: lines(
        [f"{i}\t{row.tolist()}" for i, row in enumerate(_scores(s, len(m.labels), [*range(len(m.labels))]))],
        "id\tscores",
    ),
    "a list a line": lambda m, s: lines(
        [str(row.tolist()) for row in _scores(s, len(m.labels), [*range(len(m.labels))])]
    ),
    "names alone": lambda m, s: lines([m.labels[k] for k in s]),
    "numbers below the GLUE header": lambda m, s: lines(
        [f"{i}\t{k}" for i, k in enumerate(s)], "index\tprediction"
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_read_it_alike(layout: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path, labels=["mood 0", "mood 1", "mood 2"])
    path = mood.write("predict_results_mood.txt", LAYOUTS[layout](mood, mood.said(0.85, 3)))
    scored = mood.score(path)
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["metrics"]["accuracy"] == pytest.approx(0.85)
    done = mood.imported(mood.runs([path.name]))
    assert done.code == 0, done.err
    assert mood.accuracies() == pytest.approx([0.85])


@pytest.mark.parametrize("form", ["npy", "npz", "parquet"])
def test_arrays_and_parquet_are_scored_too(form: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    mood = Mood(tmp_path)
    scores = _scores(mood.said(0.9, 1), 2, [1, 0])
    path = mood.predictions / f"run.{form}"
    if form == "npy":
        np.save(path, scores)
    elif form == "npz":
        np.savez(path, logits=scores)
    else:
        columns = {"idx": np.arange(mood.rows), "logit_0": scores[:, 0], "logit_1": scores[:, 1]}
        pq.write_table(pa.table(columns), path)
    found = json.loads(mood.score(path).out)
    assert found["metrics"]["accuracy"] == pytest.approx(0.9)
    assert "classes are good, bad (found by the accuracy of 1 run: 90.00 %" in " ".join(found["remarks"])
    assert mood.imported(mood.runs([path.name])).code == 0
    assert mood.accuracies() == pytest.approx([0.9])


def test_an_order_for_score_is_stated_found_or_refused(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    clear = mood.write("clear.tsv", _table(_scores(mood.said(0.8, 1), 2, [0, 1])))
    unclear = mood.write("unclear.tsv", _table(_scores(mood.said(0.52, 1), 2, [0, 1])))
    assert "is not clear" in mood.score(unclear).refusal()
    stated = json.loads(mood.score(unclear, "--class-order", "bad,good").out)
    assert stated["metrics"]["accuracy"] == pytest.approx(0.52, abs=0.01)
    assert "(stated: " in stated["notes"][-1]
    assert "the labels contradict it" in mood.score(clear, "--class-order", "good,bad").refusal()
    forced = json.loads(mood.score(clear, "--class-order", "good,bad", "--force").out)
    assert forced["metrics"]["accuracy"] == pytest.approx(0.2)
    assert "the labels contradict it" in forced["notes"][-1]
    named = mood.write("named.tsv", lines([f"{i}\tbad" for i in range(mood.rows)], "index\tprediction"))
    assert "no class order can be stated for it" in mood.score(named, "--class-order", "good,bad").refusal()


# Three classes on a task of two


def _pair(root: Path) -> tuple[Mood, Mood]:
    """A task of two classes, and the task of three that its models are trained on."""
    merges = 'merges = { yes = ["yes"], no = ["maybe", "no way"] }'
    trap = Mood(root, labels=("yes", "no"), name="trap", more=merges)
    trained = Mood(root, labels=("yes", "maybe", "no way"), name="three", seed=1)
    trained.toml.write_text(
        trained.toml.read_text().replace("[splits.dev]", "[splits.train]\nrows = 3\n[splits.dev]")
    )
    return trap, trained


def _three(trap: Mood, seed: int, order: list[int]) -> np.ndarray:
    """Scores of three classes in this order, right in 80 of 100 rows after the highest is taken."""
    rng = np.random.default_rng([seed, 5])
    said = trap.said(0.8, seed)
    fine = np.where(said == 0, 0, rng.integers(1, 3, trap.rows))
    scores = rng.dirichlet([4, 4, 4], trap.rows)
    scores[np.arange(trap.rows), fine] = scores.max(axis=1) + 0.02
    return np.asarray(scores[:, order].round(4))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_three_classes_count_as_two_after_the_highest_is_taken(order: list[int], tmp_path: Path) -> None:
    trap, trained = _pair(tmp_path)
    scores = _three(trap, 2, order)
    path = trap.write("run.tsv", _table(scores))
    # Summed shares would say otherwise in some rows, which is what makes it worth stating.
    summed = scores[:, order.index(0)] > 0.5 * scores.sum(axis=1)
    assert (summed != (scores.argmax(axis=1) == order.index(0))).any()
    index = trap.index([{"trained_on": str(trained.toml), "finetuning_seed": 1, "file": "run.tsv"}])
    done = trap.imported(index)
    assert done.code == 0, done.err
    assert trap.accuracies() == pytest.approx([0.8])
    assert "merged after the highest score is taken" in done.out
    (run,) = Results.open(tmp_path / "res").stored
    assert run.manifest["imported"]["class_order"]["trap.dev"]["merged"] == "after argmax"
    assert json.loads(trap.score(path).out)["metrics"]["accuracy"] == pytest.approx(0.8)


@pytest.mark.parametrize("form", ["names", "numbers", "stated", "columns"])
def test_three_classes_by_name_number_and_statement(form: str, tmp_path: Path) -> None:
    trap, trained = _pair(tmp_path)
    scores = _three(trap, 3, [2, 0, 1])
    names = ("no way", "yes", "maybe")
    said = scores.argmax(axis=1)
    content = {
        "names": lines([f"{i},{names[k]}" for i, k in enumerate(said)], "index,prediction"),
        "numbers": lines(said.tolist(), "prediction"),
        "stated": _table(scores),
        "columns": _table(scores, "\t", "\t".join(names)),
    }[form]
    path = trap.write("run.tsv", content)
    index = trap.index([{"trained_on": str(trained.toml), "finetuning_seed": 1, "file": "run.tsv"}])
    order = ("--class-order", f"three={','.join(names)}") if form == "stated" else ()
    done = trap.imported(index, *order)
    assert done.code == 0, done.err
    assert trap.accuracies() == pytest.approx([0.8])
    order = ("--class-order", ",".join(names)) if form == "stated" else ()
    assert json.loads(trap.score(path, *order).out)["metrics"]["accuracy"] == pytest.approx(0.8)


def test_ties_between_classes_that_are_merged(tmp_path: Path) -> None:
    trap, trained = _pair(tmp_path)
    scores = _three(trap, 4, [2, 0, 1])
    scores[::3] = [0.4, 0.4, 0.2]  # "no way" comes before "yes"
    trap.write("run.tsv", _table(scores))
    said = np.array([1, 0, 1])[scores.argmax(axis=1)]
    index = trap.index([{"trained_on": str(trained.toml), "finetuning_seed": 1, "file": "run.tsv"}])
    assert trap.imported(index).code == 0
    assert trap.accuracies() == pytest.approx([float((said == trap.gold).mean())])


# Questions


def _ask(root: Path, words: tuple[str, ...]) -> Path:
    task = make_questions(root)
    metrics = ", ".join(f'"{word}"' for word in words)
    task.write_text(task.read_text().replace('"answer_f1", "exact_match"', metrics))
    return task


ANSWERS = {"q1": "fox", "q2": "hares", "q3": "north", "q4": "red", "q5": "red"}
ODDS = {"q1": -2.0, "q2": 3.25, "q3": 1.5, "q4": 2.125, "q5": 4.0, "q9": 7}


@pytest.mark.parametrize("threshold", [None, 0.0, 2.0, 5.0])
def test_odds_of_no_answer_give_scores_at_any_threshold(threshold: float | None, tmp_path: Path) -> None:
    task = _ask(tmp_path, ("answer_f1", "exact_match", "best_exact_match", "best_answer_f1"))
    preds = tmp_path / "preds"
    preds.mkdir()
    (preds / "a.json").write_text(json.dumps(ANSWERS))
    (preds / "odds.json").write_text(json.dumps(ODDS))
    data = ("--data", tmp_path / "data")
    words = (
        "--null-odds",
        preds / "odds.json",
        *(() if threshold is None else ("--null-threshold", threshold)),
    )
    found = json.loads(multibench("score", task, preds / "a.json", *data, *words, "--format", "json").out)
    # Right: q1, q3; without an answer: q4, q5. At 2 only q1 and q3 are answered.
    expected = {None: 2 / 5, 0.0: 3 / 5, 2.0: 4 / 5, 5.0: 2 / 5}[threshold]
    assert found["metrics"]["exact_match"] == pytest.approx(expected)
    assert found["metrics"]["best_exact_match"] == pytest.approx(4 / 5)
    assert found["thresholds"]["best_exact_match"] == 1.5
    assert "its threshold, 1.5, is tuned" in " ".join(found["notes"])
    index = tmp_path / "index.tsv"
    row = f"m\t{task}\ta.json\todds.json\t{'' if threshold is None else threshold}"
    index.write_text(f"family\ttask\tfile\tnull_odds\tnull_threshold\n{row}\n")
    done = multibench("import", "predictions", preds, "--index", index, "--out", tmp_path / "res", *data)
    assert done.code == 0, done.err
    (run,) = Results.open(tmp_path / "res").stored
    for name in ("exact_match", "best_exact_match"):
        assert run.score("questions.dev", name) == pytest.approx(found["metrics"][name])
    odds = run.predictions("questions.dev").outputs[:, ANSWER_OUTPUTS.index("null_odds")]
    np.testing.assert_array_equal(odds, np.float32(list(ODDS.values())[:5]))


@pytest.mark.parametrize(
    ("odds", "sentence"),
    [
        ({"q1": 1.0}, "has no odds for 4 questions"),
        ({**ODDS, "q2": "high"}, "are 'high', not a number"),
        ({**ODDS, "q2": True}, "are True, not a number"),
        ({**ODDS, "q2": 1e999}, "not a number"),
        ([1, 2], "holds no JSON object"),
    ],
)
def test_odds_that_cannot_be_used(odds: Any, sentence: str, tmp_path: Path) -> None:
    task = _ask(tmp_path, ("exact_match", "answer_f1"))
    for name, content in (("a.json", ANSWERS), ("odds.json", odds)):
        (tmp_path / name).write_text(json.dumps(content))
    words = ("--data", tmp_path / "data", "--null-odds", tmp_path / "odds.json")
    assert sentence in multibench("score", task, tmp_path / "a.json", *words).refusal()


def test_odds_for_questions_that_all_have_an_answer(tmp_path: Path) -> None:
    task = make_questions(tmp_path, "answered", {"q1": ("fox",)})
    (tmp_path / "a.json").write_text('{"q1": "fox"}')
    words = ("score", task, tmp_path / "a.json", "--data", tmp_path / "data")
    assert "unanswerable questions" in multibench(*words, "--null-odds", tmp_path / "a.json").refusal()
    assert "a threshold with a file of odds" in multibench(*words, "--null-threshold", 1).refusal()


@pytest.mark.parametrize("missing", [(), ("q2",), ("q1", "q3")])
@pytest.mark.parametrize("extra", [(), ("q7", "q8")])
def test_gaps_and_unknown_questions_are_counted_alike(
    missing: tuple[str, ...], extra: tuple[str, ...], tmp_path: Path
) -> None:
    gold = {"q1": ("red fox",), "q2": ("seven",), "q3": ("hares",), "q4": ("north",)}
    task = make_questions(tmp_path, "answered", gold)
    given = {name: texts[0] for name, texts in gold.items() if name not in missing} | dict.fromkeys(
        extra, "x"
    )
    preds = tmp_path / "preds"
    preds.mkdir()
    (preds / "a.json").write_text(json.dumps(given))
    index = tmp_path / "index.tsv"
    index.write_text(f"family\ttask\tfile\nm\t{task}\ta.json\n")
    data = ("--data", tmp_path / "data")
    scored = json.loads(multibench("score", task, preds / "a.json", *data, "--format", "json").out)
    done = multibench("import", "predictions", preds, "--index", index, "--out", tmp_path / "res", *data)
    assert done.code == 0, done.err
    (run,) = Results.open(tmp_path / "res").stored
    expected = (4 - len(missing)) / 4
    assert (
        scored["metrics"]["exact_match"]
        == run.score("answered.dev", "exact_match")
        == pytest.approx(expected)
    )
    for note in scored["notes"]:
        assert note in done.out
    assert run.manifest["imported"]["notes"].get("answered.dev", []) == [
        f"index.tsv, line 2 (a.json): {note}"[len("index.tsv, line 2 (a.json): ") :]
        for note in scored["notes"]
    ]


def test_a_gap_that_would_be_right_is_refused(tmp_path: Path) -> None:
    task = make_questions(tmp_path, "answered", {"q1": ("the",), "q2": ("seven",)})
    preds = tmp_path / "preds"
    preds.mkdir()
    (preds / "a.json").write_text('{"q2": "seven"}')
    index = tmp_path / "index.tsv"
    index.write_text(f"family\ttask\tfile\nm\t{task}\ta.json\n")
    words = ("--index", index, "--out", tmp_path / "res", "--data", tmp_path / "data")
    assert "nothing but articles" in multibench("import", "predictions", preds, *words).refusal()
