"""Tables of single examples: they show what the statistics found, and say what cannot be found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multibench
from multibench.errors import ResultsError
from multibench.metrics.squad import ANSWER_OUTPUTS
from multibench.reports import FORMATS
from multibench.reports.instances import instances
from multibench.results import Results
from multibench.stats import difficulty, example_differences, seed_agreement
from tests.support.command import multibench as command
from tests.support.stored import store_run

N_EXAMPLES = 40
LABELS = np.arange(N_EXAMPLES) % 2
INFO = {"seed": np.repeat(np.arange(6), 2), "finetune_seed": np.tile(np.arange(2), 6)}


def outputs_of(family: str) -> Any:
    """``(12, 40, 2)``: the other family has the first twelve examples wrong, nobody has the thirteenth."""
    rng = np.random.default_rng([len(family), 3])
    right = rng.random((12, N_EXAMPLES)) < np.linspace(0.5, 1, N_EXAMPLES)
    right[:, :12] = family == "one"
    right[:, 12] = False
    return np.eye(2, dtype=np.float32)[np.where(right, LABELS, 1 - LABELS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("results")
    for family in ("one", "another"):
        for row, outputs in enumerate(outputs_of(family)):
            seeds = {"pretraining_seed": row // 2, "finetuning_seed": row % 2}
            store_run(made / "study", outputs=outputs, family=family, **seeds)
    return made


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return Results.open(folder)


def test_agreement_rows_are_those_of_the_statistics(results: Results) -> None:
    table = instances(results)
    rows = [row for row in table.rows if str(row["checkpoints"]).startswith("one")]
    pairs = seed_agreement(INFO, outputs_of("one"), LABELS).pairs
    assert [row["pairs of runs with"] for row in rows] == [pair.kind for pair in pairs]
    for row, pair in zip(rows, pairs, strict=True):
        assert (row["agreement"], row["kappa"], row["churn at equal accuracy"]) == (
            pair.agreement,
            pair.kappa,
            pair.churn,
        )
    assert len(table.rows) == 6


def test_the_hardest_examples_come_first_and_json_has_all(results: Results) -> None:
    table = instances(results, "difficulty", top=3)
    found = difficulty(INFO, outputs_of("one"), LABELS)
    rows = [row for row in table.rows if str(row["checkpoints"]).startswith("one")]
    assert [row["example"] for row in rows] == [str(place) for place in found.hardest(3)]
    assert rows[0]["example"] == "12"
    assert str(rows[0]["right [%]"]) == "0.0"
    assert len(table.extra["difficulty"]) == 2
    (details,) = (d for d in table.extra["difficulty"] if d["checkpoints"].startswith("one"))
    assert details["mean"] == pytest.approx(found.mean.tolist())
    assert details["examples"] == [str(i) for i in range(N_EXAMPLES)]
    assert any(f"{found.always} right in all runs, {found.never} in none" in note for note in table.notes)


def test_examples_that_differ_are_named(results: Results) -> None:
    table = instances(results, base="family=one", experiment="family=another", paired=False)
    info = {
        "seed": np.tile(INFO["seed"], 2),
        "finetune_seed": np.tile(INFO["finetune_seed"], 2),
        "intervention": np.repeat([False, True], 12),
    }
    both = np.concatenate([outputs_of("one"), outputs_of("another")])
    direct = example_differences(info, both, LABELS)
    assert [row["p"] for row in table.rows] == pytest.approx(direct.p_values[direct.order(20)].tolist())
    named = [row["example"] for row in table.rows if row["differs"]]
    assert set(named) >= {str(i) for i in range(12)}
    assert {row["better"] for row in table.rows[:12]} == {"base"}
    assert f"{int(direct.differs.sum())} of 40 examples differ beyond seed noise" in " ".join(table.notes)
    assert table.extra["differences"][0]["adjusted"][12] is None
    assert direct.flips is not None
    lost = f"{100 * direct.flips.lost:.1f} % wrong between two runs"
    assert any(lost in note for note in table.notes)


def test_what_the_seeds_cannot_settle_is_said(results: Results) -> None:
    table = instances(results.where("pretraining_seed=0|1|2"), base="family=one", experiment="family=another")
    assert not any(row["differs"] for row in table.rows)
    (note,) = (note for note in table.notes if "no single example can be named" in note)
    assert "the smallest possible p-value is 0.1" in note
    assert "any differ at all" not in " ".join(table.notes)


@pytest.mark.parametrize("task", ["stsb", "squad_v1"])
def test_numbers_and_answers_are_shown_as_what_they_are(tmp_path: Path, task: str) -> None:
    rng = np.random.default_rng(4)
    metric = {"stsb": "pearson", "squad_v1": "answer_f1"}[task]
    width = {"stsb": 1, "squad_v1": len(ANSWER_OUTPUTS)}[task]
    for family in ("one", "another"):
        for seed in range(3):
            outputs = rng.uniform(0, 1, (N_EXAMPLES, width))
            if task == "squad_v1":
                outputs[:, 0] = outputs[:, 1] > 0.6
            evaluation = f"{task}.dev"
            store_run(
                tmp_path / "study",
                outputs=outputs.astype(np.float32),
                task=task,
                evaluation=evaluation,
                family=family,
                pretraining_seed=seed,
                metrics={metric: 0.5},
            )
    results = Results.open(tmp_path)
    shown = [
        instances(results, metric=metric),
        instances(results, "difficulty", metric=metric),
        instances(results, base="family=one", experiment="family=another", metric=metric),
    ]
    columns = " ".join(" ".join(table.columns) for table in shown)
    if task == "stsb":
        assert "mean distance [units]" in columns
        assert "error [units]" in columns
        assert "agreement" not in columns
    else:
        assert "flips" in columns
        assert "score [%]" in columns


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"show": "differences"}, "need two sides"),
        ({"base": "family=one"}, "need two sides"),
        ({"show": "agreement", "base": "family=one"}, "of each group by itself"),
        ({"show": "something"}, "no table 'something'"),
        ({"task": "mrpc"}, "two runs of one group"),
        ({"show": "difficulty", "task": "mrpc"}, "No stored run"),
    ],
)
def test_questions_that_make_no_sense_are_refused(results: Results, asked: Any, message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        instances(results, **asked)


def test_every_table_has_every_format(results: Results) -> None:
    for asked in ({}, {"show": "difficulty"}, {"base": "family=one", "experiment": "family=another"}):
        table = instances(results, **asked)
        for format_ in FORMATS:
            assert table.render(format_).endswith("\n")
        json.loads(table.render("json"), parse_constant=lambda name: pytest.fail(name))


def test_the_verb_is_the_function(folder: Path) -> None:
    outcome = command(
        *("instances", str(folder), "--base", "family=one", "--expt", "family=another", "--top", "2"),
        *("--format", "json", "--method", "benjamini-yekutieli", "--unpaired"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    table = multibench.instances(
        Results.open(folder),
        base="family=one",
        experiment="family=another",
        paired=False,
        top=2,
        method="benjamini-yekutieli",
    )
    assert outcome.out == table.render("json")
    outcome = command("instances", str(folder), "--show", "differences")
    assert outcome.code == 2
    assert "need two sides" in outcome.err
