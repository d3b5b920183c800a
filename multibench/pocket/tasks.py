"""The built-in tasks: rows with the columns that the real tasks have, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from multibench.errors import DataError
from multibench.pocket.acceptability import acceptability
from multibench.pocket.inference import inference
from multibench.pocket.questions import questions
from multibench.pocket.similarity import similarity
from multibench.pocket.stress import stress
from multibench.registry import Registry

__all__ = ["POCKET_TASKS", "VERSION", "PocketTask", "fingerprint", "split"]

# Goes up with any change of any row: the version is part of what identifies a run.
VERSION = "1"
SEED = 2026

Row = dict[str, Any]


@dataclass(frozen=True)
class PocketTask:
    """One built-in task: what makes its rows, and how many each split has."""

    name: str
    like: str
    make: Callable[[str, int, int], list[dict[str, object]]]
    sizes: MappingProxyType[str, int]


def _stress(split: str, seed: int, count: int) -> list[dict[str, object]]:
    return stress(seed, count)


POCKET_TASKS: Registry[PocketTask] = Registry("built-in task")
for _name, _like, _make, _sizes in (
    ("pocket_acceptability", "CoLA", acceptability, {"train": 3000, "dev": 1000}),
    ("pocket_inference", "MNLI", inference, {"train": 1500, "dev_matched": 999, "dev_mismatched": 999}),
    ("pocket_similarity", "STS-B", similarity, {"train": 2400, "dev": 800}),
    ("pocket_questions", "SQuAD v2.0", questions, {"train": 2400, "dev": 600}),
    ("pocket_stress", "HANS", _stress, {"dev": 900}),
):
    POCKET_TASKS.register(_name, PocketTask(_name, _like, _make, MappingProxyType(_sizes)))


@cache
def _rows(task: str, split: str) -> tuple[Row, ...]:
    entry = POCKET_TASKS.get(task)
    if split not in entry.sizes:
        raise DataError(f"{task} has no split '{split}'. It has: {', '.join(entry.sizes)}.")
    rows = entry.make(split, SEED, entry.sizes[split])
    return tuple({"id": f"{split}-{index}", **row} for index, row in enumerate(rows))


def split(task: str, split: str) -> list[Row]:
    """The rows of one split, each a dict with a string ``id`` and the columns of the task.

    ``pocket_acceptability``: sentence, label (1 acceptable), violation (the rule broken, "" if none).
    ``pocket_inference``: premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction).
    ``pocket_similarity``: sentence1, sentence2, score (0 to 5).
    ``pocket_questions``: context, question, answers {text, answer_start}; empty lists: no answer.
    ``pocket_stress``: premise, hypothesis, label (0 entailment, 1 not_entailment), heuristic, subcase.

    Raises ``UnknownNameError`` for a task and ``DataError`` for a split that does not exist. The list
    is the caller's own; the rows are shared and not to be changed.
    """
    return list(_rows(task, split))


def fingerprint(task: str, split: str) -> str:
    """SHA-256 of the rows as canonical JSON: equal wherever the data is."""
    text = json.dumps(_rows(task, split), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
