"""Any predictions with an index: every file format gives the same runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.exchange import import_predictions
from multibench.results import Results
from multibench.tasks import find_task
from tests.exchange.support import write_labels
from tests.support.command import multibench
from tests.tasks.written import Row, write_split

EXAMPLES, CLASSES = 60, 3
MNLI = ("entailment", "neutral", "contradiction")
# Family, pretraining seed, step, fine-tuning seed, rate: distinct numbers of each.
RUNS = [("ours", p, step, f, 2e-5) for p in range(2) for step in (0, 4000) for f in range(3)]
Format = Callable[[Path, NDArray[np.float64]], Any]


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(CLASSES), EXAMPLES // CLASSES))


@pytest.fixture(scope="module")
def scores(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(runs, examples, classes)``, right in four cases of five."""
    rng = np.random.default_rng(1)
    given = rng.normal(size=(len(RUNS), EXAMPLES, CLASSES)).astype(np.float32).astype(np.float64)
    right = rng.random((len(RUNS), EXAMPLES)) < 0.8
    return np.asarray(given + 4 * right[:, :, None] * (np.arange(CLASSES) == labels[:, None]))


@pytest.fixture
def data(tmp_path: Path, labels: NDArray[np.int64]) -> Path:
    return write_labels(tmp_path / "data", "mnli", "dev_matched", labels.tolist())


def _rows(**more: list[Any]) -> list[dict[str, Any]]:
    names = ("family", "pretraining_seed", "step", "finetuning_seed", "learning_rate")
    rows = [dict(zip(names, run, strict=True)) | {"task": "mnli"} for run in RUNS]
    return [row | {name: values[i] for name, values in more.items()} for i, row in enumerate(rows)]


