"""The layout of Google's example predictions: its files, and its names for runs, both ways.

::

    GLUE/index.tsv                    a row a run: file, task, pretrain_id, n_steps, lr, ft_seed, release
    GLUE/MNLI_dev_labels              a label a line
    GLUE/MNLI/release=...,ft_seed=0.tsv   a row an example, a column a class score; no header
    SQuAD/index.tsv                   the same columns; the task is v1.1 or v2.0
    SQuAD/v2.0/release=...,ft_seed=0.json   {question id: answer}, "" for none
    coref/base/run_info.tsv           a row a run: pretrain_seed, finetune_seed
    coref/base/label_info.tsv         a row a sentence: gender, answer, occupation, ...
    coref/base/preds.tsv              runs by sentences: 0 the occupation, 1 the other participant

The facts (``google.toml``) say where they come from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from multibench.checkpoints import find
from multibench.errors import DataError
from multibench.exchange.items import Origin, origin_of
from multibench.tasks import TASKS, Task, find_task
from multibench.tasks.layouts import Facts

__all__ = [
    "GOOGLE",
    "INDEX",
    "LABEL_INFO",
    "RUN_INFO",
    "file_name",
    "glue_tasks",
    "group_remarks",
    "origin_in_group",
    "origin_in_release",
    "read_steps",
    "release_of",
    "spell_steps",
    "table_of",
    "task_names",
]

INDEX = ("file", "task", "pretrain_id", "n_steps", "lr", "ft_seed", "release")
RUN_INFO = ("pretrain_seed", "finetune_seed")
LABEL_INFO = (
    "gender",
    "pronoun_type",
    "answer",
    "occupation",
    "other_participant",
    "someone",
    "template_idx",
)

_STEPS = re.compile(r"(\d+)([kM]?)")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}
# What would break a file name, an index line, or the fields of either.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class _Release(Facts):
    """Either a family, whose checkpoints the index numbers, or a single checkpoint."""

    family: str | None = None
    checkpoint: str | None = None
    steps: str | None = None


class _Group(Facts):
    family: str
    step: int | None = None
    remark: str | None = None


class _Coreference(Facts):
    task: str
    split: str
    blocks: int
    genders: dict[str, str]
    pronouns: dict[str, str]


class _Google(Facts):
    source: str
    releases: dict[str, _Release]
    tasks: dict[str, str]
    questions: dict[str, str]
    class_order: dict[str, tuple[str, ...]]
    groups: dict[str, _Group]
    coreference: _Coreference


GOOGLE = _Google.model_validate(
    tomllib.loads(Path(__file__).with_name("google.toml").read_text(encoding="utf-8"))
)


@cache
def glue_tasks() -> dict[str, Task]:
    """Tasks by the folder of their official GLUE files, which is what the index calls them."""
    official = [(task, PurePath(task.official.folder)) for task in TASKS if task.official is not None]
    return {
        folder.name: task
        for task, folder in official
        if folder.parts[0] == "glue" and task.splits[task.evaluations[0]].labelled
    }


def task_names() -> dict[str, Task]:
    """Every task that an index can name."""
    return {**glue_tasks(), **{name: find_task(ours) for name, ours in GOOGLE.tasks.items()}}


def read_steps(text: str, where: str) -> int | None:
    """Pretraining steps as the index writes them: ``20k``, ``1M``, ``2000000``; None for ``0``, which says nothing.

    Step 0 itself is ``0k``. Raises ``DataError`` for anything else.
    """
    match = _STEPS.fullmatch(text)
    if match is None:
        raise DataError(f"{where}: n_steps is {text!r}; expected steps such as 1M, 20k or 0.")
    return None if text == "0" else int(match[1]) * _UNITS[match[2]]


def spell_steps(step: int | None) -> str:
    """The shortest spelling that ``read_steps`` reads back."""
    if step is None:
        return "0"
    for unit, size in reversed(_UNITS.items()):
        if step % size == 0 and (step or unit == "k"):
            return f"{step // size}{unit}"
    raise AssertionError("every number is a multiple of 1")


def origin_in_release(release: str, seed: int, step: int | None, families: dict[str, str]) -> Origin:
    """What a row of an index was fine-tuned from. ``families`` are the user's own names for releases."""
    known = GOOGLE.releases.get(release, _Release(family=release))
    if release not in families and known.checkpoint is not None:
        return Origin.of(find(known.checkpoint))
    return origin_of(families.get(release) or known.family or release, seed, step)


def origin_in_group(group: str, seed: int, families: dict[str, str]) -> Origin:
    """What a coreference run was made from. ``families`` are the user's own names for groups."""
    known = GOOGLE.groups.get(group)
    if group in families or known is None:
        return origin_of(families.get(group, group), seed, None)
    return origin_of(known.family, seed, known.step)


def group_remarks(group: str) -> tuple[str, ...]:
    """What a reader of a coreference group's numbers should know."""
    known = GOOGLE.groups.get(group)
    return () if known is None or known.remark is None else (f"{group}: {known.remark}",)


def release_of(fields: dict[str, Any]) -> tuple[str, str, str]:
    """``release``, ``pretrain_id`` and ``n_steps`` of a stored run.

    A checkpoint without a pretraining seed is a release of its own, number 0.
    """
    for name, release in GOOGLE.releases.items():
        if release.checkpoint is not None and fields["checkpoint"] == find(release.checkpoint).id:
            return name, "0", release.steps or "0"
    seed, step = fields["pretraining_seed"], spell_steps(fields["step"])
    if seed is None:
        return _safe(PurePath(fields["checkpoint"]).name), "0", step
    for name, release in GOOGLE.releases.items():
        if release.family == fields["family"]:
            return name, str(seed), step
    return _safe(fields["family"]), str(seed), step


def file_name(row: dict[str, str], ending: str) -> str:
    """The name of a run's file, below the folder of its index."""
    said = ",".join(f"{key}={row[key]}" for key in ("release", "pretrain_id", "n_steps", "lr", "ft_seed"))
    return f"{row['task']}/{said}.{ending}"


def table_of(names: Iterable[str], rows: Iterable[dict[str, str]], numbered: bool = False) -> bytes:
    """A tab-separated table; ``numbered`` puts a column of row numbers without a name in front."""
    names = list(names)
    lines = [([""] if numbered else []) + names]
    for number, row in enumerate(rows):
        lines.append(([str(number)] if numbered else []) + [row[name] for name in names])
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name) or "unnamed"
