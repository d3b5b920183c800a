"""Which GPUs this machine has, without loading torch where there is no driver for any."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["found_cards"]

# What drivers of CUDA (Linux, WSL) and ROCm leave on a machine with a card.
_DRIVERS = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))


def found_cards() -> list[str]:
    """The names that torch gives the cards it finds, each as often as it is there; none if one does not answer."""
    loaded = "torch" in sys.modules or not sys.platform.startswith("linux")
    if not loaded and not any(driver.exists() for driver in _DRIVERS):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    try:
        return [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    except RuntimeError:  # a broken card; `run` says so
        return []
