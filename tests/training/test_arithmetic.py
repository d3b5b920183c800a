"""What a GPU does in each precision, as torch is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from multibench.recipes import Precision
from multibench.training.arithmetic import set_arithmetic

SWITCHES = ("allow_tf32", "allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")


def _switches() -> list[bool]:
    return [getattr(torch.backends.cuda.matmul, name) for name in SWITCHES]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = _switches()
    yield
    for name, value in zip(SWITCHES, before, strict=True):
        setattr(torch.backends.cuda.matmul, name, value)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_float32_is_float32_unless_the_recipe_says_tf32(precision: Precision) -> None:
    for name in SWITCHES:
        setattr(torch.backends.cuda.matmul, name, precision != "tf32")
    set_arithmetic(precision, torch.device("cpu"))
    assert _switches() == [precision != "tf32"] * 3  # a CPU changes nothing
    set_arithmetic(precision, torch.device("cuda"))
    assert _switches() == [precision == "tf32", False, False]
