"""Hours of a plan's missing runs on a card: predicted from sizes, stack by stack."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from multibench.checkpoints import Architecture
from multibench.planning.cards import Card, Precision
from multibench.planning.cost import Sequences, sequences
from multibench.planning.plan import PlannedRun
from multibench.planning.step_time import StepWork, forward_time, step_time

__all__ = ["COMPUTED_OVER_REAL", "card_hours"]

COMPUTED_OVER_REAL = 1.05
"""Tokens that a step computes for each real one: what packing leaves of padding."""

# Numbers of hidden states in a forward pass of evaluation, of all replicas.
_NUMBERS_PER_PASS = 50_000_000


@dataclass(frozen=True)
class _Work:
    """What one run computes: steps, what it reads while it trains, and what it is applied to."""

    steps: float
    trained: Sequences
    evaluated: Sequences


_NOTHING = Sequences(0.0, 0.0, 0.0)


def card_hours(groups: Iterable[Sequence[PlannedRun]], card: Card, precision: Precision) -> float | None:
    """Hours that ``groups``, each trained together, take one ``card`` after the other, without start-up.

    None where a size of an architecture is unknown, or where the card has no units for ``precision``.
    """
    work_of, known = _remembering_work(), dict[tuple[object, ...], float | None]()
    hours = 0.0
    for group in groups:
        alike = Counter(_key(run) for run in group)
        key = tuple(sorted(alike.items()))
        if key not in known:
            works = [work_of(run) for run in group]
            known[key] = _group_seconds(group[0].checkpoint.architecture, works, card, precision)
        seconds = known[key]
        if seconds is None:
            return None
        hours += seconds / 3600
    return hours


def _key(run: PlannedRun) -> tuple[int, ...]:
    # All runs of a task share these very objects.
    trains = int(run.finetuning_seed is not None)
    return id(run.checkpoint.architecture), id(run.task), id(run.evaluations), id(run.settings), trains


def _remembering_work() -> Callable[[PlannedRun], _Work]:
    known: dict[tuple[int, ...], _Work] = {}

    def work_of(run: PlannedRun) -> _Work:
        key = _key(run)
        if key not in known:
            known[key] = _work(run)
        return known[key]

    return work_of


def _work(run: PlannedRun) -> _Work:
    trained, steps = _NOTHING, 0.0
    if run.finetuning_seed is not None:
        rows = run.task.splits["train"].rows
        trained = sequences(run.task, run.settings).times(rows * run.settings.epochs)
        steps = max(1.0, math.ceil(trained.number / run.settings.batch_size))
    evaluated = (
        sequences(task, run.settings).times(task.splits[split].rows) for task, split in run.evaluations
    )
    return _Work(steps, trained, sum(evaluated, _NOTHING))


def _group_seconds(
    architecture: Architecture, works: Sequence[_Work], card: Card, precision: Precision
) -> float | None:
    """Seconds of the training and the evaluations of the runs in a group; None as in ``card_hours``."""
    replicas, seconds = len(works), 0.0
    steps = max(work.steps for work in works)
    if steps:
        read = sum((work.trained for work in works), _NOTHING)
        each = StepWork(COMPUTED_OVER_REAL * read.tokens / replicas / steps, read.squares / read.tokens)
        step = step_time(architecture, replicas, each, card, precision)
        if step is None:
            return None
        seconds += steps * step.total
    applied = sum((work.evaluated for work in works), _NOTHING)
    if applied.tokens:
        passes = math.ceil(applied.tokens * architecture.hidden / _NUMBERS_PER_PASS)
        each = StepWork(
            COMPUTED_OVER_REAL * applied.tokens / replicas / passes, applied.squares / applied.tokens
        )
        forward = forward_time(architecture, replicas, each, card, precision)
        if forward is None:
            return None
        seconds += passes * forward.total
    return seconds
