"""A small part of the demo, from the suite to its page, with no network."""

from __future__ import annotations

from pathlib import Path

from multibench.pocket.pretrain import STEPS
from multibench.reports.demo import demo_page
from tests.support.command import multibench


def test_the_page_compares_the_steps_and_says_where_the_noise_comes_from(tmp_path: Path) -> None:
    settings = [
        "tasks=[pocket_similarity]",
        "evaluations={}",
        "finetuning_seeds=0-1",
        "recipe={base: pocket, epochs: 1}",
    ]
    options = [word for setting in settings for word in ("--set", setting)]
    family = f"checkpoints=[{{family: pocket, pretraining_seeds: 0-1, steps: [0, {STEPS[-1]}]}}]"
    outcome = multibench(
        "run", "demo", *options, "--set", family, "--results", tmp_path, "--offline", "--quiet"
    )
    assert outcome.code == 0, outcome.err
    page = demo_page(tmp_path / "demo")
    assert f"step {STEPS[-1]:,}" in page
    rows = [line for line in page.splitlines() if line.startswith("pocket_similarity.dev")]
    assert len(rows) == 2
    assert "pearson" in rows[0]
    assert rows[1].count("[") == 3  # shares of both kinds of seeds and of examples, with intervals
    followed = []
    for line in page.splitlines():
        if line.startswith("  multibench ") and str(tmp_path) in line:
            assert multibench(*line.split()[1:]).code == 0, line
            followed.append(line.split()[1])
    assert followed == ["scores", "compare", "variance", "power"]
