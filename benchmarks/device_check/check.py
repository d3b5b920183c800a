"""The check itself: one stage after the other, and a file that is whole after each."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from . import provenance
from .boxes import BOXES, Ended, boxed, deadlines
from .options import REPOSITORY, Given

__all__ = ["FORMAT", "NAME", "Command", "check", "stage_command"]

NAME = "device_check.json"
FORMAT = 1
Command = Callable[[str, Given, float], list[str]]


def stage_command(name: str, given: Given, until: float) -> list[str]:
    """What starts a stage."""
    return [sys.executable, "-m", "benchmarks.device_check.stages", name, *given.words(until)]


def check(
    inputs: Path,
    out: Path,
    device: str,
    small: bool = False,
    only: Sequence[str] = tuple(BOXES),
    commit_file: Path | None = None,
    boxes: Mapping[str, float] = BOXES,
    command: Command = stage_command,
) -> dict[str, Any]:
    """Run the stages ``only`` in the order of ``boxes``; write and return what ``out/device_check.json`` holds.

    ``device`` is ``cuda`` or ``cpu``. The file is written anew after each stage, so that it is there even if this
    process is ended from outside.
    """
    began = time.time()
    out.mkdir(parents=True, exist_ok=True)
    chosen = {name: seconds for name, seconds in boxes.items() if name in only}
    found = _head(device, small, commit_file, sum(chosen.values()))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        given = Given(inputs, out, Path(folder), device, small)
        environment = _environment(given)
        for name, until in deadlines(chosen, began).items():
            ended = boxed(
                command(name, given, until),
                until,
                given.scratch / f"{name}.jsonl",
                out / "log.txt",
                environment,
            )
            found["stages"][name] = asdict(ended)
            found["seconds"] = round(time.time() - began, 1)
            _write(found, out / NAME)
            print(_line(name, ended, found["seconds"]), flush=True)
    return found


def _head(device: str, small: bool, commit_file: Path | None, allowed: float) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "begun": provenance.now(),
        "device": device,
        "small": small,
        "code": provenance.commit(commit_file),
        "card": provenance.card() if device == "cuda" else None,
        "versions": provenance.versions(),
        "allowed": allowed,
        "seconds": 0.0,
        "stages": {},
    }


def _environment(given: Given) -> dict[str, str]:
    """For stages: this checkout's package, missing wheels, no network, and no card where the processor is asked for."""
    places = [str(REPOSITORY), *unpacked(given.inputs / "wheels", given.scratch / "site")]
    places += filter(None, [os.environ.get("PYTHONPATH")])
    own = {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MULTIBENCH_CACHE": str(given.scratch / "cache"),
        "TMPDIR": str(given.scratch),  # what a stage that was killed leaves goes with the rest
    }
    if given.device == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""
    else:
        own["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return {**os.environ, **own}


def unpacked(wheels: Path, target: Path) -> list[str]:
    """Unpack all wheels of a folder if the package of one is missing; the places to import from, none or ``target``.

    All of them, since pydantic wants its core in one version.
    """
    files = sorted(wheels.glob("*.whl"))
    if all(_installed(path.name.partition("-")[0]) for path in files):
        return []
    for path in files:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(target)
    return [str(target)]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(found: dict[str, Any], path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    shutil.move(unfinished, path)


def _line(name: str, ended: Ended, total: float) -> str:
    how = "cut" if ended.cut else "done" if ended.rc == 0 else f"failed with exit code {ended.rc}"
    return f"{name}: {how} after {ended.seconds:.1f} s, {total:.0f} s in all, {len(ended.figures)} lines of figures"
