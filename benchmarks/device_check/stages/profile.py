"""Where the time of a step goes: the operators of three steps, and how long the device is busy."""

from __future__ import annotations

import time
from typing import Any

from torch.profiler import ProfilerActivity
from torch.profiler import profile as recording

from ..options import Given
from ..training import train_some
from . import Say

_STEPS = 3
_ROWS = 40
_TOLD = 12


def run(given: Given, say: Say) -> None:
    kinds = [ProfilerActivity.CPU]
    if given.device == "cuda":
        kinds.append(ProfilerActivity.CUDA)
    side = "device" if given.device == "cuda" else "cpu"
    for size, replicas in [("tiny", 2)] if given.small else [("base", 8), ("tiny", 20)]:
        train_some(size, replicas, "bf16", given.device, _STEPS)  # warm
        clock = time.perf_counter()
        with recording(activities=kinds) as found:
            train_some(size, replicas, "bf16", given.device, _STEPS)
        wall = time.perf_counter() - clock
        averages = found.key_averages()
        table = averages.table(sort_by=f"self_{side}_time_total", row_limit=_ROWS)
        (given.out / f"profile-{size}-{replicas}.txt").write_text(table, "utf-8")
        times = {event.key: (_microseconds(event, side), int(event.count)) for event in averages}
        most = sorted(times.items(), key=lambda one: -one[1][0])[:_TOLD]
        say(
            size=size,
            replicas=replicas,
            steps=_STEPS,
            wall_s=wall,
            busy_s=sum(spent for spent, _ in times.values()) / 1e6,
            launches=sum(count for name, (_, count) in times.items() if name.startswith("cudaLaunchKernel")),
            most=[{"name": name[:120], "ms": spent / 1e3, "calls": count} for name, (spent, count) in most],
        )


def _microseconds(event: Any, side: str) -> float:
    return float(getattr(event, f"self_{side}_time_total", 0.0))
