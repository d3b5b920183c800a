"""Stored runs in Google's layout: read as the released notebooks read it, and imported again."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from multibench import api
from multibench.errors import ResultsError
from multibench.exchange import export_google_predictions, import_google_predictions
from multibench.exchange.layout import INDEX, file_name, read_steps, spell_steps, table_of, task_names
from multibench.results import Results
from tests.support.command import multibench
from tests.support.stored import store_run

EXAMPLES = 90
LABELS = np.arange(EXAMPLES) % 2  # as store_run has them: entailment, neutral
PERMUTED = [2, 0, 1]  # contradiction, entailment, neutral
EVALUATION = "mnli.dev_matched"
GLUE = ("CoLA", "MNLI", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B")


def _outputs(*seed: int) -> NDArray[np.float32]:
    """Scores of all sizes, mostly right."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(EXAMPLES, 3)) * 10.0 ** rng.integers(-9, 1, (EXAMPLES, 3))
    return np.asarray(noise + 2 * (np.arange(3) == LABELS[:, None]), dtype=np.float32)


def _store(folder: Path, *key: int, **more: Any) -> str:
    options: dict[str, Any] = {"task": "mnli", "evaluation": EVALUATION, "outputs": _outputs(*key)}
    return store_run(folder, **{**options, **more})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 seeds x 2 steps x 3 fine-tuning seeds of MNLI, made here, and a second rate for one of them."""
    out = tmp_path_factory.mktemp("results")
    runs = [(p, s, f, 2e-5) for p in range(2) for s in range(2) for f in range(3)]
    for p, s, f, rate in [*runs, (1, 1, 2, 5e-5)]:
        step = (20_000, 1_000_000)[s]
        _store(
            out / "suite",
            p,
            s,
            f,
            int(rate * 1e5),
            pretraining_seed=p,
            step=step,
            finetuning_seed=f,
            learning_rate=rate,
            checkpoint=f"google/multiberts-seed_{p}-step_{step // 1000}k",
        )
    return out


@pytest.fixture
def more(results: Path, tmp_path: Path) -> Path:
    """A copy, for runs to be added."""
    return Path(shutil.copytree(results, tmp_path / "results"))


def test_the_notebooks_way_of_reading_gives_our_scores(results: Path, tmp_path: Path) -> None:
    api.export("google-predictions", results, tmp_path / "out")
    root = tmp_path / "out" / "GLUE"
    run_info = pd.read_csv(root / "index.tsv", sep="\t")
    assert list(run_info) == ["file", "task", "pretrain_id", "n_steps", "lr", "ft_seed", "release"]
    assert set(run_info.n_steps) == {"20k", "1M"}
    assert set(run_info.release) == {"multiberts"}
    labels = np.loadtxt(root / "MNLI_dev_labels").astype(int)
    assert labels[:3].tolist() == [1, 2, 1]  # entailment, neutral, entailment in its numbers
    for row in run_info.to_dict("records"):
        assert row["file"] == (
            f"MNLI/release=multiberts,pretrain_id={row['pretrain_id']},n_steps={row['n_steps']},lr={row['lr']},"
            f"ft_seed={row['ft_seed']}.tsv"
        )
        step = {"20k": 0, "1M": 1}[row["n_steps"]]
        expected = _outputs(row["pretrain_id"], step, row["ft_seed"], int(row["lr"] * 1e5))
        scores = np.loadtxt(root / row["file"], delimiter="\t")
        np.testing.assert_array_equal(scores.astype(np.float32), expected[:, PERMUTED])
        assert (scores.argmax(axis=1) == labels).mean() == (expected.argmax(axis=1) == LABELS).mean()


def test_imported_again_the_predictions_are_the_same(results: Path, tmp_path: Path) -> None:
    multibench("export", "google-predictions", results, "--out", tmp_path / "out")
    orders = {"mnli": ("contradiction", "entailment", "neutral")}
    import_google_predictions(
        tmp_path / "out", tmp_path / "again", class_order=orders, accept_different_data=True
    )
    keys = ("family", "checkpoint", "pretraining_seed", "step", "finetuning_seed", "learning_rate", "task")
    before, after = (
        {
            tuple(run.fields[key] for key in keys): run.predictions(EVALUATION)
            for run in Results.open(path).stored
        }
        for path in (results, tmp_path / "again")
    )
    assert before.keys() == after.keys()
    for key, predictions in before.items():
        np.testing.assert_array_equal(predictions.outputs, after[key].outputs)
        np.testing.assert_array_equal(predictions.labels, after[key].labels)


def test_exporting_twice_writes_the_same_files(results: Path, tmp_path: Path) -> None:
    once, again = (
        export_google_predictions(Results.open(results), tmp_path / name) for name in ("once", "again")
    )
    assert [path.relative_to(tmp_path / "once") for path in once] == [
        path.relative_to(tmp_path / "again") for path in again
    ]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(once, again, strict=True))


def test_checkpoints_without_a_seed_are_releases_of_their_own(tmp_path: Path) -> None:
    for k, name in enumerate(("google-bert/bert-base-uncased", "google-bert/bert-base-cased", "my, model=1")):
        _store(tmp_path / "suite", k, checkpoint=name, family="google_bert", pretraining_seed=None, step=None)
    export_google_predictions(Results.open(tmp_path), tmp_path / "out")
    index = pd.read_csv(tmp_path / "out/GLUE/index.tsv", sep="\t")
    assert sorted(index.release) == ["bert-base-cased", "my-model-1", "public"]
    assert set(index.n_steps) == {0}


def test_runs_that_the_layout_cannot_tell_apart_are_refused(more: Path, tmp_path: Path) -> None:
    _store(more / "suite", 9, batch_size=16, step=20_000, checkpoint="google/multiberts-seed_0-step_20k")
    with pytest.raises(
        ResultsError, match="Two runs would both be MNLI/release=multiberts,pretrain_id=0,n_steps=20k"
    ):
        export_google_predictions(Results.open(more), tmp_path / "out")


def test_runs_on_other_examples_are_refused(more: Path, tmp_path: Path) -> None:
    _store(more / "suite", 9, pretraining_seed=8, ids=tuple(f"other {i}" for i in range(EXAMPLES)))
    with pytest.raises(ResultsError, match="other examples"):
        export_google_predictions(Results.open(more), tmp_path / "out")


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    store_run(tmp_path / "suite", task="wnli", evaluation="wnli.test", outputs=_outputs(0)[:, :2])
    words = ("export", "google-predictions", tmp_path, "--out", tmp_path / "out")
    assert "No stored run has predictions that the layout has a place for" in multibench(*words).refusal()


def test_every_number_of_steps_is_read_as_it_was_spelt() -> None:
    spelt = {
        None: "0",
        0: "0k",
        20_000: "20k",
        1_000_000: "1M",
        1_900_000: "1900k",
        2_000_000: "2M",
        1234: "1234",
    }
    assert {step: spell_steps(step) for step in spelt} == spelt
    assert {step: read_steps(text, "") for step, text in spelt.items()} == {step: step for step in spelt}


@pytest.mark.parametrize(
    ("tasks", "rates", "ending", "released"),
    [
        (GLUE, (2e-5, 3e-5, 4e-5, 5e-5), "tsv", 504_209),
        (("v1.1", "v2.0"), (5e-5,), "json", 31_869),
    ],
    ids=["GLUE", "SQuAD"],
)
def test_an_index_of_the_release_has_the_size_that_was_downloaded(
    tasks: tuple[str, ...], rates: tuple[float, ...], ending: str, released: int
) -> None:
    """25 seeds at 2M steps, 5 of them at 1M, and the public checkpoint, five runs each: names are as released."""
    checkpoints: list[tuple[str, int, int | None]] = [("multiberts", k, 2_000_000) for k in range(25)]
    checkpoints += [("multiberts", k, 1_000_000) for k in range(5)] + [("public", 0, None)]
    rows = []
    for task, (release, seed, step), rate, run in itertools.product(tasks, checkpoints, rates, range(5)):
        row = {"task": task, "pretrain_id": str(seed), "n_steps": spell_steps(step), "lr": str(rate)}
        row |= {"ft_seed": str(run), "release": release}
        rows.append(row | {"file": file_name(row, ending)})
    assert len(table_of(INDEX, rows)) == released
    assert set(tasks) <= set(task_names())
