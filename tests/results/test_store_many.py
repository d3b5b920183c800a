"""Many runs stored at once: all of them, or none that can be seen."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import StorageError
from multibench.results import Predictions, RunStore
from tests.support.stored import a_record, predictions_of

RECORDS = dict(sorted(a_record(k) for k in range(5)))
NAMES = list(RECORDS)


def _predictions(name: str) -> dict[str, Predictions]:
    rng = np.random.default_rng(int(name, 16))
    return {"rte.dev": predictions_of(rng.normal(size=(7, 2)).astype(np.float32), np.arange(7) % 2)}


def _runs() -> Iterator[tuple[str, dict[str, Any], dict[str, Predictions]]]:
    return ((name, {**RECORDS[name], "number": name}, _predictions(name)) for name in NAMES)


def test_each_is_stored_as_it_would_be_alone(tmp_path: Path) -> None:
    together, alone = RunStore(tmp_path / "together"), RunStore(tmp_path / "alone")
    together.write_all(_runs())
    for name, record, predictions in _runs():
        alone.write(name, record, {}, predictions)
    assert together.run_ids() == NAMES
    for name in NAMES:
        assert together.damage(name) is None
        assert together.manifest(name) == alone.manifest(name)
    assert list((together.folder / "tmp").iterdir()) == []


def test_none_appears_before_all_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, seen = RunStore(tmp_path / "suite"), []
    monkeypatch.setattr(
        os, "sync", lambda: seen.append((store.run_ids(), len(list(store.folder.glob("tmp/*")))))
    )
    store.write_all(_runs())
    assert seen == [([], len(NAMES))]


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "suite")

    def runs() -> Iterator[Any]:
        yield from list(_runs())[:3]
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(StorageError, match="the disk is full"):
        store.write_all(runs())
    assert store.run_ids() == []
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_stored_run_stays_as_it_is(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "suite")
    store.write(NAMES[2], {**RECORDS[NAMES[2]], "number": "the first"}, {}, _predictions(NAMES[2]))
    store.write_all(_runs())
    assert store.run_ids() == NAMES
    assert store.manifest(NAMES[2])["number"] == "the first"
