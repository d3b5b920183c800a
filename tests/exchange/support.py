"""Data of tasks for predictions to be imported on, and the comparison that the arrays of a release give directly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.exchange.layout import GOOGLE, task_names
from multibench.scoring.order import stated_order
from multibench.stats import Comparison, compare_groups
from multibench.tasks import find_task
from tests.support.released import Release
from tests.tasks.written import Row, write_split


def write_labels(root: Path, task: str, split: str, labels: Sequence[Any]) -> Path:
    """Official files of ``task`` with these labels and texts that mean nothing; returns ``root``."""
    found = find_task(task)
    assert found.official is not None
    texts = tuple(f"{name} " for name in found.inputs)
    rows = [Row(tuple(f"{text}{i}" for text in texts), label) for i, label in enumerate(labels)]
    write_split(root, found, found.official, split, rows)
    return root


def rte_labels(rng: np.random.Generator) -> NDArray[np.int64]:
    """As many of each class as were released."""
    counts = find_task("rte").splits["dev"].histogram
    assert counts is not None
    return rng.permutation(np.repeat(np.arange(2), list(counts.values())))


def best_rate(release: Release, steps: str) -> str:
    """The rate with the highest mean accuracy over all runs of these steps, the first among equals."""
    accuracy = release.accuracies()
    rates = sorted({row["lr"] for row in release.rows}, key=float)
    return max(rates, key=lambda rate: float(accuracy[release.where(n_steps=steps, lr=rate)].mean()))


def direct_comparison(release: Release, nboot: int, rng: int, corrections: Any = None) -> Comparison:
    """1M against 2M steps, each at its best rate, paired: by the statistics alone, on the arrays that were written.

    ``corrections`` are what the choice of the rates made each run's score too good by, with a minus.
    """
    sides = [release.where(n_steps=steps, lr=best_rate(release, steps)) for steps in ("1M", "2M")]
    chosen = np.concatenate(sides)
    rows = [release.rows[i] for i in chosen]
    info = {
        "seed": [int(row["pretrain_id"]) for row in rows],
        "finetune_seed": [int(row["ft_seed"]) for row in rows],
        "intervention": [row["n_steps"] == "2M" for row in rows],
    }
    # Of equal scores the file's first column is the answer. Classes are then numbered as in the task.
    task = task_names()[rows[0]["task"]]
    order = np.array(stated_order(task, GOOGLE.class_order.get(task.name, task.labels)))
    answers = order[release.scores[chosen].argmax(axis=2)]
    labels = order[release.labels]
    return compare_groups(
        info, answers, labels, "accuracy", True, nboot=nboot, rng=rng, corrections=corrections
    )


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """The numbers and texts in nested dictionaries and lists, by path."""
    if isinstance(value, dict):
        parts = [leaves(each, f"{name}.{key}") for key, each in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [leaves(each, f"{name}[{i}]") for i, each in enumerate(value)]
    else:
        return {name: value}
    return {key: each for part in parts for key, each in part.items()}


def assert_same_comparison(found: dict[str, Any], direct: Comparison) -> None:
    """All that the statistics say stands in ``found``, numbers equal but for the order of sums."""
    expected = leaves(direct.to_dict())
    stands = leaves({key: found[key] for key in direct.to_dict()})
    assert stands.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float):
            value = pytest.approx(value, rel=1e-10, abs=1e-12, nan_ok=True)
        assert stands[key] == value, key
