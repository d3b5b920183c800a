"""Simulate cells, and keep what came of them in a CSV file."""

from __future__ import annotations

import csv
import math
import time
import zlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multibench.stats.problem import Problem

from .cell import Cell
from .limits import Row, limits_of, near
from .methods import METHODS, digest
from .worlds import Trial, World

__all__ = ["FEW", "MANY", "OUT", "due", "key_of", "recorded", "simulate", "write"]

OUT = Path(__file__).with_name("results.csv")
FEW, MANY = 2000, 10_000
NUMBERS = ("coverage", "above", "below", "none", "width", "oracle", "type_one", "seen", "given_seen")
FIELDS = ("cell", "key", "method", "repetitions", *NUMBERS, "ms")


def key_of(cell: Cell) -> str:
    """A digest of a cell's world: rows of a cell that was since changed are left out."""
    return f"{zlib.crc32(f'{_told(cell.world)} {cell.methods}'.encode()):08x}"


def _told(thing: Any) -> str:
    """What a world is, without what is as usual: later fields leave the digest of a world without them alone."""
    if not is_dataclass(thing):
        return repr(thing)
    told = [
        f"{f.name}={_told(getattr(thing, f.name))}"
        for f in fields(thing)
        if getattr(thing, f.name) != f.default
    ]
    return f"{type(thing).__name__}({', '.join(told)})"


def value_of(world: World, problem: Problem) -> float:
    """The mean, or the difference of means."""
    sides = [float(problem.scores[g.rows] @ g.mixing().mean(axis=0)) for g in world.groups]
    return sides[-1] - (sides[0] if len(sides) == 2 else 0.0)


def trial(cell: Cell, rng: np.random.Generator, number: int) -> Trial:
    """One data set of a cell, and what each method makes of it."""
    world = cell.world
    if not isinstance(world, World):
        return world.trial(rng, number)
    sample = world.sample(rng)
    problem = digest(world, sample)
    found = {}
    for name in cell.methods:
        low, high, p = METHODS[name](world, problem, number)
        found[name] = low - sample.truth, high - sample.truth, p
    return Trial(value_of(world, problem) - sample.truth, found, sample.seen)


def simulate(cell: Cell, repetitions: int, stream: int = 0) -> dict[str, Row]:
    """Each method in a cell. ``stream`` gives other data sets of the same world."""
    rng = np.random.Generator(np.random.SFC64([zlib.crc32(f"{cell.section}: {cell.name}".encode()), stream]))
    trials = [trial(cell, rng, number) for number in range(repetitions)]
    errors = np.array([one.error for one in trials])
    seen = np.array([one.seen for one in trials])
    known = cell.world.true_error if isinstance(cell.world, World) else math.nan
    oracle = 2 * 1.959964 * (float(np.nanstd(errors)) if math.isnan(known) else known)
    return {
        name: _row(cell, np.array([one.found[name] for one in trials]), seen, oracle) for name in cell.methods
    }


def _row(cell: Cell, rows: np.ndarray, seen: np.ndarray, oracle: float) -> Row:
    low, high, p = rows.T
    printed = ~np.isnan(low)
    above, below = low > 1e-12, high < -1e-12
    held = printed & ~above & ~below
    n = int(printed.sum()) or math.nan
    shown = printed & seen
    return Row(
        len(rows),
        float(held.sum() / n),
        float(above.sum() / n),
        float(below.sum() / n),
        float(1 - printed.mean()),
        float(np.median((high - low)[printed])) if printed.any() else math.nan,
        oracle,
        float((p <= 0.05).mean()) if cell.null and not np.isnan(p).all() else math.nan,
        float(seen.mean()),
        float(held[shown].mean()) if shown.any() else math.nan,
    )


def write(path: Path, name: str, cell: Cell, rows: dict[str, Row], seconds: float) -> None:
    """Append a finished cell."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(FIELDS)
        for method, row in rows.items():
            numbers = [f"{getattr(row, field):.5g}" for field in NUMBERS]
            ms = f"{1000 * seconds / row.repetitions:.2f}"
            writer.writerow([name, key_of(cell), method, row.repetitions, *numbers, ms])


def recorded(path: Path, known: dict[str, Cell]) -> dict[str, dict[str, Row]]:
    """What was simulated of the cells as they are now, by cell and method; the longest simulation counts."""
    found: dict[str, dict[str, Row]] = {}
    if not path.exists():
        return found
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            cell = known.get(line["cell"])
            if cell is None or key_of(cell) != line["key"]:
                continue
            row = Row(int(line["repetitions"]), *(float(line[field]) for field in NUMBERS))
            rows = found.setdefault(line["cell"], {})
            if line["method"] not in rows or rows[line["method"]].repetitions <= row.repetitions:
                rows[line["method"]] = row
    return found


def due(cell: Cell, rows: dict[str, Row] | None, least: int = FEW) -> int:
    """How many repetitions a cell still has to be simulated with; 0 if it is done."""
    if not rows or any(name not in rows or rows[name].repetitions < least for name in cell.methods):
        return least
    row = rows["printed"]
    if least == FEW and row.repetitions < MANY and near(limits_of(cell), row, rows.get("old crossed")):
        return MANY
    return 0


def timed(cell: Cell, repetitions: int) -> tuple[dict[str, Row], float]:
    """A cell simulated, and the seconds of the processor that it took."""
    started = time.process_time()
    rows = simulate(cell, repetitions)
    return rows, time.process_time() - started
