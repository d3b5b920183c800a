"""Which runs may be trained together as one computation, and how many at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from multibench.planning.machine import Device
from multibench.planning.plan import Plan, PlannedRun

__all__ = [
    "OWN_NUMBERS",
    "ReplicaChoice",
    "Replicas",
    "alike_runs",
    "choose_replicas",
    "groups_left",
    "groups_of",
    "training_bytes",
]

Replicas = int | Literal["auto"]

# Hyperparameters that runs trained together may differ in: the others decide the shape of a step.
OWN_NUMBERS = frozenset(
    {
        *("learning_rate", "schedule", "warmup", "warmup_steps", "weight_decay", "clip_norm"),
        *("optimizer", "beta1", "beta2", "epsilon", "head_init"),
    }
)

# Numbers of hidden states in a step from which a processor is busy. On two CPU cores a step of a model with 64 hidden
# units and 600 tokens took 1.6 times less time in a stack of 20 than alone; one with 384 and 2,100 gained nothing.
# Of a GPU the number is a guess.
_FILLS = {"cpu": 800_000, "cuda": 50_000_000}
_MOST = 32
_MEMORY_SHARE = {"cpu": 0.25, "cuda": 0.5}
# Bytes of a replica: weight, gradient and two moments in float32, and the weight in bfloat16.
_BYTES_PER_WEIGHT = 18
# Numbers kept for the backward pass for each token, layer and hidden unit, at four bytes, attention included.
_KEPT_PER_UNIT = 40


@dataclass(frozen=True)
class ReplicaChoice:
    """How many runs are trained at a time, and why."""

    replicas: int
    reason: str


def groups_of(runs: Iterable[PlannedRun], replicas: Replicas, device: Device) -> list[tuple[PlannedRun, ...]]:
    """``runs`` in groups that are trained together, alike ones next to each other, of sizes as equal as can be.

    The groups depend on the runs and the machine alone: repeated, a suite trains the same runs together, and so gives
    the same bits.
    """
    groups = []
    for members in alike_runs(runs):
        count = -(-len(members) // choose_replicas(members, replicas, device).replicas)
        ends = [len(members) * k // count for k in range(count + 1)]
        groups += [tuple(members[start:end]) for start, end in itertools.pairwise(ends)]
    return groups


def groups_left(plan: Plan, replicas: Replicas, device: Device) -> list[list[PlannedRun]]:
    """The runs still to be made, in the groups of the whole plan: what is done moves none from one to another."""
    ids = {run.run_id for run in plan.todo()}
    groups = ([run for run in group if run.run_id in ids] for group in groups_of(plan.runs, replicas, device))
    return [group for group in groups if group]


def alike_runs(runs: Iterable[PlannedRun]) -> Iterable[list[PlannedRun]]:
    """``runs`` by what can be trained together."""
    alike: dict[Any, list[PlannedRun]] = {}
    for run in runs:
        alike.setdefault(_key(run), []).append(run)
    return alike.values()


def _key(run: PlannedRun) -> Any:
    """Equal for runs that can be trained together; a run that trains nothing stays alone."""
    if run.finetuning_seed is None:
        return id(run)
    shape = tuple((n, v) for n, v in run.settings if n not in OWN_NUMBERS)
    return run.checkpoint.id, run.task.name, run.task.held_out, shape


def choose_replicas(runs: Sequence[PlannedRun], replicas: Replicas, device: Device) -> ReplicaChoice:
    """How many of ``runs``, which can be trained together, are trained at a time on ``device``."""
    if replicas != "auto":
        return ReplicaChoice(min(replicas, len(runs)), "as asked for")
    run = runs[0]
    if run.finetuning_seed is None:
        return ReplicaChoice(1, "it trains nothing")
    hidden, tokens, fills = run.checkpoint.architecture.hidden, _tokens_a_step(run), _FILLS[device.kind]
    fill = max(1, round(fills / (tokens * hidden)))
    room = max(1, int(_MEMORY_SHARE[device.kind] * device.memory / training_bytes(run, device)))
    size = min(fill, room, _MOST, len(runs))
    if size == len(runs) < fill:
        reason = f"all {len(runs)} that can be trained together"
    elif size == fill:
        share = min(1.0, tokens * hidden / fills)
        step = f"a step of {tokens:.0f} tokens by {hidden} hidden units"
        reason = f"{step} is {share:.0%} of what keeps a {device.kind} busy"
    elif size == room:
        reason = f"{_MEMORY_SHARE[device.kind]:.0%} of the memory holds {room}"
    else:
        reason = f"no more than {_MOST} at a time"
    return ReplicaChoice(size, reason)


def training_bytes(run: PlannedRun, device: Device) -> float:
    """Memory that one replica of ``run`` takes while it is trained on ``device``, roughly."""
    architecture, parameters = run.checkpoint.architecture, run.checkpoint.parameters
    layers, hidden = architecture.layers, architecture.hidden
    weights = parameters or 12 * layers * hidden**2
    # A GPU may leave a step whole, and the longest sequence of many replicas, which all are padded to, is long.
    tokens = (
        _tokens_a_step(run) if device.kind == "cpu" else run.settings.batch_size * run.settings.max_length
    )
    return _BYTES_PER_WEIGHT * weights + 4 * _KEPT_PER_UNIT * layers * hidden * tokens


def _tokens_a_step(run: PlannedRun) -> float:
    return run.settings.batch_size * min(run.task.mean_tokens, run.settings.max_length)
