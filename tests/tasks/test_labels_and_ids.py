"""Rows without a label, classes in several spellings, whole numbers as ids, blank lines, misplaced answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multibench.errors import DataError
from multibench.results.summary import evaluation_summary
from multibench.tasks import DataSources, Examples, find_task, load_split
from multibench.tasks.fetched import keep_split, read_fetched
from tests.support.command import multibench
from tests.support.mood import Mood, lines

GOLD = ["bad", "-", "good", "good", "", "bad", "-", "good"]


def _load(mood: Mood) -> Examples:
    return load_split(find_task(str(mood.toml)), "dev", DataSources(mood.root / "data"))


def _without(mood: Mood, ending: str) -> None:
    """The data of ``mood``, of whose eight rows three have no label."""
    text = mood.toml.read_text().replace("dev.tsv", f"dev.{ending}")
    mood.toml.write_text(text.replace('label = "label"', 'label = "label"\nno_label = ["-", ""]'))
    path = mood.root / "data" / mood.name / f"dev.{ending}"
    rows = [{"text": f"word {i}", "label": label} for i, label in enumerate(GOLD)]
    if ending == "parquet":
        empty = [{**row, "label": row["label"] or None} for row in rows]
        pq.write_table(pa.Table.from_pylist(empty), path)
    elif ending == "jsonl":
        path.write_text(lines([json.dumps(row) for row in rows]))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter="," if ending == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
def test_rows_without_a_label_are_left_out_and_counted(ending: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=5)
    _without(mood, ending)
    examples = _load(mood)
    assert examples.ids == ("0", "2", "3", "5", "7")
    assert (examples.left_out, examples.labels.tolist()) == (3, [0, 1, 1, 0, 1])  # type: ignore[union-attr]
    assert examples.remark == "mood.dev: 3 rows without a label left out, 5 are used."
    summary = evaluation_summary(find_task(str(mood.toml)), examples, mood_outputs(examples))
    assert (summary["left_out"], summary["examples"]) == (3, 5)


def mood_outputs(examples: Examples) -> Any:
    """Scores of two classes, all right."""
    import numpy as np

    return np.eye(2, dtype=np.float32)[examples.labels]


@pytest.mark.parametrize("rows", [5, 8])
def test_predictions_for_the_rows_that_are_used_or_for_all(rows: int, tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=5)
    _without(mood, "tsv")
    right = [label if label in ("bad", "good") else "bad" for label in GOLD]
    kept = [k for k, label in enumerate(GOLD) if rows == 8 or label in ("bad", "good")]
    for content in (
        lines([right[k] for k in kept]),
        lines([f"{k}\t{right[k]}" for k in kept], "index\tprediction"),
    ):
        scored = mood.score(mood.write("run.tsv", content))
        found = json.loads(scored.out)
        assert found["metrics"]["accuracy"] == 1
        assert "mood.dev: 3 rows without a label left out, 5 are used." in found["notes"]
    done = mood.imported(mood.runs(["run.tsv"]))
    assert "mood.dev: 3 rows without a label left out" in done.out


def test_a_task_that_does_not_say_so_is_told_how(tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=8)
    mood.write_data(GOLD)
    with pytest.raises(DataError, match=r"line 3: the label is '-', not one of .* its 'no_label' can"):
        _load(mood)
    mood.toml.write_text(
        mood.toml.read_text().replace('label = "label"', 'label = "label"\nno_label = ["bad"]')
    )
    with pytest.raises(DataError, match=r"names \['bad'\] as a label and as 'no_label'"):
        find_task(str(mood.toml))


def test_a_file_without_any_label(tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=2, files='no_label = ["-"]')
    mood.write_data(["-", "-"])
    with pytest.raises(DataError, match="not one of its 2 rows has a label"):
        _load(mood)


def test_a_fetched_split_keeps_the_count(tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=5)
    _without(mood, "tsv")
    task, examples = find_task(str(mood.toml)), _load(mood)
    keep_split(task, examples, tmp_path / "kept")
    again = read_fetched(task, "dev", tmp_path / "kept")
    assert again is not None
    assert (again.left_out, again.fingerprint) == (3, examples.fingerprint)


SPELLED = ["bad", "BAD", "good", "fine"]


@pytest.mark.parametrize("how", ["several", "split"])
def test_a_class_in_several_spellings(how: str, tmp_path: Path) -> None:
    files = 'label_codes = [["bad", "BAD"], ["good", "fine"]]'
    mood = Mood(tmp_path, rows=4, files=files if how == "several" else "")
    mood.write_data(SPELLED if how == "several" else ["0", "0", "1", "1"])
    if how == "split":
        text = mood.toml.read_text().replace('"dev.tsv"', '{ file = "dev.tsv", label_codes = ["0", "1"] }')
        mood.toml.write_text(
            text.replace("dev = {", "train = 'train.tsv', dev = {").replace(
                "[splits.dev]", "[splits.train]\nrows = 2\n[splits.dev]"
            )
        )
        (tmp_path / "data/mood/train.tsv").write_text("text\tlabel\na\tgood\nb\tbad\n")
        train = load_split(find_task(str(mood.toml)), "train", DataSources(tmp_path / "data"))
        assert train.labels.tolist() == [1, 0]  # type: ignore[union-attr]
    assert _load(mood).labels.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
    said = SPELLED if how == "several" else ["0", "bad", "1", "good"]
    path = mood.write("run.tsv", lines([f"{i}\t{code}" for i, code in enumerate(said)], "index\tprediction"))
    assert json.loads(mood.score(path).out)["metrics"]["accuracy"] == 1


@pytest.mark.parametrize(
    "codes",
    [
        '[["bad", "x"], ["good", "x"]]',
        '["bad", []]',
        '[["bad", "bad"], "good"]',
        '["bad"]',
        '["bad", "good", "x"]',
    ],
)
def test_spellings_that_cannot_be_told_apart(codes: str, tmp_path: Path) -> None:
    for place in ("layout", "split"):
        mood = Mood(tmp_path, name=place, files=f"label_codes = {codes}" if place == "layout" else "")
        if place == "split":
            text = mood.toml.read_text().replace(
                '"dev.tsv"', f'{{ file = "dev.tsv", label_codes = {codes} }}'
            )
            mood.toml.write_text(text)
        with pytest.raises(DataError, match=r"label codes .* for 2 classes"):
            find_task(str(mood.toml))


# Questions

ASK = """
name = "ask"
version = 1
title = "Questions"
description = "Made up."
kind = "span"
inputs = ["question", "context"]
metrics = ["exact_match"]
headline = "exact_match"
evaluations = ["dev"]
mean_tokens = 5
licence = "none needed"
source = "tests"
[splits.dev]
rows = {rows}
[files]
folder = "ask"
label = "answers"
splits = {{ dev = "dev.{ending}" }}
"""


def _ask(root: Path, questions: list[dict[str, Any]], ending: str) -> Path:
    (root / "data/ask").mkdir(parents=True)
    path = root / "data/ask" / f"dev.{ending}"
    if ending == "jsonl":
        columns = [
            {**q, "answers": {key: [a[key] for a in q["answers"]] for key in ("text", "answer_start")}}
            for q in questions
        ]
        path.write_text(lines([json.dumps(row) for row in columns]))
    else:
        paragraphs = [
            {"context": q["context"], "qas": [{k: q[k] for k in ("id", "question", "answers")}]}
            for q in questions
        ]
        path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    facts = ASK.format(rows=len(questions), ending=ending)
    (root / "ask.toml").write_text(facts if ending == "jsonl" else facts.replace('label = "answers"\n', ""))
    return root / "ask.toml"


def _question(name: Any, start: int = 4, text: str = "fox") -> dict[str, Any]:
    answers = [{"text": text, "answer_start": start}]
    return {"id": name, "question": "Who?", "context": "The fox is here.", "answers": answers}


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_whole_numbers_are_ids(ending: str, tmp_path: Path) -> None:
    task = _ask(tmp_path, [_question(k) for k in (7, 12, "x")], ending)
    examples = load_split(find_task(str(task)), "dev", DataSources(tmp_path / "data"))
    assert examples.ids == ("7", "12", "x")
    (tmp_path / "a.json").write_text('{"7": "fox", "12": "fox", "x": "a hen"}')
    scored = multibench("score", task, tmp_path / "a.json", "--data", tmp_path / "data", "--format", "json")
    assert json.loads(scored.out)["metrics"]["exact_match"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", [True, 1.5, None, ["7"]])
def test_other_things_are_no_ids(name: Any, tmp_path: Path) -> None:
    task = _ask(tmp_path, [_question(name)], "json")
    with pytest.raises(DataError, match="'id' is"):
        load_split(find_task(str(task)), "dev", DataSources(tmp_path / "data"))


def test_equal_ids_of_two_types_are_one(tmp_path: Path) -> None:
    task = _ask(tmp_path, [_question(7), _question("7")], "json")
    with pytest.raises(DataError, match=r"the id .7. occurs twice"):
        load_split(find_task(str(task)), "dev", DataSources(tmp_path / "data"))


@pytest.mark.parametrize("wrong", [1, 2, 5])
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_misplaced_answers_are_listed_all_at_once(wrong: int, ending: str, tmp_path: Path) -> None:
    questions = [_question(f"q{k}", start=10 if k < wrong else 4) for k in range(6)]
    task = _ask(tmp_path, questions, ending)
    (tmp_path / "a.json").write_text("{}")
    refused = multibench("score", task, tmp_path / "a.json", "--data", tmp_path / "data").refusal()
    assert all(f"'q{k}'" in refused for k in range(wrong))
    assert f"'q{wrong}'" not in refused
    if wrong > 1:
        assert f"{wrong} of 6 answers do not stand in their context where they are said to" in refused


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize("blank", ["\n", "\r\n", "\n\n \n"])
def test_blank_lines_at_the_end_are_none(ending: str, blank: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path, rows=2)
    mood.toml.write_text(mood.toml.read_text().replace("dev.tsv", f"dev.{ending}"))
    content = {
        "tsv": "text\tlabel\na\tbad\nb\tgood\n",
        "csv": 'text,label\n"a",bad\nb,good\n',
        "jsonl": '{"text": "a", "label": "bad"}\n{"text": "b", "label": "good"}\n',
    }[ending]
    (tmp_path / f"data/mood/dev.{ending}").write_bytes((content + blank).encode())
    assert _load(mood).labels.tolist() == [0, 1]  # type: ignore[union-attr]
