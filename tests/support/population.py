"""A whole study without training: several families, seeds, steps, tasks and rates, with effects that are known.

Every run's outputs are drawn from a skill that depends on family, step, pretraining seed, fine-tuning seed and
rate, so that a report on it has something to say in each of its sections.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.metrics import METRICS
from multibench.recipes import Hyperparameters
from multibench.results import Predictions, Results, RunIdentity, RunStore
from multibench.seeds import derive_seeds
from multibench.tasks import find_task

METRICS_OF = {"rte": ("accuracy",), "mrpc": ("accuracy", "f1"), "stsb": ("pearson", "spearman")}


@dataclass(frozen=True)
class Group:
    """Checkpoints that differ in their pretraining seeds only, or one checkpoint without a known seed."""

    family: str
    skill: float
    seeds: Sequence[int | None]
    step: int | None = None
    parameters: int = 109_482_240
    checkpoint: str | None = None

    def names(self) -> Iterator[tuple[str, int | None]]:
        """Checkpoint ids with their pretraining seeds."""
        for seed in self.seeds:
            step = "" if self.step is None else f"-step_{self.step // 1000}k"
            yield self.checkpoint or f"{self.family}-seed_{seed}{step}", seed


STUDY = (
    Group("multiberts", 0.35, range(5), 20_000),
    Group("multiberts", 0.95, range(5), 200_000),
    Group("multiberts", 1.25, range(5), 1_000_000),
    Group("multiberts", 1.32, range(6), 2_000_000),
    Group("google_bert", 1.3, [None], checkpoint="google-bert/bert-base-uncased"),
    Group("miniatures", 0.3, [None], parameters=4_385_920, checkpoint="google/bert_uncased_L-2_H-128_A-2"),
    Group("miniatures", 0.6, [None], parameters=11_170_560, checkpoint="google/bert_uncased_L-4_H-256_A-4"),
    Group("miniatures", 0.9, [None], parameters=28_763_648, checkpoint="google/bert_uncased_L-4_H-512_A-8"),
    Group("miniatures", 1.0, [None], parameters=41_373_184, checkpoint="google/bert_uncased_L-8_H-512_A-8"),
)


def labels_of(task: str, examples: int) -> NDArray[Any]:
    """Labels ``(examples,)``: classes, or scores from 0 to 5."""
    rng = np.random.default_rng([7, len(task), examples])
    return rng.uniform(0, 5, examples) if task == "stsb" else rng.integers(0, 2, examples)


def outputs_of(task: str, skill: float, run: Sequence[int], examples: int) -> NDArray[np.float32]:
    """Outputs ``(examples, 1 or 2)`` of one run; all runs find the same examples hard."""
    labels = labels_of(task, examples)
    hard = np.random.default_rng([3, len(task), examples]).normal(0, 1.2, examples)
    noise = np.random.default_rng([5, *run]).normal(0, 1.0, examples)
    if task == "stsb":
        return (labels * skill + 1.5 * (hard + noise))[:, None].astype(np.float32)
    margin = skill + hard + noise
    right = np.zeros((examples, 2), dtype=np.float32)
    right[np.arange(examples), labels] = margin
    return right


def write_population(
    folder: Path,
    groups: Sequence[Group] = STUDY,
    tasks: Sequence[str] = ("rte", "mrpc", "stsb"),
    finetuning_seeds: int = 3,
    rates: Sequence[float] = (2e-5, 3e-5),
    examples: int = 120,
    selection: str = "best_mean_dev",
    troubled: bool = True,
) -> Results:
    """Store every run of ``groups`` x ``tasks`` x ``finetuning_seeds`` x ``rates`` in ``folder/study``.

    ``troubled``: every eleventh run of the first task collapses; one run diverges and one fails.
    """
    store = RunStore(folder / "study")
    cells = itertools.product(enumerate(groups), tasks)
    planned = (
        (g, group, task, name, seed, finetuning_seed, rate)
        for (g, group), task in cells
        for name, seed in group.names()
        for finetuning_seed in range(finetuning_seeds)
        for rate in rates
    )
    for number, (g, group, task, name, seed, finetuning_seed, rate) in enumerate(planned, start=1):
        own = 0.08 * float(np.random.default_rng([1, g, _code(seed)]).normal())
        skill = group.skill + own - 4e3 * abs(rate - 2e-5)
        run = [g, _code(seed), finetuning_seed, int(rate * 1e7), len(task)]
        outputs: NDArray[np.float32] | None = outputs_of(task, skill, run, examples)
        status = "finished"
        if troubled and task == tasks[0] and number % 11 == 0:
            status = "collapsed"
            outputs = np.tile(np.float32([0.4, 0.2]), (examples, 1))
        if troubled and number in (7, 13):
            status, outputs = ("diverged" if number == 7 else "failed"), None
        labels = {
            "family": group.family,
            "checkpoint": name,
            "pretraining_seed": seed,
            "step": group.step,
            "parameters": group.parameters,
            "task": task,
            "finetuning_seed": finetuning_seed,
        }
        _store(store, labels, rate, outputs, status, selection)
    return Results.open(folder)


def _code(seed: int | None) -> int:
    return 99 if seed is None else seed


def _store(
    store: RunStore,
    labels: dict[str, Any],
    rate: float,
    outputs: NDArray[np.float32] | None,
    status: str,
    selection: str,
) -> None:
    task = labels["task"]
    settings = Hyperparameters.model_validate({"learning_rate": rate, "batch_size": 32, "epochs": 3})
    seeds = derive_seeds(labels["finetuning_seed"])
    identity = RunIdentity.of(labels["checkpoint"], find_task(task), "train data", settings, seeds)
    evaluations: dict[str, Any] = {}
    predictions = {}
    if outputs is not None:
        gold = labels_of(task, len(outputs))
        scores = {name: METRICS.get(name).score(gold, outputs) for name in METRICS_OF[task]}
        evaluations[f"{task}.dev"] = {
            "metrics": {name: float(value) if np.isfinite(value) else None for name, value in scores.items()},
            "headline": METRICS_OF[task][0],
            "examples": len(outputs),
            "data": f"{task} dev data",
            "as_released": True,
            "origin": "dev.tsv",
        }
        ids = tuple(str(i) for i in range(len(outputs)))
        predictions[f"{task}.dev"] = Predictions(ids, outputs, gold)
    record = {
        "status": status,
        "reason": None if status == "finished" else f"it {status}",
        "identity": identity.to_dict(),
        "labels": labels,
        "suite": {"name": store.folder.name, "recipe": "multiberts_glue", "selection": selection},
        "settings": settings.model_dump(mode="json"),
        "evaluations": evaluations,
        "training": {},
        "provenance": {
            "host": "elsewhere",
            "seconds": 90.0,
            "packages": {"multibench": "0.1.0", "torch": "2.13.0"},
            "code": {"commit": "0" * 40, "dirty": False},
        },
    }
    store.write(identity.run_id, record, {"loss": [1.0, 0.5]}, predictions)
