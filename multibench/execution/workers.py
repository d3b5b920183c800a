"""More processes on one suite: each is a ``multibench run`` of its own, and claims divide the work."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from multibench.planning import Replicas

__all__ = ["extra_workers", "run_arguments"]

_GRACE_SECONDS = 20


def run_arguments(
    suite: Path,
    results: Path,
    data: Path | None,
    checkpoints: Path | None,
    overrides: Sequence[str],
    device: str,
    threads: int | None,
    offline: bool,
    retry_failed: bool,
    replicas: Replicas,
) -> list[str]:
    """The command line of a silent ``multibench run`` with these options."""
    arguments = [
        "run",
        str(suite),
        "--results",
        str(results),
        "--device",
        device,
        "--quiet",
        "--workers",
        "1",
    ]
    arguments += ["--replicas", str(replicas)]
    for name, value in (("--data", data), ("--checkpoints", checkpoints), ("--threads", threads)):
        arguments += [] if value is None else [name, str(value)]
    for override in overrides:
        arguments += ["--set", override]
    return [*arguments, *(["--offline"] if offline else []), *(["--retry-failed"] if retry_failed else [])]


@contextlib.contextmanager
def extra_workers(count: int, arguments: Sequence[str], threads: int | None) -> Iterator[None]:
    """``count`` further processes while the block runs; afterwards they are waited for.

    If the block ends in an error or an interruption they are told to stop. A worker that dies
    loses nothing: its claim is taken over.
    """
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "multibench", *arguments]
    workers = [subprocess.Popen(command, env=environment) for _ in range(count)]
    try:
        yield
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
