"""Exports: the zip that the GLUE server takes, and SQuAD's JSON; refused when anything is missing."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import ResultsError, StorageError
from multibench.metrics.squad import answer_outputs
from multibench.results import Predictions, Results, RunStore
from multibench.results.frame import StoredRun
from multibench.scoring import export_glue_submission, export_squad, score
from multibench.scoring.glue import SUBMISSION
from multibench.tasks import DataSources, find_task, load_split
from tests.support.command import multibench
from tests.support.stored import store_run

# Lines of a correct submission: rows of the released test sets and a header.
LINES = {
    "AX.tsv": 1105,
    "CoLA.tsv": 1064,
    "MNLI-m.tsv": 9797,
    "MNLI-mm.tsv": 9848,
    "MRPC.tsv": 1726,
    "QNLI.tsv": 5464,
    "QQP.tsv": 390966,
    "RTE.tsv": 3001,
    "SST-2.tsv": 1822,
    "STS-B.tsv": 1380,
    "WNLI.tsv": 147,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoredRun]:
    """A run for each file, with outputs drawn anew for each."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("results") / "glue"
    made = {}
    for seed, (name, evaluation) in enumerate(SUBMISSION.files.items()):
        task_name, _, split = evaluation.partition(".")
        task = find_task(task_name)
        outputs = rng.normal(2.5, 2, (task.splits[split].rows, task.outputs))
        trained = "mnli" if task_name == "ax" else task_name
        run_id = store_run(folder, outputs=outputs, task=trained, evaluation=evaluation, finetuning_seed=seed)
        made[name] = StoredRun(RunStore(folder), RunStore(folder).manifest(run_id))
    return made


def _results(runs: dict[str, StoredRun], without: str = "", **more: StoredRun) -> Results:
    return Results([run for name, run in runs.items() if name != without] + list(more.values()))


@pytest.fixture(scope="module")
def submission(
    runs: dict[str, StoredRun], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[zipfile.ZipFile]:
    path = export_glue_submission(_results(runs), tmp_path_factory.mktemp("out"))
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_every_file_has_every_row(submission: zipfile.ZipFile) -> None:
    assert submission.testzip() is None
    found = {name: submission.read(name).decode().splitlines() for name in submission.namelist()}
    assert {name: len(lines) for name, lines in found.items()} == LINES
    for name, lines in found.items():
        assert lines[0] == "index\tprediction"
        assert [line.split("\t")[0] for line in lines[1:]] == [str(i) for i in range(LINES[name] - 1)]


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("CoLA.tsv", ("0", "1")),
        ("SST-2.tsv", ("0", "1")),
        ("MRPC.tsv", ("0", "1")),
        ("QQP.tsv", ("0", "1")),
        ("WNLI.tsv", ("0", "1")),
        ("RTE.tsv", ("entailment", "not_entailment")),
        ("QNLI.tsv", ("entailment", "not_entailment")),
        ("MNLI-m.tsv", ("entailment", "neutral", "contradiction")),
        ("MNLI-mm.tsv", ("entailment", "neutral", "contradiction")),
        ("AX.tsv", ("entailment", "neutral", "contradiction")),
    ],
)
def test_labels_are_spelt_as_the_server_spells_them(
    submission: zipfile.ZipFile, runs: dict[str, StoredRun], name: str, spelling: tuple[str, ...]
) -> None:
    run = runs[name]
    outputs = run.store.predictions(run.run_id, SUBMISSION.files[name]).outputs
    said = [line.split("\t")[1] for line in submission.read(name).decode().splitlines()[1:]]
    assert said == [spelling[k] for k in outputs.argmax(axis=1)]


def test_scores_are_cut_to_the_range_of_the_task(
    submission: zipfile.ZipFile, runs: dict[str, StoredRun]
) -> None:
    run = runs["STS-B.tsv"]
    outputs = run.store.predictions(run.run_id, "stsb.test").outputs[:, 0]
    said = np.array(
        [float(line.split("\t")[1]) for line in submission.read("STS-B.tsv").decode().splitlines()[1:]]
    )
    assert outputs.min() < 0
    assert outputs.max() > 5
    np.testing.assert_allclose(said, outputs.clip(0, 5), atol=1e-6)


def test_equal_predictions_give_an_equal_file_and_nothing_is_overwritten(
    submission: zipfile.ZipFile, runs: dict[str, StoredRun], tmp_path: Path
) -> None:
    (tmp_path / "submission.zip").write_bytes(b"something else")
    with pytest.raises(StorageError, match="exists already and is another file"):
        export_glue_submission(_results(runs), tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"something else"]
    before = Path(str(submission.filename))
    assert export_glue_submission(_results(runs), before.parent) == before


def _changed(run: StoredRun, evaluation: str, **changes: Any) -> StoredRun:
    manifest = copy.deepcopy(run.manifest)
    manifest["evaluations"][evaluation].update(changes)
    return StoredRun(run.store, manifest)


def test_whatever_is_missing_is_named(runs: dict[str, StoredRun], tmp_path: Path) -> None:
    small = {name: run for name, run in runs.items() if LINES[name] < 2000}
    with pytest.raises(ResultsError) as error:
        export_glue_submission(_results(small), tmp_path / "out")
    sentence = str(error.value)
    for evaluation in ("qqp.test", "mnli.test_matched", "mnli.test_mismatched", "qnli.test", "rte.test"):
        assert evaluation in sentence
    assert "wnli" not in sentence

    folder = tmp_path / "results" / "glue"
    short = store_run(folder, outputs=np.zeros((145, 2)), task="wnli", evaluation="wnli.test")
    ids = ("x", *(str(i) for i in range(1, 3000)))
    renamed = store_run(folder, outputs=np.zeros((3000, 2)), task="rte", evaluation="rte.test", ids=ids)
    store = RunStore(folder)
    wrong = {
        **small,
        "WNLI.tsv": StoredRun(store, store.manifest(short)),
        "RTE.tsv": StoredRun(store, store.manifest(renamed)),
        "CoLA.tsv": _changed(small["CoLA.tsv"], "cola.test", as_released=False),
    }
    with pytest.raises(ResultsError) as error:
        export_glue_submission(_results(wrong), tmp_path / "out")
    sentence = str(error.value)
    assert "qqp.test" in sentence
    assert "not the released cola.test" in sentence
    assert f"{renamed} has 3000 rows of rte.test instead of 3000, and none for index 0" in sentence
    assert "1 fault more" in sentence
    assert not (tmp_path / "out").exists()


