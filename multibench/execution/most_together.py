"""How many runs of a kind memory holds at a time, as far as running out of it has told."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from multibench.planning import PlannedRun
from multibench.planning.together import kind_of

__all__ = ["MostTogether", "is_out_of_memory"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had too little memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class MostTogether:
    """Remembers, while the process lives, what was too much for runs that can be trained together."""

    def __init__(self) -> None:
        self._most: dict[Any, int] = {}

    def halve(self, runs: Sequence[PlannedRun]) -> None:
        """So many were too many: half as many, from now on."""
        self._most[kind_of(runs[0])] = max(1, len(runs) // 2)

    def parts(self, runs: Sequence[PlannedRun]) -> list[Sequence[PlannedRun]]:
        """``runs``, which can be trained together, in parts of like sizes that are not known to be too large."""
        if not runs:
            return []
        count = -(-len(runs) // self._most.get(kind_of(runs[0]), len(runs)))
        ends = [len(runs) * k // count for k in range(count + 1)]
        return [runs[start:end] for start, end in itertools.pairwise(ends)]
