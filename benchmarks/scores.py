"""How long storing a run takes, and ``status``, ``scores`` and the check before ``run`` over 10,000 stored runs.

Made-up runs, stored through the real store: 25 pretraining seeds x 5 steps x 4 learning rates x 5 fine-tuning seeds on
four GLUE tasks of 277 to 1,043 dev examples. Each verb is a process of its own, called twice: first on results that
were never looked at, then again. Wall time and, for busy machines, processor time of the process.

    python benchmarks/scores.py [--runs 10000] [--keep FOLDER]
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from multibench.metrics import METRICS
from multibench.recipes import Hyperparameters
from multibench.results import Predictions, RunIdentity, RunStore
from multibench.results.provenance import environment, timestamp
from multibench.seeds import derive_seeds
from multibench.tasks import find_task

TASKS = ("rte", "mrpc", "cola", "sst2")
STEPS = (20_000, 200_000, 500_000, 1_000_000, 2_000_000)
RATES = (2e-5, 3e-5, 4e-5, 5e-5)
TRAINING_STEPS = 230
GOAL = 10.0


def grid(count):
    """The first ``count`` runs, evenly over the tasks."""
    whole = itertools.product(range(25), STEPS, RATES, range(5), TASKS)
    return list(itertools.islice(whole, count))


def record_of(seed, step, rate, finetuning_seed, task, outputs, labels):
    """What a finished run records, as ``execution.run`` does."""
    settings = Hyperparameters(learning_rate=rate, batch_size=32, epochs=3)
    identity = RunIdentity.of(f"{seed}-{step}", task, "1" * 64, settings, derive_seeds(finetuning_seed))
    metrics = {name: METRICS.get(name).score(labels, outputs) for name in task.metrics}
    return identity.run_id, {
        "status": "finished",
        "reason": None,
        "identity": identity.to_dict(),
        "labels": {
            "family": "multiberts",
            "checkpoint": f"google/multiberts-seed_{seed}-step_{step // 1000}k",
            "pretraining_seed": seed,
            "step": step,
            "parameters": 109_482_240,
            "task": task.name,
            "finetuning_seed": finetuning_seed,
            "held_out": None,
        },
        "suite": {"name": "grid", "recipe": "multiberts_glue", "selection": "none", "keep_weights": "none"},
        "settings": settings.model_dump(mode="json"),
        "evaluations": {
            f"{task.name}.dev": {
                "metrics": metrics,
                "headline": task.headline,
                "examples": len(labels),
                "data": "0" * 64,
                "as_released": True,
                "origin": "dev.tsv",
            }
        },
        "training_data": {"data": "1" * 64, "examples": 2490, "held_out": None, "as_released": True},
        "training": {"steps": TRAINING_STEPS, "seconds": 100.0, "flops_per_second": 1e11},
        "provenance": {**environment(), "started": timestamp(), "finished": timestamp(), "seconds": 101.0},
    }


def history(rng):
    return {name: rng.random(TRAINING_STEPS).tolist() for name in ("loss", "learning_rate", "gradient_norm")}


def fill(folder, runs):
    """Store ``runs``; returns the seconds that each took, making it up left out."""
    store, rng, seconds = RunStore(folder), np.random.default_rng(0), []
    tasks = {name: find_task(name) for name in TASKS}
    gold = {name: rng.integers(0, 2, task.splits["dev"].rows) for name, task in tasks.items()}
    for seed, step, rate, finetuning_seed, name in runs:
        labels = gold[name]
        outputs = rng.normal(size=(len(labels), 2)).astype(np.float32)
        outputs[np.arange(len(labels)), labels] += 1
        run_id, record = record_of(seed, step, rate, finetuning_seed, tasks[name], outputs, labels)
        predictions = {f"{name}.dev": Predictions(tuple(map(str, range(len(labels)))), outputs, labels)}
        made = history(rng)
        started = time.perf_counter()
        store.write(run_id, record, made, predictions)
        seconds.append(time.perf_counter() - started)
    return seconds


def store_large(folder):
    """Store predictions of about 1, 10 and 40 MB."""
    rng = np.random.default_rng(0)
    for megabytes in (1, 10, 40):
        outputs = rng.normal(size=(megabytes * 85_000, 3)).astype(np.float32)
        part = Predictions(tuple(map(str, range(len(outputs)))), outputs, rng.integers(0, 3, len(outputs)))
        started = time.perf_counter()
        RunStore(folder).write(f"run{megabytes}", {"status": "finished"}, {}, {"t.dev": part})
        wall = time.perf_counter() - started
        size = (folder / f"runs/run{megabytes}/predictions/t.dev.parquet").stat().st_size / 1e6
        goal = 0.050 + 0.020 * size
        print(
            f"storing {size:4.1f} MB: {1000 * wall:.0f} ms wall, "
            f"{goal / wall:.1f} times faster than {1000 * goal:.0f} ms"
        )


def call(what, *command):
    """Run ``command`` in a process of its own; prints its wall time, and prints and returns its processor time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what:<45} {wall:6.2f} s wall  {processor:6.2f} s processor", flush=True)
    return processor


# What `run` does before the first run, without a suite around it.
CHECK = """
import sys, pathlib
from multibench.results import RunStore
from multibench.results.index import read_runs
read_runs(RunStore(pathlib.Path(sys.argv[1])), verify=True)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="store them here, or use what is stored here already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)) / "grid"
        if not folder.is_dir():
            seconds = fill(folder, grid(options.runs))
            median, most = statistics.median(seconds), statistics.quantiles(seconds, n=10)[-1]
            print(
                f"storing a run of about 30 kB: median {1000 * median:.0f} ms wall, nine of ten under "
                f"{1000 * most:.0f} ms, {0.05 / most:.1f} times faster than 50 ms"
            )
            store_large(Path(scratch) / "large")
        store = RunStore(folder)
        print(f"{len(store.run_ids()):,} runs stored")
        for what, command in (
            ("status", ("-m", "multibench", "status", folder)),
            ("scores --select none", ("-m", "multibench", "scores", folder, "--select", "none")),
            (
                "scores --select best_mean_dev",
                ("-m", "multibench", "scores", folder, "--select", "best_mean_dev"),
            ),
            ("the check before run", ("-c", CHECK, folder)),
            ("verify results (reads everything)", ("-m", "multibench", "verify", "results", folder)),
        ):
            store.forget()
            first = call(f"{what}, first call", *command)
            again = call(f"{what}, again", *command)
            print(
                f"  {GOAL / again:.1f} times faster than {GOAL:g} s, {first / again:.1f} than the first call"
            )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
