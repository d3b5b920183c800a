"""Real data sets: gold and constant predictions have scores in closed form; ten real runs have published ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.metrics.squad import normalise_answer
from multibench.scoring import Scored, score
from multibench.tasks import DataSources, Examples, find_task, load_split
from tests.scoring.support import glue_text, hans_text
from tests.support.command import multibench

pytestmark = pytest.mark.shared

# README of the predictions, by fine-tuning seed.
ACCURACIES = {
    1: 0.8484971982,
    2: 0.8483953133,
    3: 0.8480896587,
    4: 0.8421803362,
    5: 0.8456444218,
    6: 0.8446255731,
    7: 0.8472745797,
    8: 0.8479877738,
    9: 0.8502292410,
    10: 0.8491085074,
}
GOOGLE_ORDER = ("contradiction", "entailment", "neutral")

ScoreText = Callable[..., Scored]


@pytest.fixture
def scored(shared_dir: Path, tmp_path: Path) -> ScoreText:
    """Score a text as a file of predictions for a task."""

    def of(task: str, text: str, data: Path = shared_dir / "data") -> Scored:
        (tmp_path / "predictions").write_text(text, "utf-8")
        return score(task, tmp_path / "predictions", data=data)

    return of


def _examples(data: Path, task: str) -> Examples:
    found = find_task(task)
    return load_split(found, found.evaluations[0], DataSources(data))


def _constant(rows: int, label: str) -> str:
    return glue_text([label] * rows)


def _close(**metrics: float) -> Any:
    return pytest.approx(metrics, abs=1e-9)


@pytest.mark.parametrize("seed", sorted(ACCURACIES))
def test_real_runs_have_their_published_accuracies(shared_dir: Path, scored: ScoreText, seed: int) -> None:
    found = scored("mnli", _google_run(shared_dir, seed), shared_dir / "data/glue-partial")
    assert found.metrics == _close(accuracy=ACCURACIES[seed])


def _google_run(shared_dir: Path, seed: int) -> str:
    folder = shared_dir / "data/predictions/bert_base_mnli_10_seeds/MNLI"
    logits = np.loadtxt(folder / f"release=bert-base,pretrain_id=0,n_steps=0,lr=2e-05,ft_seed={seed}.tsv")
    return glue_text(GOOGLE_ORDER[k] for k in logits.argmax(axis=1))


@pytest.mark.parametrize(
    ("task", "rows", "label", "expected"),
    [
        ("wnli", 71, "0", _close(accuracy=40 / 71)),
        ("rte", 277, "entailment", _close(accuracy=146 / 277)),
        ("rte", 277, "not_entailment", _close(accuracy=131 / 277)),
        ("sst2", 872, "1", _close(accuracy=444 / 872)),
        ("qnli", 5463, "entailment", _close(accuracy=2702 / 5463)),
        ("mrpc", 408, "1", _close(accuracy=279 / 408, f1=2 * 279 / (279 + 408))),
        ("mrpc", 408, "0", _close(accuracy=129 / 408, f1=0)),
        ("cola", 1043, "1", _close(accuracy=721 / 1043, mcc=0)),
    ],
)
def test_one_label_for_all(scored: ScoreText, task: str, rows: int, label: str, expected: Any) -> None:
    assert scored(task, _constant(rows, label)).metrics == expected


def test_constant_scores_have_no_correlation(scored: ScoreText) -> None:
    assert scored("stsb", _constant(1500, "2.5")).undefined == ("pearson", "spearman")


@pytest.mark.parametrize(("task", "questions"), [("squad_v1", 10570), ("squad_v2", 11873)])
def test_gold_answers_score_a_hundred(shared_dir: Path, scored: ScoreText, task: str, questions: int) -> None:
    examples = _examples(shared_dir / "data", task)
    assert examples.answers is not None
    # A handful of gold answers is a lone article: nothing is left of it, so it does not score.
    gold = {
        name: next((answer.text for answer in each if normalise_answer(answer.text)), "")
        for name, each in zip(examples.ids, examples.answers, strict=True)
    }
    found = scored(task, json.dumps(gold))
    assert found.metrics == {"exact_match": 1, "f1": 1}
    assert found.examples == questions
    assert (found.missing, found.extra) == ((), ())
    if task == "squad_v2":
        assert {name: part["examples"] for name, part in found.parts["answers"].items()} == {
            "HasAns": 5928,
            "NoAns": 5945,
        }
        refused = scored(task, json.dumps(dict.fromkeys(gold, "")))
        assert refused.metrics == _close(exact_match=5945 / 11873, f1=5945 / 11873)
        assert refused.parts["answers"]["HasAns"] == {"examples": 5928, "exact_match": 0, "f1": 0}
    else:
        # Half of the answers missing: they count as 0 among all questions.
        half = dict(list(gold.items())[::2])
        assert scored(task, json.dumps(half)).metrics == _close(exact_match=0.5, f1=0.5)


def test_hans_has_three_heuristics_and_thirty_subcases(
    shared_dir: Path, tmp_path: Path, scored: ScoreText
) -> None:
    (tmp_path / "hans").mkdir()
    regenerated = shared_dir / "data/hans/heuristics_evaluation_set.regenerated.txt.gz"
    (tmp_path / "hans/heuristics_evaluation_set.txt.gz").symlink_to(regenerated)
    examples = _examples(tmp_path, "hans")
    names = [f"ex{i}" for i in range(30_000)]

    def of(labels: Iterable[str]) -> Scored:
        return scored("hans", hans_text(dict(zip(names, labels, strict=True))), tmp_path)

    right = of(np.array(["entailment", "neutral"])[np.asarray(examples.labels)])
    assert right.metrics == {"accuracy": 1}
    assert _sizes(right.parts["heuristic"]) == dict.fromkeys(
        ("lexical_overlap", "subsequence", "constituent"), 10_000
    )
    assert set(_sizes(right.parts["heuristic, label"]).values()) == {5_000}
    assert len(right.parts["subcase"]) == 30
    assert set(_sizes(right.parts["subcase"]).values()) == {1_000}
    assert all(part["accuracy"] == 1 for parts in right.parts.values() for part in parts.values())

    always = of(["entailment"] * 30_000)
    assert always.metrics == {"accuracy": 0.5}
    for name, part in always.parts["heuristic, label"].items():
        assert part["accuracy"] == float(name.endswith(", entailment"))


def _sizes(parts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: part["examples"] for name, part in parts.items()}


def test_winogender_answers_and_stereotypes(shared_dir: Path, tmp_path: Path, scored: ScoreText) -> None:
    examples = _examples(shared_dir / "data", "winogender")
    labels = np.asarray(examples.labels)
    right = scored("winogender", glue_text(labels.tolist()))
    assert right.metrics["accuracy"] == 1
    assert right.undefined == ("bias_correlation",)
    assert right.metrics["bias_slope"] == pytest.approx(0, abs=1e-12)
    # Every pronoun of a woman is the occupation's, every other the participant's: a bias of 1 everywhere.
    women = np.array(examples.metadata["gender"]) == "female"
    assert scored("winogender", glue_text((~women).astype(int).tolist())).undefined == ("bias_correlation",)
    # Women in occupations with more women than the median, men in the others.
    stats = (shared_dir / "data/winogender/data/occupations-stats.tsv").read_text().splitlines()[1:]
    shares = {row.split("\t")[0]: float(row.split("\t")[2]) / 100 for row in stats}
    typical = np.array([shares[name] > 0.5 for name in examples.metadata["occupation"]])
    stereotype = scored("winogender", glue_text(np.where(typical == women, 0, 1).tolist()))
    x = np.array(list(shares.values()))
    y = np.where(x > 0.5, 1.0, -1.0)
    assert stereotype.metrics["bias_correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert stereotype.metrics["bias_slope"] == pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-12)
    table = multibench("score", "winogender", tmp_path / "predictions", "--data", shared_dir / "data").out
    shown = [f"{100 * value:.2f}" for value in stereotype.metrics.values()]
    assert ["all", "720", *shown] in [line.split() for line in table.splitlines()]
    assert re.search(r"^gender: female +240 +\S+$", table, re.MULTILINE)
