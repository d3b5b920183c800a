"""The averages over GLUE: each definition reproduces the averages that its own source prints."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

import pytest

from multibench.errors import StatisticsError, UnknownNameError
from multibench.metrics import METRICS
from multibench.scoring import GLUE_SCORES, glue_score
from multibench.scoring.glue import SUBMISSION
from multibench.tasks import TASKS

# What the collected tables call a metric, and an average -> what it is here.
METRIC = {"matthews_correlation": "mcc"}
AVERAGE = {
    "glue_score": "glue_server",
    "average_no_wnli": "bert_average",
    "macro_score": "distilbert_macro",
}
TASK_SCORES = {"mnli", "mrpc", "qqp", "stsb"}
# The DistilBERT paper prints 79.5, which its own columns give only with another MNLI score, 84.7.
MISPRINTED = {("BERT-base", "distilbert_macro"): 79.72}


def _published(shared_dir: Path) -> list[tuple[str, str, float, float]]:
    """(model, definition, printed average, average of the printed columns) wherever all columns are printed."""
    columns: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    averages = []
    with (shared_dir / "reference" / "published_scores.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            table = (row["model"], row["split"], row["source"])
            if row["benchmark"] != "glue":
                continue
            if row["metric"] in AVERAGE:
                averages.append((table, AVERAGE[row["metric"]], float(row["value"])))
            else:
                metric = METRIC.get(row["metric"], row["metric"])
                columns[table][f"{row['task']}.{metric}"] = float(row["value"])
                if row["task"] in TASK_SCORES:
                    columns[table].setdefault(f"{row['task']}.task_score", float(row["value"]))
    found = []
    for table, definition, printed in averages:
        try:
            found.append((table[0], definition, printed, glue_score(columns[table], definition)))
        except StatisticsError:
            continue
    return found


@pytest.mark.shared
def test_published_rows_give_the_published_averages(shared_dir: Path) -> None:
    by_definition = defaultdict(list)
    for model, definition, printed, ours in _published(shared_dir):
        # Columns are printed to a tenth, so their mean is known to half a tenth, as is the printed one.
        expected = MISPRINTED.get((model, definition), printed)
        assert ours == pytest.approx(expected, abs=0.1), (model, definition)
        by_definition[definition].append(model)
    assert {definition: len(models) for definition, models in by_definition.items()} == {
        "glue_server": 4,
        "bert_average": 5,
        "distilbert_macro": 7,
    }


def test_definitions_differ_where_they_should() -> None:
    scores = dict.fromkeys((c for d in GLUE_SCORES for term in d.terms for c in term), 0.5)
    assert all(glue_score(scores, name) == pytest.approx(0.5) for name in GLUE_SCORES.names())
    # WNLI counts for a ninth in the leaderboard's score and not at all in the BERT paper's.
    assert glue_score({**scores, "wnli.accuracy": 0.95}, "glue_server") == pytest.approx(0.55)
    assert glue_score({**scores, "wnli.accuracy": 0.95}, "bert_average") == pytest.approx(0.5)
    # One of MNLI's sets counts for an eighteenth and a ninth.
    assert glue_score({**scores, "mnli_matched.accuracy": 0.95}, "glue_server") == pytest.approx(0.525)
    assert glue_score({**scores, "mnli_matched.accuracy": 0.95}, "bert_average") == pytest.approx(0.55)


def test_an_average_over_fewer_columns_is_refused() -> None:
    scores = dict.fromkeys((c for term in GLUE_SCORES.get("glue_server").terms for c in term), 0.5)
    with pytest.raises(StatisticsError, match=r"needs 13 columns; wnli.accuracy are missing"):
        glue_score({k: v for k, v in scores.items() if k != "wnli.accuracy"}, "glue_server")
    with pytest.raises(StatisticsError, match=r"rte.accuracy are missing or undefined"):
        glue_score({**scores, "rte.accuracy": math.nan}, "glue_server")
    with pytest.raises(UnknownNameError, match="glue_server"):
        glue_score(scores, "glue_servr")


def test_every_fact_has_a_source_and_names_what_exists() -> None:
    assert SUBMISSION.source
    assert all(definition.source for definition in GLUE_SCORES)
    for definition in GLUE_SCORES:
        for column in (column for term in definition.terms for column in term):
            task, _, metric = column.partition(".")
            assert metric == "task_score" or metric in METRICS
            if task in TASKS and metric in METRICS:
                assert metric in TASKS.get(task).metrics
    for evaluation in SUBMISSION.files.values():
        task, _, split = evaluation.partition(".")
        if task in TASKS:
            assert not TASKS.get(task).splits[split].labelled
