"""What this process may use of its machine, within the limits of containers and batch systems."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Device", "cores", "memory"]

# Of Linux; elsewhere nothing is there, and nothing limits.
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Device:
    """What runs are trained on, and the bytes of memory there are for them: a CPU's is the machine's."""

    kind: Literal["cpu", "cuda"]
    memory: int
    cards: int = 1
    """How many such GPUs share the runs; ``memory`` is that of one."""
    cores: int = 1
    """How many cores of a CPU share them."""

    @property
    def places(self) -> int:
        """Where groups of runs can be trained at once."""
        return self.cards if self.kind == "cuda" else self.cores


def cores() -> int:
    """Physical cores, or as much of their time as this process may have."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    count = len({_siblings(cpu) for cpu in cpus})
    return max(1, min([count, *map(math.ceil, _shares())]))


def memory() -> int:
    """Bytes of main memory that this process may have."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [*_read("", "memory.max"), *_read("memory", "memory.limit_in_bytes")]
    return min([physical, *(int(limit) for limit in limits if limit.isdecimal())])


def _siblings(cpu: int) -> str:
    """A name of the core that the logical processor ``cpu`` is a thread of."""
    return _text(_CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)


def _shares() -> Iterator[float]:
    """Processors' worth of time, by each limit there is."""
    old = zip(_read("cpu", "cpu.cfs_quota_us"), _read("cpu", "cpu.cfs_period_us"), strict=False)
    for quota, period in [*(limit.split() for limit in _read("", "cpu.max")), *old]:
        if quota.isdecimal() and period.isdecimal():
            yield int(quota) / int(period)


def _read(controller: str, name: str) -> list[str]:
    """The file ``name`` of this process's control group and of all around it, where it is.

    ``controller`` is one of version 1's, or "" for version 2. In a container groups may be named as they are outside
    of it; the outermost folder is the container's own then.
    """
    found = []
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, own = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        root = _GROUPS / controllers
        inner = root / own.lstrip("/")
        folders = [inner, *(folder for folder in inner.parents if folder.is_relative_to(root))]
        found += [text for folder in folders if (text := _text(folder / name))]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
