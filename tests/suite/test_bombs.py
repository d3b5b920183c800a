"""Suites that would grow without end, and numbers that are none, are refused in a sentence and at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multibench import api
from multibench.errors import DataError, SuiteError
from multibench.recipes import hyperparameters
from multibench.suite import load_suite
from multibench.tasks import find_task

GOOD = "checkpoints: {family: miniatures}\ntasks: rte\n"


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < 5


def _suite(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "checkpoints: " + "[" * 400_000,
        "checkpoints: " + "[" * 200_000 + "]" * 200_000,
        "checkpoints: " + "{a: " * 100_000,
        "- " * 400_000,
        "? " * 300_000,
        "checkpoints: " + "[{a: " * 30 + "1" + "}]" * 30,
    ],
    ids=["open brackets", "brackets", "braces", "dashes", "question marks", "both"],
)
def test_brackets_without_end_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SuiteError, match="nested too deeply"):
        load_suite(_suite(tmp_path, text))
    with pytest.raises(SuiteError, match="nested too deeply"):
        load_suite(_suite(tmp_path, GOOD), [f"recipe.epochs={text.partition(': ')[2][:5000] or '[' * 60}"])


@pytest.mark.parametrize(
    "text", ["tasks: [" + "a, " * 60_000 + "]", GOOD + "".join(f"k{i}: 1\n" for i in range(30_000))]
)
def test_more_parts_than_a_suite_has_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SuiteError, match="more than 100,000 parts"):
        load_suite(_suite(tmp_path, text))


@pytest.mark.parametrize(
    "seeds", ["0-999999999", "0-99999", "0-9999,10000", f"0-{'9' * 18}", str([*range(10_001)])]
)
@pytest.mark.parametrize("key", ["finetuning_seeds", "pretraining_seeds"])
def test_seeds_without_end_are_refused(tmp_path: Path, seeds: str, key: str) -> None:
    text = f"{GOOD}{key}: {seeds}\n"
    if key == "pretraining_seeds":
        text = f"checkpoints:\n  - family: multiberts\n    {key}: {seeds}\ntasks: rte\n"
    with pytest.raises(SuiteError, match=rf"{key}: .*more than (10,000 seeds|any study)"):
        load_suite(_suite(tmp_path, text))


@pytest.mark.parametrize(
    "seeds", ["'010'", "'0-010'", "²", "'1_000'", f"'{'9' * 6000}'", "-1", "'0-'", "1.5"]
)
def test_seeds_that_are_no_plain_numbers_are_refused(tmp_path: Path, seeds: str) -> None:
    with pytest.raises(SuiteError, match="finetuning_seeds"):
        load_suite(_suite(tmp_path, f"{GOOD}finetuning_seeds: {seeds}\n"))


def test_many_seeds_are_many_seeds(tmp_path: Path) -> None:
    assert len(load_suite(_suite(tmp_path, f"{GOOD}finetuning_seeds: 0-9999\n")).finetuning_seeds) == 10_000


def _values(count: int) -> str:
    return "[" + ", ".join(f"{k}.0e-7" for k in range(1, count + 1)) + "]"


def test_grids_of_millions_are_refused(tmp_path: Path) -> None:
    grid = f"learning_rate: {_values(1000)}, weight_decay: {_values(1000)}, warmup: {_values(1000)}"
    with pytest.raises(SuiteError, match=r"line 3: The grid .* has 1,000,000,000 settings"):
        load_suite(_suite(tmp_path, f"{GOOD}recipe: {{base: modern_glue, {grid}}}\n"))
    grid = f"learning_rate: {_values(101)}, weight_decay: {_values(100)}"
    with pytest.raises(SuiteError, match="has 10,100 settings"):
        load_suite(_suite(tmp_path, f"{GOOD}recipe: {{base: modern_glue, {grid}}}\n"))


def test_plans_of_millions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperparameters, "MOST_SETTINGS", 100)
    text = f"{GOOD}recipe: {{base: modern_glue, learning_rate: {_values(90)}}}\nfinetuning_seeds: 0-999\n"
    with pytest.raises(SuiteError, match=r"asks for 2,160,000 runs, and up to 200,000"):
        api.plan(_suite(tmp_path, text), tmp_path / "results")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("finetuning_seeds: 010", "010 is a number to base 8"),
        ("finetuning_seeds: [1, 007]", "007 is a number to base 8"),
        ("recipe: {batch_size: 1:30}", "1:30 is a number to base 60"),
        ("recipe: {learning_rate: 190:20:30.15}", "is a number to base 60"),
        ("recipe: {batch_size: -0_12}", "is a number to base 8"),
        ("recipe: {batch_size: +1:00}", "is a number to base 60"),
    ],
)
def test_numbers_of_yaml_1_1_alone_are_none(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SuiteError, match=rf"line 3.*{said.replace('+', '.')}"):
        load_suite(_suite(tmp_path, f"{GOOD}{line}\n"))
    key, _, value = line.partition(": ")
    with pytest.raises(SuiteError, match=said):
        load_suite(_suite(tmp_path, GOOD), [f"{key}={value}"])


@pytest.mark.parametrize(
    "line", ["description: '010'", 'description: "1:30"', "description: a 1:30 b", "description: 0"]
)
def test_texts_that_look_like_them_stay(tmp_path: Path, line: str) -> None:
    if line.endswith(": 0"):
        line = "finetuning_seeds: 0"
    load_suite(_suite(tmp_path, f"{GOOD}{line}\n"))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "{a = " * 50_000, "x = 1\n" * 300_000])
def test_task_files_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "task.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"is not valid TOML|is larger than|cannot be used"):
        find_task(str(path))
