"""Predictions in the layout of Google's release for SQuAD."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from multibench import api
from multibench.errors import DataError
from multibench.exchange import export_google_predictions, import_google_predictions
from multibench.exchange.layout import INDEX, file_name
from multibench.results import Results
from multibench.scoring import score
from multibench.tasks import find_task
from multibench.tasks.data import Answer
from tests.support.command import multibench
from tests.tasks.written import Row, write_split

CONTEXT = "The red fox met seven hares in the north of the old town."
GOLD = {
    "q0": ("red fox", "fox"),
    "q1": ("seven",),
    "q2": (),
    "q3": ("the north",),
    "q4": (),
    "q5": ("old town",),
}
# What four runs answer: all right, some right, a question refused that has an answer, nothing at all.
SAID = {
    0: {"q0": "fox", "q1": "seven", "q2": "", "q3": "north", "q4": "", "q5": "the old town"},
    1: {"q0": "The red hare", "q1": "seven hares", "q2": "hares", "q3": "north", "q4": "", "q5": "town"},
    2: {"q0": "", "q1": "seven", "q2": "", "q3": "", "q4": "fox", "q5": "old town"},
    3: dict.fromkeys(GOLD, ""),
}


def _rows() -> list[Row]:
    return [
        Row(
            (f"What of {name}?", CONTEXT),
            [Answer(text, CONTEXT.index(text)) for text in texts],
            {"title": "Animals" if name < "q3" else "Towns"},
        )
        for name, texts in GOLD.items()
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four runs of v2.0, with the questions beside the index as in the release."""
    root = tmp_path / "SQuAD"
    (root / "v2.0").mkdir(parents=True)
    task = find_task("squad_v2")
    assert task.official is not None
    write_split(root, task, task.official, "dev", _rows()).rename(root / "dev-v2.0.json")
    lines = ["\t".join(INDEX)]
    for k, answers in SAID.items():
        row = dict(
            zip(INDEX[1:], ("v2.0", str(k % 2), "2M", "5e-05", str(k // 2), "multiberts"), strict=True)
        )
        file = root / file_name(row, "json")
        file.write_text(json.dumps(dict(reversed(answers.items()))), "utf-8")  # any order will do
        lines.append("\t".join([file.relative_to(root).as_posix(), *row.values()]))
    (root / "index.tsv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return root


@pytest.fixture
def results(folder: Path, tmp_path: Path) -> Path:
    """The four runs, imported."""
    done = import_google_predictions(folder, tmp_path / "results", accept_different_data=True)
    assert (done.new, done.absent) == (4, ())
    return tmp_path / "results"


def test_articles_are_stored_with_the_answers(results: Path) -> None:
    tensor = Results.open(results).predictions("squad_v2.dev")
    assert tensor.clusters is not None
    assert (tensor.clusters.tolist(), tensor.cluster_unit) == ([0, 0, 0, 1, 1, 1], "articles")
    assert not any("articles" in remark for remark in tensor.remarks)


def test_scores_are_those_of_the_official_script(folder: Path, results: Path) -> None:
    assert len(Results.open(results)) == 4
    for run in Results.open(results).stored:
        file = folder / run.manifest["imported"]["files"]["squad_v2.dev"]["file"]
        data = folder.parent / "data" / "squad"
        data.mkdir(parents=True, exist_ok=True)
        (data / "dev-v2.0.json").write_bytes((folder / "dev-v2.0.json").read_bytes())
        official = score("squad_v2", file, data=data.parent, accept_different_data=True).metrics
        assert run.score("squad_v2.dev", "exact_match") == pytest.approx(official["exact_match"], abs=1e-7)
        assert run.score("squad_v2.dev", "answer_f1") == pytest.approx(official["f1"], abs=1e-7)


def test_what_only_odds_could_tell_is_not_claimed(results: Path) -> None:
    for run in Results.open(results).stored:
        assert set(run.manifest["evaluations"]["squad_v2.dev"]["metrics"]) == {"answer_f1", "exact_match"}
        assert np.isnan(run.predictions("squad_v2.dev").outputs[:, 4]).all()


def test_a_run_that_answers_nothing_has_collapsed(results: Path) -> None:
    status = {
        (run.fields["pretraining_seed"], run.fields["finetuning_seed"]): run.manifest["status"]
        for run in Results.open(results).stored
    }
    assert status == {(0, 0): "finished", (1, 0): "finished", (0, 1): "finished", (1, 1): "collapsed"}


def test_the_table_takes_them(results: Path) -> None:
    done = multibench("scores", results, "--metric", "all", "--nboot", "100")
    assert done.code == 0, done.err
    assert "exact_match" in done.out
    assert "NOT trained and scored on the released data" in done.out


def test_answers_come_out_as_they_went_in(folder: Path, results: Path, tmp_path: Path) -> None:
    opened = Results.open(results)
    written = export_google_predictions(opened, tmp_path / "out")
    assert sorted(path.name for path in written) == sorted(
        path.name for path in folder.rglob("*") if path.is_file() and path.name != "dev-v2.0.json"
    )
    for path in written:
        theirs = folder / path.relative_to(tmp_path / "out" / "SQuAD")
        if path.suffix == ".json":
            assert json.loads(path.read_text()) == json.loads(theirs.read_text())
    squad = api.export("squad", results, tmp_path / "squad")
    answers = [json.loads(path.read_text()) for path in squad]
    assert sorted(answers, key=str) == sorted(SAID.values(), key=str)


def test_a_question_without_an_answer_is_refused(folder: Path, tmp_path: Path) -> None:
    file = next((folder / "v2.0").iterdir())
    file.write_text(json.dumps({"q0": "fox", "other": "x"}), "utf-8")
    with pytest.raises(
        DataError,
        match=r"no prediction for 5 examples \('q1', .*\) of squad_v2\.dev; it must have one for each",
    ):
        import_google_predictions(folder, tmp_path, accept_different_data=True)


def test_other_questions_than_the_released_ones_have_to_be_accepted(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the released"):
        import_google_predictions(folder, tmp_path)
