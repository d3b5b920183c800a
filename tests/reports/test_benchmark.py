"""The average over GLUE: against sums by hand, a closed form of its standard error, and the table of scores."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from multibench.errors import ResultsError, UnknownNameError
from multibench.reports.benchmark import benchmark_scores
from multibench.reports.scores import scores
from multibench.results import Results
from tests.stats.test_macro import closed_form
from tests.support.command import multibench
from tests.support.population import Group, write_population
from tests.support.stored import store_run

SEEDS, EXAMPLES = 4, 40
PLACES = {
    **{f"{task}.dev": task for task in ("cola", "sst2", "mrpc", "stsb", "qqp", "qnli", "rte", "wnli")},
    "mnli.dev_matched": "mnli",
    "mnli.dev_mismatched": "mnli",
}
SHARES = ("sst2.dev", "qnli.dev", "rte.dev", "wnli.dev", "mnli.dev_matched", "mnli.dev_mismatched")

Made = dict[str, tuple[NDArray[Any], list[NDArray[np.float32]]]]
"""Evaluation -> labels, and the outputs of each seed."""


def _made() -> Made:
    rng = np.random.default_rng(0)
    quality = rng.normal(0, 0.4, SEEDS)
    made: Made = {}
    for place in PLACES:
        if place == "stsb.dev":
            labels: NDArray[Any] = rng.uniform(0, 5, EXAMPLES)
            outputs = [
                (labels + rng.normal(0, 1.5 - q, EXAMPLES))[:, None].astype(np.float32) for q in quality
            ]
        else:
            n_classes = 3 if place.startswith("mnli") else 2
            labels = rng.integers(0, n_classes, EXAMPLES)
            outputs = []
            for q in quality:
                rows = rng.normal(0, 1, (EXAMPLES, n_classes))
                rows[np.arange(EXAMPLES), labels] += 1.2 + q
                outputs.append(rows.astype(np.float32))
        made[place] = labels, outputs
    return made


MADE = _made()


def _write(
    folder: Path, left_out: tuple[str, ...] = (), family: str = "multiberts", seeds: int = SEEDS
) -> Results:
    for place, task in PLACES.items():
        if place in left_out or place == "mnli.dev_mismatched":
            continue
        for seed in range(seeds):
            labels, outputs = MADE[place]
            beside = None
            if task == "mnli" and "mnli.dev_mismatched" not in left_out:
                gold, rows = MADE["mnli.dev_mismatched"]
                beside = {"mnli.dev_mismatched": (rows[seed], gold)}
            store_run(
                folder / "suite", outputs=outputs[seed], labels=labels, task=task, evaluation=place, family=family,
                pretraining_seed=seed, beside=beside, data=place,
            )  # fmt: skip
    return Results.open(folder)


def _score(place: str, metric: str, seed: int) -> float:
    labels, outputs = MADE[place]
    rows = outputs[seed]
    if metric == "pearson":
        return float(stats.pearsonr(rows[:, 0], labels).statistic)
    if metric == "spearman":
        return float(stats.spearmanr(rows[:, 0], labels).statistic)
    classes = rows.argmax(axis=1)
    if metric == "mcc":
        return float(matthews_corrcoef(labels, classes))
    return float(f1_score(labels, classes) if metric == "f1" else np.mean(labels == classes))


def _mean(*columns: tuple[str, str]) -> float:
    return fmean(_score(place, metric, seed) for place, metric in columns for seed in range(SEEDS))


def _only(results: Results, *args: Any, **options: Any) -> dict[str, Any]:
    (row,) = benchmark_scores(results, *args, **options).to_dict()["rows"]
    return dict(row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glue")
    _write(path)
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> Results:
    return Results.open(folder)


def _without(results: Results, *tasks: str) -> Results:
    return Results([run for run in results.stored if run.fields["task"] not in tasks])


def test_the_average_is_that_of_the_definition(whole: Results) -> None:
    accuracies = [_mean((f"{task}.dev", "accuracy")) for task in ("sst2", "qnli", "rte", "wnli")]
    mnli = [_mean((f"mnli.dev_{part}", "accuracy")) for part in ("matched", "mismatched")]
    both = [_mean((f"{task}.dev", "f1"), (f"{task}.dev", "accuracy")) for task in ("mrpc", "qqp")]
    stsb = _mean(("stsb.dev", "pearson"), ("stsb.dev", "spearman"))
    cola = _mean(("cola.dev", "mcc"))
    row = _only(whole)
    assert row["average"]["value"] == pytest.approx(
        fmean([*accuracies, *both, stsb, cola, fmean(mnli)]), abs=1e-6
    )
    assert (row["tasks"], row["pretraining_seeds"], row["runs"]) == (9, SEEDS, 9 * SEEDS)
    assert row["examples"] == 10 * EXAMPLES
    assert row["mrpc"] == pytest.approx(both[0])
    assert row["mnli"] == pytest.approx(fmean(mnli))
    estimate = row["average"]
    assert 0 < estimate["low"] < estimate["value"] < estimate["high"] < 1
    # The BERT paper's: MNLI twice, no WNLI, one metric a task.
    f1 = [_mean((f"{task}.dev", "f1")) for task in ("mrpc", "qqp")]
    bert = fmean([*accuracies[:3], *mnli, cola, _mean(("stsb.dev", "spearman")), *f1])
    row = _only(whole, "glue-bert")
    assert row["average"]["value"] == pytest.approx(bert, abs=1e-6)
    assert row["runs"] == 8 * SEEDS
    assert "mnli_mismatched" in row
    assert "wnli" not in row


def test_the_standard_error_is_the_closed_form_over_seeds_that_tasks_share(whole: Results) -> None:
    row = _only(_without(whole, "cola", "mrpc", "stsb", "qqp"), partial=True)
    tables = []
    for place in SHARES:
        labels, outputs = MADE[place]
        tables.append(np.array([rows.argmax(axis=1) == labels for rows in outputs], dtype=float))
    weights = np.array([1, 1, 1, 1, 0.5, 0.5]) / 5
    estimate = row["average"]
    assert row["tasks"] == "5 of 9"
    assert estimate["value"] == pytest.approx(float(weights @ [t.mean() for t in tables]))
    assert estimate["standard_error"] == pytest.approx(math.sqrt(closed_form(tables, weights)), rel=1e-9)


def test_fewer_tasks_are_another_quantity(tmp_path: Path, whole: Results) -> None:
    lacking = _without(whole, "wnli", "mnli")
    with pytest.raises(
        ResultsError, match=r"no scores on mnli.dev_matched, mnli.dev_mismatched, wnli.dev.*--partial"
    ):
        benchmark_scores(lacking)
    table = benchmark_scores(lacking, partial=True)
    assert table.to_dict()["rows"][0]["tasks"] == "7 of 9"
    assert any("another quantity, to be put beside no published average" in str(note) for note in table.notes)
    # Beside a whole group the other one is left out, and named.
    other = _write(tmp_path, ("mnli.dev_mismatched",), family="other", seeds=1)
    together = benchmark_scores(Results([*whole.stored, *other.stored]))
    assert [row["checkpoints"] for row in together.rows] == ["multiberts step 2,000,000"]
    assert (
        "other step 2,000,000 is left out: it has no scores on mnli.dev_matched, mnli.dev_mismatched."
        in together.notes
    )
    with pytest.raises(ResultsError, match="There is nothing to average"):
        benchmark_scores(Results([]))


def test_seeds_without_runs_in_every_task_are_dropped_and_named(whole: Results) -> None:
    short = Results(
        [r for r in whole.stored if (r.fields["task"], r.fields["pretraining_seed"]) != ("rte", 3)]
    )
    table = benchmark_scores(short)
    assert table.to_dict()["rows"][0]["pretraining_seeds"] == SEEDS - 1
    assert any("Seeds without runs in every task were dropped: 3." in str(note) for note in table.notes)


def test_the_average_is_the_mean_of_the_table_of_scores_chosen_settings_too(tmp_path: Path) -> None:
    results = write_population(
        tmp_path, [Group("multiberts", 1.2, range(2), 1_000)], finetuning_seeds=2, examples=60, troubled=False
    )
    by_metric = {
        (row["evaluation"], row["metric"].lower()): row["score"]["value"]
        for row in scores(results, "all").to_dict()["rows"]
    }
    rte, mrpc, stsb = (
        [v for (e, _), v in by_metric.items() if e == f"{t}.dev"] for t in ("rte", "mrpc", "stsb")
    )
    assert (len(rte), len(mrpc), len(stsb)) == (1, 2, 2)
    table = benchmark_scores(results, partial=True)
    (row,) = table.to_dict()["rows"]
    assert row["average"]["value"] == pytest.approx(fmean([*rte, fmean(mrpc), fmean(stsb)]), abs=1e-9)
    assert any("was chosen on this very split" in str(note) for note in table.notes)
    with pytest.raises(ResultsError, match=r"several settings on mrpc \(lr 2e-05; lr 3e-05\).*--select"):
        benchmark_scores(results, rule="none", partial=True)
    with pytest.raises(ResultsError, match="reports a median"):
        benchmark_scores(results, rule="median", partial=True)


def test_the_option_of_the_verb(folder: Path) -> None:
    outcome = multibench("scores", folder, "--benchmark", "glue", "--format", "csv")
    assert (outcome.code, outcome.err) == (0, "")
    (row,) = csv.DictReader(io.StringIO(outcome.out))
    assert float(row["average_low"]) < float(row["average"]) < float(row["average_high"])
    text = multibench("scores", folder, "--benchmark", "glue-bert").out
    assert "Average of the BERT paper" in text
    assert "on dev sets" in text
    assert "Did you mean 'glue'" in multibench("scores", folder, "--benchmark", "gleu").refusal()
    assert (
        "leave out --metric"
        in multibench("scores", folder, "--benchmark", "glue", "--metric", "f1").refusal()
    )
    assert "give --benchmark glue" in multibench("scores", folder, "--partial").refusal()
    with pytest.raises(UnknownNameError, match="glue-bert"):
        benchmark_scores(Results([]), "superglue")
