"""What each verb costs at least: processor and wall time of a small call, and the libraries it loads.

Every call is a process of its own; medians of several. The results that are read are 16 made-up runs, the suite is the
built-in one. Time of verbs that compute (``scores`` and the like) includes that.

    python benchmarks/start.py [--times 5]
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scores import fill, grid  # type: ignore[import-not-found]  # the script beside this one

GOAL = 0.3
HEAVY = (
    "numpy",
    "pydantic",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "matplotlib",
    "datasets",
    "transformers",
    "torch",
)
CALL = f"""
import sys
from multibench.cli import main
try:
    main()
finally:
    print("loaded:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


def calls(folder):
    """What is called: the arguments of the command line."""
    step = "step=20000"
    return [
        ["--help"],
        ["run", "--help"],
        ["list", "tasks"],
        ["list", "checkpoints"],
        ["show", "recipe", "bert_glue"],
        ["init", "multiberts"],
        ["plan", "demo", "--results", folder],
        ["status", "demo", "--results", folder],
        ["status", folder],
        ["verify", "results", folder],
        ["scores", folder],
        ["variance", folder, "--where", f"{step},learning_rate=2e-5"],
        ["compare", folder, "--base", f"{step},learning_rate=2e-5", "--expt", f"{step},learning_rate=3e-5"],
    ]


def measure(arguments, times):
    """Median wall and processor seconds of a call, and the libraries that it loads."""
    wall, processor, loaded = [], [], ""
    for _ in range(times):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", CALL, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        wall.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        loaded = done.stderr.rpartition("loaded:")[2].strip()
    return statistics.median(wall), statistics.median(processor), loaded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MULTIBENCH_CACHE"] = str(Path(scratch) / "cache")
        folder = Path(scratch) / "results"
        # Both learning rates of one step, five fine-tuning seeds, two pretraining seeds.
        fill(
            folder / "grid",
            [run for run in grid(10_000) if run[0] < 2 and run[1] == 20_000 and run[4] == "rte"],
        )
        print(f"{'multibench':<24} {'wall s':>7} {'processor s':>12}  loads")
        for arguments in calls(folder):
            wall, processor, loaded = measure(arguments, options.times)
            what = " ".join(str(word) for word in arguments[:3] if not Path(str(word)).is_dir())
            print(f"{what:<24} {wall:7.2f} {processor:12.2f}  {loaded}", flush=True)
            if arguments == ["--help"]:
                print(f"  {GOAL / processor:.1f} times faster than {GOAL:g} s")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
