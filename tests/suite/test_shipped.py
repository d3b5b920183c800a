"""Suites that come with multibench: each says what it asks, and can be planned with nothing at hand."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from multibench.checkpoints import FAMILIES, find
from multibench.reference import REFERENCES
from multibench.results.filters import parse_filter
from multibench.suite import load_suite, shipped_suites
from multibench.tasks import find_task
from tests.support.command import multibench
from tests.support.tiny import make_checkpoint

SUITES = shipped_suites()

# Suite -> runs, and which checkpoints, tasks, settings and seeds multiply to them.
RUNS = {
    "multiberts_glue": (25 + 5) * 8 * 4 * 5,
    "multiberts_squad": (25 + 5) * 2 * 5,
    "multiberts_steps": 5 * 29 * 3 * 3,
    "multiberts_vs_original": (1 + 25) * 5,
    "miniatures_glue": 24 * 9 * 20,
    "google_bert_glue": 4 * 8 * 4 * 5,
    "google_bert_squad": 2 * 2 * 5,
    "wwm": 4 * 5,
    "distilbert": 4 * 9 * 5,
    "nvidia_nemo_squad": 4 * 2 * 5,
    "nvidia_megatron": 2 * 8 * 3,
    "nvidia_dle": 2 * 10,
    "nvidia_dle_glue": 2 * 10,
    "hf_glue": 9 * 5,
    "hf_squad": 5,
}


def _commands(text: str) -> list[list[str]]:
    """The commands in the comments of a suite, word by word."""
    comments = [line.removeprefix("#") for line in text.splitlines() if line.startswith("#")]
    lines = "\n".join(comments).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("   multibench ")]


@pytest.mark.parametrize("name", SUITES)
def test_a_shipped_suite_says_what_it_asks_and_can_be_planned(name: str, tmp_path: Path) -> None:
    text = SUITES[name].read_text("utf-8")
    assert text.startswith("# ")
    assert all(len(line) <= 140 for line in text.splitlines())
    suite = load_suite(SUITES[name])
    assert suite.name == name
    assert suite.description
    for selection in suite.checkpoints:
        if selection.path is not None:
            make_checkpoint(tmp_path / selection.path)
    options = ("--results", tmp_path / "results", "--checkpoints", tmp_path)
    found = json.loads(multibench("plan", name, *options, "--json").out)
    assert found["missing"] == found["runs"] == RUNS.get(name, found["runs"])
    assert found["missing_cost"]["flops"] > 0
    assert not (tmp_path / "results").exists()
    commands = _commands(text)
    assert commands or name not in RUNS
    for command in commands:
        _check(command, name, found["list"])
    printed = multibench("plan", name, *options)
    assert printed.code == 0
    assert "The missing runs cost about" in printed.out


def _check(command: list[str], name: str, runs: list[dict[str, Any]]) -> None:
    """The verb exists; what it is given is the suite or its results, and filters that accept some of its runs."""
    _, verb, given, *options = command
    assert multibench(verb, "--help").code == 0
    if verb == "run":
        assert Path(given).stem == name
        load_suite(SUITES[name], [value for key, value in pairwise(options) if key == "--set"])
        return
    if verb == "reproduce":
        assert given in REFERENCES
        given, *options = options
    assert given == f"results/{name}"
    for key, value in pairwise(options):
        if key in {"--base", "--expt"}:
            wanted = parse_filter(value, list({**runs[0], **runs[0]["settings"]}))
            assert any(wanted.accepts(run) for run in runs), value


def test_every_family_is_in_a_shipped_suite() -> None:
    assert set(RUNS) <= set(SUITES)
    families = set()
    for path in SUITES.values():
        for selection in load_suite(path).checkpoints:
            families |= {selection.family} | {find(name).family for name in selection.ids or ()}
    assert set(FAMILIES.names()) <= families


def test_the_settings_of_both_squads_are_the_papers_in_one_suite() -> None:
    suite = load_suite(SUITES["google_bert_squad"])
    found = {
        name: [(s.learning_rate, s.batch_size, s.epochs) for s in suite.settings(find_task(name))]
        for name in suite.tasks
    }
    assert found == {"squad_v1": [(5e-5, 32, 3)], "squad_v2": [(5e-5, 48, 2)]}
