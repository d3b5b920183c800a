"""A grid of fine-tuning runs side by side: Trainer, one process a run, against one ``multibench run``.

    python benchmarks/grid.py rte --data FOLDER --model FOLDER     2 rates x 6 seeds, first 1,000 examples, one epoch
    python benchmarks/grid.py mrpc --data FOLDER --model FOLDER    4 rates x 5 seeds, all examples, three epochs
    python benchmarks/grid.py pocket                               2 rates x 6 seeds of the built-in family, no files

Each prints, for every contender, the wall time of the whole grid with start-up and without it, the share of the
device's own rate of matrix products in that precision that training made use of (six operations a weight of the layers
and real token, over the time without start-up), the mean and the standard deviation of the scores, and the ratios.
``--data`` holds ``glue/RTE`` or ``glue/MRPC``. ``--size base`` (or tiny, mini, minilm, medium) takes random weights of
that size with the vocabulary of ``--model``: as good for time, not for scores. Contenders are interleaved ``--repeats``
times, and medians are reported. ``--rates``, ``--seeds`` and ``--examples`` make it small, and ``--only``, once or
several times, takes some contenders of all. With a GPU everything runs on it.

Start-up is what a process spends before its first training step and after its last prediction: for Trainer all but
training and prediction; for multibench what comes before the first run, that is all but the time that it tells itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from multibench.bench import SIZES, Size, measure_hardware
from multibench.bench.sizes import model_of
from multibench.planning.machine import cores
from multibench.results import Results

HERE = Path(__file__).resolve().parent
POCKET = HERE.parent / "multibench/pocket/weights/seed_0/step_12000"


@dataclass(frozen=True)
class Grid:
    """What every contender does: rates by seeds of one task."""

    model: Path
    task: str
    rates: tuple[float, ...]
    seeds: int
    epochs: float
    data: Path | None
    max_length: int = 128

    @property
    def runs(self) -> int:
        return len(self.rates) * self.seeds


@dataclass(frozen=True)
class Measured:
    """One pass over the grid: seconds with start-up, and without, the scores, and the tokens trained on if told."""

    whole: float
    bare: float
    scores: list[float]
    tokens: int | None = None


def first_examples(source: Path, target: Path, name: str, examples: int) -> Path:
    """Official files of GLUE's task ``name``, of train the first ``examples``."""
    folder = target / "glue" / name
    folder.mkdir(parents=True)
    original = source / "glue" / name
    with (original / "train.tsv").open(encoding="utf-8", newline="") as lines:
        (folder / "train.tsv").write_text("".join(itertools.islice(lines, examples + 1)), "utf-8", newline="")
    shutil.copy(original / "dev.tsv", folder)
    return target


def random_weights(size: Size, vocabulary: Path, target: Path) -> Path:
    """A checkpoint of that size with the tokenizer of the one at ``vocabulary``."""
    model_of(size, torch.device("cpu")).save_pretrained(target)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(vocabulary / name, target)
    return target


def operations_per_token(model: Path) -> float:
    """Of training the checkpoint at ``model``."""
    config = json.loads((model / "config.json").read_text("utf-8"))
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    return Size(*(config[name] for name in names)).operations_per_token


def environment() -> dict[str, str]:
    """No network for anybody, no bars, and one card at most: Trainer would spread each batch over several."""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "CUDA_VISIBLE_DEVICES": card,
    }


