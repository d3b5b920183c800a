"""The index of stored runs: it saves reading, never hides a change, and can be lost at any time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench import api
from multibench.errors import ResultsError
from multibench.results import Results, RunStore, index
from multibench.results.index import read_runs
from tests.support.stored import store_run

RUNS = 3
OUTPUTS = np.arange(12, dtype=np.float32).reshape(6, 2)
LONG_AGO = 1_600_000_000
FILES = ["run.json", "history.json", "predictions/rte.dev.parquet"]


def _age(store: RunStore) -> None:
    """Modification times of long ago: whatever is written now shows, however coarse the clock is."""
    for path in store.runs.rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A store with a few runs, of which an index is kept at once."""
    monkeypatch.setattr(index, "_WORTH_WRITING", 1)
    monkeypatch.setattr(index, "_SETTLED_NS", 0)
    for seed in range(RUNS):
        store_run(tmp_path / "suite", outputs=OUTPUTS, finetuning_seed=seed, metrics={"accuracy": 0.625})
    store = RunStore(tmp_path / "suite")
    _age(store)
    return store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, as they are read."""
    names: list[str] = []
    manifest, damage_of = RunStore.manifest, index.damage_of

    def counted_manifest(self: RunStore, run_id: str) -> dict[str, Any]:
        names.append("run.json")
        return manifest(self, run_id)

    def counted_damage(folder: Path, found: dict[str, Any], files: Iterable[str]) -> str | None:
        names.extend(files)
        return damage_of(folder, found, files)

    monkeypatch.setattr(RunStore, "manifest", counted_manifest)
    monkeypatch.setattr(index, "damage_of", counted_damage)
    return names


def _silently(store: RunStore, name: str) -> Path:
    """Change a byte of a file of the last run."""
    path = store.path(store.run_ids()[-1]) / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    return path


def test_what_was_read_once_is_not_read_again(store: RunStore, read: list[str]) -> None:
    first = read_runs(store, verify=True)
    assert sorted(read) == sorted(RUNS * FILES)
    read.clear()
    assert read_runs(store, verify=True) == first == read_runs(store)
    assert read == []
    assert list(first.manifests) == store.run_ids()
    assert first.damaged == {}


def test_manifests_alone_vouch_for_no_other_file(store: RunStore, read: list[str]) -> None:
    read_runs(store)
    assert read == RUNS * ["run.json"]
    read.clear()
    read_runs(store, verify=True)
    assert sorted(read) == sorted(RUNS * FILES[1:])
    read.clear()
    read_runs(store)
    read_runs(store, verify=True)
    assert read == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["bit", "cut", "emptied", "gone"])
def test_damage_to_what_was_right_before_is_found(store: RunStore, name: str, harm: str) -> None:
    read_runs(store, verify=True)
    if harm == "bit":
        path = _silently(store, name)
    else:
        path = store.path(store.run_ids()[-1]) / name
        if harm == "gone":
            path.unlink()
        else:
            os.truncate(path, 0 if harm == "emptied" else path.stat().st_size - 1)
    found = read_runs(store, verify=True)
    assert list(found.manifests) == store.run_ids()[:-1]
    assert list(found.damaged) == store.run_ids()[-1:]
    assert str(path) in found.damaged[store.run_ids()[-1]]
    assert read_runs(store, verify=True) == found


def test_a_change_whose_time_was_put_back_is_found(store: RunStore) -> None:
    read_runs(store, verify=True)
    time.sleep(0.02)  # a tick of the file system's clock
    os.utime(_silently(store, "history.json"), (LONG_AGO, LONG_AGO))
    assert list(read_runs(store, verify=True).damaged) == store.run_ids()[-1:]


def test_what_has_just_changed_is_not_remembered(
    store: RunStore, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_SETTLED_NS", 60_000_000_000)
    for _ in range(2):
        read.clear()
        read_runs(store, verify=True)
        assert sorted(read) == sorted(RUNS * FILES)
    assert not store.index.exists()


@pytest.fixture
def rotten(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A store one of whose prediction files has changed without a trace, as on a failing disk."""
    monkeypatch.setattr(index, "stamp", lambda path: [int(path.exists()), 1, 2, 3])
    read_runs(store, verify=True)
    _silently(store, FILES[2])
    assert read_runs(store, verify=True).damaged == {}
    return store


def test_damage_without_a_trace_is_found_by_verify_and_then_by_all(rotten: RunStore) -> None:
    assert list(api.verify_results(rotten.folder)["damaged"]) == rotten.run_ids()[-1:]
    assert list(read_runs(rotten, verify=True).damaged) == rotten.run_ids()[-1:]


def test_damage_without_a_trace_is_found_by_use_and_then_by_all(rotten: RunStore) -> None:
    with pytest.raises(ResultsError, match="does not match its checksum"):
        Results.open(rotten.folder).predictions("rte.dev")  # which the index vouched for
    assert list(read_runs(rotten, verify=True).damaged) == rotten.run_ids()[-1:]


@pytest.mark.parametrize(
    "harm", ["a digit", "cut", "emptied", "no text", "no header", "of another version", "a folder"]
)
def test_a_damaged_index_is_passed_over_and_made_again(store: RunStore, read: list[str], harm: str) -> None:
    found = read_runs(store, verify=True)
    raw = store.index.read_bytes()
    harmed = {
        "a digit": raw.replace(b"0.625", b"0.925", 1),
        "cut": raw[:-1],
        "emptied": b"",
        "no text": b"\xff\xfe\n\x00",
        "no header": raw.partition(b"\n")[2],
        "of another version": raw.replace(b'"index": 2', b'"index": 1', 1),
    }
    store.index.unlink()
    if harm == "a folder":
        store.index.mkdir()
    else:
        store.index.write_bytes(harmed[harm])
        assert harmed[harm] != raw
    read.clear()
    assert read_runs(store, verify=True) == found
    assert sorted(read) == sorted(RUNS * FILES)
    if harm != "a folder":
        assert store.index.read_bytes() == raw
    assert [path.name for path in store.folder.glob(".*")] == []


def test_runs_that_come_and_go_are_seen(store: RunStore) -> None:
    read_runs(store)
    first, second, _ = store.run_ids()
    store.set_aside(first)
    new = store_run(store.folder, outputs=OUTPUTS, finetuning_seed=RUNS)
    record = {key: value for key, value in store.manifest(second).items() if key != "checksums"}
    again = {**record, "reason": "made again", "evaluations": {}}
    store.write(second, again, {}, {}, replace=True)
    found = read_runs(store)
    assert list(found.manifests) == store.run_ids()
    assert first not in found.manifests
    assert new in found.manifests
    assert found.manifests[second]["reason"] == "made again"


def test_several_readers_at_once_leave_a_whole_index(store: RunStore) -> None:
    expected = read_runs(store, verify=True)
    seen: list[object] = []

    def look() -> None:
        for _ in range(10):
            store.forget()
            seen.append(read_runs(store, verify=True))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 40
    read_runs(store, verify=True)
    header, body = store.index.read_bytes().splitlines()
    assert json.loads(header)["sha256"]
    assert list(json.loads(body)) == store.run_ids()


def test_no_index_is_written_for_a_few_runs(tmp_path: Path) -> None:
    store_run(tmp_path, outputs=OUTPUTS)
    store = RunStore(tmp_path)
    _age(store)
    assert len(read_runs(store, verify=True).manifests) == 1
    assert not store.index.exists()
