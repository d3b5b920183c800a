"""One test over every task there is: its facts hold together, and its files are read as they are written."""

from __future__ import annotations

import gzip
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from multibench.metrics import METRICS
from multibench.recipes import RECIPES
from multibench.tasks import TASKS, DataSources, Examples, Task, clusters, find_task, load_split
from multibench.tasks.data import strata
from tests.tasks.written import Row, some_rows, write_split

every_task = pytest.mark.parametrize("task", list(TASKS), ids=lambda task: task.name)
official_task = pytest.mark.parametrize("task", [t for t in TASKS if t.official], ids=lambda task: task.name)

GLUE = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"}


def test_the_tasks_of_the_papers_are_there() -> None:
    assert {*GLUE, "squad_v1", "squad_v2", "hans", "winogender"} <= set(TASKS.names())
    assert {name for recipe in RECIPES for name in recipe.tasks} <= set(TASKS.names())


@every_task
def test_facts_hold_together(task: Task) -> None:
    assert find_task(task.name) is task
    assert task.source
    assert task.licence
    assert task.evaluations
    assert "train" in task.splits or task.merges or task.name in {"ax", "winogender"}
    assert set(task.metrics) <= set(METRICS.names())
    assert task.official or task.hub or task.builtin
    assert task.outputs == {"classification": len(task.labels), "regression": 1, "span": 2}[task.kind]
    for facts in task.splits.values():
        assert facts.rows > 0
        assert facts.labelled or (facts.histogram is None and facts.mean_score is None)
        if facts.histogram is not None:
            assert set(facts.histogram) == set(task.label_names)
    assert (task.cluster is None) == (task.cluster_unit is None)
    assert (task.strata is None) == (task.stratum_unit is None) == (task.strata_reason is None)
    for layout in (task.official, task.hub):
        assert layout is None or set(layout.splits) == set(task.splits)
    if task.merges is not None:
        trained = find_task({"hans": "mnli", "pocket_stress": "pocket_inference"}[task.name])
        assert sorted(chain.from_iterable(task.class_map(trained) or ())) == list(range(trained.outputs))


@official_task
def test_what_is_written_in_the_official_layout_is_read(task: Task, tmp_path: Path) -> None:
    assert task.official is not None
    rows = some_rows(task)
    if task.kind == "span":  # the file is sorted by article
        rows = sorted(rows, key=lambda row: row.metadata["title"])
    for split in task.splits:
        path = write_split(tmp_path, task, task.official, split, rows)
        assert path.suffix in {".tsv", ".txt", ".json"}
        examples = _load(task, split, tmp_path)
        _same(task, examples, rows, task.splits[split].labelled)
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        assert _load(task, split, tmp_path).fingerprint == examples.fingerprint
        packed.unlink()


def _load(task: Task, split: str, root: Path) -> Examples:
    return load_split(task, split, DataSources(root, frozenset([task.name])))


def _same(task: Task, examples: Examples, rows: list[Row], labelled: bool) -> None:
    assert list(zip(*examples.texts, strict=True)) == [row.inputs for row in rows]
    for name in task.metadata:
        assert list(examples.metadata[name]) == [row.metadata[name] for row in rows]
        found = examples.groups(name)
        assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(rows)))
    assert (clusters(task, examples) is None) == (task.cluster is None)
    assert (strata(task, examples) is None) == (task.strata is None)
    if task.kind == "span":
        assert examples.answers == tuple(tuple(row.label) for row in rows)
    elif labelled:
        assert examples.labels is not None
        assert examples.labels.tolist() == [row.label for row in rows]
    else:
        assert examples.labels is None
