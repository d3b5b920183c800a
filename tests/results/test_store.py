"""The run store: whole runs or none, exact predictions, damage found by checksum and never used."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from multibench import api
from multibench.errors import ResultsError, SchemaError, StorageError
from multibench.results import Predictions, Results, RunStore
from multibench.results import store as store_module
from tests.support.command import environment, multibench
from tests.support.stored import a_record, predictions_of, reseal, store_run

RUN, RECORD = a_record()
EARLIER, _ = a_record(1)
OUTPUTS = np.arange(12, dtype=np.float32).reshape(6, 2)


def _write(store: RunStore, run_id: str = RUN, record: dict[str, Any] = RECORD, **options: Any) -> None:
    store.write(run_id, record, {"loss": [1.0]}, {"rte.dev": predictions_of(OUTPUTS)}, **options)


def _left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_run_is_stored_with_all_its_parts(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    weights = store.scratch(RUN)
    (weights / "model.safetensors").write_bytes(b"weights")
    _write(store, weights=weights)
    assert store.run_ids() == [RUN]
    assert _left(tmp_path) == [
        f"runs/{RUN}/history.json",
        f"runs/{RUN}/predictions/rte.dev.parquet",
        f"runs/{RUN}/run.json",
        f"runs/{RUN}/weights/model.safetensors",
    ]
    manifest = store.manifest(RUN)
    assert manifest["status"] == "finished"
    assert set(manifest["checksums"]) == {
        "history.json",
        "predictions/rte.dev.parquet",
        "weights/model.safetensors",
    }
    assert store.history(RUN) == {"loss": [1.0]}
    assert store.damage(RUN) is None


@pytest.mark.parametrize("labels", ["classes", "scores", "none"])
def test_predictions_come_back_bit_by_bit(tmp_path: Path, labels: str) -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, size=(9, 3), dtype=np.uint32)  # any float32, NaN payloads included
    outputs = bits.view(np.float32)
    special = [np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38]
    outputs[0], outputs[1] = special[:3], special[3:]
    ids = ("0", "", "ex 1", "naïve", "日本", "\U0001f600", 'quo"te', "tab\tnewline\n", "null")
    given = {"classes": rng.integers(0, 3, 9), "scores": rng.normal(size=9), "none": None}[labels]
    store = RunStore(tmp_path)
    store.write(RUN, RECORD, {}, {"t.dev": Predictions(ids, outputs, given)})
    found = store.predictions(RUN, "t.dev")
    assert found.ids == ids
    assert found.outputs.dtype == np.float32
    assert found.outputs.tobytes() == outputs.tobytes()
    if given is None:
        assert found.labels is None
    else:
        assert found.labels is not None
        assert found.labels.dtype == given.dtype
        np.testing.assert_array_equal(found.labels, given)


def test_ten_and_more_outputs_keep_their_order(tmp_path: Path) -> None:
    outputs = np.arange(24, dtype=np.float32).reshape(2, 12)
    store = RunStore(tmp_path)
    store.write(RUN, RECORD, {}, {"t.dev": predictions_of(outputs)})
    np.testing.assert_array_equal(store.predictions(RUN, "t.dev").outputs, outputs)


def test_equal_predictions_make_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _write(RunStore(tmp_path / name))
    one, two = (
        (tmp_path / name / f"runs/{RUN}/predictions/rte.dev.parquet").read_bytes() for name in ("one", "two")
    )
    assert one == two


def test_whoever_stores_a_run_first_is_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    _write(store, record={**RECORD, "who": "first"})
    before = (tmp_path / "runs" / RUN).stat().st_ino
    _write(store, record={**RECORD, "who": "second"})
    assert store.manifest(RUN)["who"] == "first"
    assert (tmp_path / "runs" / RUN).stat().st_ino == before
    assert list((tmp_path / "tmp").iterdir()) == []


def test_of_many_writers_at_once_exactly_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 6
    ready = threading.Barrier(count)
    rename = Path.rename

    def together(self: Path, target: Any) -> Any:
        if self.parent.name == "tmp":
            ready.wait(60)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", together)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            _write(RunStore(tmp_path), record={**RECORD, "who": number})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    store = RunStore(tmp_path)
    assert store.run_ids() == [RUN]
    assert store.damage(RUN) is None
    assert store.manifest(RUN)["who"] in range(count)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_more_complete_run_replaces_one_which_is_kept_aside(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    _write(store, record={**RECORD, "who": "old"})
    _write(store, record={**RECORD, "who": "new"}, replace=True)
    assert store.manifest(RUN)["who"] == "new"
    (old,) = (tmp_path / "replaced").iterdir()
    assert json.loads((old / "run.json").read_text())["who"] == "old"


@pytest.mark.parametrize("stage", ["_write_predictions", "_sha256", "_sync"])
def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    store = RunStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, stage, interrupt)
        with pytest.raises(KeyboardInterrupt):
            _write(store)
    assert store.run_ids() == []
    assert _left(tmp_path) == []
    _write(store)
    assert store.damage(RUN) is None


KILLED = dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    import numpy as np
    from multibench.results import store as module

    store = module.RunStore(Path(sys.argv[1]))
    run, record = sys.argv[2], json.loads(sys.argv[3])

    def write(**options):
        part = module.Predictions(("0", "1"), np.zeros((2, 2), np.float32), None)
        store.write(run, record, {}, {"a.dev": part, "b.dev": part}, **options)

    def dying(owner, name, calls, after):
        original, count = getattr(owner, name), [0]

        def call(*args, **options):
            count[0] += 1
            if count[0] == calls and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **options)
            if count[0] == calls and after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, call)

    moments = [
        (module, "_write_predictions", 1, True, {}),
        (module, "_write_predictions", 2, False, {}),
        (module, "manifest_checksum", 1, True, {}),
        (module, "_sync", 3, True, {}),
        (Path, "rename", 1, False, {}),
        (Path, "rename", 1, True, {}),
        (Path, "rename", 1, False, {"replace": True}),
        (Path, "rename", 1, True, {"replace": True}),
        (Path, "rename", 2, True, {"replace": True}),
    ]
    for owner, name, calls, after, options in moments:
        child = os.fork()
        if child == 0:
            if options:
                write()
            dying(owner, name, calls, after)
            write(**options)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the process outlived its death"
        where = store.path(run)
        print(name, calls, after, bool(options), where.is_dir() and (where / "run.json").is_file())
        if where.is_dir():
            kept = store.folder / "kept" / f"{name} {calls} {after} {bool(options)}" / "runs" / run
            kept.parent.mkdir(parents=True)
            where.rename(kept)
    """
)


