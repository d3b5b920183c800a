"""Runs that a suite asks for by name and that were made from what was here before: said, and not counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from multibench.planning import PlannedRun
from multibench.results import Predictions
from multibench.tasks import DataSources, load_split
from tests.support.command import multibench
from tests.support.stored import a_record
from tests.support.tiny import RECIPE, Bench, make_bench, make_checkpoint


def _record(run: PlannedRun, examples: int, data: str) -> dict[str, object]:
    """What the run would have left behind."""
    assert run.identity is not None
    evaluation = {"metrics": {"accuracy": 0.5}, "headline": "accuracy", "examples": examples}
    return {
        **a_record()[1],
        "identity": run.identity.to_dict(),
        "labels": run.labels(),
        "settings": run.settings.model_dump(mode="json"),
        "evaluations": {"pairs.dev": {**evaluation, "data": data, "as_released": True}},
    }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A suite of two runs, which are stored."""
    bench = make_bench(tmp_path)
    for run in bench.plan().runs:
        dev = load_split(run.task, "dev", DataSources(bench.data))
        record = _record(run, len(dev), dev.fingerprint)
        outputs = np.random.default_rng(0).normal(size=(len(dev), 2)).astype(np.float32)
        predictions = {"pairs.dev": Predictions(dev.ids, outputs, dev.labels)}
        bench.store.write(str(run.run_id), record, {}, predictions)
    assert bench.plan().count("done") == 2
    assert bench.plan().remarks == ()
    return bench


def _said(bench: Bench) -> str:
    """What ``plan`` says, which is what ``status`` and the JSON of both say, too."""
    remarks = bench.plan().remarks
    for words in (["plan"], ["status"], ["plan", "--json"], ["status", "--json"]):
        outcome = multibench(words[0], bench.suite, *bench.options, *words[1:])
        assert outcome.code == 0
        said = json.loads(outcome.out)["remarks"] if "--json" in words else outcome.out
        assert all(remark in said for remark in remarks)
    return " ".join(remarks)


def _reverse(path: Path) -> None:
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[::-1]]) + "\n")


def test_runs_on_training_data_that_have_changed_do_not_count(bench: Bench) -> None:
    _reverse(bench.data / "pairs/train.tsv")
    assert bench.plan().count("missing") == 2
    said = _said(bench)
    assert "2 stored runs do not count: their training data differ (pairs: stored " in said
    assert ", now " in said


def test_runs_of_weights_that_were_overwritten_do_not_count(bench: Bench) -> None:
    make_checkpoint(bench.root / "bert", seed=5)
    assert bench.plan().count("missing") == 2
    assert "2 stored runs do not count: their weights differ" in _said(bench)


def test_both_are_said(bench: Bench) -> None:
    make_checkpoint(bench.root / "bert", seed=5)
    _reverse(bench.data / "pairs/train.tsv")
    assert "2 stored runs do not count: their weights and training data differ" in _said(bench)


def test_one_run_is_one_run(bench: Bench) -> None:
    shutil.rmtree(bench.store.path(bench.store.run_ids()[0]))
    _reverse(bench.data / "pairs/train.tsv")
    assert "1 stored run does not count: its training data differ" in _said(bench)


def test_older_runs_are_said_when_all_new_ones_are_there(bench: Bench) -> None:
    old = bench.plan()
    _reverse(bench.data / "pairs/train.tsv")
    for run in bench.plan().runs:
        bench.store.write(str(run.run_id), _record(run, 3, "other"), {}, {"pairs.dev": _three()})
    assert len(bench.store.run_ids()) == 4
    assert "2 stored runs do not count" in _said(bench)
    assert {run.run_id for run in old.runs} < set(bench.store.run_ids())


def _three() -> Predictions:
    return Predictions(("0", "1", "2"), np.zeros((3, 2), np.float32), np.array([0, 1, 0]))


def test_runs_under_other_settings_are_no_older_generation(bench: Bench) -> None:
    bench.write(recipe={**RECIPE, "learning_rate": 7e-3})
    assert bench.plan().count("missing") == 2
    assert bench.plan().remarks == ()


def test_both_generations_of_a_folder_are_told_by_scores(bench: Bench) -> None:
    make_checkpoint(bench.root / "bert", seed=5)
    for run in bench.plan().runs:
        dev = load_split(run.task, "dev", DataSources(bench.data))
        record = _record(run, len(dev), dev.fingerprint)
        outputs = np.random.default_rng(1).normal(size=(len(dev), 2)).astype(np.float32)
        predictions = {"pairs.dev": Predictions(dev.ids, outputs, dev.labels)}
        bench.store.write(str(run.run_id), record, {}, predictions)
    found = json.loads(multibench("scores", bench.results, "--nboot", "100", "--format", "json").out)
    assert [row["runs"] for row in found["rows"]] == [2, 2]
    assert len({row["checkpoints"] for row in found["rows"]}) == 2
    assert "different checkpoints are called" in " ".join(found["notes"])


def test_a_checkpoint_that_is_gone_and_had_two_sets_of_weights_is_said(bench: Bench) -> None:
    catalogue = bench.root / "checkpoints/google/multiberts-seed_0"
    bench.write(checkpoints=[{"ids": "google/multiberts-seed_0"}])
    options = [*bench.options, "--checkpoints", bench.root / "checkpoints"]
    from multibench import api

    for seed in (6, 7):
        make_checkpoint(catalogue, seed=seed)
        made = api.plan(bench.suite, bench.results, bench.data, bench.root / "checkpoints")
        run = made.runs[0]
        bench.store.write(str(run.run_id), _record(run, 3, "d"), {}, {"pairs.dev": _three()})
    shutil.rmtree(catalogue)
    outcome = multibench("plan", bench.suite, *options)
    assert "are of 2 different sets of weights" in outcome.out
