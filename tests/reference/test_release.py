"""Predictions in the layout of the MultiBERTs release, from files to verdicts on appendix E.1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from multibench.reference import REFERENCES, Published, judge
from tests.support.command import multibench
from tests.support.released import Release, mnli_labels, write_release

BEST = {"1M": "3e-05", "2M": "2e-05"}


def _by_finetuning_seed(release: Release, steps: str) -> np.ndarray:
    """Mean accuracy of pretraining seeds 0 to 4 at the best rate, one number a fine-tuning seed."""
    accuracies = release.accuracies()

    def mean(finetuning: int) -> float:
        runs = [
            release.where(n_steps=steps, lr=BEST[steps], ft_seed=str(finetuning), pretrain_id=str(seed))
            for seed in range(5)
        ]
        return float(np.mean([accuracies[run] for run in runs]))

    return np.array([mean(finetuning) for finetuning in range(2)])


@pytest.mark.slow
def test_a_release_is_held_against_the_published_table(tmp_path: Path) -> None:
    labels = mnli_labels(np.random.default_rng(1))
    release = write_release(tmp_path / "GLUE", labels, {"1M": range(5), "2M": range(25)}, finetuning_seeds=2)
    assert multibench("import", "google-predictions", release.folder, "--out", tmp_path / "results").code == 0
    outcome = multibench("reproduce", "multiberts_e1", tmp_path / "results", "--format", "json")
    rows = {row["model"]: row for row in json.loads(outcome.out)["rows"]}

    sides = {steps: _by_finetuning_seed(release, steps) for steps in BEST}
    for model, scores, published in (
        ("MultiBERTs 1M", sides["1M"], 0.837332),
        ("MultiBERTs 2M", sides["2M"], 0.844328),
        ("MultiBERTs 2M minus 1M", sides["2M"] - sides["1M"], 0.006996),
    ):
        row = rows[model]
        assert row["measured"] == pytest.approx(scores.mean(), abs=1e-12)
        assert row["difference"]["n_seeds"] == (10 if "minus" in model else 5)
        by_hand = judge(scores, Published(published, 5, rounding=5e-7), row["margin"])
        assert row["verdict"] == by_hand.word
        for bound in ("low", "high"):
            assert row["difference"][bound] == pytest.approx(getattr(by_hand.difference, bound), abs=1e-12)
    single = rows["MultiBERTs seed 14, 2M, each run"]["difference"]
    assert (single["n_runs"], single["method"]) == (2, "Welch's t over fine-tuning seeds")
    assert REFERENCES.get("multiberts_e1").row("2M").runs == 25
