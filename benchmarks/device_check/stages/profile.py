"""Where the time of a step goes: what it takes, how long the device is busy, what it launches, which operators.

Figures are of one step of all runs together: what six steps took less what two did, over four. So what comes before
and after the steps is not in them.
"""

from __future__ import annotations

import re
import time
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.profiler import profile as recording

from ..options import Given
from ..training import train_some
from . import Say

_FEW, _MORE = 2, 6
_ROWS = 40
_TOLD = 12
_LAUNCH = re.compile(r"cu(da)?(Launch|GraphLaunch)")
Times = dict[str, tuple[float, int]]


def run(given: Given, say: Say) -> None:
    cuda = given.device == "cuda"
    for size, replicas in [("tiny", 2)] if given.small else [("base", 8), ("tiny", 20)]:
        train_some(size, replicas, "bf16", given.device, _FEW)  # warm
        few_wall, few = _recorded(size, replicas, given.device, _FEW)
        wall, more = _recorded(size, replicas, given.device, _MORE)
        table = more.table(sort_by=f"self_{'device' if cuda else 'cpu'}_time_total", row_limit=_ROWS)
        (given.out / f"profile-{size}-{replicas}.txt").write_text(table, "utf-8")
        spent = _less(_times(more, cuda), _times(few, cuda))
        launches = sum(_calls(events) * sign for events, sign in ((more, 1), (few, -1)))
        say(
            size=size,
            replicas=replicas,
            wall_ms=1e3 * (wall - few_wall) / (_MORE - _FEW),
            busy_ms=sum(ms for ms, _ in spent.values()),
            launches=launches / (_MORE - _FEW),
            most=[
                {"name": name[:120], "ms": ms, "calls": calls}
                for name, (ms, calls) in sorted(spent.items(), key=lambda one: -one[1][0])[:_TOLD]
            ],
        )


def _recorded(size: str, replicas: int, device: str, steps: int) -> tuple[float, Any]:
    """Seconds, and the averages of the profiler."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    clock = time.perf_counter()
    with recording(activities=kinds) as found:
        train_some(size, replicas, "bf16", device, steps)
        wall = time.perf_counter() - clock  # its records are read: the device is done
    return wall, found.key_averages()


def _times(events: Any, cuda: bool) -> Times:
    """Microseconds and calls by name: of kernels and copies on a card, of operators on a processor.

    An operator's row repeats the time of its kernels, which have rows of their own.
    """
    if cuda:
        own = [event for event in events if event.device_type == DeviceType.CUDA]
        return {event.key: (float(event.self_device_time_total), int(event.count)) for event in own}
    return {event.key: (float(event.self_cpu_time_total), int(event.count)) for event in events}


def _less(more: Times, few: Times) -> dict[str, tuple[float, float]]:
    """Milliseconds and calls of one step."""
    steps = _MORE - _FEW
    return {
        name: (
            (spent - few.get(name, (0.0, 0))[0]) / 1e3 / steps,
            (calls - few.get(name, (0.0, 0))[1]) / steps,
        )
        for name, (spent, calls) in more.items()
    }


def _calls(events: Any) -> int:
    return sum(int(event.count) for event in events if _LAUNCH.match(event.key))
