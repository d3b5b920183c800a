"""Stored runs of a stranger, and every verb that reads such runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.stored import store_run

__all__ = ["EXAMPLES", "VERBS", "flip", "store_all", "words_of"]

EXAMPLES = 30
FILTERS = ("--base", "step=0", "--expt", "step=100")
VERBS: dict[str, list[Any]] = {
    "scores": ["scores", "RESULTS", "--nboot", "100"],
    "compare": ["compare", "RESULTS", *FILTERS, "--nboot", "100"],
    "variance": ["variance", "RESULTS"],
    "power": ["power", "RESULTS", *FILTERS, "--effect", "0.05"],
    "dynamics": ["dynamics", "RESULTS"],
    "instances": ["instances", "RESULTS"],
    "difficulty": ["instances", "RESULTS", "--show", "difficulty"],
    "differences": ["instances", "RESULTS", *FILTERS],
    "reproduce": ["reproduce", "hf_squad", "RESULTS"],
    "report": ["report", "RESULTS", "--out", "OUT", "--nboot", "100"],
    "export": ["export", "google-predictions", "RESULTS", "--out", "OUT"],
}
"""Every verb that reads stored runs and makes something of them."""


def words_of(verb: str, results: Path) -> list[Any]:
    """The words of a verb, with its folders put in."""
    out = results.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    return [{"RESULTS": results, "OUT": out}.get(word, word) for word in VERBS[verb]]


def store_all(results: Path, seeds: int = 2, steps: tuple[int, ...] = (0, 100)) -> list[Path]:
    """Two runs of each seed at each step, in ``results/suite``; returns their folders."""
    rng = np.random.default_rng(0)
    for step in steps:
        for seed in range(seeds):
            for k in range(2):
                outputs = rng.normal(size=(EXAMPLES, 2)).astype(np.float32)
                store_run(
                    results / "suite", outputs=outputs, step=step, pretraining_seed=seed, finetuning_seed=k,
                    provenance={"seconds": 30.0},
                )  # fmt: skip
    return sorted((results / "suite/runs").iterdir())


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
