"""Our metrics as modules of ``evaluate``, and local modules of ``evaluate`` on our predictions; all of it offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import DataError, StatisticsError, UnavailableError
from multibench.execution.modules import module_scores
from multibench.metrics import METRICS, Metric
from multibench.metrics.evaluate_adapter import as_evaluate, load_module, local_module
from multibench.metrics.squad import answer_outputs
from multibench.results import Predictions
from multibench.tasks import Examples, find_task
from multibench.tasks.data import Answer
from tests.support.modules import EQUAL, NUMBERS, own_folders, write_module

pytest.importorskip("evaluate")

_ANSWERS = """{
    "predictions": {"id": datasets.Value("string"), "prediction_text": datasets.Value("string")},
    "references": {
        "id": datasets.Value("string"),
        "answers": datasets.Sequence({"text": datasets.Value("string"), "answer_start": datasets.Value("int32")}),
    },
}"""
_FIRST = """hits = [p["prediction_text"] in (r["answers"]["text"] or [""]) for p, r in zip(predictions, references)]
        return {"first": 100.0 * sum(hits) / len(hits)}"""


@pytest.fixture(autouse=True, scope="module")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_folders(tmp_path_factory.mktemp("huggingface")):
        yield


GOLD = {"a": ["cat", "the dog"], "b": [], "c": ["x y"]}
GIVEN = {"c": ("the x", -1.0), "a": ("Cat", 2.0), "b": ("z", 3.0)}


def _squad() -> dict[str, Any]:
    return {
        "predictions": [
            {"id": name, "prediction_text": text, "no_answer_probability": odds}
            for name, (text, odds) in GIVEN.items()
        ],
        "references": [
            {"id": name, "answers": {"text": gold, "answer_start": [0] * len(gold)}}
            for name, gold in GOLD.items()
        ],
    }


def _inputs(metric: Metric) -> tuple[dict[str, Any], Any, Any]:
    """What the module takes, and the labels and outputs that say the same to the metric."""
    if metric.takes == "answers":
        texts, odds = zip(*(GIVEN[name] for name in GOLD), strict=True)
        outputs = answer_outputs(texts, odds, list(GOLD.values()), threshold=np.inf)
        return _squad(), [len(gold) > 0 for gold in GOLD.values()], outputs
    given, wanted = [0, 1, 0, 0, 1], [0, 1, 1, 0, 1]
    if metric.takes == "values":
        given, wanted = [0, 1, 2, 2, 4], [1, 1, 2, 3, 1]
    return {"predictions": given, "references": wanted}, wanted, given


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_is_a_module_with_the_same_score(name: str) -> None:
    metric = METRICS.get(name)
    inputs, labels, outputs = _inputs(metric)
    module = as_evaluate(metric)
    assert module.name == name
    expected = {name: metric.score(labels, outputs)}
    assert module.compute(**inputs) == expected
    for prediction, reference in zip(inputs["predictions"], inputs["references"], strict=True):
        module.add(prediction=prediction, reference=reference)
    assert module.compute() == expected


def test_class_scores_and_combinations() -> None:
    import evaluate

    scores = [[0.1, 0.9], [2.0, -1.0], [0.3, 0.4]]
    assert as_evaluate(METRICS.get("accuracy")).compute(predictions=scores, references=[1, 1, 1]) == {
        "accuracy": 2 / 3
    }
    both = evaluate.combine([as_evaluate(METRICS.get(name)) for name in ("accuracy", "mcc")])
    found = both.compute(predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
    assert found == {"accuracy": 0.75, "mcc": METRICS.get("mcc").score([1, 0, 0, 1], [1, 0, 1, 1])}


def test_answers_can_be_refused_and_must_be_complete() -> None:
    module = as_evaluate(METRICS.get("exact_match"))
    assert module.compute(**_squad()) == {"exact_match": 1 / 3}
    assert module.compute(**_squad(), no_answer_threshold=2.5) == {"exact_match": 2 / 3}
    inputs = _squad()
    inputs["predictions"][0]["id"] = "a"
    with pytest.raises(StatisticsError, match="ids of 3 predictions and 3 references differ"):
        module.compute(**inputs)


def _examples(task: str, labels: Any, answers: Any = None) -> Examples:
    n = len(labels)
    ids = tuple(str(i) for i in range(n))
    texts = tuple("" for _ in range(n))
    return Examples(task, "dev", ids, (texts, texts), np.array(labels), "tests", answers=answers)


def test_local_modules_score_predictions_of_every_kind(tmp_path: Path) -> None:
    path = write_module(tmp_path, "shares", NUMBERS, EQUAL)
    numbers = load_module(str(path))
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], dtype=np.float32)
    examples = _examples("rte", [1, 0, 0])
    predictions = Predictions(examples.ids, outputs, examples.labels)
    expected = {str(path): {"scores": {"equal": pytest.approx(2 / 3)}}}
    assert module_scores([numbers], find_task("rte"), examples, predictions, 0.0) == expected

    examples = _examples("stsb", [1.0, 2.5])
    predictions = Predictions(examples.ids, np.array([[1.0], [2.0]], dtype=np.float32), examples.labels)
    by_folder = load_module(str(path.parent))
    found = module_scores([by_folder], find_task("stsb"), examples, predictions, 0.0)
    assert found[str(path.parent)]["scores"] == {"equal": 0.5}

    answers = load_module(str(write_module(tmp_path, "firsts", _ANSWERS, _FIRST)))
    gold = ((Answer("cat", 3),), (), (Answer("dog", 1), Answer("a dog", 0)))
    examples = _examples("squad_v2", [1, 0, 1], gold)
    texts, odds = ("cat", "x", "dog"), [-1.0, 2.0, 0.5]
    columns = answer_outputs(texts, odds, [[a.text for a in each] for each in gold], 0.0)
    predictions = Predictions(examples.ids, columns, examples.labels, texts)
    for threshold, score in ((0.0, 200 / 3), (1.0, 100), (9.0, 200 / 3)):  # two, one and none are refused
        (found,) = module_scores([answers], find_task("squad_v2"), examples, predictions, threshold).values()
        assert found == {"scores": {"first": pytest.approx(score)}}
    # Where every question has an answer none is refused.
    (found,) = module_scores([answers], find_task("squad_v1"), examples, predictions, -99.0).values()
    assert found == {"scores": {"first": pytest.approx(200 / 3)}}


def test_a_module_that_fails_costs_no_run(tmp_path: Path) -> None:
    examples = _examples("rte", [1, 0])
    predictions = Predictions(examples.ids, np.eye(2, dtype=np.float32), examples.labels)
    for name, compute, words in (
        ("broken", "return 1 / 0", "cannot score these predictions .ZeroDivisionError: division by zero"),
        ("wordy", 'return {"best": "rte"}', "gave no number"),
        ("undefined", 'return {"nan": float("nan")}', None),
    ):
        module = load_module(str(write_module(tmp_path, name, NUMBERS, compute)))
        (found,) = module_scores([module], find_task("rte"), examples, predictions, 0.0).values()
        if words is None:
            assert found == {"scores": {"nan": None}}
        else:
            assert found["scores"] == {}
            with pytest.raises(DataError, match=words):
                raise DataError(found["reason"])


def test_modules_that_are_not_there_are_refused_in_a_sentence(tmp_path: Path) -> None:
    assert local_module("accuracy") is None
    assert local_module("someone/accuracy") is None
    for source in (str(tmp_path / "none.py"), str(tmp_path), "./nowhere"):
        with pytest.raises(DataError, match=r"There is no script .*; expected a module of evaluate"):
            load_module(source)
    with pytest.raises(UnavailableError, match="no evaluate module nothing_like_it on this machine"):
        load_module("nothing_like_it")
    path = write_module(tmp_path, "crooked", NUMBERS, EQUAL)
    path.write_text("import evaluate, nothing_like_it\n", "utf-8")
    with pytest.raises(DataError, match=r"cannot be loaded .* write one import a line"):
        load_module(str(path))
