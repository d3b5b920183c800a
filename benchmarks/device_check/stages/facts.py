"""What the device is and can do at best: the check of every later figure."""

from __future__ import annotations

import time
from typing import Any

from ..options import Given
from . import Say


def run(given: Given, say: Say) -> None:
    clock = time.perf_counter()
    import torch

    say(what="import of torch", seconds=time.perf_counter() - clock)
    from multibench.bench import measure_hardware

    device = torch.device(given.device)
    clock = time.perf_counter()
    torch.ones(1, device=device).sum().item()
    say(what="first use of the device", seconds=time.perf_counter() - clock)
    say(what="device", **_card(device), **_flags())
    found = measure_hardware(device)
    say(what="rates", name=found.name, products=found.products, copying=found.copying, threads=found.threads)


def _card(device: Any) -> dict[str, Any]:
    """What torch says of the card."""
    import torch

    told: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        told.update(
            card=card.name,
            uuid=str(getattr(card, "uuid", "")),
            memory=card.total_memory,
            free=torch.cuda.mem_get_info(device)[0],
            processors=card.multi_processor_count,
            capability=f"{card.major}.{card.minor}",
            cudnn=torch.backends.cudnn.version(),
            cards=torch.cuda.device_count(),
        )
    return told


def _flags() -> dict[str, bool]:
    """Shortcuts in products that change numbers, as torch begins with."""
    import torch

    products = torch.backends.cuda.matmul
    return {
        "tf32": products.allow_tf32,
        "reduced_bf16": products.allow_bf16_reduced_precision_reduction,
        "reduced_fp16": products.allow_fp16_reduced_precision_reduction,
    }
