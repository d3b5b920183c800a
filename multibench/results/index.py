"""All runs of a store read at once, and what is remembered of them until a file changes.

``RESULTS/<suite>/index.jsonl`` holds each run's manifest, and the stamps (size, times, inode) of ``run.json`` and of
the files that were found to match their checksums. Nothing in it is believed of a file whose stamp differs; without
it, or if it is damaged, everything is read again, so it may be deleted at any time. It is replaced whole: of several
processes the last is kept, and each wrote what was true.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from multibench.cache import keep, stamp
from multibench.errors import ResultsError, SchemaError
from multibench.results.manifest import SCHEMA_VERSION
from multibench.results.store import RunStore, damage_of, files_of

__all__ = ["StoredRuns", "read_runs"]

# Raised when manifests are checked for more before they are remembered.
_HEADER = {"index": 2, "results": SCHEMA_VERSION}

# Fewer runs than these are read sooner than an index of many is written.
_WORTH_WRITING = 100

# A file that changes twice within one tick of its file system's clock may keep its stamp: until so long after a
# change no stamp is remembered.
_SETTLED_NS = 2_000_000_000


class StoredRuns(NamedTuple):
    """The runs of a store, both by id in order: manifests, and why the others cannot be trusted."""

    manifests: dict[str, dict[str, Any]]
    damaged: dict[str, str]


def read_runs(store: RunStore, verify: bool = False) -> StoredRuns:
    """Every run of ``store``; with ``verify`` predictions and histories, too, are held against their checksums.

    Files that are unchanged since they were last found right are not read again; ``RunStore.damage`` reads
    everything. Raises ``SchemaError`` for results of another version.
    """
    remembered = _read(store.index)
    entries: dict[str, dict[str, Any]] = {}
    runs, news = StoredRuns({}, {}), 0
    before = time.time_ns() - _SETTLED_NS
    for run_id in store.run_ids():
        known = remembered.get(run_id, {})
        try:
            entry = _look(store, run_id, known, verify, before)
        except SchemaError:
            raise
        except ResultsError as error:
            runs.damaged[run_id] = str(error)
            continue
        runs.manifests[run_id] = entry["manifest"]
        if entry["stamp"] is not None:
            entries[run_id] = entry
            news += entry != known
    if news >= _WORTH_WRITING:
        _write(store.index, entries)
    return runs


def _look(store: RunStore, run_id: str, known: dict[str, Any], verify: bool, before: int) -> dict[str, Any]:
    """What the index is to hold of a run: its ``manifest``, the ``stamp`` of that, and the stamps of right ``files``.

    ``known`` is what it held so far; stamps of files that were changed after ``before`` are left out. Raises
    ``ResultsError`` if the run is damaged.
    """
    folder = store.path(run_id)
    found = _stamp(folder / "run.json", before)
    if found is None or known.get("stamp") != found:
        known = {"manifest": store.manifest(run_id), "files": {}}
    manifest, files = known["manifest"], known["files"]
    if verify:
        stamps = {name: _stamp(folder / name, before) for name in files_of(manifest, weights=False)}
        unknown = [name for name, each in stamps.items() if each is None or files.get(name) != each]
        damage = damage_of(folder, manifest, unknown)
        if damage is not None:
            raise ResultsError(f"{damage}.")
        files = {name: each for name, each in stamps.items() if each is not None}
    return {"stamp": found, "manifest": manifest, "files": files}


def _stamp(path: Path, before: int) -> list[int] | None:
    """The stamp of a file; None if it cannot be had, or was changed after ``before`` and may yet keep its stamp."""
    try:
        found = stamp(path)
    except OSError:
        return None
    _, modified, changed, _ = found
    return found if max(modified, changed) < before else None


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of an index; none if there is no index or it is not as it was written."""
    try:
        header, _, body = path.read_bytes().partition(b"\n")
        if json.loads(header) == _header(body):
            entries: dict[str, dict[str, Any]] = json.loads(body)
            return entries
    except (OSError, ValueError):
        pass
    return {}


def _write(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    body = json.dumps(entries).encode()
    keep(path, json.dumps(_header(body)).encode() + b"\n" + body)


def _header(body: bytes) -> dict[str, Any]:
    return {**_HEADER, "sha256": hashlib.sha256(body).hexdigest()}
