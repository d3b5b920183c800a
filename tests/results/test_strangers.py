"""Results folders of strangers: copies, renamed folders, manifests of any content. Each is said, none is believed."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench import api
from multibench.results import Predictions, Results, RunStore
from multibench.results.store import _write_predictions, read_predictions
from tests.support.command import Outcome, multibench
from tests.support.stored import a_record, reseal
from tests.support.strangers import VERBS, store_all, words_of


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight runs, stored once."""
    folder = tmp_path_factory.mktemp("stored")
    store_all(folder)
    return folder


@pytest.fixture
def runs(stored: Path, tmp_path: Path) -> list[Path]:
    """The folders of eight runs in ``tmp_path/results``."""
    shutil.copytree(stored, tmp_path / "results")
    return sorted((tmp_path / "results/suite/runs").iterdir())


# Copies and renamed folders


def _bak(runs: list[Path]) -> str:
    shutil.copytree(runs[0], runs[0].with_name(f"{runs[0].name}.bak"))
    return f"{runs[0].name}.bak"


def _numbered(runs: list[Path]) -> str:
    shutil.copytree(runs[0], runs[0].with_name(f"{runs[0].name} (1)"))
    return f"{runs[0].name} (1)"


def _under_another_name(runs: list[Path]) -> str:
    shutil.rmtree(runs[1])
    runs[0].rename(runs[1])
    return runs[1].name


def _record_of_another(runs: list[Path]) -> str:
    shutil.copy(runs[1] / "run.json", runs[0] / "run.json")
    return runs[0].name


def _whole_run_of_another(runs: list[Path]) -> str:
    shutil.rmtree(runs[0])
    shutil.copytree(runs[1], runs[0])
    return runs[0].name


def _copy_that_calls_itself_so(runs: list[Path]) -> str:
    copy = runs[0].with_name("0123456789abcdef")
    shutil.copytree(runs[0], copy)
    reseal(copy, lambda manifest: manifest.update(run_id=copy.name))
    return copy.name


def _link(runs: list[Path]) -> str:
    runs[0].with_name("latest").symlink_to(runs[0], target_is_directory=True)
    return "latest"


def _changed_seed(runs: list[Path]) -> str:
    reseal(runs[0], lambda manifest: manifest["identity"]["seeds"].update(order=7))
    return runs[0].name


def _changed_setting(runs: list[Path]) -> str:
    reseal(runs[0], lambda manifest: manifest["settings"].update(learning_rate=5e-5))
    return runs[0].name


STRANGE = [
    _bak,
    _numbered,
    _under_another_name,
    _record_of_another,
    _whole_run_of_another,
    _copy_that_calls_itself_so,
    _link,
    _changed_seed,
    _changed_setting,
]


@pytest.mark.parametrize("make", STRANGE)
def test_a_run_counts_in_the_folder_of_its_id_alone(
    runs: list[Path], make: Callable[[list[Path]], str]
) -> None:
    results = runs[0].parents[2]
    name = make(runs)
    opened = Results.open(results)
    assert len(opened) == len({run.run_id for run in opened.stored})
    assert name not in {run.run_id for run in opened.stored}
    assert len(opened.damaged) == 1
    assert str(runs[0].with_name(name)) in opened.damaged[0]
    verified = api.verify_results(results)
    assert list(verified["damaged"]) == [name]
    told = multibench("verify", "results", results)
    assert told.code == 1
    assert f"{name}: " in told.out
    told = multibench("instances", results)
    assert told.code == 1
    assert name in told.err
    assert name in told.out


def test_a_copy_does_not_change_how_variance_is_modelled(runs: list[Path]) -> None:
    results = runs[0].parents[2]
    before = multibench("variance", results, "--format", "csv").out
    _bak(runs)
    after = multibench("variance", results, "--format", "csv", "--accept-damaged")
    assert (after.code, after.out) == (0, before)


# Manifests of any content


