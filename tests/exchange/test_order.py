"""The class order is found by accuracy where accuracy can tell, and by nothing else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.errors import DataError
from multibench.scoring.order import find_order, stated_order
from multibench.tasks import Task, find_task


def _task(classes: int) -> Task:
    """MNLI with other labels."""
    return find_task("mnli").model_copy(update={"labels": tuple(f"class {k}" for k in range(classes))})


def _runs(labels: NDArray[np.int64], classes: int, skill: float, runs: int = 3) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(4)
    right = np.arange(classes) == labels[:, None]
    return [(rng.normal(size=right.shape) + skill * right).astype(np.float32) for _ in range(runs)]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_it_is_the_permutation_with_the_highest_accuracy(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 400)
    for permutation in itertools.permutations(range(classes)):
        given = [run[:, permutation] for run in _runs(labels, classes, 2.0)]
        found = find_order(_task(classes), labels, given, "these")
        assert found.classes == permutation
        by_hand = sorted(
            np.mean([(np.array(order)[run.argmax(axis=1)] == labels).mean() for run in given])
            for order in itertools.permutations(range(classes))
        )
        assert (found.accuracy, found.next_best) == pytest.approx((by_hand[-1], by_hand[-2]))
        for before, after in zip(_runs(labels, classes, 2.0), map(found.apply, given), strict=True):
            np.testing.assert_array_equal(before, after)


def test_chance_and_the_commonest_class_are_refused() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(2), [300, 100]))
    task = _task(2)
    with pytest.raises(DataError, match="and another order has"):
        find_order(task, labels, _runs(1 - labels[::-1], 2, 0.1), "these")
    constant = np.tile(np.array([1.0, 0.0], dtype=np.float32), (400, 1))
    with pytest.raises(DataError, match=r"always saying the commonest class has 75\.00 %"):
        find_order(task, labels, [constant], "these")


def test_a_stated_order_is_taken_and_its_accuracy_told() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 300)
    runs = _runs(labels, 3, 3.0)
    with pytest.raises(DataError, match=r"stated as class 2, class 0, class 1, and the labels contradict it"):
        find_order(_task(3), labels, runs, "these", (2, 0, 1))
    right, wrong = (
        find_order(_task(3), labels, runs, "these", order, force=True) for order in ((0, 1, 2), (2, 0, 1))
    )
    assert right.doubts == ()
    assert "--force takes it" in wrong.doubts[0]
    assert right.accuracy > 0.9 > right.next_best
    assert wrong.accuracy < 0.2
    assert wrong.next_best == right.accuracy
    assert "(stated: " in wrong.sentence()


def test_without_labels_it_has_to_be_stated() -> None:
    runs = _runs(np.zeros(9, dtype=np.int64), 3, 1.0)
    with pytest.raises(DataError, match="has no labels, so its class order cannot be verified"):
        find_order(_task(3), None, runs, "these")
    found = find_order(_task(3), None, runs, "these", (1, 0, 2))
    assert math.isnan(found.accuracy)
    assert found.to_dict()["accuracy"] is None


def test_a_stated_order_names_every_label_once() -> None:
    task = find_task("mnli")
    assert stated_order(task, ["contradiction", "entailment", "neutral"]) == (2, 0, 1)
    for names in (["entailment"], ["entailment", "neutral", "neutral"], ["a", "b", "c"]):
        with pytest.raises(DataError, match="its labels are entailment, neutral, contradiction"):
            stated_order(task, names)
