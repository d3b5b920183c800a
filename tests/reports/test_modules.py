"""Scores by modules of ``evaluate`` beside the table of scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from multibench.reports import scores
from multibench.reports.tables import Table
from multibench.results import Results
from tests.support.stored import store_run

SILENT = {"x.py": {"scores": {}, "reason": "It cannot."}}


def _table(folder: Path, said: list[dict[str, Any]]) -> Table:
    """The scores of runs of as many seeds as there are things that modules said."""
    for seed in range(len(said)):
        outputs = np.random.default_rng(seed).random((20, 2)).astype(np.float32)
        store_run(folder / "study", outputs=outputs, pretraining_seed=seed)
    results = Results.open(folder)
    for run in results.stored:
        seed = run.manifest["labels"]["pretraining_seed"]
        run.manifest["evaluations"]["rte.dev"]["evaluate"] = said[seed]
    return scores(results, nboot=20)


def _notes(table: Table) -> list[str]:
    return [note.partition("module ")[2] for note in table.notes if "evaluate module" in note]


def test_means_over_runs_stand_in_the_notes_and_in_json(tmp_path: Path) -> None:
    table = _table(tmp_path, [{"x.py": {"scores": {"a": a, "b": 2.0}}} for a in (70.0, 80.0, 90.0)])
    assert _notes(table) == [
        f"x.py gave {what} (mean of 3 runs, sd {sd}; in its own units, without an interval)."
        for what, sd in (("a 80", 10), ("b 2", 0))
    ]
    first, second = json.loads(table.render("json"))["evaluate"]
    assert (first["number"], first["mean"], first["sd"], first["runs"]) == ("a", 80.0, 10.0, 3)
    assert (second["number"], second["sd"]) == ("b", 0.0)


def test_why_a_module_gave_no_score_is_said(tmp_path: Path) -> None:
    assert _notes(_table(tmp_path / "all", [SILENT])) == ["x.py gave no run a score: It cannot."]
    (note,) = _notes(_table(tmp_path / "some", [SILENT, {"x.py": {"scores": {"a": 1.0}}}]))
    assert note.startswith("x.py gave a 1 (mean of 1 runs;")
    assert note.endswith("It gave some runs none: It cannot.")


def test_an_undefined_score_makes_an_undefined_mean(tmp_path: Path) -> None:
    table = _table(tmp_path, [{"x.py": {"scores": {"a": a}}} for a in (None, 1.0)])
    (note,) = _notes(table)
    assert note.startswith("x.py gave a undefined (mean of 2 runs;")
    assert json.loads(table.render("json"))["evaluate"][0]["mean"] is None


def test_runs_without_modules_say_nothing_of_them(tmp_path: Path) -> None:
    table = _table(tmp_path, [{}, {}])
    assert "evaluate" not in json.loads(table.render("json"))
    assert _notes(table) == []
