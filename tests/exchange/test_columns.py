"""A column is an output only if it can be one; what was taken as what is said and stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multibench.results import Results
from tests.support.mood import Mood, lines

Write = Callable[[Mood, "np.ndarray[tuple[int], np.dtype[np.int64]]"], str]


def _rows(mood: Mood, said: np.ndarray, form: str, header: str) -> str:
    odd = np.where(said == 1, 0.8, 0.3)
    return lines(
        [
            form.format(
                i=i, j=i + 1, k=k, p=p, q=round(1 - p, 3), name=mood.labels[k], text=f"word {i}", five=5
            )
            for i, (k, p) in enumerate(zip(said.tolist(), odd.tolist(), strict=True))
        ],
        header,
    )


READ = {
    "an index": ("{i},{k}", "index,prediction"),
    "an unnamed first column": ("{i},{k}", ",prediction"),
    "ids by another name": ("{i},{k}", "example_id,pred"),
    "a text": ("{i},{text},{k}", "id,sentence,prediction"),
    "a constant": ("{five},{k}", "epoch,said"),
    "row numbers without a known name": ("{i},{k}", "nr,said"),
    "an unnamed first column before scores": ("{i},{q},{p}", ",0,1"),
    "scores by class": ("{p},{q},{i}", "prob_good,prob_bad,idx"),
    "scores with a label": ("{q},{p},{k}", "logit_0,logit_1,prediction"),
    "lists in a cell": ('{i},"[{q}, {p}]"', "id,logits"),
    "numpy's lists": ("{i},[{q} {p}]", "id,logits"),
    "names of classes": ("{name}", "prediction"),
    "classes without a name": ("{i},LABEL_{k}", "id,prediction"),
}


@pytest.mark.parametrize("layout", READ)
def test_columns_that_are_no_outputs_are_not_taken_for_some(layout: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    said = mood.said(0.9, 1)
    path = mood.write("run.csv", _rows(mood, said, *READ[layout]))
    done = mood.imported(mood.runs(["run.csv"]))
    assert done.code == 0, done.err
    assert mood.accuracies() == pytest.approx([0.9])
    (run,) = Results.open(tmp_path / "res").stored
    assert "outputs from" in run.manifest["imported"]["taken"]["mood.dev"]
    assert "outputs from" in done.out
    scored = mood.score(path)
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["metrics"]["accuracy"] == pytest.approx(0.9)


def test_ids_in_another_order_are_heeded_whatever_they_are_called(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    said = mood.said(0.8, 2)
    order = np.random.default_rng(0).permutation(mood.rows)
    for k, name in enumerate(("id", "index", "", "nr")):
        mood.write(f"{k}.csv", lines([f"{i},{said[i]}" for i in order], f"{name},prediction"))
    assert mood.imported(mood.runs([f"{k}.csv" for k in range(4)])).code == 0
    assert mood.accuracies() == pytest.approx([0.8] * 4)


REFUSED = {
    "row numbers without a header": ("{i},{k}", None, "no class score: it counts the rows"),
    "row numbers from one": ("{j},{k}", None, "no class score: it counts the rows"),
    "a constant without a header": ("{five},{k}", None, "is the same in every row and so no class score"),
    "two candidates": ("{k},{p},{q}", "a,b,c", "it cannot be told which of its columns are outputs"),
    "one probability of two": ("{p}", "prediction", "holds 0.8, no class number"),
    "names of the rows": ("r{i},{k}", "what,prediction", "seems to name the examples; call it 'id'"),
    "no output": ("{text}", "sentence", "The first line of"),
}


@pytest.mark.parametrize("layout", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(layout: str, tmp_path: Path) -> None:
    form, header, sentence = REFUSED[layout]
    mood = Mood(tmp_path)
    said = mood.said(0.9, 1)
    said[0], mood.gold[0] = 1, 1
    content = _rows(mood, said, form, header or "")
    path = mood.write("run.csv", content if header else content.removeprefix("\n"))
    assert sentence in mood.imported(mood.runs(["run.csv"])).refusal()
    assert sentence in mood.score(path).refusal()
    assert not (tmp_path / "res").exists()


def test_a_matrix_with_the_numbers_of_its_rows_and_columns(tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    runs = np.stack([mood.said(0.8, seed) for seed in range(3)])
    index = mood.index([{"finetuning_seed": k} for k in range(3)])
    words = [",".join(map(str, [k, *run])) for k, run in enumerate(runs.tolist())]
    header = ",".join(["", *map(str, range(mood.rows))])
    mixed = np.random.default_rng(0).permutation(mood.rows)
    contents = {
        "pandas": lines(words, header),
        "without numbers of rows": lines(
            [",".join(map(str, run)) for run in runs.tolist()], header.removeprefix(",")
        ),
        "columns by id": lines([",".join(map(str, run[mixed])) for run in runs], ",".join(map(str, mixed))),
    }
    for name, content in contents.items():
        mood.predictions = mood.root / f"{name.replace(' ', '_')}.csv"
        mood.predictions.write_text(content)
        assert mood.imported(index).code == 0, name
    found = mood.accuracies()
    assert found == pytest.approx([0.8] * 3)  # of the same ids, and so the same predictions, in all three


@pytest.mark.parametrize("how", ["matrix", "one run", "integers", "score"])
def test_zeros_and_ones_are_no_values_of_a_regression(how: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path)
    facts = mood.toml.read_text().replace("classification", "regression").replace("'accuracy'", "'pearson'")
    mood.toml.write_text(facts.replace("labels = ['bad', 'good']", "score_range = [0.0, 5.0]"))
    mood.write_data([str(round(5 * i / mood.rows, 2)) for i in range(mood.rows)])
    said = mood.said(0.9, 1)
    if how == "matrix":
        mood.predictions = tmp_path / "matrix.npy"
        np.save(mood.predictions, said[None])
        index = mood.index([{"finetuning_seed": 0}])
    else:
        rows = [f"{i}\t{float(k) if how == 'one run' else k}" for i, k in enumerate(said.tolist())]
        path = mood.write("run.tsv", lines(rows, "index\tprediction"))
        index = mood.runs(["run.tsv"])
    if how == "score":
        assert "holds nothing but 0 and 1" in mood.score(path).refusal()
        return
    assert "holds nothing but 0 and 1" in mood.imported(index).refusal()
    assert mood.imported(index, "--force").code == 0
