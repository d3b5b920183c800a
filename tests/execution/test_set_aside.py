"""What ``run`` does with stored runs that cannot be believed: they are moved, never deleted, and made again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from multibench.results import RunStore
from tests.support.command import multibench
from tests.support.stored import reseal
from tests.support.tiny import Bench, make_bench


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A suite whose two runs are stored."""
    bench = make_bench(tmp_path_factory.mktemp("bench"))
    bench.run()
    return bench


@pytest.fixture
def results(made: Bench, tmp_path: Path) -> Path:
    shutil.copytree(made.results, tmp_path / "results")
    return tmp_path / "results"


def _another_version(first: Path, second: Path) -> None:
    path = first / "run.json"
    path.write_text(re.sub(r'"schema": \d+', '"schema": 7', path.read_text(), count=1))


def _record_of_another(first: Path, second: Path) -> None:
    shutil.copy(second / "run.json", first / "run.json")


def _run_of_another(first: Path, second: Path) -> None:
    shutil.rmtree(first)
    shutil.copytree(second, first)


def _wrong_types(first: Path, second: Path) -> None:
    reseal(first, lambda manifest: manifest["labels"].update(step="soon"))


def _other_seeds(first: Path, second: Path) -> None:
    reseal(first, lambda manifest: manifest["identity"]["seeds"].update(head=1))


@pytest.mark.parametrize(
    "harm", [_another_version, _record_of_another, _run_of_another, _wrong_types, _other_seeds]
)
def test_such_a_run_is_moved_and_made_again(
    made: Bench, results: Path, harm: Callable[[Path, Path], None]
) -> None:
    store = RunStore(results / "tiny")
    first, second = (store.path(run_id) for run_id in store.run_ids())
    right = (first / "predictions/pairs.dev.parquet").read_bytes()
    harm(first, second)
    words = [made.suite, "--results", results, "--data", made.data]
    planned = multibench("plan", *words)
    assert f"The stored run {first.name} is damaged" in planned.out
    outcome = multibench("run", *words, "--threads", 1, "--replicas", 1)
    assert outcome.code == 0, outcome.err
    assert f"The damaged run {first.name} was moved to" in outcome.err
    assert (first / "predictions/pairs.dev.parquet").read_bytes() == right
    assert store.damage(first.name) is None
    (kept,) = (store.folder / "damaged").iterdir()
    assert (kept / "run.json").is_file()
    assert multibench("scores", results, "--nboot", "100").code == 0


def test_a_copy_stays_where_it_is_and_is_said(made: Bench, results: Path) -> None:
    """It is no run that could be made again, and it may be all that somebody has of something."""
    store = RunStore(results / "tiny")
    copy = store.path(f"{store.run_ids()[0]}.bak")
    shutil.copytree(store.path(store.run_ids()[0]), copy)
    words = [made.suite, "--results", results, "--data", made.data]
    outcome = multibench("run", *words, "--threads", 1)
    assert outcome.code == 0
    assert f"{copy} holds the run" in outcome.err
    assert copy.is_dir()
    assert multibench("scores", results, "--nboot", "100").code == 1
