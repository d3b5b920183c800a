"""Scores of a choice by another metric than the one that decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from multibench.reports import evaluated
from multibench.results import Results, select_settings
from tests.support.stored import store_run

LABELS = np.random.default_rng(0).integers(0, 2, size=60)


def test_what_decides_and_what_is_reported_have_their_examples_in_one_order(
    tmp_path: Path, monkeypatch: Any
) -> None:
    rng = np.random.default_rng(1)
    for rate in (1e-5, 2e-5):
        for seed in range(3):
            outputs = rng.normal(size=(60, 2))
            outputs[np.arange(60), LABELS] += 1
            store_run(
                tmp_path / "study",
                outputs=outputs.astype(np.float32),
                labels=LABELS,
                pretraining_seed=seed,
                metrics={"accuracy": float((outputs.argmax(axis=1) == LABELS).mean())},
                suite={"selection": "best_mean_dev"},
                learning_rate=rate,
            )
    (chosen,) = select_settings(Results.open(tmp_path))
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        evaluated, "choice_of_settings", lambda reported, decided, *_: seen.extend([reported, decided])
    )
    evaluated.evaluated(chosen, "rte.dev", "mcc")
    mcc, accuracy = seen
    for one, other in zip(mcc, accuracy, strict=True):
        # An answer moves both metrics the same way, wherever it stands.
        assert np.corrcoef(one, other)[0, 1] > 0.9
