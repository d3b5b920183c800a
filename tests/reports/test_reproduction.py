"""Published against measured: what is compared, what never is, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import StatisticsError, UnknownNameError
from multibench.recipes import RECIPES
from multibench.reference import REFERENCES, obstacle, read_reference
from multibench.reports.cells import Quantity
from multibench.reports.counterparts import Counterpart
from multibench.reports.reproduction import _constant, reproduce
from multibench.reports.tables import FORMATS
from multibench.results import Results, RunStore
from multibench.results.frame import StoredRun
from tests.support.stored import store_run

STORE = RunStore(Path("nowhere"))
RATES = (2e-5, 3e-5, 4e-5, 5e-5)


def made(
    checkpoint: str,
    score: float | None,
    *,
    finetuning_seed: int | None = 0,
    family: str = "google_bert",
    pretraining_seed: int | None = None,
    step: int | None = None,
    task: str = "squad_v1",
    evaluation: str = "squad_v1.dev",
    metrics: dict[str, float] | None = None,
    recipe: str = "hf_squad",
    status: str = "finished",
    as_released: bool = True,
    held_out: float | None = None,
    imported: bool = False,
    trained_as_released: bool = True,
    **settings: Any,
) -> StoredRun:
    """A stored run with this score, as far as a table of references looks at it; nothing is on disk."""
    values = {**RECIPES.get(recipe).settings(task)[0].model_dump(mode="json"), **settings}
    scores = metrics or {"accuracy": score, "answer_f1": score, "exact_match": score}
    summary = {
        "metrics": scores,
        "headline": next(iter(scores)),
        "examples": 1000,
        "as_released": as_released,
    }
    labels = {
        "family": family, "checkpoint": checkpoint, "pretraining_seed": pretraining_seed, "step": step,
        "parameters": 110, "task": task, "finetuning_seed": finetuning_seed, "held_out": held_out,
    }  # fmt: skip
    manifest = {
        "run_id": repr((checkpoint, finetuning_seed, sorted(values.items(), key=str))),
        "status": status,
        "reason": None,
        "labels": labels,
        "settings": values,
        "identity": {
            "checkpoint": checkpoint,
            "task_version": 1,
            "training_data": "train",
            "hyperparameters": values,
        },
        "suite": {"name": "some", "recipe": recipe, "selection": "none"},
        "training_data": {"as_released": trained_as_released},
        "provenance": {},
        "evaluations": {} if score is None else {evaluation: summary},
    }
    return StoredRun(STORE, {**manifest, "imported": {}} if imported else manifest)


def several(
    scores: Iterable[float | None], checkpoint: str = "google-bert/bert-base-uncased", **more: Any
) -> Results:
    """Runs of one checkpoint with fine-tuning seeds 0, 1, ..."""
    return Results(
        [made(checkpoint, score, finetuning_seed=seed, **more) for seed, score in enumerate(scores)]
    )


def only(
    results: Results, reference: str = "hf_squad", metric: str = "answer_f1", margin: float = 0.01
) -> dict[str, Any]:
    """The row of the first figure by ``metric``."""
    return next(
        row for row in reproduce(reference, results, margin).to_dict()["rows"] if row["metric"] == metric
    )


MINE = """
name = "mine"
title = "Mine"
paper = "Somebody 2020"
[defaults]
split = "dev"
source = "a table"
[[rows]]
model = "BERT-Base"
checkpoints = ["google-bert/bert-base-uncased"]
runs = 5
selection = "none"
[rows.scores]
rte.accuracy = 66.4
mnli_matched.accuracy = 84.4
"""


def _of_task(task: str, mean: float, evaluation: str = "rte.dev", **more: Any) -> list[StoredRun]:
    own = {"task": task, "evaluation": evaluation, "recipe": "multiberts_glue", "learning_rate": 2e-5}
    return list(several(mean + np.array([-0.002, 0.001, 0.0, 0.002, -0.001]), **{**own, **more}).stored)


NEAR = (0.8850, 0.8862, 0.8841, 0.8855, 0.8847)
"""Around the published 88.52."""


def test_the_three_verdicts_with_difference_interval_and_counts() -> None:
    row = only(several(NEAR))
    assert (row["verdict"], row["why"]) == ("match", "")
    assert row["measured"] == pytest.approx(np.mean(NEAR))
    difference = row["difference"]
    assert difference["value"] == pytest.approx(np.mean(NEAR) - 0.8852)
    assert difference["low"] < difference["value"] < difference["high"]
    assert (difference["n_runs"], difference["n_examples"], row["published_runs"]) == (5, 1000, 1)
    assert only(several(np.array(NEAR) - 0.05))["verdict"] == "differs"
    open_ = only(several(np.array(NEAR) - 0.01))
    assert open_["verdict"] == "cannot tell"
    assert (
        open_["why"]
        == "the interval reaches over the margin of 1 point; more fine-tuning seeds would narrow it"
    )
    assert only(several(NEAR), margin=0.0001)["verdict"] == "cannot tell"


@pytest.mark.parametrize(
    ("results", "why"),
    [
        (Results([]), "no run is stored"),
        (
            several(NEAR, "google-bert/bert-base-cased"),
            "the stored runs are of other checkpoints: google-bert/bert-base-cased",
        ),
        (several(NEAR, learning_rate=5e-5), "the published learning_rate is 3e-05, that of the stored runs 5e-05"),
        (several(NEAR, batch_size=None), "the published batch_size is 12, that of the stored runs None"),
        (
            several(NEAR, imported=True, batch_size=None),
            "the published batch_size is 12, that of the stored runs not known",
        ),
        (
            several(NEAR, imported=True, shuffle_window=None),
            "the published shuffle_window is None, that of the stored runs not known",
        ),
        (several(NEAR, as_released=False), "the runs were scored on other data than was released"),
        (several(NEAR, trained_as_released=False), "the runs were trained on other data than was released"),
        (several(NEAR, held_out=0.1), "the runs were trained without the part of train that they held out"),
        (several([0.885]), "one fine-tuning seed, so that how much they vary is not known"),
        (several([*NEAR, None], status="diverged"), "6 of the 6 runs diverged and have no score"),
        (several([0.885, float("nan")]), "answer_f1 of a run is undefined"),
        (several(NEAR, metrics={"exact_match": 0.8}), "not all of the runs were scored on squad_v1.dev by answer_f1"),
        (
            Results([*several(NEAR).stored, *several(NEAR, precision="bf16").stored]),
            "the stored runs have several settings (precision bf16; precision fp32); narrow them with --where",
        ),
        (
            Results([*several(NEAR).stored, *several(NEAR).stored]),
            "several runs share a checkpoint and a fine-tuning seed; narrow them with --where",
        ),
    ],
)  # fmt: skip
def test_runs_that_are_not_like_the_published_ones_are_not_compared(results: Results, why: str) -> None:
    row = only(results)
    assert (row["verdict"], row["why"]) == ("cannot tell", why)
    if not why.startswith("one"):
        assert row["difference"] is None


MULTIBERTS = {
    "task": "mnli",
    "evaluation": "mnli.dev_matched",
    "recipe": "multiberts_glue",
    "family": "multiberts",
}


def multiberts(
    steps: dict[int, float],
    seeds: int = 25,
    rates: Iterable[float] = RATES,
    effect: float = 0.02,
    runs: int = 3,
) -> list[StoredRun]:
    """Runs of MultiBERTs at these steps and mean scores, best at the published rates; seeds differ by ``effect``."""
    rng = np.random.default_rng(0)
    found = []
    for step, mean in steps.items():
        best = 3e-5 if step == 1_000_000 else 2e-5
        for seed in range(5 if step == 1_000_000 else seeds):
            for rate in rates:
                for finetuning in range(runs):
                    # The first five seeds average to the mean, so that what is published for them is met.
                    own = effect * ((seed % 5) - 2) / 2
                    score = mean + own - 500 * abs(rate - best) + rng.normal(0, 0.002)
                    found.append(
                        made(
                            f"multiberts-{seed}-{step}",
                            score,
                            finetuning_seed=finetuning,
                            pretraining_seed=seed,
                            step=step,
                            learning_rate=rate,
                            **MULTIBERTS,
                        )
                    )
    return found


PUBLISHED = {1_000_000: 0.837332, 2_000_000: 0.844328}


def _e1(runs: list[StoredRun]) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in reproduce("multiberts_e1", Results(runs)).to_dict()["rows"]}


def test_means_over_pretraining_seeds_are_compared_on_the_same_checkpoints() -> None:
    rows = _e1(multiberts(PUBLISHED))
    for model in ("MultiBERTs 1M", "MultiBERTs 2M"):
        assert rows[model]["verdict"] == "match"
        difference = rows[model]["difference"]
        # Seeds differ by points, but they are the same on both sides: only fine-tuning varies.
        assert difference["high"] - difference["low"] < 0.01
        assert (difference["n_seeds"], difference["n_runs"]) == (5, 15)
    # The runs of one checkpoint and rate, printed one by one: its own fine-tuning runs are held against them.
    single = rows["MultiBERTs seed 0, 1M, each run"]
    assert single["difference"]["n_runs"] == 3
    assert single["difference"]["method"].startswith("Welch's t")
    assert single["verdict"] == "differs"


def test_a_published_difference_is_held_to_half_of_itself() -> None:
    rows = _e1(multiberts(PUBLISHED))
    row = rows["MultiBERTs 2M minus 1M"]
    assert row["verdict"] == "match"
    assert row["margin"] == pytest.approx(0.006996 / 2)
    none = _e1(multiberts({1_000_000: 0.84, 2_000_000: 0.84}))
    assert none["MultiBERTs 2M minus 1M"]["verdict"] == "differs"


def test_the_choice_of_a_setting_is_made_as_published() -> None:
    few = _e1(multiberts(PUBLISHED, rates=(2e-5, 3e-5)))
    assert few["MultiBERTs 2M"]["why"] == "the published setting is the best of 4, of which 2 were run"
    seeds = _e1(multiberts(PUBLISHED, seeds=5))
    assert seeds["MultiBERTs 1M"]["verdict"] == "match"
    assert seeds["MultiBERTs 2M"]["why"] == (
        "the published setting was chosen over 25 pretraining seeds, of which 5 have runs"
    )
    assert seeds["MultiBERTs 2M minus 1M"]["verdict"] == "cannot tell"
    uneven = _e1(
        [
            r
            for r in multiberts(PUBLISHED)
            if (r.fields["pretraining_seed"], r.fields["learning_rate"]) != (3, 4e-5)
        ]
    )
    assert uneven["MultiBERTs 1M"]["why"] == "the published setting is the best of 4, of which 3 were run"


def test_where_only_fine_tuning_seeds_vary_nothing_is_said_of_pretraining() -> None:
    runs = [run for run in multiberts(PUBLISHED) if run.fields["pretraining_seed"] == 0]
    own = _e1(runs)["MultiBERTs 1M"]
    assert (own["verdict"], own["why"]) == (
        "cannot tell",
        "the published figure is a mean over 5 pretraining seeds; in the stored runs only fine-tuning seeds vary, of "
        "one of these checkpoints",
    )
    other = _e1(several(np.array(NEAR) - 0.04, **{**MULTIBERTS, "family": "google_bert"}).stored)[
        "MultiBERTs 2M"
    ]
    assert other["verdict"] == "cannot tell"
    assert other["why"].endswith(
        "only fine-tuning seeds vary, of one other checkpoint, google-bert/bert-base-uncased"
    )
    two = [run for run in multiberts(PUBLISHED) if run.fields["pretraining_seed"] in (0, 1)]
    assert "of which 2 have runs" in _e1(two)["MultiBERTs 1M"]["why"]


def test_the_choice_is_made_on_all_checkpoints_with_the_published_settings() -> None:
    """Runs with other settings stand in for none."""
    runs = multiberts(PUBLISHED)
    other = [r for r in runs if r.fields["pretraining_seed"] != 20]
    other += [made("x", 0.9, pretraining_seed=20, step=2_000_000, **{**MULTIBERTS, "learning_rate": 1e-3})]
    assert _e1(other)["MultiBERTs 2M"]["why"] == (
        "the published setting was chosen over 25 pretraining seeds, of which 24 have runs"
    )


def test_incomplete_fine_tuning_seeds_are_left_out() -> None:
    runs = multiberts(PUBLISHED)
    gap = [r for r in runs if not (r.fields["pretraining_seed"] == 2 and r.fields["finetuning_seed"] == 1)]
    assert _e1(gap)["MultiBERTs 1M"]["difference"]["n_runs"] == 10


def test_released_weights_are_compared_without_noise_and_only_with_themselves() -> None:
    name = "nvidia/nemo/qa_squadv1_1_bertbase"
    scores = {"exact_match": 0.8278, "answer_f1": 0.8997}
    runs = Results(
        [made(name, 0.9, finetuning_seed=None, metrics=scores, family="nvidia_nemo", recipe="nemo_squad")]
    )
    row = next(
        r for r in reproduce("nemo_squad", runs).to_dict()["rows"] if r["model"] == "qa_squadv1.1_bertbase"
    )
    assert row["verdict"] == "match"
    assert row["difference"]["method"] == "exact but for rounding"
    tuned = several(NEAR, name, family="nvidia_nemo", recipe="nemo_squad")
    row = next(
        r for r in reproduce("nemo_squad", tuned).to_dict()["rows"] if r["model"] == "qa_squadv1.1_bertbase"
    )
    assert (row["verdict"], row["why"]) == ("cannot tell", "no run is stored")


@pytest.mark.parametrize(
    ("reference", "model", "metric", "why"),
    [
        ("dle_pytorch", "BERT-Large PyT (mixed precision)", "answer_f1", "a best of 10 runs"),
        ("bert_glue", "BERT-Base", "mcc", "the labels of cola.test are not public"),
        ("bert_squad", "BERT-Large (single)", "exact_match", ""),
        ("bert_ablations", "BERT-Base", "answer_f1", "how many runs stand behind it is not stated"),
        (
            "bert_ablations",
            "size ablation L12 H768 A12",
            "accuracy",
            "how the setting was chosen is not stated",
        ),
        ("distilbert_glue", "DistilBERT", "mcc", "it is a median"),
        ("wwm", "BERT-Large, Uncased (Original)", "accuracy", "matched or mismatched is not stated"),
        ("distilbert_glue", "BERT-base", "accuracy", "doubtful: a misprint"),
        ("megatron_paper", "Megatron-3.9B ensemble", "answer_f1", "an ensemble"),
    ],
)
def test_unlike_things_are_never_compared(reference: str, model: str, metric: str, why: str) -> None:
    table = REFERENCES.get(reference)
    cell = next(c for c in table.cells() if c.row.model == model and c.metric == metric)
    assert why in obstacle(table, cell)
    assert bool(why) == bool(obstacle(table, cell))


def test_tuned_scores_are_not_held_against_plain_ones() -> None:
    table = REFERENCES.get("bert_squad")
    tuned = {c.metric: obstacle(table, c) for c in table.cells() if c.row.tuned and c.row.split == "dev"}
    assert tuned == {
        "exact_match": "null threshold tuned on dev for F1; exact_match is tuned on nothing here",
        "best_answer_f1": "",
    }


@pytest.mark.parametrize("name", REFERENCES.names())
def test_every_table_prints_with_and_without_results(name: str) -> None:
    alone, held = reproduce(name), reproduce(name, Results([]))
    for table in (alone, held):
        for format_ in FORMATS:
            assert table.render(format_)
    assert len(alone.rows) == len(held.rows) == len(list(REFERENCES.get(name).cells()))
    assert {row["verdict"] for row in held.rows} == {"cannot tell"}
    assert all(row["why"] for row in held.rows)
    for row in json.loads(alone.render("json"))["rows"]:
        assert row["source"]
        assert row["selection"] or row["statistic"] in ("difference", "released weights")


def test_notes_say_which_suite_makes_the_runs_and_how_many_are_missing() -> None:
    assert (
        "The suite multiberts_glue makes the 600 runs that this table needs: `multibench run multiberts_glue`."
        in (reproduce("multiberts_e1").notes)
    )
    [note] = [n for n in reproduce("multiberts_e1", Results(multiberts(PUBLISHED))).notes if "missing" in n]
    assert note == (
        "Of the 600 runs of the suite multiberts_glue that this table needs, 240 are missing (mnli 240): "
        "`multibench run multiberts_glue`."
    )
    [suite] = reproduce("multiberts_e1", Results(multiberts(PUBLISHED)[1:])).to_dict()["suites"]
    assert (suite["suite"], suite["runs"], len(suite["missing"])) == ("multiberts_glue", 600, 241)
    assert suite["missing"][0] == {
        "task": "mnli",
        "checkpoint": ["multiberts", 0, 1_000_000],
        "settings": {"learning_rate": 2e-5},
        "finetuning_seed": 0,
    }
    done = reproduce("multiberts_e1", Results(multiberts(PUBLISHED, runs=5))).notes
    assert "All 600 runs of the suite multiberts_glue that this table needs are stored." in done
    assert any("none of these figures can be compared" in note for note in reproduce("miniatures_glue").notes)
    assert any(
        "recipe bert_readme_mrpc on google-bert/bert-base-uncased" in note
        for note in reproduce("bert_readme").notes
    )


def test_known_misprints_are_shown() -> None:
    text = reproduce("distilbert_glue").render("text")
    assert "The paper prints MNLI 86.7 for BERT-base" in text
    assert "doubtful: a misprint" in text


def test_what_cannot_be_run_as_published_is_said() -> None:
    notes = reproduce("dle_pytorch").notes
    assert "The recipe dle_squad has precision fp32; the published runs had fp16." in notes
    assert len(notes) == len(set(notes))


def test_digits_are_printed_as_published() -> None:
    rows = {(r["model"], r["metric"]): r for r in reproduce("multiberts_e2").rows}
    assert str(rows["MultiBERTs 2M", "exact_match"]["published"]) == "74.7291"
    low = rows["MultiBERTs 2M", "exact_match"]["95 % low"]
    assert isinstance(low, Quantity)
    assert (str(low), low.value) == ("74.0529", 0.740529)


def test_every_task_has_its_own_margin_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    monkeypatch.setitem(REFERENCES._entries, "mine", read_reference(path))
    results = Results([*_of_task("rte", 0.664), *_of_task("mnli", 0.844, "mnli.dev_matched")])
    own = {r["evaluation"]: r for r in reproduce("mine", results).to_dict()["rows"]}
    assert {name: row["margin"] for name, row in own.items()} == {
        "rte.dev": 0.03,
        "mnli.dev_matched": 0.01,
    }
    notes = reproduce("mine", results).notes
    assert any("1 point (mnli), 3 points (rte)" in note for note in notes)
    assert any(note.startswith("Margin of rte: 277 examples: one standard error") for note in notes)
    named = reproduce("mine", results, 0.002).to_dict()["rows"]
    assert {row["margin"] for row in named} == {0.002}
    assert any(n.startswith("Margin: 0.2 points, ") for n in reproduce("mine", results, 0.002).notes)


def test_collapsed_runs_withhold_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace("66.4", "80.4"), encoding="utf-8")
    monkeypatch.setitem(REFERENCES._entries, "mine", read_reference(path))
    runs = _of_task("rte", 0.664)
    assert only(Results(runs), "mine", "accuracy")["verdict"] == "differs"
    low = only(Results([*runs, *_of_task("rte", 0.53)[:1]][1:]), "mine", "accuracy")
    assert low["verdict"] == "cannot tell"
    flagged = _of_task("rte", 0.664, status="collapsed")[:1] + runs[1:]
    row = only(Results(flagged), "mine", "accuracy")
    assert row["why"].startswith("1 run of those measured collapsed")


@pytest.mark.parametrize("stored", [True, False])
def test_without_label_counts_the_stored_labels_give_the_constant_answer(
    tmp_path: Path, stored: bool
) -> None:
    """QQP's dev set has no counts in its facts: of 40 stored labels 30 are of one class, so that 75 % is no score."""
    labels = np.repeat([0, 1], [30, 10])
    for seed, score in enumerate((0.751, 0.752, 0.750, 0.7515, 0.7505)):
        store_run(
            tmp_path / "mine", outputs=np.zeros((40, 2), dtype=np.float32), labels=labels, task="qqp",
            evaluation="qqp.dev", finetuning_seed=seed, metrics={"accuracy": score},
        )  # fmt: skip
    runs = tuple(Results.open(tmp_path).stored)
    if not stored:
        runs = tuple(StoredRun(STORE, run.manifest) for run in runs)
    [table] = [t for t in REFERENCES if t.name == "hf_glue"]
    cell = next(c for c in table.cells() if (c.evaluation, c.metric) == ("qqp.dev", "accuracy"))
    found = _constant(Counterpart(np.zeros(5), 1, 5, 40, runs), cell)
    if stored:
        assert found is not None
        assert (found.value, found.low < 0.75 < found.high) == (0.75, True)
    else:
        assert found is None


def test_margins_and_names_that_cannot_be_used() -> None:
    with pytest.raises(StatisticsError, match="a fraction between 0 and 1"):
        reproduce("hf_squad", margin=1.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'hf_squad'"):
        reproduce("hf_sqad")
