"""A part of the training examples kept out of training: always the same one, and checked with the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from multibench.errors import DataError
from multibench.tasks import DataSources, Examples, Task, find_task, load_split, with_held_out
from multibench.tasks.data import Answer
from multibench.tasks.held_out import part_of
from tests.support.tiny import TRAIN_ROWS, make_classification, make_regression

# The first quarter of ids 0 to 47 by `printf 'held_out\n%s' ID | sha256sum`. Whoever changes it makes stored runs
# with a part held out other runs.
GOLDEN = ["1", "6", "10", "15", "16", "17", "21", "22", "23", "37", "38", "41"]
SHARES = (0.02, 0.1, 0.25, 0.5, 0.9)


@pytest.fixture(params=[make_classification, make_regression])
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    return find_task(str(request.param(tmp_path)))


@pytest.fixture
def sources(tmp_path: Path) -> DataSources:
    return DataSources(tmp_path / "data")


def _rows(examples: Examples) -> list[tuple[object, ...]]:
    labels = examples.labels
    assert labels is not None
    return list(zip(examples.ids, *examples.texts, labels.tolist(), strict=True))


@pytest.mark.parametrize("share", SHARES)
def test_both_parts_are_the_whole_in_its_order(task: Task, sources: DataSources, share: float) -> None:
    cut = with_held_out(task, share)
    whole, train, held_out = (
        load_split(task, "train", sources),
        load_split(cut, "train", sources),
        load_split(cut, "held_out", sources),
    )
    assert (train.split, held_out.split) == ("train", "held_out")
    assert len(held_out) == cut.splits["held_out"].rows == round(share * TRAIN_ROWS)
    assert len(train) == cut.splits["train"].rows
    assert not set(train.ids) & set(held_out.ids)
    assert sorted(_rows(train) + _rows(held_out), key=lambda row: int(str(row[0]))) == _rows(whole)
    for part in (train, held_out):
        assert [row for row in _rows(whole) if row[0] in part.ids] == _rows(part)
    assert len({part.fingerprint for part in (whole, train, held_out)}) == 3


def test_the_cut_follows_from_the_ids_alone(task: Task, sources: DataSources) -> None:
    cut = with_held_out(task, 0.25)
    whole = load_split(task, "train", sources)
    once = set(part_of(cut, whole, "held_out").ids)
    shuffled = whole.rows(np.random.default_rng(3).permutation(len(whole)).tolist())
    other_texts = replace(whole, texts=tuple(tuple("x" for _ in column) for column in whole.texts))
    for examples in (shuffled, other_texts):
        assert set(part_of(cut, examples, "held_out").ids) == once
    assert sorted(once, key=int) == GOLDEN


def test_a_larger_share_contains_a_smaller_one(task: Task, sources: DataSources) -> None:
    parts = [set(load_split(with_held_out(task, share), "held_out", sources).ids) for share in SHARES]
    assert all(small < large for small, large in pairwise(parts))


def test_the_other_splits_and_the_name_stay(task: Task, sources: DataSources) -> None:
    cut = with_held_out(task, 0.25)
    assert (cut.name, cut.version, cut.labels, cut.held_out, task.held_out) == (
        task.name,
        task.version,
        task.labels,
        0.25,
        None,
    )
    assert load_split(cut, "dev", sources).fingerprint == load_split(task, "dev", sources).fingerprint
    with pytest.raises(DataError, match="has no split 'held_out'"):
        load_split(task, "held_out", sources)


def test_the_whole_is_checked_against_the_facts(task: Task, sources: DataSources, tmp_path: Path) -> None:
    file = tmp_path / "data" / task.name / "train.tsv"
    file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:-8]), "utf-8")
    cut = with_held_out(task, 0.25)
    with pytest.raises(DataError, match=f"{TRAIN_ROWS - 8} examples instead of {TRAIN_ROWS}"):
        load_split(cut, "held_out", sources)
    accepting = replace(sources, accept_different=frozenset({task.name}))
    parts = [load_split(cut, split, accepting) for split in ("train", "held_out")]
    assert [len(part) for part in parts] == [30, 10]
    assert not any(part.as_released for part in parts)


def test_answers_and_metadata_go_with_their_questions(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    whole = Examples(
        task="squad_v1",
        split="train",
        ids=names,
        texts=(tuple(f"{name}?" for name in names), names),
        labels=np.ones(4, dtype=np.int64),
        origin="here",
        answers=tuple((Answer(name, 0),) for name in names),
        metadata={"title": tuple(f"on {name}" for name in names)},
    )
    part = part_of(with_held_out(find_task("squad_v1"), 0.5), whole, "held_out")
    assert len(part) == 2
    assert part.answers == tuple((Answer(name, 0),) for name in part.ids)
    assert part.metadata == {"title": tuple(f"on {name}" for name in part.ids)}
    assert part.texts == (tuple(f"{name}?" for name in part.ids), part.ids)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_one_side_empty_is_refused(task: Task, share: float) -> None:
    with pytest.raises(DataError, match=f"48 training examples: 'held_out' {share:g} would hold out"):
        with_held_out(task, share)


def test_a_task_with_such_a_split_of_its_own_is_refused(task: Task) -> None:
    own = task.model_copy(update={"splits": {**task.splits, "held_out": task.splits["dev"]}})
    with pytest.raises(DataError, match="of its own"):
        with_held_out(own, 0.5)
