"""The verbs that list and show; output for people on a terminal, JSON alone on standard output."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from multibench.checkpoints import all_checkpoints
from tests.support.command import multibench


def test_all_checkpoints_are_listed_as_json() -> None:
    outcome = multibench("list", "checkpoints", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert len(found) == len(all_checkpoints())
    keys = {"id", "family", "pretraining_seed", "step", "parameters", "sources", "status"}
    assert all(keys <= set(entry) for entry in found)
    multiberts = [entry for entry in found if entry["family"] == "multiberts"]
    assert len(multiberts) == 25 + 145


@pytest.mark.parametrize("kind", ["families", "checkpoints", "tasks", "recipes"])
def test_lists_are_tables_and_json(kind: str) -> None:
    found = json.loads(multibench("list", kind, "--json").out)
    table = multibench("list", kind)
    assert table.code == 0
    assert f"{len(found)} {kind}" in table.out
    name = "id" if kind == "checkpoints" else "name"
    assert all(str(entry[name]) in table.out for entry in found)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("family", "multiberts"),
        ("checkpoint", "google/multiberts-seed_0"),
        ("task", "rte"),
        ("recipe", "bert_glue"),
    ],
)
def test_one_thing_is_shown_with_its_sources(kind: str, name: str) -> None:
    found = json.loads(multibench("show", kind, name, "--json").out)
    assert name in (found.get("name"), found.get("id"))
    text = multibench("show", kind, name)
    assert text.code == 0
    assert name in text.out


def test_version_and_help() -> None:
    assert multibench("--version").out.strip() == f"multibench {version('multibench')}"
    for verb in ([], ["plan"], ["run"], ["status"], ["scores"], ["compare"], ["list"], ["show"], ["verify"]):
        outcome = multibench(*verb, "--help")
        assert outcome.code == 0
        assert "Usage" in outcome.out