def test_an_evaluation_is_no_path(tmp_path: Path) -> None:
    run_id, record = a_record()
    name = "squad_v1.dev/../../../y"
    evaluation = {"metrics": {}, "headline": "x", "examples": 3, "data": "d", "as_released": True}
    record["evaluations"] = {name: evaluation}
    folder = tmp_path / "results/suite/runs" / run_id
    RunStore(tmp_path / "results/suite").write(run_id, {**record, "evaluations": {}}, {}, {})

    def change(manifest: dict[str, Any]) -> None:
        manifest["evaluations"] = record["evaluations"]
        manifest["checksums"][f"predictions/{name}.parquet"] = "0" * 64

    reseal(folder, change)
    outcome = multibench("export", "squad", tmp_path / "results", "--out", tmp_path / "a/b/out")
    assert outcome.code == 2
    assert "is no record of a run" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["labels"].update(pretraining_seed="0"), "labels.pretraining_seed"),
        (lambda m: m["labels"].update(step=10**30), "labels.step"),
        (lambda m: m["labels"].update(family=None), "labels.family"),
        (lambda m: m["labels"].pop("task"), "labels.task"),
        (lambda m: m["evaluations"]["rte.dev"].update(metrics=[0.5]), "evaluations.rte.dev.metrics"),
        (lambda m: m["evaluations"]["rte.dev"]["metrics"].update(accuracy="high"), "metrics.accuracy"),
        (lambda m: m["settings"].update(learning_rate="2e-5"), "settings.learning_rate"),
        (lambda m: m.update(status="done"), "status"),
        (lambda m: m.update(checksums={"../../run.json": "0" * 64}), "checksums"),
        (lambda m: m.update(checksums={"/etc/hostname": "0" * 64}), "checksums"),
        (lambda m: m["checksums"].pop("history.json"), "lacks the checksum of history.json"),
        (lambda m: m["provenance"].update(seconds="long"), "provenance.seconds"),
        (lambda m: m["labels"].update(task="cola"), "its labels name cola"),
        (lambda m: m["training_data"].update(data="other"), "other data than it says"),
        (lambda m: m.update(imported={}), "whether it was imported"),
        (lambda m: m["labels"].update(finetuning_seed=None), "whether it was trained"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(
    runs: list[Path], change: Callable[[dict[str, Any]], None], said: str
) -> None:
    reseal(runs[0], change)
    (damage,) = Results.open(runs[0].parents[2]).damaged
    assert said in damage
    assert str(runs[0]) in damage


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"schema": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"null", b'"x"', b"{}", b""]
)
def test_a_record_that_is_no_record_is_damage(runs: list[Path], raw: bytes) -> None:
    (runs[0] / "run.json").write_bytes(raw)
    assert len(Results.open(runs[0].parents[2]).damaged) == 1


VALUES = [
    None,
    True,
    -1,
    1.5,
    1e308,
    10**40,
    "",
    "x",
    "nan",
    [],
    {},
    {"a": 1},
    "x/../../y",
    "\x1b[31m",
    "[/red]",
    "\ud800",
]


def _places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield (*at, key)
        yield from _places(value, (*at, key))


def _mutate(manifest: dict[str, Any], rng: random.Random) -> None:
    """Set, remove or rename something, anywhere."""
    place = rng.choice([place for place in _places(manifest) if place != ("checksum",)])
    node = manifest
    for key in place[:-1]:
        node = node[key]
    act = rng.choice(["set", "set", "remove", "rename"])
    if act == "set":
        node[place[-1]] = rng.choice(VALUES)
    elif act == "remove":
        del node[place[-1]]
    elif isinstance(node, dict):
        node[rng.choice(["x", "x/../../y", "\x1b[31m", "[/red]"])] = node.pop(place[-1])


def _said_well(outcome: Outcome) -> bool:
    """Whether a verb ended as one should, whatever it was given; tracebacks come as exceptions."""
    sentence = any(line.startswith("multibench: ") for line in outcome.err.splitlines())
    plain = not {"\x1b", "\x9b", "\ud800"} & set(outcome.out + outcome.err)
    return plain and (outcome.code in {0, 1} or (outcome.code == 2 and sentence))


