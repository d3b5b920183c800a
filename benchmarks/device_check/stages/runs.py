"""A real checkpoint on real texts: the suite of results/minilm_glue through the command, together.

With dropout in bf16, then without it in fp32 and bf16. The results go to ``runs.tar.gz``, whose predictions can be held
against those of a processor from the same rebuilt weights.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import yaml

from multibench.results import Results

from ..inputs import MODEL, beginning
from ..options import Given
from ..weights import rebuild
from . import Say

_FEW_ROWS = 32
_WAYS = (("bf16", True), ("fp32", False), ("bf16", False))
_RATES = ("dropout", "attention_dropout", "head_dropout")


def run(given: Given, say: Say) -> int:
    """Returns 1 if a command failed."""
    checkpoints = rebuild(given.inputs / MODEL, given.scratch / "checkpoints" / MODEL).parent
    folder = given.scratch / "runs"
    folder.mkdir()
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite(given.small)), "utf-8")
    data = beginning(given.inputs, given.scratch / "few", "RTE", _FEW_ROWS) if given.small else given.inputs
    worst = 0
    for precision, dropout in _WAYS[:1] if given.small else _WAYS:
        results = folder / f"{precision}-{'dropout' if dropout else 'none'}"
        command = [sys.executable, "-m", "multibench", "run", str(folder / "suite.yaml"), "--offline"]
        command += ["--data", str(data), "--checkpoints", str(checkpoints), "--results", str(results)]
        command += ["--device", given.device, "--set", f"recipe.precision={precision}"]
        command += [] if dropout else [word for rate in _RATES for word in ("--set", f"recipe.{rate}=0")]
        clock = time.perf_counter()
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - clock
        found = _scores(results) if done.returncode == 0 else {}
        said = done.stderr.strip().splitlines()[-1:]
        say(
            precision=precision,
            dropout=dropout,
            rc=done.returncode,
            seconds=round(seconds, 2),
            said=said,
            scores=found,
        )
        worst = max(worst, int(done.returncode != 0))
        _pack(folder, given.out / "runs.tar.gz")
    return worst


def suite(small: bool) -> dict[str, Any]:
    """The suite's content: two learning rates and five seeds on RTE and MRPC, or as little as there is."""
    recipe = {"base": "modern_glue", "learning_rate": [5e-5, 1e-4], "batch_size": 32, "epochs": 3}
    if small:
        recipe.update(learning_rate=[5e-5], epochs=1, batch_size=8)
    return {
        "name": "minilm",
        "checkpoints": [{"path": MODEL, "family": "minilm"}],
        "tasks": ["rte"] if small else ["rte", "mrpc"],
        "recipe": recipe,
        "finetuning_seeds": [0] if small else [0, 1, 2, 3, 4],
        "finetuning_seed_design": "shared",
        **({"accept_different_data": ["rte"]} if small else {}),
    }


def _scores(results: Path) -> dict[str, list[float]]:
    """The headline metric of each run in points, by evaluation."""
    found: dict[str, list[float]] = {}
    for run in Results.open(results).stored:
        for name, evaluation in run.manifest["evaluations"].items():
            found.setdefault(name, []).append(round(100 * evaluation["metrics"][evaluation["headline"]], 2))
    return found


def _pack(folder: Path, path: Path) -> None:
    """Whole at any time: it is renamed once it is written, since the stage may be cut."""
    unfinished = folder.parent / path.name
    with tarfile.open(unfinished, "w:gz") as archive:
        archive.add(folder, "runs")
    path.write_bytes(unfinished.read_bytes())
