"""What a run records of the device that it was made on: the card, its driver, and what products may be rounded to."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from multibench.execution.devices import VISIBLE
from multibench.results.provenance import driver_version

__all__ = ["device_record"]


def device_record(device: torch.device) -> dict[str, Any]:
    """For the provenance of a run on ``device``; what cannot be known is None.

    ``arithmetic`` holds torch's switches as they are when this is called, and is None on a CPU, as is ``card``.
    """
    cuda = device.type == "cuda"
    card = _card(device) if cuda else None
    return {
        "device": device.type,
        "accelerator": None if card is None else card["name"],
        "card": card,
        # In full: the metadata of a package may leave out "+cu130".
        "torch": str(torch.__version__),
        "arithmetic": _arithmetic() if cuda else None,
    }


def _card(device: torch.device) -> dict[str, str | None]:
    """Names and versions. ``uuid`` is as torch gives it, without the ``GPU-`` that nvidia-smi puts before it."""
    properties = _if_known(lambda: torch.cuda.get_device_properties(device))
    uuid = getattr(properties, "uuid", None)
    return {
        "name": _if_known(lambda: torch.cuda.get_device_name(device)),
        "uuid": None if uuid is None else str(uuid),
        "visible": os.environ.get(VISIBLE),
        "driver": driver_version(),
        "driver_cuda": _if_known(_newest_of_driver),
        "cuda": torch.version.cuda,
    }


def _newest_of_driver() -> str | None:
    """The newest version of CUDA that the driver can run: 13000 is 13.0."""
    number = torch._C._cuda_getDriverVersion()  # type: ignore[attr-defined]  # not declared
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _arithmetic() -> dict[str, bool | str | None]:
    """TF32 and reduced precision. torch refuses to tell its older switches once its newer ones were set: None."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return {
        "matmul_allow_tf32": _if_known(lambda: matmul.allow_tf32),
        "matmul_fp32_precision": _if_known(lambda: matmul.fp32_precision),
        "float32_matmul_precision": _if_known(torch.get_float32_matmul_precision),
        "cudnn_allow_tf32": _if_known(lambda: cudnn.allow_tf32),
        "bf16_reduced_precision_reduction": _if_known(lambda: matmul.allow_bf16_reduced_precision_reduction),
        "fp16_reduced_precision_reduction": _if_known(lambda: matmul.allow_fp16_reduced_precision_reduction),
    }


def _if_known(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (
        RuntimeError,
        AttributeError,
        AssertionError,
    ):  # another torch, another driver, or a card that is gone
        return None
