"""A command in a box of time: a process group of its own, ended as a whole when its time is up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .options import REPOSITORY

__all__ = ["BOXES", "Ended", "boxed", "deadlines"]

BOXES = {"facts": 30, "tests": 60, "steps": 50, "runs": 90, "grid": 170, "speed": 80, "profile": 40}
"""Stages in order of worth, and the seconds of each: 520 in all."""
_RESERVE = 0.01  # of all seconds: ending processes and writing files take time too
_KEPT = 2000  # characters of what a stage that failed said last


@dataclass(frozen=True)
class Ended:
    """How a stage ended. ``rc`` is its exit status, negative for a signal, None if it was cut or never began.

    ``figures`` are the lines that it wrote until then. ``said`` is the end of what it printed, if it failed.
    """

    rc: int | None
    cut: bool
    seconds: float
    allowed: float
    figures: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""


def deadlines(boxes: Mapping[str, float], began: float) -> dict[str, float]:
    """When each stage is cut: a stage may use its own seconds and those that stages before it left.

    ``began`` is a time, and so are the values. The last one is a little early, so that the whole keeps to the sum.
    """
    ends, end = {}, began
    for name, seconds in boxes.items():
        end += seconds
        ends[name] = end
    last = began + (1 - _RESERVE) * sum(boxes.values())
    return {name: min(end, last) for name, end in ends.items()}


def boxed(
    command: Sequence[str], until: float, figures: Path, log: Path, environment: Mapping[str, str]
) -> Ended:
    """Run ``command`` in the checkout until it ends, or cut it at ``until``, a time of the epoch.

    The command writes lines of JSON to the file ``figures``. All that it prints goes to the end of ``log``, a
    file and no pipe: nobody waits for a grandchild that keeps a pipe open. The group of processes is killed in either
    case, so that nothing which the stage started runs on. Nothing is raised.
    """
    begun = time.time()
    allowed = max(0.0, until - begun)
    if not allowed:
        return Ended(None, True, 0.0, 0.0)
    with log.open("ab") as out:
        start = out.tell()
        try:
            child = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return Ended(127, False, 0.0, allowed, said=f"{type(error).__name__}: {error}")
        try:
            rc = child.wait(allowed)
        except subprocess.TimeoutExpired:
            rc = None
        finally:
            _end_group(child)
    said = "" if rc == 0 else _tail(log, start)
    return Ended(rc, rc is None, time.time() - begun, allowed, _lines(figures), said)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the processes of the group, and bury the first; a process stuck in a driver is left after two seconds."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(2.0)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of JSON in a file; the last one may be half written."""
    found = []
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as lines:
        lines.seek(start)
        return lines.read().decode("utf-8", "replace")[-_KEPT:].strip()
