"""What this process may use of its machine: cores and memory, within the limits of a container."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["cores", "memory"]

_LIMITS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


def cores() -> int:
    """Physical cores, at most ``OMP_NUM_THREADS`` where that is set."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    count = len({_siblings(cpu) for cpu in cpus})
    limits = [limit for limit in (_allowance(), _told()) if limit]
    return max(1, min([count, *limits]))


def memory() -> int:
    """Bytes of main memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(_LIMITS / "memory.max")
    return min(physical, int(limit)) if limit.isdecimal() else physical


def _siblings(cpu: int) -> str:
    """A name of the core that the logical processor ``cpu`` is a thread of."""
    return _read(_CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)


def _allowance() -> int | None:
    """Cores' worth of time that a container has."""
    quota, _, period = _read(_LIMITS / "cpu.max").partition(" ")
    return math.ceil(int(quota) / int(period)) if quota.isdecimal() and period.isdecimal() else None


def _told() -> int | None:
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
