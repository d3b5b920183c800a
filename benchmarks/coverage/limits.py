"""What an interval has to keep, by the kind of its cell; and what of it a simulated cell misses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .answers import Answers
from .worlds import World

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["Limits", "Row", "limits_of", "misses", "near"]

LEAST, LEAST_OTHER, LEAST_CHOSEN, BALANCE = 0.935, 0.925, 0.92, 3.0
MOST, WIDTH_5, WIDTH_10, AGAINST_OLD, TYPE_ONE = 0.99, 1.35, 1.20, 1.05, 0.065
FEW, MANY, ERRORS = 5, 10, 5
OLD_COVERED = 0.945, 0.955


@dataclass(frozen=True)
class Limits:
    """The limits of a cell; None where there is none. Widths are medians, over the oracle's or the old interval's.
    ``balance`` is how many times as often the truth may be missed on one side as on the other."""

    least: float | None = None
    most: float | None = None
    width: float | None = None
    against_old: float | None = None
    type_one: float | None = None
    balance: float | None = None


@dataclass(frozen=True)
class Row:
    """A method in a cell, as simulated; see ``study``."""

    repetitions: int
    coverage: float
    above: float
    below: float
    none: float
    width: float
    oracle: float
    type_one: float
    seen: float
    given_seen: float

    @property
    def relative(self) -> float:
        """Median width over the oracle's."""
        return self.width / self.oracle if self.oracle > 0 else math.nan


def limits_of(cell: Cell) -> Limits:
    """The limits that the printed interval has to keep in a cell."""
    world = cell.world
    if cell.limits is not None or not isinstance(world, World):
        return cell.limits or Limits()
    if not cell.judged:
        return Limits()
    clusters = isinstance(world, Answers) and world.articles is not None
    plain = world.metric in ("accuracy", "mean", "exact_match") and not clusters
    least = LEAST if plain else LEAST_OTHER
    units = min((n for side in world.sides for n in side.random), default=MANY)
    enough = world.expected_errors >= ERRORS
    wide = enough and units >= FEW
    many = enough and units >= MANY
    return Limits(
        least,
        MOST if wide else None,
        (WIDTH_10 if many else WIDTH_5) if wide else None,
        AGAINST_OLD if many else None,
        TYPE_ONE if cell.null else None,
    )


def _against_old(row: Row, old: Row | None) -> float | None:
    """Width over the old interval's, where that one covered as it said."""
    if old is None or not OLD_COVERED[0] <= old.coverage <= OLD_COVERED[1]:
        return None
    return row.width / old.width


def misses(limits: Limits, row: Row, old: Row | None) -> list[str]:
    """What a cell misses, in words; nothing if it keeps all."""
    found = []
    if limits.least is not None and row.coverage < limits.least:
        found.append(f"covers {row.coverage:.4f}, less than {limits.least}")
    if limits.most is not None and row.coverage > limits.most:
        found.append(f"covers {row.coverage:.4f}, more than {limits.most}")
    if limits.width is not None and row.relative > limits.width:
        found.append(f"is {row.relative:.2f} of the oracle's width, more than {limits.width}")
    ratio = _against_old(row, old)
    if limits.against_old is not None and ratio is not None and ratio > limits.against_old:
        found.append(f"is {ratio:.3f} of the old interval's width, more than {limits.against_old}")
    if limits.type_one is not None and row.type_one > limits.type_one + 2 * _error(limits.type_one, row):
        found.append(f"errs in {row.type_one:.4f}, more than {limits.type_one}")
    sides = sorted((row.above, row.below))
    if limits.balance is not None and sides[1] > limits.balance * sides[0] + 2 * _error(sides[1], row):
        found.append(f"misses {row.above:.4f} above and {row.below:.4f} below the truth")
    return found


def _error(share: float, row: Row) -> float:
    """The Monte Carlo error of a share."""
    return math.sqrt(share * (1 - share) / row.repetitions)


def near(limits: Limits, row: Row, old: Row | None) -> bool:
    """Whether a limit lies within two Monte Carlo errors of what was measured, so that more repetitions are due."""
    shares = ((limits.least, row.coverage), (limits.most, row.coverage), (limits.type_one, row.type_one))
    if any(limit is not None and abs(share - limit) < 2 * _error(limit, row) for limit, share in shares):
        return True
    tolerance = 2 / math.sqrt(2 * row.repetitions)
    if limits.width is not None and abs(row.relative / limits.width - 1) < tolerance:
        return True
    if old is None or limits.against_old is None:
        return False
    return row.width / old.width > limits.against_old and any(
        abs(old.coverage - end) < 2 * _error(end, row) for end in OLD_COVERED
    )