def _write_index(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _imported(predictions: Path, index: Path, data: Path, out: Path, **options: Any) -> Results:
    done = import_predictions(predictions, index, out, data=data, accept_different_data=True, **options)
    assert done.new == len(RUNS)
    return Results.open(out)


def _check(results: Results, scores: NDArray[np.float64], exact: bool = True) -> None:
    """The runs are those of the index, and their predictions those of the array."""
    found = {
        tuple(
            run.fields[k] for k in ("family", "pretraining_seed", "step", "finetuning_seed", "learning_rate")
        ): run
        for run in results.stored
    }
    assert set(found) == set(RUNS)
    for key, expected in zip(RUNS, scores, strict=True):
        outputs = found[key].predictions("mnli.dev_matched").outputs
        if exact:
            np.testing.assert_array_equal(outputs, expected.astype(np.float32))
        np.testing.assert_array_equal(outputs.argmax(axis=1), expected.argmax(axis=1))


def test_premises_are_stored_with_predictions_of_inference(
    scores: NDArray[np.float64], labels: NDArray[np.int64], tmp_path: Path
) -> None:
    task = find_task("mnli")
    assert task.official is not None
    rows = [Row((f"premise {i % 7}", f"{i}"), label) for i, label in enumerate(labels.tolist())]
    write_split(tmp_path / "data", task, task.official, "dev_matched", rows)
    np.save(tmp_path / "cube.npy", scores)
    index = _write_index(tmp_path / "index.tsv", _rows())
    results = _imported(tmp_path / "cube.npy", index, tmp_path / "data", tmp_path / "results")
    tensor = results.predictions("mnli.dev_matched")
    assert tensor.clusters is not None
    assert (tensor.clusters.tolist(), tensor.cluster_unit) == ([i % 7 for i in range(EXAMPLES)], "premises")


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_cube_of_class_scores(ending: str, scores: Any, data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", scores)
    index = _write_index(tmp_path / f"index.{ending}", _rows())
    results = _imported(tmp_path / "cube.npy", index, data, tmp_path / "results")
    _check(results, scores)
    run = results.stored[0]
    assert run.manifest["imported"]["files"]["mnli.dev_matched"]["file"] == "cube.npy"
    assert run.manifest["imported"]["index"]["file"] == f"index.{ending}"
    assert (run.store.folder.name, run.fields["batch_size"]) == ("cube", None)


def _npz(path: Path, matrix: NDArray[np.int64]) -> Path:
    np.savez(path.with_suffix(".npz"), predictions=matrix)
    return path.with_suffix(".npz")


def _text(path: Path, matrix: NDArray[np.int64]) -> Path:
    np.savetxt(path.with_suffix(".tsv"), matrix, fmt="%d", delimiter="\t")
    return path.with_suffix(".tsv")


def _parquet(path: Path, matrix: NDArray[np.int64]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({f"example {i}": matrix[:, i] for i in range(matrix.shape[1])})
    pq.write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("write", [_npz, _text, _parquet])
def test_a_matrix_of_class_numbers(write: Any, scores: Any, data: Path, tmp_path: Path) -> None:
    matrix = scores.argmax(axis=2)
    order = np.random.default_rng(2).permutation(len(RUNS))  # rows in another order than the index
    path = write(tmp_path / "matrix", matrix[order])
    index = _write_index(tmp_path / "index.tsv", _rows(row=np.argsort(order).tolist()))
    _check(_imported(path, index, data, tmp_path / "results"), scores, exact=False)


def _csv_with_ids(path: Path, run: NDArray[np.float64], order: list[int]) -> str:
    lines = ["id,a,b,c", *(",".join([str(i), *map(repr, run[i].tolist())]) for i in order)]
    path.with_suffix(".csv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path.with_suffix(".csv").name


def _parquet_with_ids(path: Path, run: NDArray[np.float64], order: list[int]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": [str(i) for i in order], **{f"output_{k}": run[order, k] for k in range(CLASSES)}}
    pq.write_table(pa.table(columns | {"label": [0] * len(order)}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet").name


def _plain_npy(path: Path, run: NDArray[np.float64], order: list[int]) -> str:
    np.save(path.with_suffix(".npy"), run)
    return path.with_suffix(".npy").name


@pytest.mark.parametrize("write", [_csv_with_ids, _parquet_with_ids, _plain_npy])
def test_a_file_a_run(write: Any, scores: Any, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    order = np.random.default_rng(3).permutation(EXAMPLES).tolist()
    files = [write(folder / f"run{i}", run, order) for i, run in enumerate(scores)]
    index = _write_index(tmp_path / "index.tsv", _rows(file=files))
    _check(_imported(folder, index, data, tmp_path / "results"), scores)


def test_the_class_order_is_found_for_each_family(scores: Any, data: Path, tmp_path: Path) -> None:
    cube = scores.copy()
    cube[6:] = cube[6:, :, [2, 0, 1]]  # theirs: contradiction, entailment, neutral
    np.save(tmp_path / "cube.npy", cube)
    rows = _rows()
    for row in rows[6:]:
        row["family"] = "theirs"
    index = _write_index(tmp_path / "index.tsv", rows)
    results = _imported(tmp_path / "cube.npy", index, data, tmp_path / "results")
    orders = {
        run.fields["family"]: tuple(run.manifest["imported"]["class_order"]["mnli.dev_matched"]["order"])
        for run in results.stored
    }
    assert orders == {"ours": MNLI, "theirs": ("contradiction", "entailment", "neutral")}
    found = sorted(run.score("mnli.dev_matched", "accuracy") for run in results.stored)
    labels = np.loadtxt(data / "glue/MNLI/dev_matched.tsv", dtype=str, delimiter="\t", skiprows=1)[:, -1]
    expected = (np.array(MNLI)[scores.argmax(axis=2)] == labels).mean(axis=1)
    assert found == pytest.approx(sorted(expected))


def test_two_splits_make_one_run(scores: Any, labels: Any, data: Path, tmp_path: Path) -> None:
    write_labels(data, "mnli", "dev_mismatched", labels[:45].tolist())
    folder = tmp_path / "files"
    folder.mkdir()
    np.savez(folder / "all.npz", matched=scores[0], mismatched=scores[1][:45])
    rows = [
        {**_rows()[0], "split": f"dev_{name}", "file": "all.npz", "array": name}
        for name in ("matched", "mismatched")
    ]
    index = _write_index(tmp_path / "index.jsonl", rows)
    done = import_predictions(folder, index, tmp_path / "results", data=data, accept_different_data=True)
    assert done.new == 1
    (run,) = Results.open(tmp_path / "results").stored
    assert set(run.manifest["evaluations"]) == {"mnli.dev_matched", "mnli.dev_mismatched"}
    np.testing.assert_array_equal(
        run.predictions("mnli.dev_mismatched").outputs, scores[1][:45].astype(np.float32)
    )


def test_scores_of_regression(tmp_path: Path) -> None:
    gold = np.round(np.linspace(0, 5, 40), 3)
    data = write_labels(tmp_path / "data", "stsb", "dev", gold.tolist())
    np.save(tmp_path / "scores.npy", np.stack([gold + 0.3, 5 - gold, np.full(40, 2.5)]))
    rows = [{"family": "ours", "task": "stsb", "finetuning_seed": k} for k in range(3)]
    index = _write_index(tmp_path / "index.csv", rows)
    import_predictions(
        tmp_path / "scores.npy", index, tmp_path / "results", data=data, accept_different_data=True
    )
    found = {run.fields["finetuning_seed"]: run for run in Results.open(tmp_path / "results").stored}
    assert found[0].score("stsb.dev", "pearson") == pytest.approx(1)
    assert found[1].score("stsb.dev", "spearman") == pytest.approx(-1)
    assert [found[k].manifest["status"] for k in range(3)] == ["finished", "finished", "collapsed"]
    assert found[0].fields["checkpoint"] == "ours"


def test_a_checkpoint_of_the_catalogue_and_a_name_of_ones_own(
    scores: Any, data: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "cube.npy", scores[:2])
    rows = _rows()[:2]
    rows[0] |= {
        "family": "multiberts",
        "pretraining_seed": 7,
        "step": 2_000_000,
        "checkpoint": "",
        "parameters": "",
    }
    rows[1] |= {"checkpoint": "my/model", "parameters": 1234}
    index = _write_index(tmp_path / "index.tsv", rows)
    import_predictions(
        tmp_path / "cube.npy", index, tmp_path / "results", data=data, accept_different_data=True
    )
    found = {
        run.fields["checkpoint"]: run.fields["parameters"]
        for run in Results.open(tmp_path / "results").stored
    }
    assert found == {"google/multiberts-seed_7": 109_482_240, "my/model": 1234}


def test_the_verb_says_what_it_did(scores: Any, data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", scores)
    index = _write_index(tmp_path / "index.tsv", _rows())
    words = ("import", "predictions", tmp_path / "cube.npy", "--index", index, "--out", tmp_path / "results")
    options = ("--data", data, "--accept-different-data", "--name", "mine", "--json")
    done = multibench(*words, *options)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["new"], told["already"], Path(told["folder"]).name) == (len(RUNS), 0, "mine")
    assert any("NOT the released data" in remark for remark in told["remarks"])
    assert json.loads(multibench(*words, *options).out)["already"] == len(RUNS)


class _Boom:
    """Unpickling this would run code."""

    def __reduce__(self) -> Any:
        return (Path("/nonexistent/boom").write_text, ("x",))


def _cells(**changes: Any) -> Callable[[Path, list[dict[str, Any]]], None]:
    def change(folder: Path, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.setdefault(next(iter(changes)), "")
        rows[3].update(changes)

    return change


def _array(make: Callable[[], Any], pickled: bool = False) -> Callable[[Path, list[dict[str, Any]]], None]:
    return lambda folder, rows: np.save(folder / "cube.npy", make(), allow_pickle=pickled)


DAMAGE: dict[str, tuple[Callable[[Path, list[dict[str, Any]]], Any], str]] = {
    "unknown column": (_cells(learnig_rate=1), "did you mean 'learning_rate'"),
    "no family": (_cells(family=""), "line 5: family"),
    "seed": (_cells(pretraining_seed="one"), "line 5: pretraining_seed"),
    "rate": (_cells(learning_rate="fast"), "line 5: learning_rate is 'fast'"),
    "task": (_cells(task="mnly"), "mnli"),
    "split": (_cells(split="dev"), "mnli has no split 'dev'"),
    "file": (_cells(file="x.npy"), "is a file, not a folder"),
    "row": (_cells(row=99), "has no entry 99, counted from 0; it has 12"),
    "array": (_cells(array="x"), "which is no .npz file"),
    "twice": (_cells(finetuning_seed=2, step=0), "are the same run on mnli.dev_matched"),
    "objects": (
        _array(lambda: np.array([_Boom()], dtype=object), pickled=True),
        "cannot be read as an array",
    ),
    "no numpy": (lambda folder, rows: (folder / "cube.npy").write_text("no"), "cannot be read as an array"),
    "texts": (_array(lambda: np.array([["a"] * EXAMPLES] * 12)), "expected numbers"),
    "examples": (_array(lambda: np.zeros((12, EXAMPLES + 1))), "expected 60 rows"),
    "classes": (_array(lambda: np.ones((12, EXAMPLES, 4))), "mnli takes 3 numbers for each example"),
    "numbers": (_array(lambda: np.full((12, EXAMPLES), 3)), "expected class numbers from 0 to 2"),
    "nan": (_array(lambda: np.full((12, EXAMPLES), np.nan)), "NaN or infinity"),
    "unclear": (_array(lambda: np.zeros((12, EXAMPLES))), "is not clear"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_used_is_refused_in_one_sentence(
    damage: str, scores: Any, data: Path, tmp_path: Path
) -> None:
    change, expected = DAMAGE[damage]
    np.save(tmp_path / "cube.npy", scores)
    rows = _rows()
    change(tmp_path, rows)
    index = _write_index(tmp_path / "index.tsv", rows)
    words = ("--index", index, "--out", tmp_path / "out", "--data", data, "--accept-different-data")
    assert expected in multibench("import", "predictions", tmp_path / "cube.npy", *words).refusal()
    assert not (tmp_path / "out").exists()


def test_ids_that_do_not_fit_are_named(scores: Any, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    file = _csv_with_ids(folder / "run", scores[0], list(range(EXAMPLES - 1)))
    index = _write_index(tmp_path / "index.tsv", [_rows()[0] | {"file": file}])
    words = ("--index", index, "--out", tmp_path / "out", "--data", data, "--accept-different-data")
    assert (
        "no prediction for 1 example ('59') of mnli.dev_matched"
        in multibench("import", "predictions", folder, *words).refusal()
    )
