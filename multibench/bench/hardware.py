"""What a device can do at best: its rate of matrix products, and of copying."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from multibench.planning import memory

__all__ = ["Hardware", "measure_hardware", "now"]

_TIMES = 5


@dataclass(frozen=True)
class Hardware:
    """Rates: of large ``products``, in operations a second; of ``copying``, in bytes read and written a second."""

    name: str
    threads: int
    products: dict[str, float]
    copying: float
    kind: str
    """cpu or cuda."""
    memory: int
    """Bytes: a GPU's own, or those that this process may have."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """All of it, for a person."""
        rates = ", ".join(f"{name} {_rate(rate)}FLOP/s" for name, rate in self.products.items())
        return (
            f"{self.name}, {self.threads} CPU threads, torch {torch.__version__}: matrix products {rates}; "
            f"copies {self.copying / 1e9:.0f} GB/s"
        )


def measure_hardware(device: torch.device) -> Hardware:
    """The best of a few tries each; takes a second or two."""
    gpu = device.type == "cuda"
    products = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        n = 8192 if gpu else 1024
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        products[name] = 2 * n**3 / _best_seconds(partial(torch.matmul, a, b), device)
    source = torch.ones(2**28 if gpu else 2**24, device=device)
    target = torch.empty_like(source)
    seconds = _best_seconds(lambda: target.copy_(source), device)
    name = torch.cuda.get_device_name(device) if gpu else _processor()
    held = torch.cuda.get_device_properties(device).total_memory if gpu else memory()
    copying = 8 * source.numel() / seconds
    return Hardware(name, torch.get_num_threads(), products, copying, device.type, held)


def now(device: torch.device) -> float:
    """The time once ``device`` has done all that it was told to, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _best_seconds(work: Callable[[], Any], device: torch.device) -> float:
    work()
    best = float("inf")
    for _ in range(_TIMES):
        clock = now(device)
        work()
        best = min(best, now(device) - clock)
    return best


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


def _rate(rate: float) -> str:
    return f"{rate / 1e12:.1f} T" if rate >= 1e12 else f"{rate / 1e9:.0f} G"