def trainer(grid: Grid, precision: str, padding: str, at_once: int = 1) -> Measured:
    """A process for each run, one after the other with all cores, or ``at_once`` side by side."""
    options = ["--task", grid.task, "--model", str(grid.model), "--epochs", str(grid.epochs)]
    options += ["--max-length", str(grid.max_length), "--padding", padding, "--precision", precision]
    options += [] if grid.data is None else ["--data", str(grid.data), "--accept-different-data"]
    options += [] if at_once == 1 else ["--threads", str(max(1, cores() // at_once))]

    def one(rate: float, seed: int) -> dict[str, Any]:
        own = ["--learning-rate", str(rate), "--seed", str(seed), "--born", str(time.time())]
        command = [sys.executable, str(HERE / "trainer_baseline.py"), *options, *own]
        done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
        line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return line

    clock = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        lines = list(pool.map(one, *zip(*itertools.product(grid.rates, range(grid.seeds)), strict=True)))
    whole = time.perf_counter() - clock
    bare = sum(line["training_seconds"] + line["evaluation_seconds"] for line in lines) / at_once
    return Measured(whole, bare, [line["scores"][line["headline"]] for line in lines])


def multibench(grid: Grid, precision: str, replicas: str, batching: str = "exact") -> Measured:
    """One command for all runs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = {
            "base": "modern_glue",
            "learning_rate": list(grid.rates),
            "batch_size": 32,
            "epochs": grid.epochs,
            "max_length": grid.max_length,
            "warmup": 0.1,
            "weight_decay": 0.01,
            "precision": precision,
            "batching": batching,
        }
        suite = {
            "name": "grid",
            "checkpoints": [{"path": str(grid.model)}],
            "tasks": [grid.task],
            "recipe": recipe,
            "finetuning_seeds": list(range(grid.seeds)),
        }
        if grid.data is not None:
            suite["accept_different_data"] = [grid.task]
        (folder / "grid.yaml").write_text(yaml.safe_dump(suite), "utf-8")
        command = [sys.executable, "-m", "multibench", "run", str(folder / "grid.yaml"), "--offline"]
        command += ["--results", str(folder), "--replicas", replicas]
        command += [] if grid.data is None else ["--data", str(grid.data)]
        clock = time.perf_counter()
        done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
        whole = time.perf_counter() - clock
        told = re.search(r"\(([\d.]+) s\)\.$", done.stderr.strip())
        assert told is not None
        stored = Results.open(folder / "grid").stored
        assert len(stored) == grid.runs
        first = [next(iter(run.manifest["evaluations"].values())) for run in stored]
        tokens = sum(run.manifest["training"]["tokens"] for run in stored)
        return Measured(whole, float(told[1]), [e["metrics"][e["headline"]] for e in first], tokens)


CONTENDERS = {
    "Trainer, padded, fp32": lambda grid: trainer(grid, "fp32", "max"),
    "Trainer, dynamic padding, fp32": lambda grid: trainer(grid, "fp32", "longest"),
    "Trainer, dynamic padding, bf16": lambda grid: trainer(grid, "bf16", "longest"),
    "Trainer, dynamic, bf16, a core each": lambda grid: trainer(grid, "bf16", "longest", cores()),
    "multibench, fp32": lambda grid: multibench(grid, "fp32", "auto"),
    "multibench, fp32, each alone": lambda grid: multibench(grid, "fp32", "1"),
    "multibench, bf16": lambda grid: multibench(grid, "bf16", "auto"),
    "multibench, bf16, bucketed": lambda grid: multibench(grid, "bf16", "auto", "bucketed"),
}
RATIOS = (
    ("multibench, fp32", "Trainer, padded, fp32"),
    ("multibench, bf16", "Trainer, padded, fp32"),
    ("multibench, bf16", "Trainer, dynamic padding, bf16"),
    ("multibench, bf16", "Trainer, dynamic, bf16, a core each"),
    ("multibench, fp32", "Trainer, dynamic padding, fp32"),
)


def report(grid: Grid, found: dict[str, list[Measured]]) -> None:
    print(
        f"{grid.runs} runs of {grid.task}, {grid.epochs:g} epochs, medians of {len(next(iter(found.values())))}"
    )
    hardware = measure_hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    print(hardware.sentence())
    print(f"{'':38}{'whole':>10}{'bare':>10}{'a run':>9}{'share':>8}  score (sd over runs)")
    # The same for all: the same examples as often, whoever trains.
    tokens = next((p.tokens for passes in found.values() for p in passes if p.tokens), None)
    for name, passes in found.items():
        share = ""
        if tokens is not None:
            rate = tokens * operations_per_token(grid.model) / statistics.median(p.bare for p in passes)
            share = f"{rate / hardware.products['bf16' if 'bf16' in name else 'fp32']:.1%}"
        whole = statistics.median(p.whole for p in passes)
        bare = statistics.median(p.bare for p in passes)
        scores = passes[0].scores
        spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
        print(
            f"{name:38}{whole:9.1f}s{bare:9.1f}s{whole / grid.runs:8.2f}s{share:>8}  "
            f"{100 * statistics.mean(scores):.1f} ({100 * spread:.1f})"
        )
    for fast, slow in RATIOS:
        if fast in found and slow in found:
            with_start, without = (
                statistics.median(getattr(p, what) for p in found[slow])
                / statistics.median(getattr(p, what) for p in found[fast])
                for what in ("whole", "bare")
            )
            print(f"{fast} against {slow}: {with_start:.2f} times, without start-up {without:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("grid", choices=["rte", "mrpc", "pocket"])
    parser.add_argument("--data", type=Path, help="folder that holds glue/RTE and glue/MRPC")
    parser.add_argument("--model", type=Path, default=POCKET, help="folder of the checkpoint")
    parser.add_argument("--size", choices=list(SIZES), help="random weights of this size")
    parser.add_argument("--rates", type=int, help="only the first so many learning rates")
    parser.add_argument("--seeds", type=int, help="5 of mrpc, 6 of the others")
    parser.add_argument("--examples", type=int, help="only the first so many; 1,000 of rte")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), metavar="CONTENDER")
    given = parser.parse_args()
    if given.grid == "pocket" and (given.size or given.examples):
        parser.error("pocket has its own weights and texts; --size and --examples are for the others.")
    with tempfile.TemporaryDirectory() as scratch:
        if given.grid == "pocket":
            grid = Grid(
                given.model, "pocket_inference", (5e-4, 1e-3)[: given.rates], given.seeds or 6, 5, None
            )
        else:
            if given.data is None or given.model == POCKET:
                parser.error(
                    f"{given.grid} needs --data, a folder that holds glue/{given.grid.upper()}, and --model"
                )
            rates, seeds, epochs, examples = {
                "rte": ((2e-5, 5e-5), 6, 1, 1000),
                "mrpc": ((2e-5, 3e-5, 5e-5, 1e-4), 5, 3, 3668),
            }[given.grid]
            data = first_examples(given.data, Path(scratch), given.grid.upper(), given.examples or examples)
            model = given.model
            if given.size is not None:
                model = random_weights(SIZES[given.size], model, Path(scratch) / given.size)
            grid = Grid(model, given.grid, rates[: given.rates], given.seeds or seeds, epochs, data)
        # A process for each core would not fit on a card.
        gpu = torch.cuda.is_available()
        chosen = given.only or [name for name in CONTENDERS if not (gpu and name.endswith("a core each"))]
        found: dict[str, list[Measured]] = {name: [] for name in chosen}
        for _ in range(given.repeats):
            for name in chosen:
                found[name].append(CONTENDERS[name](grid))
                last = found[name][-1]
                print(f"{name}: {last.whole:.1f} s, without start-up {last.bare:.1f} s", file=sys.stderr)
        report(grid, found)


if __name__ == "__main__":
    main()
