"""A run that contradicts the others, its own labels or what was stated is named and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from multibench.results import Results
from tests.support.mood import Mood, lines


def _five(mood: Mood, accuracy: float = 0.75) -> list[np.ndarray]:
    return [mood.said(accuracy, seed) for seed in range(5)]


def _write(mood: Mood, runs: list[np.ndarray]) -> list[str]:
    for k, run in enumerate(runs):
        mood.write(f"{k}.csv", lines(run.tolist()))
    return [f"{k}.csv" for k in range(len(runs))]


def _named(mood: Mood, runs: list[np.ndarray]) -> list[str]:
    for k, run in enumerate(runs):
        mood.write(f"{k}.csv", lines([f"{i},{mood.labels[c]}" for i, c in enumerate(run)], "id,prediction"))
    return [f"{k}.csv" for k in range(len(runs))]


@pytest.mark.parametrize(("labels", "wrong"), [(2, (1, 0)), (3, (1, 2, 0)), (3, (0, 2, 1))])
@pytest.mark.parametrize("by_name", [False, True])
def test_one_of_five_in_another_class_order(
    labels: int, wrong: tuple[int, ...], by_name: bool, tmp_path: Path
) -> None:
    mood = Mood(tmp_path, labels=[f"mood{k}" for k in range(labels)], rows=240)
    runs = _five(mood)
    runs[3] = np.array(wrong)[runs[3]]
    files = (_named if by_name else _write)(mood, runs)
    refused = mood.imported(mood.runs(files)).refusal()
    assert refused.startswith(f"{mood.root}/index.tsv, line 5 (3.csv) has its classes in another order")
    assert "75.00 % in the order" in refused
    done = mood.imported(mood.runs(files), "--force")
    assert done.code == 0
    assert "line 5 (3.csv) has its classes in another order" in done.out
    marked = [run for run in Results.open(tmp_path / "res").stored if run.manifest["imported"]["notes"]]
    assert [run.fields["finetuning_seed"] for run in marked] == [3]


def test_its_order_can_be_stated_in_the_index(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    runs = _five(mood)
    runs[3] = 1 - runs[3]
    files = _write(mood, runs)
    done = mood.imported(mood.runs(files, class_order=["", "", "", "good,bad", ""]))
    assert done.code == 0, done.err
    assert mood.accuracies() == pytest.approx([0.75] * 5)
    wrong = mood.imported(mood.runs(files, class_order=["", "good,bad", "", "good,bad", ""])).refusal()
    assert "the labels contradict it" in wrong


def test_two_of_two_that_disagree_are_both_told(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    runs = [mood.said(0.9, 0), 1 - mood.said(0.9, 1)]
    assert "has its classes in another order" in mood.imported(mood.runs(_write(mood, runs))).refusal()


@pytest.mark.parametrize("order", ["sorted", "backwards", "rolled"])
@pytest.mark.parametrize("by_name", [False, True])
def test_one_of_five_with_its_rows_sorted_otherwise(order: str, by_name: bool, tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=240)
    runs = _five(mood, 0.85)
    rows = {
        "sorted": runs[2].argsort(),
        "backwards": np.arange(240)[::-1],
        "rolled": np.roll(np.arange(240), 7),
    }
    runs[2] = runs[2][rows[order]]
    files = (_named if by_name else _write)(mood, runs)
    refused = mood.imported(mood.runs(files)).refusal()
    assert "line 4 (2.csv): its predictions go with the labels as by chance" in refused
    done = mood.imported(mood.runs(files), "--force")
    assert done.code == 0
    assert "as by chance" in done.out


def test_runs_that_learnt_nothing_are_no_disagreement(tmp_path: Path) -> None:
    """Collapsed ones, ones that nearly are, and those of a step at which nothing was learnt yet."""
    mood = Mood(tmp_path, rows=240)
    rng = np.random.default_rng(1)
    runs = [*_five(mood, 0.85), np.ones(240, dtype=np.int64), (rng.random(240) < 0.05).astype(np.int64)]
    files = _write(mood, [*runs, rng.integers(0, 2, 240)])
    done = mood.imported(mood.runs(files, step=[*[1000] * 7, 0]))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "accuracies", [(0.55, 0.60, 0.58, 0.46), (0.45, 0.46, 0.44, 0.53), (0.9, 0.6, 0.4, 0.9)]
)
def test_runs_around_chance_on_a_hard_set_are_no_disagreement(
    accuracies: tuple[float, ...], tmp_path: Path
) -> None:
    """Models may be worse than chance on what was made to mislead them, however many examples show it."""
    mood = Mood(tmp_path, rows=6000)
    runs = [mood.said(accuracy, seed) for seed, accuracy in enumerate(accuracies)]
    done = mood.imported(mood.runs(_named(mood, runs)))
    assert done.code == 0, done.err
    assert mood.accuracies() == pytest.approx(list(accuracies), abs=1e-3)


@pytest.mark.parametrize("change", ["reversed", "shuffled"])
def test_a_regression_that_goes_against_the_others(change: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    facts = mood.toml.read_text().replace("classification", "regression").replace("'accuracy'", "'pearson'")
    mood.toml.write_text(facts.replace("labels = ['bad', 'good']", "score_range = [0.0, 5.0]"))
    rng = np.random.default_rng(0)
    gold = np.round(rng.uniform(0, 5, mood.rows), 2)
    mood.write_data(list(map(str, gold)))
    runs = [gold + rng.normal(0, 1, mood.rows) for _ in range(4)]
    files = _write(mood, runs)
    assert mood.imported(mood.runs(files)).code == 0
    runs[1] = 5 - runs[1] if change == "reversed" else rng.permutation(runs[1])
    _write(mood, runs)
    index = mood.runs(files)
    assert "line 3 (1.csv) does not go with the labels" in mood.imported(index, "--name", "b").refusal()
    assert mood.imported(index, "--name", "b", "--force").code == 0


def _labelled(mood: Mood, said: np.ndarray, labels: np.ndarray, form: str = "{k},{label}") -> str:
    rows = [form.format(k=k, label=label) for k, label in zip(said.tolist(), labels.tolist(), strict=True)]
    return lines(rows, "prediction,label")


@pytest.mark.parametrize("labels", ["shifted", "of other data", "by name", "half"])
def test_labels_of_its_own_that_contradict_the_gold_ones(labels: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    other = {
        "shifted": np.roll(mood.gold, 1),
        "of other data": np.random.default_rng(3).integers(0, 2, mood.rows),
        "by name": np.array(mood.labels)[np.roll(mood.gold, 3)],
        "half": np.where(np.arange(mood.rows) < 60, mood.gold, mood.gold[::-1]),
    }[labels]
    path = mood.write("0.csv", _labelled(mood, mood.said(0.8, 0), other))
    refused = mood.imported(mood.runs(["0.csv"])).refusal()
    assert "0.csv has labels of its own, and these agree with" in refused
    assert "has labels of its own" in mood.score(path).refusal()


def test_labels_in_the_sources_own_numbers_say_the_class_order(tmp_path: Path) -> None:
    """Even of a run that is right so seldom that accuracy would say the contrary."""
    mood = Mood(tmp_path)
    said = mood.said(0.3, 0)
    mood.write("0.csv", _labelled(mood, 1 - said, 1 - mood.gold))
    mood.write("1.csv", _labelled(mood, said, np.zeros(mood.rows, dtype=int)))  # no labels: a constant
    done = mood.imported(mood.runs(["0.csv"]))
    assert done.code == 0, done.err
    assert "classes are good, bad (said by the file" in done.out
    assert mood.accuracies() == pytest.approx([0.3])
    scored = mood.score(mood.predictions / "0.csv")
    assert json.loads(scored.out)["metrics"]["accuracy"] == pytest.approx(0.3)


@pytest.mark.parametrize("shape", ["two", "three", "large"])
def test_ties_are_broken_as_in_the_source(shape: str, tmp_path: Path) -> None:
    classes = 3 if shape == "three" else 2
    mood = Mood(tmp_path, labels=[f"mood{k}" for k in range(classes)], rows=200)
    rng = np.random.default_rng(4)
    backwards = np.arange(classes)[::-1]
    scores = np.full((200, classes), 0.1)
    scores[np.arange(200), backwards[mood.said(0.8, 5)]] = 0.6
    tied = rng.random(200) < 0.3
    scores[tied] = 0.5
    if shape == "large":  # differ in double precision alone
        scores[tied, 1] += 1e-12
    mood.write("0.tsv", lines(["\t".join(map(repr, row)) for row in scores.tolist()]))
    expected = float((backwards[scores.argmax(axis=1)] == mood.gold).mean())
    done = mood.imported(mood.runs(["0.tsv"]))
    assert done.code == 0, done.err
    assert f"{100 * expected:.2f} %" in done.out
    assert ("predictions have two highest scores alike" in done.out) == (shape != "large")
    assert mood.accuracies() == pytest.approx([expected])
    found = json.loads(mood.score(mood.predictions / "0.tsv").out)
    assert found["metrics"]["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("key", ["mood", "path", "relative"])
def test_a_stated_order_of_a_task_of_ones_own(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mood = Mood(tmp_path)
    monkeypatch.chdir(tmp_path)
    index = mood.runs(_write(mood, [mood.said(0.52, 0)]))  # accuracy cannot tell
    name = {"mood": "mood", "path": str(mood.toml), "relative": "mood.toml"}[key]
    assert "--class-order mood=CLASS0,CLASS1" in mood.imported(index).refusal()
    assert mood.imported(index, "--class-order", f"{name}=bad,good").code == 0
    assert mood.accuracies() == pytest.approx([0.52], abs=0.01)


def test_a_stated_order_that_the_labels_contradict(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    index = mood.runs(_write(mood, _five(mood)))
    order = ("--class-order", "mood=good,bad")
    refused = mood.imported(index, *order).refusal()
    assert "stated as good, bad, and the labels contradict it" in refused
    assert "25.00 % in that order, and 75.00 % in the order bad, good" in refused
    assert "--force" in refused
    assert mood.imported(index, *order, "--force").code == 0
    assert mood.accuracies() == pytest.approx([0.25] * 5)
    assert (
        "labels contradict it"
        in mood.score(mood.predictions / "0.csv", "--class-order", "good,bad").refusal()
    )


@pytest.mark.parametrize(
    "order", ["rte=entailment,not_entailment", "moot=bad,good", "mood=bad,fine", "mood=bad"]
)
def test_an_order_that_means_nothing_is_refused(order: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    index = mood.runs(_write(mood, _five(mood)))
    assert "class order of" in mood.imported(index, "--class-order", order).refusal()


def test_an_order_for_files_that_name_their_classes_is_refused(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    index = mood.runs(_named(mood, _five(mood)))
    refused = mood.imported(index, "--class-order", "mood=bad,good").refusal()
    assert "say themselves which classes they mean" in refused


def test_advice_states_no_order(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    refused = mood.imported(mood.runs(_write(mood, [mood.said(0.5, 0)]))).refusal()
    assert "mood=bad,good" not in refused
    assert "mood=good,bad" not in refused