def test_one_run_is_wanted_for_each_file(runs: dict[str, StoredRun], tmp_path: Path) -> None:
    folder = runs["WNLI.tsv"].store.folder.parent
    options: dict[str, Any] = {"task": "wnli", "evaluation": "wnli.test", "finetuning_seed": 77}
    store = RunStore(tmp_path / "more")
    more = store_run(store.folder, outputs=np.zeros((146, 2)), **options)
    with pytest.raises(ResultsError, match=r"2 runs have some for wnli.test; leave one with --where"):
        export_glue_submission(_results(runs, more=StoredRun(store, store.manifest(more))), tmp_path / "out")
    outcome = multibench(
        "export", "glue-submission", folder, "--out", tmp_path / "out", "--where", "task=wnli"
    )
    sentence = outcome.refusal()
    assert "No run has predictions for cola.test, sst2.test" in sentence
    assert "wnli.test" not in sentence


# SQuAD

TEXTS, ODDS = ("red", "blue", "green"), np.array([-1.0, 2.0, 0.5])


def _store_spans(folder: Path, task: str, predictions: Predictions, **settings: Any) -> str:
    """A stored run with these predictions for the dev set of a span task."""
    run_id = store_run(folder, outputs=predictions.outputs, task=task, evaluation=f"{task}.dev", **settings)
    store = RunStore(folder)
    made = {"schema", "run_id", "checksums", "checksum"}
    record = {key: value for key, value in store.manifest(run_id).items() if key not in made}
    store.write(run_id, record, {}, {f"{task}.dev": predictions}, replace=True)
    return run_id


def _three_answers(folder: Path, task: str = "squad_v2", **settings: Any) -> str:
    outputs = answer_outputs(TEXTS, ODDS, [["red"], [], ["brown"]], settings.get("null_threshold", 0.0))
    predictions = Predictions(("a", "b", "c"), outputs, np.array([1, 0, 1]), TEXTS)
    return _store_spans(folder, task, predictions, **settings)


def test_answers_are_those_of_the_runs_own_threshold(tmp_path: Path) -> None:
    strict = _three_answers(tmp_path / "results/a")
    lax = _three_answers(tmp_path / "results/a", null_threshold=1.0)
    plain = _three_answers(tmp_path / "results/a", task="squad_v1")
    outcome = multibench("export", "squad", tmp_path / "results", "--out", tmp_path / "out")
    found = {Path(line).name: json.loads(Path(line).read_text()) for line in outcome.out.split()}
    assert found == {
        f"squad_v2.dev.{strict}.json": {"a": "red", "b": "", "c": ""},
        f"squad_v2.dev.{lax}.json": {"a": "red", "b": "", "c": "green"},
        f"squad_v1.dev.{plain}.json": {"a": "red", "b": "blue", "c": "green"},
    }


def test_there_must_be_answers_and_room(tmp_path: Path) -> None:
    store_run(tmp_path / "results/a", outputs=np.zeros((4, 2)))
    sentence = multibench("export", "squad", tmp_path / "results", "--out", tmp_path / "out").refusal()
    assert "No stored run has predictions for a span task" in sentence
    _three_answers(tmp_path / "results/a")
    (tmp_path / "file").write_text("")
    sentence = multibench("export", "squad", tmp_path / "results", "--out", tmp_path / "file").refusal()
    assert "Nothing could be written to" in sentence


@pytest.mark.shared
def test_an_exported_run_scores_as_it_did(shared_dir: Path, tmp_path: Path) -> None:
    """From a stored run through SQuAD's JSON and back: the metrics that the run recorded."""
    data = shared_dir / "data"
    examples = load_split(find_task("squad_v2"), "dev", DataSources(data))
    assert examples.answers is not None
    gold = [[answer.text for answer in each] for each in examples.answers]
    rng = np.random.default_rng(9)
    texts = tuple(each[0] if each and rng.random() < 0.7 else "something else" for each in gold)
    odds = rng.normal(size=len(texts))
    outputs = answer_outputs(texts, odds, gold, 0.25)
    folder = tmp_path / "results/a"
    predictions = Predictions(examples.ids, outputs, examples.labels, texts)
    run_id = _store_spans(folder, "squad_v2", predictions, null_threshold=0.25)
    (path,) = export_squad(Results.open(folder), tmp_path / "out")
    from_text = score("squad_v2", path, data=data)
    stored = score("squad_v2", RunStore(folder).path(run_id) / "predictions/squad_v2.dev.parquet", data=data)
    assert from_text.metrics == pytest.approx(
        {"exact_match": outputs[:, 0].mean(dtype=float), "f1": outputs[:, 1].mean(dtype=float)}, abs=1e-7
    )
    assert {name: stored.metrics[name] for name in from_text.metrics} == pytest.approx(
        from_text.metrics, abs=1e-7
    )
    assert from_text.parts["answers"]["NoAns"]["exact_match"] == pytest.approx(
        float(np.mean(odds[np.asarray(examples.labels) == 0].astype(np.float32) > 0.25))
    )
