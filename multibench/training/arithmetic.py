"""How a GPU computes products in a precision: set for a training and its predictions, before the first product."""

from __future__ import annotations

import torch

from multibench.recipes import Precision

__all__ = ["set_arithmetic"]


def set_arithmetic(precision: Precision, device: torch.device) -> None:
    """Products of float32 are those of float32, unless ``precision`` is ``tf32``; those of halves add in float32.

    What a CPU does is not changed. The settings are the process's, and stay.
    """
    if device.type != "cuda":
        return
    matmul = torch.backends.cuda.matmul
    matmul.allow_tf32 = precision == "tf32"
    matmul.allow_bf16_reduced_precision_reduction = False
    matmul.allow_fp16_reduced_precision_reduction = False
