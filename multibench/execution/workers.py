"""More processes on one suite: each is a ``multibench run`` of its own, and claims divide the work."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from multibench.planning import Replicas

__all__ = ["extra_workers", "run_arguments", "start_python", "stop_all", "threads_variable"]

_GRACE_SECONDS = 60
# All well, some runs failed, stopped.
_USUAL_ENDS = (0, 1, 130)
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _stop_with_parent() -> None:
    """For a new process: be told to stop when the one that started it is gone."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def run_arguments(
    suite: Path,
    results: Path,
    data: Path | None,
    checkpoints: Path | None,
    overrides: Sequence[str],
    device: str,
    threads: int | None,
    offline: bool,
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
    return [*arguments, *(["--offline"] if offline else [])]


def _found_without_the_current_folder() -> dict[str, str]:
    """What the environment of a worker needs to find this very package: nothing, if it is installed."""
    home = Path(__file__).resolve().parents[2]
    if any(Path(entry).resolve() == home for entry in sys.path if entry not in ("", str(Path.cwd()))):
        return {}
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(home), *([before] if before else [])])}


def start_python(
    words: Sequence[str], changes: Mapping[str, str], stderr: int | None = None
) -> subprocess.Popen[bytes]:
    """Python with the command line ``words`` and ``changes`` to the environment. On Linux it ends with this process."""
    environment = {**os.environ, **_found_without_the_current_folder(), **changes}
    preparing = _stop_with_parent if sys.platform == "linux" else None
    # -P: nothing that lies in the current folder is imported in the place of a library.
    command = [sys.executable, "-P", *words]
    return subprocess.Popen(command, env=environment, preexec_fn=preparing, stderr=stderr)


def stop_all(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Tell them to stop, and wait until they have ended."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()


def threads_variable(threads: int | None) -> dict[str, str]:
    """The environment of a process of so many threads; None: as many as the libraries take."""
    return {} if threads is None else {"OMP_NUM_THREADS": str(threads)}


@contextlib.contextmanager
def extra_workers(
    count: int, arguments: Sequence[str], threads: int | None, say: Callable[[str], None]
) -> Iterator[None]:
    """``count`` further processes while the block runs; afterwards they are waited for.

    If the block ends in an error or an interruption they are told to stop, and so they are, on Linux, if this process
    is killed. A worker that dies loses nothing, its claim is taken over; its end is told by ``say``.
    """
    command = ["-m", "multibench", *arguments]
    workers = [start_python(command, threads_variable(threads)) for _ in range(count)]
    try:
        yield
        for worker in workers:
            if worker.wait() not in _USUAL_ENDS:
                say(
                    f"A further process ended with code {worker.returncode}; its runs were made by the others."
                )
    finally:
        stop_all(workers)
