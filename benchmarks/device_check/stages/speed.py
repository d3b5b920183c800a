"""Examples a second in bf16 at MRPC's lengths: a plain loop with dynamic padding, and runs together."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

import torch

from multibench.bench import Case, Speed, measure_hardware, plain, together

from ..options import Given
from . import Say


def run(given: Given, say: Say) -> None:
    """A way that fails (out of memory, say) is told, and the next one follows."""
    device = torch.device(given.device)
    sizes, counts, steps = (
        (["tiny"], [1, 2], 2) if given.small else (["base", "tiny", "medium"], [1, 4, 20], 20)
    )
    products = measure_hardware(device).products["bf16"]
    for size in sizes:
        case = Case(size, "mrpc", "bf16", device, 4 if given.small else 32, steps)
        plain_rate: float | None = None
        for count in (0, *counts):
            way: Callable[[], Speed] = (
                partial(plain, case, "longest") if not count else partial(together, case, count)
            )
            own = {"size": size, "replicas": count, "way": "together" if count else "plain, dynamic padding"}
            try:
                found = way()
            except Exception as error:
                say(**own, error=f"{type(error).__name__}: {error}"[:300])
                continue
            finally:
                _clean()
            plain_rate = found.examples if not count else plain_rate
            say(**own, **_figures(found, case, products, max(1, count), plain_rate))


def _figures(
    found: Speed, case: Case, products: float, runs: int, base: float | None
) -> dict[str, float | None]:
    """``step_ms`` is of one run: a step of all together, divided by them."""
    return {
        "examples": found.examples,
        "times_plain": None if base is None else found.examples / base,
        "step_ms": 1e3 * case.batch_size / found.examples,
        "step_of_all_ms": 1e3 * case.batch_size * runs / found.examples,
        "of_products": found.share_of(products, case),
        "memory": found.memory,
    }


def _clean() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
