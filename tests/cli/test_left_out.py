"""Damaged runs: every verb says, in every format, which it left out, whichever file it is that was damaged."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from multibench.results import Results, RunStore
from tests.support.command import multibench
from tests.support.stored import store_run
from tests.support.strangers import EXAMPLES, VERBS, flip, store_all, words_of


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight runs, stored once."""
    folder = tmp_path_factory.mktemp("stored")
    store_all(folder)
    return folder


@pytest.fixture
def runs(stored: Path, tmp_path: Path) -> list[Path]:
    """The folders of eight runs in ``tmp_path/results``."""
    shutil.copytree(stored, tmp_path / "results")
    return sorted((tmp_path / "results/suite/runs").iterdir())


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"report"}))
def test_every_verb_says_which_runs_it_left_out(runs: list[Path], verb: str) -> None:
    results = runs[0].parents[2]
    flip(runs[0] / "predictions/rte.dev.parquet")
    tables = verb != "export"
    outcome = multibench(*words_of(verb, results), *(["--format", "json"] if tables else []))
    assert outcome.code == 1, outcome.err
    assert str(runs[0]) in outcome.err
    assert "1 damaged run left out" in outcome.err
    if tables:
        assert json.loads(outcome.out)["left_out"] == list(Results.open(results).damaged)


@pytest.mark.parametrize("verb", ["export", "instances"])
def test_whoever_accepts_it_is_told_all_the_same(runs: list[Path], verb: str) -> None:
    flip(runs[0] / "run.json")
    outcome = multibench(*words_of(verb, runs[0].parents[2]), "--accept-damaged")
    assert outcome.code == 0
    assert str(runs[0]) in outcome.err


@pytest.mark.parametrize("name", ["run.json", "history.json", "predictions/rte.dev.parquet"])
def test_it_is_all_one_which_file_is_damaged(runs: list[Path], name: str) -> None:
    results = runs[0].parents[2]
    whole = multibench("instances", results)
    assert (whole.code, whole.err) == (0, "")
    flip(runs[0] / name)
    outcome = multibench("instances", results)
    assert outcome.code == 1
    assert outcome.out != whole.out
    assert name in outcome.err


@pytest.mark.parametrize("format_", ["text", "csv", "markdown", "latex"])
def test_every_format_says_it(runs: list[Path], format_: str) -> None:
    flip(runs[0] / "history.json")
    outcome = multibench("variance", runs[0].parents[2], "--format", format_)
    assert outcome.code == 1
    assert str(runs[0] / "history.json") in outcome.err
    assert ("history.json" in outcome.out) == (format_ != "csv")


def test_a_report_says_it_on_its_page(tmp_path: Path) -> None:
    runs = store_all(tmp_path / "results", steps=(100,))
    flip(runs[0] / "predictions/rte.dev.parquet")
    outcome = multibench(*words_of("report", tmp_path / "results"))
    assert outcome.code == 1
    assert "1 damaged run left out" in outcome.err
    assert str(runs[0]) in (tmp_path / "out/index.html").read_text()


def test_what_is_left_of_a_folder_of_damaged_runs_is_a_sentence(runs: list[Path]) -> None:
    for folder in runs:
        flip(folder / "run.json")
    outcome = multibench("scores", runs[0].parents[2])
    assert outcome.code == 2
    assert "8 damaged runs left out" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("multibench: There is nothing to score")


def test_many_damaged_runs_are_not_all_listed(tmp_path: Path) -> None:
    for folder in store_all(tmp_path / "results", seeds=4):
        flip(folder / "history.json")
    store_run(tmp_path / "results/suite", outputs=np.zeros((EXAMPLES, 2), np.float32), finetuning_seed=9)
    outcome = multibench("scores", tmp_path / "results")
    assert outcome.code == 1
    assert outcome.err.count("Left out") == 11
    assert "are 6 runs more" in outcome.err


@pytest.mark.parametrize("version", ["0", "3", "17"])
def test_a_schema_version_that_a_bit_changed_is_damage_and_no_version(runs: list[Path], version: str) -> None:
    """Only a record that is whole can be of another version."""
    path = runs[0] / "run.json"
    path.write_text(re.sub(r'"schema": \d+', f'"schema": {version}', path.read_text(), count=1))
    damage = RunStore(runs[0].parents[1]).damage(runs[0].name)
    assert damage == f"{path} does not match its own checksum."
    assert multibench("scores", runs[0].parents[2]).code == 1
