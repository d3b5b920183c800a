"""Splits kept in a folder: read back as they were, and refused if anything in them was changed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from multibench.errors import DataError, StorageError
from multibench.tasks import TASKS, DataSources, Task, find_task, load_split
from multibench.tasks.data import Answer, Examples
from multibench.tasks.examples import examples_of
from multibench.tasks.fetched import fetched_path, keep_split, read_fetched
from multibench.tasks.layouts import Columns
from multibench.tasks.squad import span_examples
from multibench.tasks.table import Table
from tests.support.tiny import make_classification, make_regression
from tests.tasks.written import some_rows


def _made(task: Task, split: str) -> Examples:
    rows = some_rows(task)
    labelled = task.splits[split].labelled
    metadata = {name: tuple(row.metadata[name] for row in rows) for name in task.metadata}
    texts = list(zip(*(row.inputs for row in rows), strict=True))
    if task.kind == "span":
        ids, answers = [f"q{i}" for i in range(len(rows))], [row.label for row in rows]
        as_facts = [
            {"text": [a.text for a in row], "answer_start": [a.start for a in row]} for row in answers
        ]
        return span_examples(task, split, ids, texts[0], texts[1], as_facts, "here", metadata)
    codes = task.labels or None
    labels = [row.label if codes is None else codes[row.label] for row in rows]
    table = Table(
        {**dict(zip(task.inputs, texts, strict=True)), **metadata, "gold": labels}, range(6), "here"
    )
    return examples_of(task, split, table, Columns(task.inputs, "gold" if labelled else None))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_is_read_back_as_it_was(task: Task, tmp_path: Path) -> None:
    for split in task.splits:
        examples = _made(task, split)
        path = keep_split(task, examples, tmp_path)
        assert path == fetched_path(task, split, tmp_path)
        again = read_fetched(task, split, tmp_path)
        assert again is not None
        assert again.fingerprint == examples.fingerprint
        assert (again.ids, again.texts, again.metadata) == (examples.ids, examples.texts, examples.metadata)
        assert (again.labels is None) == (examples.labels is None)
        if again.labels is not None and examples.labels is not None:
            assert again.labels.dtype == examples.labels.dtype
            assert again.labels.flags.writeable
        assert again.answers == examples.answers
        assert again.answers is None or all(isinstance(a, Answer) for row in again.answers for a in row)
        assert again.origin == examples.origin  # where it came from, not where it lies


@pytest.mark.parametrize("make", [make_classification, make_regression])
def test_a_split_that_was_kept_stands_for_the_official_file(tmp_path: Path, make: object) -> None:
    task = find_task(str(make(tmp_path)))  # type: ignore[operator]
    official = load_split(task, "train", DataSources(tmp_path / "data"))
    keep_split(task, official, tmp_path / "elsewhere")
    assert load_split(task, "train", DataSources(tmp_path / "elsewhere")).fingerprint == official.fingerprint
    with pytest.raises(DataError, match="was not found"):
        load_split(task, "dev", DataSources(tmp_path / "elsewhere"))


def test_what_was_changed_or_cut_off_is_refused(tmp_path: Path) -> None:
    task = find_task("rte")
    path = keep_split(task, _made(task, "dev"), tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match=r"rte\.dev\.parquet was changed since it was fetched"):
        read_fetched(task, "dev", tmp_path)
    pq.write_table(table.drop_columns(["text sentence1"]), path)
    with pytest.raises(DataError, match=r"is not a file that multibench fetched.*Fetch it again"):
        read_fetched(task, "dev", tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="is not a file that multibench fetched"):
        read_fetched(task, "dev", tmp_path)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "fetched").write_text("a file")
    with pytest.raises(StorageError, match="could not be written"):
        keep_split(find_task("rte"), _made(find_task("rte"), "dev"), tmp_path)
