"""What a cell of the study is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .answers import Answers
from .limits import Limits
from .worlds import Trial, World

__all__ = ["PLAIN", "WITH_BOOTSTRAP", "Cell", "Question"]

PLAIN = ("printed", "old crossed")
WITH_BOOTSTRAP = (*PLAIN, "percentile")


class Question(Protocol):
    """A world of another question than a mean's."""

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One data set, and what each method makes of it."""


@dataclass(frozen=True)
class Cell:
    """One cell: the world that data are drawn from, and the methods held against each other.

    ``hopeless`` cells have seeds that differ in a way that the data need not show at all. In ``null`` cells the true
    difference is 0. ``limits`` are those of other questions than a mean's.
    """

    section: str
    name: str
    world: World | Question
    methods: tuple[str, ...] = PLAIN
    limits: Limits | None = None

    @property
    def hopeless(self) -> bool:
        """Whether no interval can cover: two-valued seeds with fewer than 5, and rare collapses."""
        return isinstance(self.world, World) and any(
            side.kind == "collapse" or (side.kind == "two" and side.n < 5) for side in self.world.sides
        )

    @property
    def judged(self) -> bool:
        """Whether the cell has limits: of means and differences those with normal seeds, or t3 ones."""
        if self.limits is not None or not isinstance(self.world, World):
            return True
        return all(side.kind in ("normal", "t3") for side in self.world.sides)

    @property
    def null(self) -> bool:
        """Whether the true difference is 0 whatever was drawn."""
        if self.limits is not None:
            return self.limits.type_one is not None
        world = self.world
        if not isinstance(world, World) or world.paired is None:
            return False
        if isinstance(world, Answers) and world.effect:
            return False
        return all(side.n > 1 for side in world.sides)
