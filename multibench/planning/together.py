"""Which runs may be trained together as one computation, and how many at a time."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from multibench.planning.buckets import overhead_in_tokens
from multibench.planning.group_memory import PackedStep, group_memory
from multibench.planning.machine import Device
from multibench.planning.plan import Plan, PlannedRun

__all__ = [
    "SHARED",
    "ReplicaChoice",
    "Replicas",
    "alike_runs",
    "choose_replicas",
    "groups_left",
    "groups_of",
    "kind_of",
    "training_bytes",
]

Replicas = int | Literal["auto"]

# Hyperparameters that runs trained together share: precision, what a sequence is cut to, how much is dropped. In all
# others each has its own.
SHARED = frozenset(
    {
        *("precision", "max_length", "doc_stride", "window_overlap", "max_question_length"),
        *("dropout", "attention_dropout", "head_dropout"),
    }
)

# What of a checkpoint's configuration decides how its weights are laid out and what is computed with them.
_BUILD = (
    *("model_type", "hidden_size", "dim", "num_hidden_layers", "n_layers", "num_attention_heads", "n_heads"),
    *("intermediate_size", "hidden_dim", "hidden_act", "activation", "layer_norm_eps", "vocab_size"),
    *("max_position_embeddings", "type_vocab_size", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout", "classifier_dropout"),
)

# Numbers of hidden states in a step from which a processor is busy. On two CPU cores a step of a model with 64 hidden
# units and 600 tokens took 1.6 times less time in a stack of 20 than alone; one with 384 and 2,100 gained nothing.
# Of a GPU the number is a guess.
_FILLS = {"cpu": 800_000, "cuda": 50_000_000}
_MOST = 32
# Groups are divided so that every core or card has one, but not into smaller ones than this. Two threads trained twelve
# small models 1.24 times as fast as one; a process each for six of them shares nothing.
_SHARED_AT_LEAST = 4
_MEMORY_SHARE = {"cpu": 0.25, "cuda": 0.9}
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
    """``runs`` by what can be trained together, those with as many steps next to each other."""
    alike: dict[Any, list[PlannedRun]] = {}
    for run in runs:
        alike.setdefault(kind_of(run), []).append(run)
    return [sorted(members, key=_steps) for members in alike.values()]


def _steps(run: PlannedRun) -> float:
    """Optimizer steps for each training example."""
    return run.settings.epochs / run.settings.batch_size


def kind_of(run: PlannedRun) -> Any:
    """Equal for runs that can be trained together; a run that trains nothing stays alone."""
    if run.finetuning_seed is None:
        return id(run)
    shape = tuple((n, v) for n, v in run.settings if n in SHARED)
    return _build(run), run.task.name, run.task.held_out, shape


def _build(run: PlannedRun) -> Any:
    """Equal for checkpoints whose replicas can lie in one stack: of one shape, which read texts alike."""
    if run.folder is None:
        return run.checkpoint.id
    config = run.folder.config
    return run.folder.vocabulary.digest, tuple(str(config.get(name)) for name in _BUILD)


def choose_replicas(runs: Sequence[PlannedRun], replicas: Replicas, device: Device) -> ReplicaChoice:
    """How many of ``runs``, which can be trained together, are trained at a time on ``device``."""
    if replicas != "auto":
        return ReplicaChoice(min(replicas, len(runs)), "as asked for")
    run = max(runs, key=_tokens_a_step)
    if run.finetuning_seed is None:
        return ReplicaChoice(1, "it trains nothing")
    hidden, tokens, fills = run.checkpoint.architecture.hidden, _tokens_a_step(run), _FILLS[device.kind]
    fill = max(1, round(fills / (tokens * hidden)))
    divided = max(_SHARED_AT_LEAST, -(-len(runs) // device.places))
    most = min(fill, _MOST, len(runs), divided)
    room = _room(run, device, most)
    size = min(room, most)
    if size == len(runs) < fill:
        reason = f"all {len(runs)} that can be trained together"
    elif size == fill:
        share = min(1.0, tokens * hidden / fills)
        step = f"a step of {tokens:.0f} tokens by {hidden} hidden units"
        reason = f"{step} is {share:.0%} of what keeps a {device.kind} busy"
    elif size == divided:
        places = "cores" if device.kind == "cpu" else "cards"
        reason = f"so that {min(device.places, -(-len(runs) // divided))} {places} have a group each"
    elif size == room:
        reason = f"{_MEMORY_SHARE[device.kind]:.0%} of the memory holds {room}"
    else:
        reason = f"no more than {_MOST} at a time"
    return ReplicaChoice(size, reason)


def training_bytes(run: PlannedRun, device: Device, replicas: int = 1) -> float:
    """Memory that ``replicas`` runs like ``run`` take while they are trained together on ``device``, roughly."""
    settings, architecture = run.settings, run.checkpoint.architecture
    overhead = overhead_in_tokens(device.kind, architecture.hidden)
    step = PackedStep.largest(
        settings.batch_size, run.task.mean_tokens, settings.max_length, replicas, overhead
    )
    known = group_memory(architecture, replicas, step, settings.precision, spans=run.task.kind == "span")
    if known is not None:
        return known.total if device.kind == "cuda" else known.allocated
    layers, hidden = architecture.layers, architecture.hidden
    weights = run.checkpoint.parameters or 12 * layers * hidden**2
    return replicas * (_BYTES_PER_WEIGHT * weights + 4 * _KEPT_PER_UNIT * layers * hidden * step.tokens)


def _room(run: PlannedRun, device: Device, most: int) -> int:
    """How many runs like ``run``, at most ``most``, the share of the memory holds that is theirs."""
    room = _MEMORY_SHARE[device.kind] * device.memory
    return max(1, bisect.bisect_right(range(1, most + 1), room, key=lambda n: training_bytes(run, device, n)))


def _tokens_a_step(run: PlannedRun) -> float:
    return run.settings.batch_size * min(run.task.mean_tokens, run.settings.max_length)
