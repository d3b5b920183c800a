"""How fast fine-tuning is on this machine, beside what one would run instead."""

from multibench.bench.contenders import Case, Speed, plain, together
from multibench.bench.hardware import Hardware, measure_hardware
from multibench.bench.sizes import SIZES, Size
from multibench.bench.table import bench

__all__ = [
    "SIZES",
    "Case",
    "Hardware",
    "Size",
    "Speed",
    "bench",
    "measure_hardware",
    "plain",
    "together",
]
