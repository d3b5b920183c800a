"""What was chosen for this machine, and why: ``multibench plan --explain``."""

from __future__ import annotations

from collections import Counter

from multibench.planning.machine import Device
from multibench.planning.plan import Plan
from multibench.planning.together import Replicas, alike_runs, choose_replicas
from multibench.planning.workers import choose_workers
from multibench.recipes import Hyperparameters

__all__ = ["explain", "why_nested"]

# Simulated accuracies of 5 pretraining and 2 fine-tuning seeds on 1,000 examples; the whole table: docs/results.md.
_NESTED = (
    "Fine-tuning seeds are nested: each pretraining seed has its own, the same for all steps, sides, settings and "
    "tasks, so their effect averages out over pretraining seeds, too. In a simulation of 5 x 2 seeds the standard "
    "error of a mean score was 2.9 points so, and 4.3 with the seeds shared by all checkpoints, for the same budget."
)
_SHARED = (
    "Fine-tuning seeds are shared by all checkpoints: no number of pretraining seeds averages their effect out. "
    "`finetuning_seed_design: nested` costs the same; in a simulation of 5 x 2 seeds it lowered the standard error of "
    "a mean score from 4.3 to 2.9 points."
)


def explain(plan: Plan, device: Device, replicas: Replicas = "auto") -> list[str]:
    """Lines: processes and threads; for each kind of missing runs batching, precision, how many go together; seeds."""
    counts: Counter[str] = Counter()
    for alike in alike_runs(plan.runs):
        missing = [run for run in alike if run.state == "missing"]
        if not missing:
            continue
        settings, architecture = missing[0].settings, missing[0].checkpoint.architecture
        choice = choose_replicas(alike, replicas, device)
        text = (
            f"{missing[0].checkpoint.family} {architecture.layers}/{architecture.hidden}, {missing[0].task.name}: "
            f"{_batching(settings)}, {settings.precision}; {choice.replicas} at a time ({choice.reason})"
        )
        counts[text] += len(missing)
    shared = choose_workers(plan, device, replicas=replicas)
    processes = "one process" if shared.workers == 1 else f"{shared.workers} processes"
    threads = "all threads" if shared.threads is None else _count(shared.threads, "thread") + " each"
    head = (
        f"On this machine's {device.kind}, if not told otherwise: {processes}, {threads} ({shared.reason})."
    )
    return [head, *(f"  {count} runs of {text}" for text, count in counts.items()), *why_nested(plan)]


def why_nested(plan: Plan) -> list[str]:
    """A line on what the design of the fine-tuning seeds does to the error; none where nothing is trained."""
    if plan.suite.evaluate_only:
        return []
    return [_NESTED if plan.suite.finetuning_seed_design == "nested" else _SHARED]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _batching(settings: Hyperparameters) -> str:
    if settings.batching == "bucketed":
        return "bucketed steps (examples of like lengths)"
    return "exact steps, packed without padding"
