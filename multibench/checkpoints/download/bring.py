"""Checkpoints in a folder that can be taken elsewhere: each there whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multibench.checkpoints.catalogue.checkpoint import Checkpoint
from multibench.checkpoints.download.hub import require_room
from multibench.checkpoints.download.locate import fetch_from_hub, find_below, find_local
from multibench.checkpoints.download.urls import address_of, download_url
from multibench.checkpoints.formats.huggingface import DESCRIPTION, has_weights, weight_names
from multibench.checkpoints.formats.texts import read_json
from multibench.errors import CheckpointError, StorageError, UnavailableError

__all__ = ["RECORD", "bring", "bring_archive", "expected_bytes", "fetched_commit", "read_record"]

RECORD = "multibench.json"
"""The file beside the weights that says where they are from, and size and SHA-256 of each file."""

_WORK = ".fetching"


def expected_bytes(checkpoint: Checkpoint) -> int:
    """About how much room the weights take: four bytes a parameter, and some for pretraining heads."""
    return int(4.04 * (checkpoint.parameters or 0))


def bring(checkpoint: Checkpoint, out: Path, root: Path | None = None) -> Path | None:
    """The folder of ``checkpoint`` below ``out``, brought there if it is not there yet.

    It is taken from ``root`` (``--checkpoints``) or the Hub client's cache if it is on this machine, else
    downloaded, and appears under its name only when every file is there and checked. Two processes bring it
    once. None for what ships with the package and needs no bringing. Raises ``UnavailableError`` if it
    cannot be had, ``StorageError`` if it cannot be written.
    """
    if any(source.kind == "builtin" for source in checkpoint.sources):
        return None
    if ".." in Path(checkpoint.id).parts:
        raise CheckpointError(
            f"The folder {checkpoint.id} lies outside of {out} wherever that is; name it in the suite by a path "
            "below the folder of checkpoints."
        )
    found = find_below(checkpoint, out)
    if found is not None:
        return found
    archives = [source.kind for source in checkpoint.sources if address_of(source) is not None]
    if archives and not any(source.kind == "hub" and source.weights for source in checkpoint.sources):
        return bring_archive(checkpoint, out, archives[0]).parent
    return _locked(checkpoint, out, lambda: _bring(checkpoint, out, root))


def bring_archive(checkpoint: Checkpoint, out: Path, kind: str) -> Path:
    """The file of ``checkpoint``'s source of a ``kind`` (``tf_zip``, ``ngc``), as it is, in its folder below ``out``.

    Raises ``UnavailableError``, saying how to get it by hand, if its address is not known or it cannot be had.
    """
    sources = [source for source in checkpoint.sources if source.kind == kind]
    if not sources:
        kinds = ", ".join(dict.fromkeys(source.kind for source in checkpoint.sources))
        raise UnavailableError(f"{checkpoint.id} has no source of the kind '{kind}'; it has {kinds}.")
    source, folder = sources[0], out / checkpoint.id
    address = address_of(source)
    if address is None:
        raise UnavailableError(
            f"The address of {checkpoint.id}'s files on NGC is not known. Get them by hand (ngc registry model "
            f"download-version {source.location}) and put them into {folder}."
        )

    def make() -> Path:
        path = folder / address.rpartition("/")[2]
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            path = download_url(address, folder)
            _write_record(folder, checkpoint, source.to_dict(), {path.name: path})
        return path

    return _locked(checkpoint, out, make)


def read_record(folder: Path) -> dict[str, Any] | None:
    """What ``RECORD`` says; None if there is none. Raises ``CheckpointError`` for one that is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path)
        _ = record["source"].items()
        for entry in record["files"].values():
            _ = entry["size"], entry["sha256"]
    except (CheckpointError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}). Fetch the checkpoint again.") from error
    return record


def fetched_commit(place: Path) -> str | None:
    """The commit of the Hub at which the files at ``place`` were fetched, as far as that was recorded."""
    if place.parent.name == "snapshots":
        return place.name
    with contextlib.suppress(CheckpointError):
        record = read_record(place)
        revision = None if record is None else record["source"].get("revision")
        return revision if isinstance(revision, str) else None
    return None


def _locked(checkpoint: Checkpoint, out: Path, make: Callable[[], Path]) -> Path:
    """``make()``, while no other process makes the same; what the disk refuses becomes a ``StorageError``."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # a public name, not declared as one

    try:
        (out / _WORK).mkdir(parents=True, exist_ok=True)
        with WeakFileLock(out / _WORK / f"{_flat(checkpoint)}.lock"):
            return make()
    except OSError as error:
        raise StorageError(
            f"{checkpoint.id} could not be stored in {out}: {error.strerror or error}. Make room, or give another "
            "folder."
        ) from error


def _bring(checkpoint: Checkpoint, out: Path, root: Path | None) -> Path:
    found = find_below(checkpoint, out)  # by another process, while this one waited
    if found is not None:
        return found
    target, made = out / checkpoint.id, out / _WORK / f"{_flat(checkpoint)}.new"
    shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
    made.mkdir()
    local = find_local(checkpoint, root)
    try:
        if local is None:
            cache = (
                out / _WORK / _flat(checkpoint)
            )  # stays until all is there, so that files need not come twice
            snapshot, source = fetch_from_hub(checkpoint, out, cache)
            for name, path in _files(snapshot).items():
                path.resolve().replace(made / name)
            shutil.rmtree(cache, ignore_errors=True)
            origin = {**source.to_dict(), "revision": snapshot.name}
        else:
            for name, path in _files(local).items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                _copy(path, made / name)
            origin = _origin(checkpoint, local)
        _write_record(made, checkpoint, origin, _files(made))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _flat(checkpoint: Checkpoint) -> str:
    return checkpoint.id.replace("/", "--")


def _files(place: Path) -> dict[str, Path]:
    """What makes up the checkpoint, by its name below it: of a foreign format all files, or those beside the one."""
    folder, found = place, sorted(path for path in place.rglob("*") if path.is_file() and path.name != RECORD)
    if place.is_file():
        beside = (place.parent / name for name in (*DESCRIPTION, "bert_config.json"))
        folder, found = place.parent, [place, *(path for path in beside if path.is_file())]
    elif has_weights(place):
        names = {path.name for path in found if path.parent == place}
        found = [place / name for name in (*DESCRIPTION, *weight_names(names)) if name in names]
    return {path.relative_to(folder).as_posix(): path for path in found}


def _copy(path: Path, target: Path) -> None:
    """A second name for a file of the Hub client's cache, which nobody changes; else, or elsewhere, a copy."""
    if path.is_symlink():
        try:
            os.link(path.resolve(), target)
        except OSError:
            pass
        else:
            return
    require_room(target.parent, path.stat().st_size, path.name)
    shutil.copyfile(path, target)


def _origin(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Where the checkpoint that is in ``folder`` came from: the Hub, if that is its cache, or the folder."""
    record = read_record(folder)
    if record is not None:
        origin: dict[str, Any] = record["source"]
        return origin
    for source in checkpoint.sources:
        if source.kind == "hub" and folder.parents[1].name == f"models--{source.location.replace('/', '--')}":
            return {**source.to_dict(), "revision": folder.name}
    return {"kind": "folder", "location": str(folder)}


def _write_record(
    folder: Path, checkpoint: Checkpoint, source: dict[str, Any], files: dict[str, Path]
) -> None:
    entries = {}
    for name, path in files.items():
        with path.open("rb") as file:
            entries[name] = {
                "size": path.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    record = {"checkpoint": checkpoint.id, "source": source, "files": entries}
    (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