def test_a_process_killed_at_any_moment_leaves_a_whole_run_or_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), RUN, json.dumps(RECORD)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=280, check=True)
    found = {tuple(line.split()[:4]): line.split()[4] == "True" for line in done.stdout.splitlines()}
    assert len(found) == 9
    whole = [moment for moment, is_whole in found.items() if is_whole]
    assert whole == [
        ("rename", "1", "True", "False"),  # stored
        ("rename", "1", "False", "True"),  # the old one, not yet replaced
        ("rename", "2", "True", "True"),  # the new one
    ]
    kept = list((tmp_path / "kept").iterdir())
    assert len(kept) == 3
    for folder in kept:
        assert RunStore(folder).damage(RUN) is None


def _flip(path: Path, position: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["predictions/rte.dev.parquet", "history.json", "run.json"])
@pytest.mark.parametrize("harm", ["first bit", "middle bit", "cut", "emptied", "gone"])
def test_every_damage_is_found(tmp_path: Path, name: str, harm: str) -> None:
    store = RunStore(tmp_path / "suite")
    run_id = store_run(tmp_path / "suite", outputs=OUTPUTS)
    path = store.path(run_id) / name
    size = path.stat().st_size
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        os.truncate(path, size - 1)
    elif harm == "emptied":
        os.truncate(path, 0)
    else:
        _flip(path, 0 if harm == "first bit" else size // 2)
    damage = store.damage(run_id)
    assert damage is not None
    assert str(path) in damage
    with pytest.raises(ResultsError, match="parquet" if "predictions" in name else "json"):
        store.predictions(run_id, "rte.dev") if name != "history.json" else store.history(run_id)
    assert multibench("verify", "results", tmp_path).code == 1


def test_a_digit_changed_in_a_stored_score_is_found(tmp_path: Path) -> None:
    run_id = store_run(tmp_path / "suite", outputs=OUTPUTS, metrics={"accuracy": 0.625})
    path = tmp_path / "suite/runs" / run_id / "run.json"
    path.write_text(path.read_text().replace("0.625", "0.925"))
    opened = Results.open(tmp_path)
    assert len(opened) == 0
    assert opened.damaged == (f"{path} does not match its own checksum.",)


def test_a_history_that_reads_well_but_was_changed_is_found(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    _write(store)
    (tmp_path / f"runs/{RUN}/history.json").write_text('{"loss": [0.1]}')
    with pytest.raises(ResultsError, match="checksum"):
        store.history(RUN)


def test_damaged_runs_are_moved_not_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    _write(store)
    _flip(store.path(RUN) / "history.json", 3)
    where = store.set_aside(RUN)
    assert store.run_ids() == []
    assert where.parent == tmp_path / "damaged"
    assert (where / "run.json").is_file()


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_another_schema_version_is_refused_and_left_alone(tmp_path: Path, version: object) -> None:
    run_id = store_run(tmp_path / "suite", outputs=OUTPUTS)
    path = tmp_path / "suite/runs" / run_id / "run.json"
    reseal(path.parent, lambda manifest: manifest.update(schema=version))
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="reads versions 1 and 2"):
        RunStore(tmp_path / "suite").damage(run_id)
    for command in (["status", tmp_path], ["scores", tmp_path], ["verify", "results", tmp_path]):
        outcome = multibench(*command)
        if command[0] != "verify":
            assert f"results schema {version!r}" in outcome.refusal()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("stage", ["_write_predictions", "_sync"])
def test_a_disk_that_refuses_is_named_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, stage: str
) -> None:
    store = RunStore(tmp_path)
    _write(store, *a_record(1))

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store_module, stage, refuse)
    with pytest.raises(StorageError, match=reason):
        _write(store, RUN)
    assert store.run_ids() == [EARLIER]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert store.damage(EARLIER) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 100 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_keeps_what_it_has(small_disk: Path) -> None:
    store = RunStore(small_disk)
    rng = np.random.default_rng(0)
    stored: list[str] = []

    def fill() -> None:
        for number in range(100):
            run_id, record = a_record(number)
            store.write(run_id, record, {}, {"rte.dev": predictions_of(rng.normal(size=(1000, 2)))})
            stored.append(run_id)

    with pytest.raises(StorageError, match="the disk is full"):
        fill()
    assert len(stored) > 3
    assert store.run_ids() == sorted(stored)
    assert [store.damage(run_id) for run_id in stored] == [None] * len(stored)
    assert list((small_disk / "tmp").iterdir()) == []


def test_verify_counts_what_is_damaged(tmp_path: Path) -> None:
    for seed in range(3):
        last = store_run(tmp_path / "suite", outputs=OUTPUTS, finetuning_seed=seed)
    assert api.verify_results(tmp_path) == {"runs": 3, "damaged": {}}
    assert multibench("verify", "results", tmp_path).code == 0
    _flip(tmp_path / "suite/runs" / last / "history.json", 5)
    outcome = multibench("verify", "results", tmp_path)
    assert outcome.code == 1
    assert last in outcome.out
    assert "3 runs checked, 1 damaged" in outcome.out
