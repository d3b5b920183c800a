"""How long planning takes: a suite of some 100,000 runs, with and without its checkpoints on this machine.

The suite crosses 25 pretraining seeds x 28 steps with four built-in tasks, four learning rates and nine fine-tuning
seeds. The family is made up, in MultiBERTs' shape (whose intermediate steps exist for five seeds only). "Here"
means 700 tiny checkpoint folders: each is opened and its weights are known by their digest, which
the first plan computes and the user's cache remembers. Wall time and, for busy machines, processor time.

    python benchmarks/plan.py [--seeds 25]
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from multibench import api
from multibench.checkpoints.catalogue.lookup import FAMILIES, Family, find
from multibench.cli.common import print_json
from multibench.reports.progress import plan_summary, plan_text

STEPS = [20_000 * k for k in range(1, 11)] + [100_000 * k for k in range(3, 21)]
GOAL = 5.0
SUITE = """
name: grid
checkpoints: [{family: planned, steps: all}]
tasks: [pocket_acceptability, pocket_inference, pocket_similarity, pocket_questions]
recipe: {base: multiberts_glue, learning_rate: [1e-5, 2e-5, 3e-5, 5e-5], batch_size: 32, epochs: 3, max_length: 64}
finetuning_seeds: 0-8
"""
CONFIG = {
    "model_type": "bert",
    "vocab_size": 64,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 4,
    "max_position_embeddings": 64,
}


def register_family(seeds):
    template = find("google/multiberts-seed_0")
    checkpoints = tuple(
        replace(template, id=f"planned/seed_{seed}-step_{step}", pretraining_seed=seed, step=step, sources=())
        for seed in range(seeds)
        for step in STEPS
    )
    FAMILIES.register("planned", Family("planned", "made up", "for this script", "none", (), checkpoints))
    return checkpoints


def make_folders(checkpoints, root):
    vocabulary = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"])
    for number, checkpoint in enumerate(checkpoints):
        folder = root / checkpoint.id
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "vocab.txt").write_text(vocabulary)
        weights = {"embeddings.word_embeddings.weight": np.full((64, 4), number, dtype=np.float32)}
        save_file(weights, folder / "model.safetensors")


def measure(what, make):
    started, worked = time.perf_counter(), time.process_time()
    made = make()
    wall, processor = time.perf_counter() - started, time.process_time() - worked
    print(f"{what:<58} {wall:6.2f} s wall  {processor:6.2f} s processor")
    return made, processor


def printed(summary):
    """What the command line makes of it."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_json(summary)
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["MULTIBENCH_CACHE"] = str(scratch / "cache")
        suite, results, root = scratch / "grid.yaml", scratch / "results", scratch / "checkpoints"
        suite.write_text(SUITE)
        checkpoints = register_family(options.seeds)

        def plan():
            return api.plan(suite, results, checkpoints=root)

        root.mkdir()
        api.plan(suite, results, checkpoints=root, overrides=["finetuning_seeds=0"])  # imports, built-in data
        made, absent = measure("plan, no checkpoint here", plan)
        assert len(made.runs) == len(checkpoints) * 4 * 4 * 9
        print(f"  {len(made.runs):,} runs of {len(checkpoints)} checkpoints")
        make_folders(checkpoints, root)
        measure("plan, checkpoints here for the first time (digests)", plan)
        made, here = measure("plan, checkpoints here", plan)
        ids, hashed = measure("  and the ids of all runs", lambda: {run.run_id for run in made.runs})
        assert len(ids) == len(made.runs)
        _, text = measure("  and the page that `multibench plan` prints", lambda: plan_text(made))
        _, summary = measure("  or what --json prints", lambda: printed(plan_summary(made)))
        for name, seconds in (
            ("absent", absent + text),
            ("here", here + hashed + text),
            ("JSON", here + hashed + summary),
        ):
            print(f"{name}: {seconds:.2f} s of processor, {GOAL / seconds:.1f} times faster than {GOAL:g} s")


if __name__ == "__main__":
    main()
