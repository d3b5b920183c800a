"""Equal scores: the class that was predicted stays predicted, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from multibench.execution.evaluation import in_classes_of
from multibench.results.ties import keep_winners
from multibench.tasks import find_task


@pytest.mark.parametrize("seed", range(4))
def test_only_rows_with_a_tie_that_changes_sides_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(-2, 3, (300, 4)).astype(np.float32)
    before[:3] = np.array([[0, 0, 0, 0], [-0.0, 0, -1, -1], [1e-45, 1e-45, 0, 0]])
    order = rng.permutation(4)
    winners = np.argsort(order)[before.argmax(axis=1)]
    moved = before[:, order]
    kept = keep_winners(moved, winners)
    np.testing.assert_array_equal(kept.argmax(axis=1), winners)
    np.testing.assert_allclose(kept, moved, atol=1e-6)
    same = moved.argmax(axis=1) == winners
    np.testing.assert_array_equal(kept[same], moved[same])
    assert not same.all()


def test_nothing_is_copied_where_no_tie_is() -> None:
    scores = np.eye(3, dtype=np.float32)
    assert keep_winners(scores, np.arange(3)) is scores


@pytest.mark.parametrize("row", [[0.4, 0.4, 0.2], [0.4, 0.2, 0.4], [0.2, 0.4, 0.4], [0.3, 0.3, 0.3]])
@pytest.mark.parametrize(
    "labels", [("entailment", "neutral", "contradiction"), ("contradiction", "neutral", "entailment")]
)
def test_merged_classes_go_by_the_unmerged_prediction(row: list[float], labels: tuple[str, ...]) -> None:
    hans, mnli = find_task("hans"), find_task("mnli").model_copy(update={"labels": labels})
    outputs = np.array([row], dtype=np.float32)
    said = labels[int(outputs[0].argmax())]
    merged = in_classes_of(hans, mnli, outputs)
    assert hans.labels[int(merged[0].argmax())] == ("entailment" if said == "entailment" else hans.labels[1])
