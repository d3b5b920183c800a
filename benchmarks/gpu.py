"""Ways to train many runs on one device, by model size: what ``multibench bench`` shows, and what else there is.

    python benchmarks/gpu.py [--sizes base tiny ...] [--replicas 1 2 4 8 20] [--precision bf16 fp32]
    python benchmarks/gpu.py --data FOLDER --model FOLDER      real texts where FOLDER holds the task (glue/MRPC, ...)
    python benchmarks/gpu.py --device cpu --sizes tiny --replicas 1 2 --steps 3 --tasks mrpc     small, anywhere

The ways: a plain loop, padded to 128 tokens or to each batch's longest; the same through ``torch.compile``, and with
CUDA graphs (``reduce-overhead``; none on a CPU); several processes on the device, a run each; runs stacked by
multibench. Weights are random, and so are words where there are no files, which is as good for time; their lengths
spread around those of the task. For each: examples a second of all runs together, the share of the device's measured
matrix-multiplication rate that the operations of real tokens make up (six a weight), the share of its measured rate of
copying that AdamW's reading and writing makes up, the largest memory in use, and how many times the plain loop,
padded to the longest, that is. ``--skip compiled`` leaves ways out whose names contain that.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer

from multibench.bench import SIZES, Case, Speed, measure_hardware, plain, together
from multibench.bench.sizes import LONGEST
from multibench.tasks import DataSources, find_task, load_split
from multibench.tasks.encode import Encoded, encode


def texts_of(task: str, data: Path | None, model: Path | None) -> Encoded | None:
    """The training texts of ``task`` in the words of the checkpoint at ``model``; None if ``data`` lacks them."""
    found = find_task(task)
    if data is None or model is None or found.official is None or not (data / found.official.folder).is_dir():
        return None
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return encode(load_split(found, "train", DataSources(data)), tokenizer, LONGEST)


def processes(case: Case, count: int, files: list[str]) -> Speed:
    """So many processes, each with a run alone, that begin at the same time once all are warm; rates are added."""
    words = [
        *files,
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
        subprocess.Popen(
            [sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()  # it is warm, or gone
    for child in children:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write("go\n")
            child.stdin.flush()
    found = []
    for child in children:
        rates = child.communicate()[0].split()
        found.append((float(rates[0]), float(rates[1])) if child.returncode == 0 else None)
    if None in found:
        raise RuntimeError(f"{found.count(None)} of {count} processes failed")
    examples, tokens = (sum(column) for column in zip(*filter(None, found), strict=True))
    return Speed(examples, tokens, None)


def alone(case: Case) -> None:
    """What each of ``processes`` does: say when it is warm, wait, train, print the rates."""

    def warm() -> None:
        print("warm", flush=True)
        sys.stdin.readline()

    found = together(case, 1, warm)
    print(found.examples, found.tokens)


def clean() -> None:
    """Nothing that was compiled or allocated before is left."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def ways_of(case: Case, replicas: list[int], files: list[str]) -> dict[str, Callable[[], Speed]]:
    """All ways, by name."""
    ways: dict[str, Callable[[], Speed]] = {
        "plain, padded": partial(plain, case, "max"),
        "plain": partial(plain, case, "longest"),
        "compiled, padded": partial(plain, case, "max", "default"),
        "compiled, graphs, padded": partial(plain, case, "max", "reduce-overhead"),
    }
    for count in replicas:
        ways[f"stacked {count}"] = partial(together, case, count)
        if 1 < count <= 8:
            ways[f"processes {count}"] = partial(processes, case, count, files)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--tasks", nargs="+", default=["mrpc", "rte", "mnli"])
    parser.add_argument("--data", type=Path, help="folder of official files")
    parser.add_argument("--model", type=Path, help="folder with a tokenizer.json of BERT's vocabulary")
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 2, 4, 8, 20])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["bf16", "fp32"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--skip", nargs="+", default=[])
    parser.add_argument("--alone", action="store_true", help="print the rates of one run alone, and end")
    given = parser.parse_args()
    if (given.data is None) != (given.model is None):
        parser.error("--data and --model go together.")
    device = torch.device(given.device)
    texts = {task: texts_of(task, given.data, given.model) for task in given.tasks}

    def case_of(size: str, task: str, precision: Literal["fp32", "bf16"]) -> Case:
        return Case(size, task, precision, device, given.batch_size, given.steps, texts[task])

    if given.alone:
        alone(case_of(given.sizes[0], given.tasks[0], given.precision[0]))
        return
    hardware = measure_hardware(device)
    print(hardware.sentence())
    print("Real texts: " + (", ".join(task for task in texts if texts[task]) or "none") + ".\n")
    print(f"{'size':8}{'task':6}{'precision':10}{'way':26}{'examples/s':>12}{'share':>8}", end="")
    print(f"{'copying':>9}{'memory':>10}{'times':>7}")
    files = [] if given.data is None else ["--data", str(given.data), "--model", str(given.model)]
    for size in given.sizes:
        for task in given.tasks:
            for precision in given.precision:
                case = case_of(size, task, precision)
                baseline = None
                for name, way in ways_of(case, given.replicas, files).items():
                    if any(word in name for word in given.skip):
                        continue
                    head = f"{size:8}{task:6}{precision:10}{name:26}"
                    clean()
                    try:
                        found = way()
                    except Exception as error:  # out of memory, no compiler: the next way may go
                        print(head, f"{type(error).__name__}: {error}".splitlines()[0][:80])
                        continue
                    baseline = found.examples if name == "plain" else baseline
                    share = found.share_of(hardware.products[precision], case)
                    memory = "" if found.memory is None else f"{found.memory / 1e9:.1f} GB"
                    times = "" if baseline is None else f"{found.examples / baseline:.2f}"
                    copied = found.copied(hardware.copying, case)
                    print(f"{head}{found.examples:12.0f}{share:8.1%}{copied:9.1%}{memory:>10}{times:>7}")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