@pytest.mark.parametrize("verb", [*sorted(set(VERBS) - {"report"}), "verify", "status"])
def test_no_content_of_records_ends_in_a_traceback(runs: list[Path], verb: str) -> None:
    results = runs[0].parents[2]
    rng = random.Random(verb)
    originals = {folder: (folder / "run.json").read_bytes() for folder in runs}
    for _ in range(4):
        for folder in rng.sample(runs, rng.choice([1, 1, 8])):
            reseal(folder, lambda manifest: _mutate(manifest, rng))
        words = {"verify": ["verify", "results", results], "status": ["status", results]}
        outcome = multibench(*(words.get(verb) or words_of(verb, results)))
        assert _said_well(outcome), outcome
        for folder, raw in originals.items():
            (folder / "run.json").write_bytes(raw)
    assert not (results.parent / "y").exists()


# Predictions of other types


@pytest.mark.parametrize("column", ["id", "output_0", "label"])
def test_predictions_of_other_types_are_refused(tmp_path: Path, column: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from multibench.errors import ResultsError

    columns: dict[str, Any] = {
        "id": pa.array(["0", "1"]),
        "label": pa.array([0, 1]),
        "output_0": pa.array([0.5, 1.5], pa.float32()),
    }
    path = tmp_path / "rte.dev.parquet"
    pq.write_table(pa.table(columns), path)
    assert read_predictions(path).outputs.shape == (2, 1)
    for wrong in (pa.array([1, 2]) if column != "label" else pa.array(["a", "b"]), pa.array([[1], [2]])):
        pq.write_table(pa.table({**columns, column: wrong}), path)
        with pytest.raises(ResultsError, match="cannot be read as predictions"):
            read_predictions(path)


def _rewrite(folder: Path, change: Callable[[Predictions], Predictions]) -> None:
    """Other predictions for a run, with checksums that are right."""
    path = folder / "predictions/rte.dev.parquet"
    _write_predictions(path, change(read_predictions(path)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    reseal(folder, lambda manifest: manifest["checksums"].update({"predictions/rte.dev.parquet": digest}))


def _cut(stored: Predictions, count: int) -> Predictions:
    labels = None if stored.labels is None else stored.labels[:count]
    return Predictions(stored.ids[:count], stored.outputs[:count], labels)


MISFITS: dict[str, Callable[[Predictions], Predictions]] = {
    "a label of no class": lambda p: replace(p, labels=np.full(len(p.ids), 7)),
    "a negative label": lambda p: replace(p, labels=np.full(len(p.ids), -3)),
    "fractions as labels": lambda p: replace(p, labels=np.full(len(p.ids), 0.5)),
    "no labels": lambda p: replace(p, labels=None),
    "one output": lambda p: replace(p, outputs=p.outputs[:, :1]),
    "four outputs": lambda p: replace(p, outputs=np.tile(p.outputs, 2)),
    "no number": lambda p: replace(p, outputs=p.outputs * np.float32("nan")),
    "no example": lambda p: _cut(p, 0),
    "one example": lambda p: _cut(p, 1),
    "answers": lambda p: replace(p, texts=("x",) * len(p.ids)),
}


@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS)
def test_predictions_that_fit_no_task_end_in_a_sentence(
    runs: list[Path], misfit: Callable[[Predictions], Predictions]
) -> None:
    for folder in runs:
        _rewrite(folder, misfit)
    for verb in ("scores", "dynamics", "instances", "difficulty", "export"):
        outcome = multibench(*words_of(verb, runs[0].parents[2]))
        assert _said_well(outcome), outcome


def test_one_run_with_other_labels_is_named(runs: list[Path]) -> None:
    _rewrite(runs[0], lambda stored: replace(stored, labels=np.zeros(len(stored.ids), np.int64)))
    sentence = multibench(*words_of("instances", runs[0].parents[2])).refusal()
    assert "has other examples, labels or outputs for rte.dev" in sentence
