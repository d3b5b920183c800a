"""Do the ways of training give the same runs? CPU and GPU, fp32 and bf16, alone and together, on a suite of yours.

    python benchmarks/agreement.py suites/minilm_glue.yaml --data DATA --checkpoints FOLDER [--out FOLDER]
    python benchmarks/agreement.py demo --ways cpu-fp32-alone cpu-fp32-together cpu-bf16-alone

Every way makes all runs of the suite in a folder of its own (``multibench run``; it resumes), then each way is held
against the first, run by run: the mean difference of scores in points, the mean absolute one, and the share of
examples with equal answers. Beside them stands that share between fine-tuning seeds of the first way: what
differs less than seeds do is noise that error bars cover. Ways that need a GPU are left out where there is none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multibench.results import Results
from multibench.results.frame import StoredRun

WAYS = [
    f"{d}-{p}-{t}" for d, p, t in itertools.product(("cpu", "cuda"), ("fp32", "bf16"), ("alone", "together"))
]
Runs = dict[tuple[Any, ...], StoredRun]


def made(way: str, suite: str, out: Path, words: list[str]) -> Runs:
    """The suite's runs, trained that ``way``, by checkpoint, task, settings but the precision, and fine-tuning seed."""
    device, precision, company = way.split("-")
    command = [
        sys.executable,
        "-m",
        "multibench",
        "run",
        suite,
        "--results",
        str(out / way),
        "--device",
        device,
    ]
    command += ["--set", f"recipe.precision={precision}", "--replicas", "1" if company == "alone" else "auto"]
    subprocess.run([*command, *words], check=True)
    found = {}
    for run in Results.open(out / way).stored:
        fields, settings = run.fields, {**run.manifest["settings"], "precision": None}
        same = fields["family"], fields["checkpoint"], fields["task"], json.dumps(settings, sort_keys=True)
        found[*same, fields["finetuning_seed"]] = run
    return found


def score(run: StoredRun, evaluation: str) -> float:
    """The headline metric in points."""
    return 100.0 * float(run.score(evaluation, run.manifest["evaluations"][evaluation]["headline"]))


def equal(one: StoredRun, other: StoredRun, evaluation: str) -> float:
    """The share of examples with the same class, the same best answer, or the same score to a tenth."""
    x, y = (run.predictions(evaluation) for run in (one, other))
    if x.texts is not None and y.texts is not None:
        return float(np.mean([mine == its for mine, its in zip(x.texts, y.texts, strict=True)]))
    a, b = x.outputs, y.outputs
    if a.shape[1] == 1:
        return float((np.abs(a - b) < 0.1).mean())
    return float((a.argmax(1) == b.argmax(1)).mean())


def print_way(way: str, found: Runs, base: Runs) -> None:
    """A line for each evaluation."""
    for evaluation in sorted({name for run in base.values() for name in run.manifest["evaluations"]}):
        # Runs that broke down have no evaluations, and may have done so in one way only.
        own = {
            key: run
            for key, run in base.items()
            if all(evaluation in its.manifest["evaluations"] for its in (run, found[key]))
        }
        if not own:
            print(f"{way:20}{evaluation:32}{0:5}")
            continue
        gaps = [score(found[key], evaluation) - score(run, evaluation) for key, run in own.items()]
        same = [equal(found[key], run, evaluation) for key, run in own.items()]
        seeds = [
            equal(own[one], own[other], evaluation)
            for one, other in itertools.combinations(own, 2)
            if one[:-1] == other[:-1]
        ]
        mean = np.mean([score(found[key], evaluation) for key in own])
        print(
            f"{way:20}{evaluation:32}{len(own):5}{mean:8.2f}{np.mean(gaps):8.2f}{np.mean(np.abs(gaps)):10.2f}"
            f"{np.mean(same):8.1%}{np.mean(seeds) if seeds else float('nan'):8.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suite")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--out", type=Path, help="where runs are kept; thrown away if not given")
    given, words = parser.parse_known_args()
    ways = [way for way in given.ways if torch.cuda.is_available() or not way.startswith("cuda")]
    with tempfile.TemporaryDirectory() as scratch:
        found = {way: made(way, given.suite, given.out or Path(scratch), words) for way in ways}
        print(f"differences from {ways[0]} in points")
        print(
            f"{'way':20}{'evaluation':32}{'runs':>5}{'score':>8}{'mean':>8}{'absolute':>10}{'equal':>8}{'seeds':>8}"
        )
        for way in ways:
            print_way(way, found[way], found[ways[0]])


if __name__ == "__main__":
    main()
