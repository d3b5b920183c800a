"""Several processes on one suite: each run is claimed before it is made.

A claim is a file ``claims/<run id>``, created atomically, whose modification time its owner renews.
A claim whose owner is dead, or has not renewed it for a minute, is taken over. The file says
who made it, so a person can look. Storing is atomic on its own (see ``results.store``): should two
processes ever make one run, the first to finish is kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from multibench.results.store import writing

__all__ = ["Claim", "Claims"]

_RENEW_SECONDS = 5.0
_STALE_SECONDS = 60.0


class Claims:
    """The claims of one suite, in ``folder`` (``RESULTS/<suite>/claims``).

    At the end of a ``with`` block no claim taken in it is left, wherever an interruption struck.
    """

    def __init__(self, folder: Path, stale_seconds: float = _STALE_SECONDS) -> None:
        self._folder = folder
        self._stale_seconds = stale_seconds
        self._taken: list[Claim] = []

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for claim in self._taken:
            claim.release()

    def take(self, run_id: str) -> Claim | None:
        """A claim on the run, or None while a living process holds it."""
        path = self._folder / run_id
        self._taken = [taken for taken in self._taken if not taken.released]
        claim = Claim(path)
        self._taken.append(claim)  # before it is created, so that no interruption leaves it behind
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        if claim.create() or self._take_over(claim, path):
            return claim
        claim.release()
        return None

    def _take_over(self, claim: Claim, path: Path) -> bool:
        """Whether ``claim`` could be created in the place of a dead one."""
        if not self._is_stale(path):
            return False
        with self._lock():
            # Looked at again under the lock: two processes must not both remove what one of them has renewed.
            if not self._is_stale(path):
                return False
            path.unlink(missing_ok=True)
            return claim.create()

    def clear_dead(self) -> None:
        """Remove the claims whose owners are dead, of runs that were stored just before the end included."""
        for name in self._names():
            with self._lock():
                if self._is_stale(self._folder / name):
                    (self._folder / name).unlink(missing_ok=True)

    def living(self) -> set[str]:
        """Ids of the runs that some process is making now. Writes nothing."""
        return {name for name in self._names() if not self._is_stale(self._folder / name, time.time())}

    def _names(self) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self._folder) if not entry.name.startswith(".")]
        except FileNotFoundError:
            return []

    def _is_stale(self, path: Path, now: float | None = None) -> bool:
        try:
            owner = json.loads(path.read_bytes())
            renewed = path.stat().st_mtime
        except FileNotFoundError:
            return True
        if (self._now() if now is None else now) - renewed > self._stale_seconds:
            return True
        if any(owner.get(name) != value for name, value in _here().items()):
            return False  # its number says nothing here
        return bool(_started(int(owner.get("pid", -1))) != owner.get("started"))

    def _now(self) -> float:
        """The time by the clock that sets modification times, which may be a file server's."""
        probe = self._folder / f".now.{uuid.uuid4().hex}"
        with writing(self._folder):
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink(missing_ok=True)
        return now

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Claim:
    """A claim on one run; once created it is renewed in the background until it is released."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    def create(self) -> bool:
        """Create the file; False if it is there already."""
        pid = os.getpid()
        owner = {**_here(), "pid": pid, "started": _started(pid), "token": self._token}
        # Written under another name first: a claim is never seen half written.
        draft = self._path.with_name(f".{self._token}")
        with writing(self._path.parent):
            draft.write_text(json.dumps(owner), "utf-8")
            try:
                os.link(draft, self._path)
            except FileExistsError:
                return False
            finally:
                draft.unlink()
        self._renewer.start()
        return True

    @property
    def released(self) -> bool:
        """Whether it was given up."""
        return self._done.is_set()

    def release(self) -> None:
        """Stop renewing and remove the file, if it is still this claim's. May be called again, from any thread."""
        self._done.set()
        if self._renewer.is_alive():
            self._renewer.join()
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._path.read_bytes())["token"] == self._token:
                self._path.unlink()

    def _renew(self) -> None:
        while not self._done.wait(_RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def _here() -> dict[str, str | None]:
    """Where numbers of processes mean what they mean here: containers of one host may have their own."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = None
    return {"host": socket.gethostname(), "namespace": namespace}


def _started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks: tells a process from a later one with its number.

    None if there is no such process; "unknown" where the system does not say.
    """
    try:
        # The name in parentheses may hold anything; fields are counted from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # dead, and not yet waited for by its parent
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (PermissionError, OverflowError):
        pass
    return "unknown"
