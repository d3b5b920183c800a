"""Suites to start from: they load as they are, and with every comment that is an option taken up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import multibench as package
from multibench.checkpoints import FAMILIES, select
from multibench.recipes import RECIPES
from multibench.suite import load_suite, starter_suite
from multibench.tasks import find_task
from tests.support.command import multibench

# A commented key with a value: one that may replace what the recipe or the selection has.
_OPTION = re.compile(r"^( *)# (?=[a-z_]+: \S+ +# |keep_weights: last)", re.MULTILINE)


@pytest.mark.parametrize("family", FAMILIES.names())
def test_a_starter_suite_loads_as_it_is_and_with_its_options(family: str, tmp_path: Path) -> None:
    text = starter_suite(family)
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    suite = load_suite(path)
    assert suite.name == f"my_{family}"
    assert list(suite.checkpoints[0].from_catalogue()) == list(select(family))
    assert suite.tasks
    made_for_it = any(family in recipe.families for recipe in RECIPES)
    assert suite.base_recipe.families == ((family,) if made_for_it else ())
    options, count = _OPTION.subn(r"\1", text)
    assert count >= 5
    path.write_text(options, "utf-8")
    changed = load_suite(path)
    assert changed.keep_weights == "last"
    assert changed.selection == suite.selection
    assert all(len(changed.settings(find_task(name))) == 1 for name in changed.tasks)


def test_steps_and_seeds_are_offered_where_there_are_some() -> None:
    assert (
        "# pretraining_seeds: 0-1   # of 0-24\n    # steps: [0, 2000000]   # of 29; or all"
        in starter_suite("multiberts")
    )
    assert "steps" not in starter_suite("wwm")


def test_init_prints_a_suite_or_writes_a_new_file(tmp_path: Path) -> None:
    printed = multibench("init", "multiberts")
    assert (printed.code, printed.out) == (0, starter_suite("multiberts"))
    path = tmp_path / "mine.yaml"
    assert multibench("init", "multiberts", "--out", path).code == 0
    assert path.read_text("utf-8") == printed.out == package.init("multiberts")
    assert "mine.yaml exists already" in multibench("init", "wwm", "--out", path).refusal()
    assert path.read_text("utf-8") == printed.out
    assert "cannot be written" in multibench("init", "wwm", "--out", tmp_path / "no" / "mine.yaml").refusal()
    assert "no family 'multibert'" in multibench("init", "multibert").refusal()
