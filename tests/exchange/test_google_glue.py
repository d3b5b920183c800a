"""Predictions in the layout of Google's release for GLUE become runs that say what is in the files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import DataError, MultibenchError, ResultsError
from multibench.exchange import import_google_predictions
from multibench.reports import compare
from multibench.reports.sides import joined_sides
from multibench.results import Results, RunStore, select_settings
from multibench.tasks import DataSources, find_task, load_split
from tests.exchange.support import (
    assert_same_comparison,
    best_rate,
    direct_comparison,
    rte_labels,
    write_labels,
)
from tests.support.command import multibench
from tests.support.released import Release, write_release
from tests.support.stored import store_run

SEEDS = {"1M": range(3), "2M": range(5)}
STEPS = {"1M": 1_000_000, "2M": 2_000_000}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """3 + 5 seeds x 2 rates x 2 runs on RTE's 277 examples."""
    labels = rte_labels(np.random.default_rng(3))
    folder = tmp_path_factory.mktemp("released") / "GLUE"
    return write_release(folder, labels, SEEDS, ("2e-05", "3e-05"), 2, "RTE")


@pytest.fixture(scope="module")
def results(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release, imported."""
    out = tmp_path_factory.mktemp("results")
    done = import_google_predictions(release.folder, out)
    assert (done.folder, done.new, done.already, done.absent) == (out / "GLUE", 32, 0, ())
    return out


@pytest.fixture
def copy(release: Release, tmp_path: Path) -> Path:
    """The files of the release, to be changed."""
    return Path(shutil.copytree(release.folder, tmp_path / "GLUE"))


def _stored(results: Path) -> dict[tuple[Any, ...], Any]:
    return {
        tuple(run.fields[k] for k in ("step", "pretraining_seed", "learning_rate", "finetuning_seed")): run
        for run in Results.open(results).stored
    }


def test_every_run_has_its_scores_and_predictions(release: Release, results: Path) -> None:
    stored = _stored(results)
    assert len(stored) == len(release.rows)
    for row, scores, accuracy in zip(release.rows, release.scores, release.accuracies(), strict=True):
        run = stored[STEPS[row["n_steps"]], int(row["pretrain_id"]), float(row["lr"]), int(row["ft_seed"])]
        assert run.score("rte.dev", "accuracy") == pytest.approx(accuracy, abs=1e-12)
        predictions = run.predictions("rte.dev")
        np.testing.assert_array_equal(predictions.outputs, scores.astype(np.float32))
        np.testing.assert_array_equal(predictions.labels, release.labels)


def test_runs_belong_to_the_checkpoints_that_they_came_from(results: Path) -> None:
    run = _stored(results)[1_000_000, 2, 2e-5, 1]
    assert run.fields["family"] == "multiberts"
    assert run.fields["checkpoint"] == "google/multiberts-seed_2-step_1000k"
    assert run.fields["parameters"] == 109_482_240
    assert run.fields["task"] == "rte"
    assert run.fields["batch_size"] is None  # nobody says so


def test_the_manifest_says_that_a_run_is_imported_and_from_what(release: Release, results: Path) -> None:
    run = _stored(results)[2_000_000, 4, 3e-5, 0]
    imported = run.manifest["imported"]
    file = release.folder / imported["files"]["rte.dev"]["file"]
    assert file.name == "release=multiberts,pretrain_id=4,n_steps=2M,lr=3e-05,ft_seed=0.tsv"
    assert imported["files"]["rte.dev"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert imported["layout"] == "Google's GLUE predictions"
    assert imported["finetuning_seeds"] == "unknown"
    order = imported["class_order"]["rte.dev"]
    assert (order["order"], order["found"]) == (["entailment", "not_entailment"], "by accuracy")
    assert run.manifest["identity"]["domain"] == "imported"
    assert run.manifest["provenance"]["packages"]["multibench"]
    assert str(release.folder) not in json.dumps(run.manifest)


def test_one_rate_is_selected_on_each_side_and_the_comparison_is_that_of_the_arrays(
    release: Release, results: Path
) -> None:
    opened = Results.open(results)
    chosen = {each.group[1]: each for each in select_settings(opened)}
    assert {step: each.varied["learning_rate"] for step, each in chosen.items()} == {
        STEPS[steps]: float(best_rate(release, steps)) for steps in STEPS
    }
    (side,) = joined_sides(opened, "step=1000000", "step=2000000", paired=True)
    table = compare(opened, "step=1000000", "step=2000000", paired=True, nboot=300)
    direct = direct_comparison(release, 300, side.rng, side.corrections)
    (found,) = table.extra["comparisons"]
    assert_same_comparison(found, direct)
    assert direct.difference.n_seeds == 3


@pytest.mark.parametrize(
    "words",
    [
        ("scores",),
        ("status",),
        ("verify", "results"),
        ("variance",),
        ("compare", "--base", "step=1000000", "--expt", "step=2000000", "--paired", "--nboot", "200"),
        ("power", "--base", "step=1000000", "--expt", "step=2000000", "--paired", "--effect", "0.02"),
    ],
    ids=lambda words: words[0],
)
def test_every_verb_takes_imported_runs(words: tuple[str, ...], results: Path) -> None:
    verb = words[:2] if words[0] == "verify" else words[:1]
    done = multibench(*verb, results, *words[len(verb) :])
    assert done.code == 0, done.err
    assert done.out.count("\n") > 3 or "0 damaged" in done.out


def test_a_budget_of_hours_needs_hours(results: Path) -> None:
    words = ("--base", "step=1000000", "--expt", "step=2000000", "--effect", "0.02", "--budget-hours", "9")
    assert "leave it out" in multibench("power", results, *words).refusal()


def test_fine_tuning_seeds_are_what_the_import_says_of_them(
    release: Release, results: Path, tmp_path: Path
) -> None:
    unknown = Results.open(results).where("step=2000000,learning_rate=2e-5").predictions("rte.dev")
    assert unknown.design == "unknown"
    assert "analysed as if they did" in unknown.remarks[0]
    assert set(unknown.run_info()["finetune_seed"]) == {0, 1}
    done = import_google_predictions(release.folder, tmp_path, finetuning_seeds="nested")
    assert not any("fine-tuning seeds" in remark for remark in done.remarks)
    nested = multibench("variance", tmp_path, "--where", "step=2000000")
    assert "fine-tuning seeds nested in" in nested.out
    for design in ("shared", "unknown"):
        words = ("--out", tmp_path / design, "--finetuning-seeds", design)
        told = multibench("import", "google-predictions", release.folder, *words)
        assert told.code == 0, told.err
        assert ("they are analysed as if they did" in told.out) == (design == "unknown")
        crossed = multibench("variance", tmp_path / design, "--where", "step=2000000")
        assert "pretraining seeds crossed with 2 fine-tuning seeds" in crossed.out
    first, second, grid = (
        Results.open(results).where("step=2000000,learning_rate=2e-5").predictions("rte.dev").grid()
    )
    assert (first, second, grid.shape) == ([0, 1, 2, 3, 4], [0, 1], (5, 2, 277, 2))


def test_importing_again_changes_nothing(copy: Path, tmp_path: Path) -> None:
    before = import_google_predictions(copy, tmp_path)
    state = {path: path.stat().st_mtime_ns for path in before.folder.rglob("*")}
    again = import_google_predictions(copy, tmp_path)
    assert (again.new, again.already) == (0, 32)
    assert {path: path.stat().st_mtime_ns for path in before.folder.rglob("*")} == state


def test_what_came_later_is_added(copy: Path, tmp_path: Path) -> None:
    files = sorted((copy / "RTE").iterdir())
    later = [(file, file.read_bytes()) for file in files[:5]]
    for file, _ in later:
        file.unlink()
    first = import_google_predictions(copy, tmp_path)
    assert (first.new, len(first.absent)) == (27, 5)
    for file, content in later:
        file.write_bytes(content)
    second = import_google_predictions(copy, tmp_path)
    assert (second.new, second.already, second.absent) == (5, 27, ())


def test_other_predictions_of_a_stored_run_are_refused(copy: Path, tmp_path: Path) -> None:
    import_google_predictions(copy, tmp_path)
    file = next((copy / "RTE").iterdir())
    lines = file.read_text().splitlines()
    file.write_text("\n".join(["9.5\t1.25", *lines[1:]]) + "\n")
    with pytest.raises(ResultsError, match="other predictions of the same run"):
        import_google_predictions(copy, tmp_path)
    assert import_google_predictions(copy, tmp_path, name="other").new == 32


def test_a_folder_of_runs_that_were_made_here_is_left_alone(copy: Path, tmp_path: Path) -> None:
    store_run(tmp_path / "GLUE_runs", outputs=np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ResultsError, match="made here"):
        import_google_predictions(copy, tmp_path, name="GLUE_runs")
    assert len(RunStore(tmp_path / "GLUE_runs").run_ids()) == 1


def test_labels_alone_do_not_name_premises_and_the_import_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "GLUE"
    (folder / "MNLI").mkdir(parents=True)
    labels = np.arange(60) % 3
    (folder / "MNLI_dev_labels").write_text("".join(f"{label}\n" for label in labels))
    np.savetxt(folder / "MNLI/run.tsv", 4.0 * np.eye(3)[labels], delimiter="\t")
    cells = {"task": "MNLI", "pretrain_id": "0", "n_steps": "2M", "lr": "2e-05", "ft_seed": "0"}
    row = {"file": "MNLI/run.tsv", **cells, "release": "multiberts"}
    (folder / "index.tsv").write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    classes = {"mnli": ["contradiction", "entailment", "neutral"]}
    done = import_google_predictions(
        folder, tmp_path / "results", class_order=classes, accept_different_data=True
    )
    (remark,) = (remark for remark in done.remarks if "premises" in remark)
    assert "only the task's data name them (--data)" in remark
    tensor = Results.open(tmp_path / "results").predictions("mnli.dev_matched")
    assert tensor.clusters is None
    assert "which examples share premises" in tensor.remarks[0]


def test_the_class_order_is_found_when_columns_are_swapped(
    copy: Path, tmp_path: Path, release: Release
) -> None:
    for file in (copy / "RTE").iterdir():
        rows = np.loadtxt(file, delimiter="\t")
        np.savetxt(file, rows[:, ::-1], fmt="%.4f", delimiter="\t")
    done = import_google_predictions(copy, tmp_path)
    assert any("classes are not_entailment, entailment (found by" in remark for remark in done.remarks)
    scores = sorted(run.score("rte.dev", "accuracy") for run in Results.open(tmp_path).stored)
    assert scores == pytest.approx(sorted(release.accuracies()), abs=1e-12)


def test_predictions_that_do_not_go_with_the_labels_need_a_stated_order(copy: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for file in (copy / "RTE").iterdir():
        np.savetxt(file, rng.normal(size=(277, 2)), fmt="%.4f", delimiter="\t")
    refused = multibench("import", "google-predictions", copy, "--out", tmp_path).refusal()
    assert "The class order of rte.dev of multiberts is not clear" in refused
    assert "--class-order rte=CLASS0,CLASS1" in refused
    assert "each one of entailment, not_entailment" in refused
    assert not (tmp_path / "GLUE" / "runs").exists()
    stated = ("--class-order", "rte=not_entailment,entailment")
    done = multibench("import", "google-predictions", copy, "--out", tmp_path / "results", *stated)
    assert done.code == 0, done.err
    assert "32 runs imported" in done.out
    assert "(stated: " in done.out
    order = next(iter(_stored(tmp_path / "results").values())).manifest["imported"]["class_order"]["rte.dev"]
    assert order["order"] == ["not_entailment", "entailment"]
    assert order["found"] == "stated by the user"


def test_the_tasks_own_data_give_the_usual_fingerprint(release: Release, copy: Path, tmp_path: Path) -> None:
    data = write_labels(tmp_path / "data", "rte", "dev", release.labels.tolist())
    # The release may number classes otherwise; rows tell which number is which.
    (copy / "RTE_dev_labels").write_text("".join(f"{1 - label}\n" for label in release.labels))
    import_google_predictions(copy, tmp_path / "with", data=data)
    import_google_predictions(release.folder, tmp_path / "without")
    with_data, without = (
        {run.manifest["evaluations"]["rte.dev"]["data"] for run in Results.open(tmp_path / name).stored}
        for name in ("with", "without")
    )
    assert with_data == {load_split(find_task("rte"), "dev", DataSources(data)).fingerprint}
    assert with_data.isdisjoint(without)
    with pytest.raises(ResultsError, match="same predictions on other data"):
        import_google_predictions(release.folder, tmp_path / "with")


def test_labels_that_contradict_the_data_are_refused(release: Release, copy: Path, tmp_path: Path) -> None:
    data = write_labels(tmp_path / "data", "rte", "dev", np.roll(release.labels, 1).tolist())
    with pytest.raises(DataError, match=r"other labels than .*dev.tsv in \d+ of 277 rows"):
        import_google_predictions(copy, tmp_path, data=data)


def test_releases_may_get_other_families(copy: Path, tmp_path: Path) -> None:
    import_google_predictions(copy, tmp_path, families={"multiberts": "mine"})
    assert {run.fields["checkpoint"] for run in Results.open(tmp_path).where("step=1000000").stored} == {
        f"mine-seed_{k}-step_1000000" for k in range(3)
    }


def test_a_rate_that_is_not_known_is_written_0(copy: Path, tmp_path: Path) -> None:
    index = copy / "index.tsv"
    index.write_text(index.read_text().replace("\t2e-05\t", "\t0\t"))
    import_google_predictions(copy, tmp_path)
    assert set(Results.open(tmp_path).where("imported=true").runs["learning_rate"].dropna()) == {3e-5}
    assert len(Results.open(tmp_path).where("learning_rate=none").stored) == 16


def test_files_may_be_elsewhere_by_a_link(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(copy / "RTE", tmp_path / "elsewhere" / "RTE")
    (copy / "RTE").symlink_to(tmp_path / "elsewhere" / "RTE")
    assert import_google_predictions(copy, tmp_path / "results").new == 32


def test_the_name_of_the_folder_has_to_be_one(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has other characters"):
        import_google_predictions(copy, tmp_path, name="../up")


def test_the_public_checkpoint_is_that_of_the_catalogue(copy: Path, tmp_path: Path) -> None:
    index = (copy / "index.tsv").read_text().splitlines()
    row = index[1].split("\t")
    row[2], row[3], row[6] = "0", "0", "public"
    (copy / "index.tsv").write_text("\n".join([index[0], "\t".join(row)]) + "\n")
    import_google_predictions(copy, tmp_path)
    (run,) = Results.open(tmp_path).stored
    assert run.fields["checkpoint"] == "google-bert/bert-base-uncased"
    assert (run.fields["pretraining_seed"], run.fields["step"]) == (None, 1_000_000)


def _replace(column: int, value: str) -> Any:
    def change(folder: Path) -> None:
        lines = [line.split("\t") for line in (folder / "index.tsv").read_text().splitlines()]
        lines[2][column] = value
        (folder / "index.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))

    return change


def _twice(folder: Path) -> None:
    index = folder / "index.tsv"
    index.write_text(index.read_text() + index.read_text().splitlines()[3] + "\n")


def _file(content: str) -> Any:
    def change(folder: Path) -> None:
        sorted((folder / "RTE").iterdir())[0].write_text(content)

    return change


def _labels(content: str) -> Any:
    return lambda folder: (folder / "RTE_dev_labels").write_text(content)


DAMAGE = {
    "no index": (lambda folder: (folder / "index.tsv").unlink(), "is not in the layout"),
    "no column": (lambda folder: (folder / "index.tsv").write_text("file\ttask\n1\t2\n"), "no column"),
    "unknown task": (_replace(1, "RTF"), "did you mean 'RTE'"),
    "steps": (_replace(3, "one"), "n_steps is 'one'"),
    "rate": (_replace(4, "-1"), "learning_rate is '-1'"),
    "seed": (_replace(5, "x"), "ft_seed is 'x'"),
    "outside": (_replace(0, "../../etc/passwd"), "is not below"),
    "no files": (lambda folder: shutil.rmtree(folder / "RTE"), "None of the 32 files"),
    "twice": (_twice, "are the same run on rte.dev"),
    "words": (_file("a\tb\n" * 277), "is no table of numbers"),
    "empty": (_file(""), "is empty"),
    "three columns": (_file("1\t2\t3\n" * 277), "a score for each of 2 classes"),
    "too short": (_file("1\t2\n" * 276), "expected 277 rows"),
    "nan": (_file("1\t2\n" * 276 + "nan\t1\n"), "NaN or infinity, first in row 276"),
    "no labels": (lambda folder: (folder / "RTE_dev_labels").unlink(), "There are no labels for rte.dev"),
    "few labels": (_labels("1\n0\n" * 10), "which number is which class"),
    "labels of another kind": (_labels("yes\n" * 277), "is no table of numbers"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_in_the_layout_is_refused_in_one_sentence(
    damage: str, copy: Path, tmp_path: Path
) -> None:
    change, expected = DAMAGE[damage]
    change(copy)
    assert expected in multibench("import", "google-predictions", copy, "--out", tmp_path / "out").refusal()
    assert not (tmp_path / "out" / "GLUE" / "runs").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MultibenchError, match=r"There is no folder .*nowhere"):
        import_google_predictions(tmp_path / "nowhere", tmp_path)
