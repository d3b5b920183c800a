"""Ways to train many runs on one device, by model size: what ``multibench bench`` shows, and what else there is.

    python benchmarks/gpu.py [--sizes base tiny ...] [--replicas 1 2 4 8 20] [--precision bf16 fp32]
    python benchmarks/gpu.py --device cpu --sizes tiny --replicas 1 2 --steps 3 --tasks mrpc     small, anywhere

The ways: a plain loop, padded to 128 tokens or to each batch's longest; the same through ``torch.compile``, and with
CUDA graphs (``reduce-overhead``); several processes on the device, a run each; runs stacked by multibench. Weights
and words are random, which is as good for time; lengths spread around those of MRPC, RTE and MNLI. For each: examples a
second of all runs together, the share of the device's measured matrix-multiplication rate that the
operations of real tokens make up (six a weight), the largest memory in use, and how many times the plain
loop, padded to the longest, that is. ``--skip compiled`` leaves ways out whose names contain that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

import torch

from multibench.bench import SIZES, Case, Speed, measure_hardware, plain, together


def processes(case: Case, count: int) -> Speed:
    """So many processes on the device at the same time, each with a run alone; rates are added."""
    words = [
        "--device",
        case.device.type,
        "--sizes",
        case.size,
        "--tasks",
        case.task,
        "--precision",
        case.precision,
    ]
    words += ["--batch-size", str(case.batch_size), "--steps", str(case.steps), "--alone"]
    children = [
        subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    found = [tuple(map(float, child.communicate()[0].split())) for child in children]
    return Speed(sum(examples for examples, _ in found), sum(tokens for _, tokens in found), None)


def ways_of(case: Case, replicas: list[int]) -> dict[str, Callable[[], Speed]]:
    """All ways, by name."""
    ways: dict[str, Callable[[], Speed]] = {
        "plain, padded": lambda: plain(case, "max"),
        "plain": lambda: plain(case, "longest"),
        "compiled, padded": lambda: plain(case, "max", "default"),
        "compiled, graphs, padded": lambda: plain(case, "max", "reduce-overhead"),
    }
    for count in replicas:
        ways[f"stacked {count}"] = lambda count=count: together(case, count)  # type: ignore[misc]
        if 1 < count <= 8:
            ways[f"processes {count}"] = lambda count=count: processes(case, count)  # type: ignore[misc]
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--tasks", nargs="+", default=["mrpc", "rte", "mnli"])
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 2, 4, 8, 20])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["bf16", "fp32"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--skip", nargs="+", default=[])
    parser.add_argument("--alone", action="store_true", help="print the rates of one run alone, and end")
    given = parser.parse_args()
    device = torch.device(given.device)
    if given.alone:
        found = together(
            Case(given.sizes[0], given.tasks[0], given.precision[0], device, given.batch_size, given.steps), 1
        )
        print(found.examples, found.tokens)
        return
    hardware = measure_hardware(device)
    print(hardware.sentence() + "\n")
    print(
        f"{'size':8}{'task':6}{'precision':10}{'way':26}{'examples/s':>12}{'share':>8}{'memory':>10}{'times':>7}"
    )
    for size in given.sizes:
        for task in given.tasks:
            for precision in given.precision:
                case = Case(size, task, precision, device, given.batch_size, given.steps)
                baseline = None
                for name, way in ways_of(case, given.replicas).items():
                    if any(word in name for word in given.skip):
                        continue
                    head = f"{size:8}{task:6}{precision:10}{name:26}"
                    try:
                        found = way()
                    except torch.OutOfMemoryError:
                        print(f"{head}  out of memory")
                        continue
                    baseline = found.examples if name == "plain" else baseline
                    share = found.share_of(hardware.products[precision], case)
                    memory = "" if found.memory is None else f"{found.memory / 1e9:.1f} GB"
                    times = "" if baseline is None else f"{found.examples / baseline:.2f}"
                    print(f"{head}{found.examples:12.0f}{share:8.1%}{memory:>10}{times:>7}")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
