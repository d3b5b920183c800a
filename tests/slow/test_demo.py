"""The built-in family is no toy: what the demo's runs show, and that a second call makes none.

About ten minutes on two cores: ``make test-slow TESTS=tests/slow/test_demo.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from multibench.metrics import METRICS
from multibench.pocket.baseline import bag_of_words, bag_of_words_answers
from multibench.pocket.pretrain import STEPS
from multibench.reports import compare, variance
from multibench.results import Results
from tests.support.command import multibench

TASKS = ("pocket_acceptability", "pocket_inference", "pocket_similarity")
MAIN = (
    "pocket_acceptability.dev",
    "pocket_inference.dev_matched",
    "pocket_similarity.dev",
    "pocket_questions.dev",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    outcome = multibench("demo", "--results", root, "--quiet")
    assert outcome.code == 0, outcome.err
    assert "Does pretraining help?" in outcome.out
    return root / "demo"


def _run(root: Path, *settings: str) -> Path:
    changes = [word for setting in settings for word in ("--set", setting)]
    assert multibench("run", "demo", "--results", root, "--workers", 2, "--quiet", *changes).code == 0
    return root / "demo"


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _run(
        tmp_path_factory.mktemp("questions"),
        "tasks=[pocket_questions]",
        "evaluations={}",
        "finetuning_seeds=0",
    )


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last step alone, with six fine-tuning seeds: two tell little of a variance."""
    last = f"checkpoints=[{{family: pocket, steps: [{STEPS[-1]}]}}]"
    root = tmp_path_factory.mktemp("seeds")
    return _run(root, last, "tasks=[pocket_acceptability]", "evaluations={}", "finetuning_seeds=0-5")


def _differences(folder: Path) -> dict[str, dict[str, float]]:
    table = compare(Results.open(folder), "step=0", f"step={STEPS[-1]}")
    found = {}
    for row, full in zip(table.rows, table.extra["comparisons"], strict=True):
        found[str(row["evaluation"])] = {**full["difference"], "base": full["base"]["value"]}
    return found


def test_pretraining_helps_on_the_main_tasks_and_beats_bags_of_words(demo: Path, questions: Path) -> None:
    found = {**_differences(demo), **_differences(questions)}
    words = {name: value for task in TASKS for name, value in bag_of_words(task).items()}
    words["pocket_questions.dev"] = bag_of_words_answers()
    for name in MAIN:
        delta = found[name]
        assert delta["value"] >= 0.05, name
        assert delta["low"] > 0, name
        assert delta["base"] + delta["value"] > words[name], name


def test_pretraining_seeds_differ_for_sure_on_some_task(seeds: Path) -> None:
    parts = variance(Results.open(seeds)).extra["components"]
    told = {
        part["evaluation"]: source["told_from_zero"]
        for part in parts
        for source in part["sources"]
        if source["factor"] == "pretraining seeds"
    }
    assert any(told.values()), told


def test_seeds_differ_more_on_the_stress_set_than_on_the_matched_dev_set(demo: Path) -> None:
    results = Results.open(demo).where(f"step={STEPS[-1]}")
    spread = {}
    for name in ("pocket_stress.dev", "pocket_inference.dev_matched"):
        tensor = results.predictions(name)
        scores = [METRICS.get("accuracy").score(tensor.labels, run) for run in tensor.outputs]
        spread[name] = np.var(scores, ddof=1)
    assert spread["pocket_stress.dev"] > spread["pocket_inference.dev_matched"]


def test_a_second_call_makes_no_run(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    assert multibench("demo", "--results", demo.parent, "--quiet").code == 0
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before
    assert json.loads(multibench("status", demo, "--json").out)["tasks"]["pocket_inference"] == {"done": 20}
