"""``bench``: what is fast on this machine, as one table of ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Literal

import torch

from multibench.bench.contenders import Case, Speed, plain, together
from multibench.bench.hardware import measure_hardware
from multibench.bench.sizes import SIZES
from multibench.errors import UnknownNameError
from multibench.execution.devices import choose_device, use_device
from multibench.execution.memory import keep_freed_memory
from multibench.reports.cells import Cell, Quantity, share
from multibench.reports.tables import Table
from multibench.tasks import find_task

__all__ = ["bench"]

Precision = Literal["fp32", "bf16"]
_FOR_PROGRAMS = ("replicas", "operations per second")
_PADDED, _DYNAMIC = "transformers, padded to 128", "transformers, padded to the longest"


def bench(
    sizes: Sequence[str] = ("tiny",),
    task: str = "mrpc",
    replicas: Sequence[int] = (1, 4, 16),
    precisions: Sequence[Precision] = ("fp32", "bf16"),
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = 32,
    steps: int = 10,
    repeats: int = 3,
    on_measured: Callable[[str], None] | None = None,
) -> Table:
    """Examples a second of fine-tuning on this machine, and how many times as fast as a plain script each way is.

    Each way of training is warmed up for ``steps`` steps (of all runs together, but two at least, on a GPU ten) and
    timed for as many, ``repeats`` times in turn; medians are given. ``sizes`` are names of ``SIZES``; lengths are
    those of ``task``'s texts. ``on_measured`` is told what was measured. Raises ``UnknownNameError`` for an unknown
    name.
    """
    unknown = [size for size in sizes if size not in SIZES]
    if unknown:
        raise UnknownNameError(f"There is no size {unknown[0]!r}; there are {', '.join(SIZES)}.")
    find_task(task)
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = choose_device(device)
    use_device(chosen)
    keep_freed_memory()
    hardware = measure_hardware(chosen)
    rows: list[dict[str, Cell]] = []
    for size in sizes:
        slow: float | None = None  # padded, in the first precision
        for precision in precisions:
            case = Case(size, task, precision, chosen, batch_size, steps)
            ways: dict[str, Callable[[], Speed]] = {
                _PADDED: partial(plain, case, "max"),
                _DYNAMIC: partial(plain, case, "longest"),
            }
            stacked: dict[str, int] = {}  # of what is not ours nothing
            for count in replicas:
                name = "multibench, a run alone" if count == 1 else f"multibench, {count} runs together"
                # As many steps of a run in all; a GPU needs some to show more than their set-up.
                least = 2 if chosen.type == "cpu" else 10
                fewer = replace(case, steps=max(least, round(steps / count)))
                ways[name], stacked[name] = partial(together, fewer, count), count
            found: dict[str, list[Speed]] = {name: [] for name in ways}
            for _ in range(repeats):
                for name, way in ways.items():
                    found[name].append(way())
                    if on_measured is not None:
                        on_measured(f"{size} {precision} {name}: {found[name][-1].examples:.0f} examples/s")
            speed = {name: _median(speeds) for name, speeds in found.items()}
            slow = slow or speed[_PADDED].examples
            for name, own in speed.items():
                rows.append(
                    {
                        "size": size,
                        "precision": precision,
                        "training": name,
                        "examples/s": _number(own.examples, "examples/s"),
                        f"times padded {precisions[0]}": _times(own.examples / slow),
                        "times padded to the longest": _times(own.examples / speed[_DYNAMIC].examples),
                        "of the device's rate": share(own.share_of(hardware.products[precision], case)),
                        "memory [GB]": None if own.memory is None else _number(own.memory / 1e9, "GB"),
                        # For `plan --rate`: in JSON alone.
                        "replicas": stacked.get(name),
                        "operations per second": own.tokens * SIZES[size].operations_per_token,
                    }
                )
    shown = [name for name in rows[0] if name not in _FOR_PROGRAMS] if rows else []
    columns = [name for name in shown if any(row[name] is not None for row in rows)]
    notes = (
        hardware.sentence() + ".",
        f"Random weights; texts as long as those of {task}; batches of {batch_size}; medians of {repeats} times "
        f"{steps} steps, interleaved. Start-up is not counted: a script pays it for every run, multibench once.",
        "Rates are of all runs together, shares of the device's rate those of real tokens, without padding.",
    )
    extra = {"device": hardware.to_dict(), "sizes": {size: asdict(SIZES[size]) for size in sizes}}
    return Table("Speed of fine-tuning", tuple(columns), tuple(rows), notes, extra)


def _median(speeds: list[Speed]) -> Speed:
    """The measurement in the middle."""
    return sorted(speeds, key=lambda s: s.examples)[len(speeds) // 2]


def _number(value: float, unit: str) -> Quantity:
    return Quantity(value, f"{value:,.0f}" if value >= 100 else f"{value:.3g}", unit)


def _times(value: float) -> Quantity:
    return Quantity(value, f"{value:.2f}", "times")
