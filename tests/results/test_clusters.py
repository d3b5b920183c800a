"""What examples share: stored with predictions, or read from the task's data where they were not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.errors import DataError, ResultsError
from multibench.recipes import Hyperparameters
from multibench.results import (
    Predictions,
    PredictionTensor,
    Results,
    RunIdentity,
    RunStore,
    attach_clusters,
    store,
)
from multibench.results.clusters import groups_of, predictions_of
from multibench.results.memory import remembering
from multibench.results.store import read_predictions
from multibench.results.summary import evaluation_summary
from multibench.seeds import derive_seeds
from multibench.tasks import HELD_OUT, DataSources, Examples, Task, find_task, load_split, with_held_out
from tests.support.stored import store_run
from tests.tasks.written import Row, write_split

# Columns that examples share, by task: premises and articles are a sample, subcases are fixed.
GROUPED: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "mnli": ("dev_matched", ["b", "a", "b", "c", "a", "b"], {"cluster_unit": "premises"}),
    "squad_v2": ("dev", ["b", "b", "b", "a", "a", "c"], {"cluster_unit": "articles"}),
    "winogender": ("test", ["b", "a", "b", "c", "a", "b"], {"cluster_unit": "occupations"}),
    "hans": ("dev", ["b", "a", "b", "c", "a", "b"], {"stratum_unit": "subcases"}),
}
CODES = {"mnli": [0, 1, 0, 2, 1, 0], "squad_v2": [0, 0, 0, 1, 1, 2]}


def _codes(name: str) -> list[int]:
    return CODES.get(name, CODES["mnli"])


def _write(root: Path, name: str, values: list[str], word: str = "text") -> tuple[Task, Examples]:
    """Official data of a task whose examples share ``values``."""
    task = find_task(name)
    assert task.official is not None
    rows = []
    for i, value in enumerate(values):
        texts = tuple(f"{value} {k}" if k == 0 and name == "mnli" else f"{k} {word} {i}" for k in range(2))
        metadata = {column: "male" if column == "gender" else value for column in task.metadata}
        label: Any = [] if task.kind == "span" else i % len(task.labels)
        rows.append(Row(texts[: len(task.inputs)], label, metadata))
    write_split(root, task, task.official, GROUPED[name][0], rows)
    return task, load_split(task, GROUPED[name][0], DataSources(root, frozenset({name})))


def _outputs(task: Task, examples: Examples, seed: int = 0) -> NDArray[np.float32]:
    width = 5 if task.kind == "span" else task.outputs
    return np.random.default_rng(seed).normal(size=(len(examples), width)).astype(np.float32)


def _store(folder: Path, task: Task, split: str, data: str, part: Predictions, **more: Any) -> None:
    """One run with these predictions; ``version`` 1 is what was stored before there were clusters."""
    version, seed = more.pop("version", 2), more.pop("seed", 0)
    held_out, summary = more.pop("held_out", None), more.pop("summary", {})
    settings = Hyperparameters(learning_rate=2e-5, batch_size=32, epochs=3)
    identity = RunIdentity.of("weights", task, "c" * 64, settings, derive_seeds(seed))
    evaluation = {
        "metrics": {"accuracy": 0.5},
        "headline": "accuracy",
        "examples": len(part.ids),
        "data": data,
        "as_released": True,
        "origin": "file",
        **summary,
    }
    labels = {"family": "f", "checkpoint": "c", "pretraining_seed": 0, "step": None, "parameters": 7}
    record = {
        "status": "finished",
        "reason": None,
        "identity": identity.to_dict(),
        "labels": {**labels, "task": task.name, "finetuning_seed": seed, "held_out": held_out},
        "suite": {"name": folder.name, "recipe": "modern_glue", "selection": "none"},
        "settings": settings.model_dump(mode="json"),
        "evaluations": {f"{task.name}.{split}": evaluation},
        "training": {},
        "provenance": {"host": "elsewhere"},
    }
    with patch.object(store, "SCHEMA_VERSION", version):
        RunStore(folder).write(identity.run_id, record, {}, {f"{task.name}.{split}": part})


def _old(folder: Path, name: str, task: Task, examples: Examples, **more: Any) -> None:
    """What version 1 stored: predictions without clusters."""
    part = Predictions(examples.ids, _outputs(task, examples), examples.labels)
    _store(folder, task, GROUPED[name][0], examples.fingerprint, part, version=1, **more)


def _tensor(path: Path, name: str, data: Path | None = None) -> PredictionTensor:
    return Results.open(path, data).predictions(f"{name}.{GROUPED[name][0]}")


def _groups(tensor: PredictionTensor, name: str) -> list[int] | None:
    """Of the kind that the task has; the other kind is none."""
    own, other = (tensor.strata, tensor.clusters) if name == "hans" else (tensor.clusters, tensor.strata)
    assert other is None
    assert own is None or own.dtype == np.int64
    return None if own is None else own.tolist()


@pytest.mark.parametrize("name", GROUPED)
def test_what_examples_share_is_stored_with_their_predictions(tmp_path: Path, name: str) -> None:
    split, values, units = GROUPED[name]
    task, examples = _write(tmp_path / "data", name, values)
    part = predictions_of(task, examples, _outputs(task, examples))
    summary = evaluation_summary(task, replace(examples, labels=None), part.outputs)
    assert {key: summary.get(key) for key in units} == units
    _store(tmp_path / "results/s", task, split, examples.fingerprint, part, summary=units)
    tensor = _tensor(tmp_path / "results", name)
    assert _groups(tensor, name) == _codes(name)
    assert {key: getattr(tensor, key) for key in units} == units
    assert tensor.remarks == ()


@pytest.mark.parametrize("name", GROUPED)
def test_older_results_read_it_from_the_data(tmp_path: Path, name: str) -> None:
    _, values, units = GROUPED[name]
    task, examples = _write(tmp_path / "data", name, values)
    _old(tmp_path / "results/s", name, task, examples)
    for tensor in (
        _tensor(tmp_path / "results", name, tmp_path / "data"),
        attach_clusters(Results.open(tmp_path / "results"), tmp_path / "data").predictions(
            f"{name}.{GROUPED[name][0]}"
        ),
    ):
        assert _groups(tensor, name) == _codes(name)
        assert {key: getattr(tensor, key) for key in units} == units
        assert tensor.remarks == ()


@pytest.mark.parametrize("name", GROUPED)
def test_without_the_data_nothing_is_known_and_a_remark_says_so(tmp_path: Path, name: str) -> None:
    _, values, units = GROUPED[name]
    task, examples = _write(tmp_path / "data", name, values)
    _old(tmp_path / "results/s", name, task, examples)
    (unit,) = units.values()
    (tmp_path / "empty").mkdir()
    _write(tmp_path / "other", name, values, "word")
    for data, why in (
        (None, "the task's data (--data) would tell"),
        (tmp_path / "empty", "does not hold its data"),
        (tmp_path / "other", "are not those that it was scored on"),
    ):
        tensor = _tensor(tmp_path / "results", name, data)
        assert _groups(tensor, name) is None
        (remark,) = tensor.remarks
        assert unit in remark
        assert why in remark
        assert ("too wide" in remark) == (name == "hans")
        assert (tensor.cluster_unit, tensor.stratum_unit) == ("examples", "")


def test_a_task_without_clusters_has_none_and_no_remark(tmp_path: Path) -> None:
    store_run(tmp_path / "s", outputs=np.zeros((4, 2), np.float32))
    tensor = Results.open(tmp_path, tmp_path).predictions("rte.dev")
    assert (tensor.clusters, tensor.cluster_unit, tensor.strata, tensor.remarks) == (
        None,
        "examples",
        None,
        (),
    )


def test_a_source_that_lacks_the_column_leaves_none(tmp_path: Path) -> None:
    task, examples = _write(tmp_path / "data", "squad_v2", GROUPED["squad_v2"][1])
    bare = replace(examples, metadata={})
    assert groups_of(task, bare).none
    assert predictions_of(task, bare, _outputs(task, bare)).clusters is None


def test_labels_alone_are_told_apart_by_their_order(tmp_path: Path) -> None:
    """Imported with a file of labels and nothing else; the data, given later, have these very labels."""
    task, examples = _write(tmp_path / "data", "mnli", GROUPED["mnli"][1])
    alone = replace(examples, texts=())
    assert groups_of(task, alone).none
    _old(tmp_path / "results/s", "mnli", task, alone)
    assert _groups(_tensor(tmp_path / "results", "mnli"), "mnli") is None
    assert _groups(_tensor(tmp_path / "results", "mnli", tmp_path / "data"), "mnli") == _codes("mnli")


def test_what_was_held_out_has_clusters_too(tmp_path: Path) -> None:
    task = find_task("mnli")
    assert task.official is not None
    rows = [Row((f"premise {i % 4}", f"hypothesis {i}"), i % 3) for i in range(12)]
    write_split(tmp_path / "data", task, task.official, "train", rows)
    cut = with_held_out(task, 0.5)
    part = load_split(cut, HELD_OUT, DataSources(tmp_path / "data", frozenset({"mnli"})))
    stored = Predictions(part.ids, _outputs(task, part), part.labels)
    _store(tmp_path / "s", task, HELD_OUT, part.fingerprint, stored, version=1, held_out=0.5)
    tensor = Results.open(tmp_path, tmp_path / "data").predictions(f"mnli.{HELD_OUT}")
    assert tensor.clusters is not None
    first = [int(name) % 4 for name in part.ids]
    assert tensor.clusters.tolist() == [list(dict.fromkeys(first)).index(each) for each in first]


def test_runs_with_and_without_go_together_if_they_agree(tmp_path: Path) -> None:
    task, examples = _write(tmp_path / "data", "mnli", GROUPED["mnli"][1])
    _old(tmp_path / "results/s", "mnli", task, examples)
    part = predictions_of(task, examples, _outputs(task, examples, 1))
    _store(tmp_path / "results/s", task, "dev_matched", examples.fingerprint, part, seed=1)
    assert _groups(_tensor(tmp_path / "results", "mnli"), "mnli") == _codes("mnli")
    other = replace(part, clusters=np.zeros(6, np.int64))
    _store(tmp_path / "results/s", task, "dev_matched", examples.fingerprint, other, seed=2)
    with pytest.raises(ResultsError, match=r"mnli\.dev_matched have different clusters stored"):
        _tensor(tmp_path / "results", "mnli")


def test_filters_and_memory_keep_where_clusters_come_from(tmp_path: Path) -> None:
    task, examples = _write(tmp_path / "data", "mnli", GROUPED["mnli"][1])
    for seed in (0, 1):
        _old(tmp_path / "results/s", "mnli", task, examples, seed=seed)
    opened = remembering(Results.open(tmp_path / "results", tmp_path / "data").where("family=f"))
    for _ in range(2):
        tensor = Results(opened.stored).predictions("mnli.dev_matched")
        assert _groups(tensor, "mnli") == _codes("mnli")


def test_data_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    task, examples = _write(tmp_path / "data", "mnli", GROUPED["mnli"][1])
    _old(tmp_path / "results/s", "mnli", task, examples)
    (tmp_path / "data/glue/MNLI/dev_matched.tsv").write_text("nothing of the kind\n")
    with pytest.raises(DataError, match="dev_matched"):
        _tensor(tmp_path / "results", "mnli", tmp_path / "data")


@pytest.mark.parametrize(
    "column", [["a"] * 6, [0.5] * 6, [0, 1, None, 0, 1, 2], [0, 1, -1, 0, 1, 2], [[0]] * 6, [True] * 6]
)
def test_a_column_of_other_things_is_refused(tmp_path: Path, column: list[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": list("012345"), "output_0": pa.array([0.0] * 6, pa.float32()), "cluster": column}
    pq.write_table(pa.table(columns), tmp_path / "some.parquet")
    with pytest.raises(ResultsError, match="its column 'cluster'"):
        read_predictions(tmp_path / "some.parquet")


def test_numbers_of_clusters_take_little_room_and_match_their_checksum(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 10_000
    ids = tuple(map(str, range(n)))
    labels, outputs = rng.integers(0, 3, n), rng.normal(size=(n, 3)).astype(np.float32)
    articles = np.sort(rng.integers(0, 48, n)).astype(np.int64)
    sizes = []
    for seed, clusters in enumerate((None, articles)):
        part = Predictions(ids, outputs, labels, clusters=clusters)
        _store(tmp_path / "s", find_task("mnli"), "dev_matched", "d", part, seed=seed)
    for path in sorted(tmp_path.rglob("*.parquet"), key=lambda path: path.stat().st_size):
        sizes.append(path.stat().st_size)
        found = read_predictions(path)
        if found.clusters is not None:
            np.testing.assert_array_equal(found.clusters, articles)
    assert sizes[1] - sizes[0] < n / 5
    raw = bytearray(path.read_bytes())
    raw[len(raw) - 200] ^= 1
    path.write_bytes(raw)
    folder = RunStore(tmp_path / "s")
    assert sum(folder.damage(name) is not None for name in folder.run_ids()) == 1
