"""A metric that is not defined for a task's kind and classes is refused when the facts are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multibench.errors import DataError, StatisticsError
from multibench.metrics import METRICS
from multibench.tasks import TASKS, find_task
from multibench.tasks.fitting import metric_fault
from tests.support.command import multibench
from tests.support.mood import Mood, lines


@pytest.mark.parametrize(
    ("kind", "classes", "metric", "words"),
    [
        (
            "classification",
            3,
            "f1",
            "is that of one of two classes, and the task has 3; expected one of accuracy, macro_f1",
        ),
        ("classification", 4, "f1", "the task has 4"),
        ("classification", 2, "pearson", "is not for a classification task, which is about classes"),
        ("classification", 2, "spearman", "is not for a classification task"),
        ("classification", 2, "mean", "looks at no labels"),
        ("classification", 2, "exact_match", "is not for a classification task"),
        ("classification", 2, "acuracy", "there is no metric 'acuracy'; did you mean 'accuracy'?"),
        (
            "regression",
            0,
            "accuracy",
            "is not for a regression task, which is about numbers; expected one of pearson, spearman",
        ),
        ("regression", 0, "mean", "looks at no labels"),
        ("regression", 0, "macro_f1", "is not for a regression task"),
        ("span", 0, "f1", "is not for a span task"),
        ("span", 0, "best_exact_match", "the task says that each question has one"),
    ],
)
def test_it_is_said_which_ones_are(kind: str, classes: int, metric: str, words: str) -> None:
    fault = metric_fault(metric, kind, classes, unanswerable=False)  # type: ignore[arg-type]
    assert fault is not None
    assert words in fault


def test_the_tasks_that_come_with_the_package_have_none() -> None:
    for task in TASKS:
        assert [metric_fault(m, task.kind, len(task.labels), task.unanswerable) for m in task.metrics] == [
            None for _ in task.metrics
        ]


@pytest.mark.parametrize("metric", ["f1", "pearson", "acuracy", "mean"])
def test_every_verb_that_reads_the_task_refuses_it(metric: str, tmp_path: Path) -> None:
    mood = Mood(tmp_path, labels=("calm", "angry", "sad"), metrics=(metric, "accuracy"))
    with pytest.raises(DataError, match=f"cannot be used: the file: .*'{metric}'"):
        find_task(str(mood.toml))
    path = mood.write("run.tsv", lines(mood.gold.tolist()))
    assert f"'{metric}'" in mood.score(path).refusal()
    assert f"'{metric}'" in mood.imported(mood.runs(["run.tsv"])).refusal()
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"name: mine\ncheckpoints: {{family: pocket}}\ntasks: [{mood.toml}]\n")
    assert f"'{metric}'" in multibench("plan", suite, "--data", tmp_path / "data").refusal()


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "weighted_f1"])
def test_f1_of_three_classes_has_a_name_of_its_own(metric: str) -> None:
    """A confusion of 60 examples, by hand: labels in rows, predictions in columns."""
    confusion = np.array([[19, 10, 5], [9, 4, 3], [6, 3, 1]])
    gold = np.repeat(np.arange(3), confusion.sum(axis=1))
    said = np.concatenate([np.repeat(np.arange(3), row) for row in confusion])
    f1 = [2 * confusion[k, k] / (confusion[k].sum() + confusion[:, k].sum()) for k in range(3)]
    expected = {
        "macro_f1": np.mean(f1),
        "micro_f1": np.trace(confusion) / 60,
        "weighted_f1": np.average(f1, weights=confusion.sum(axis=1)),
    }[metric]
    assert METRICS.get(metric).score(gold, said) == pytest.approx(expected)


def test_the_metric_itself_refuses_three_classes() -> None:
    gold, said = np.array([0, 1, 2, 1]), np.array([[0, 1, 1, 1]])
    for labels, outputs in ((gold, said), (gold % 2, np.zeros((1, 4, 3))), (gold % 2, said * 2)):
        with pytest.raises(
            StatisticsError, match="Name the average that is meant: macro_f1, micro_f1 or weighted_f1"
        ):
            METRICS.get("f1").prepare(labels, outputs)
