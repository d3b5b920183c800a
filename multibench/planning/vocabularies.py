"""Checkpoints that are taken for seeds of one procedure, and read texts in different ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from multibench.checkpoints import Checkpoint
from multibench.checkpoints.folder import CheckpointFolder

__all__ = ["vocabulary_remarks"]


def vocabulary_remarks(used: Iterable[tuple[Checkpoint, CheckpointFolder | None]]) -> list[str]:
    """A sentence for each family, size and step whose pretraining seeds have more than one vocabulary or casing.

    They may be of different languages, and would be averaged as if chance alone told them apart.
    """
    groups: dict[Any, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for one, folder in used:
        if folder is not None and one.pretraining_seed is not None:
            groups[one.family, one.parameters, one.step][folder.vocabulary.digest][one.id] = None
    return [
        f"The pretraining seeds of {family} have {len(found)} vocabularies: {_listed(found)}. Seeds of one procedure "
        "share theirs; if these are of different languages or casing, give them families of their own."
        for (family, _, _), found in groups.items()
        if len(found) > 1
    ]


def _listed(found: dict[str, dict[str, None]]) -> str:
    return "; ".join(f"{digest[:8]} in {', '.join(ids)}" for digest, ids in found.items())
