"""Measured rates of fine-tuning: a number, or what ``multibench bench --format json`` wrote."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from multibench.checkpoints import Architecture
from multibench.errors import OptionError
from multibench.planning.cards import PRECISIONS, Precision
from multibench.planning.plan import PlannedRun

__all__ = ["MeasuredRates", "read_rate"]

# Operations a second that some device may reach in fine-tuning; beyond them a unit was forgotten.
_LEAST, _MOST = 1e8, 1e16
# A model may be so many times smaller or larger than those that were measured.
_REACH = 4.0
_LARGEST_FILE = 10_000_000


class _Size(BaseModel):
    model_config = ConfigDict(frozen=True)

    layers: PositiveInt
    hidden: PositiveInt
    inner: PositiveInt

    @property
    def weights(self) -> float:
        return _weights(self.layers, self.hidden, self.inner)


class _Device(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    memory: PositiveInt


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)

    size: str
    precision: Precision
    replicas: PositiveInt | None = None
    operations_per_second: PositiveFloat = Field(allow_inf_nan=False)


class _Report(BaseModel):
    device: _Device
    sizes: dict[str, _Size]
    rows: list[_Row]


@dataclass(frozen=True)
class _Speed:
    """Operations a second that ``replicas`` stacked models reached, whose layers have ``weights``."""

    precision: Precision
    weights: float
    replicas: int
    rate: float


@dataclass(frozen=True)
class MeasuredRates:
    """What fine-tuning reached on the device ``name``, of ``memory`` bytes, of ``kind`` cpu or cuda."""

    name: str
    kind: str
    memory: int
    speeds: tuple[_Speed, ...]

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that were measured, in the usual order."""
        found = {speed.precision for speed in self.speeds}
        return tuple(p for p in PRECISIONS if p in found)

    def hours(self, groups: Iterable[Sequence[PlannedRun]], precision: Precision) -> float | None:
        """Hours that ``groups`` take, each at the rate of the measured sizes and stacks that are most like it.

        None where the cost of a run is unknown, or where a model is over four times smaller or larger than all that
        were measured.
        """
        hours = 0.0
        known: dict[tuple[int, ...], float | None] = {}
        for group in groups:
            rate = self._rate(group[0].checkpoint.architecture, len(group), precision)
            for run in group:
                key = id(run.checkpoint.architecture), id(run.task), id(run.evaluations), id(run.settings)
                if key not in known:
                    known[key] = run.cost.flops
                operations = known[key]
                if rate is None or operations is None:
                    return None
                hours += operations / rate / 3600
        return hours

    def _rate(self, architecture: Architecture, replicas: int, precision: Precision) -> float | None:
        """Operations a second: between measured sizes on a line of logarithms.

        A smaller model than all takes the time of the smallest, a larger one than all has the rate of the largest:
        either may be faster, if anything.
        """
        if architecture.intermediate is None:
            return None
        weights = _weights(architecture.layers, architecture.hidden, architecture.intermediate)
        points = self._points(replicas, precision)
        if not points or not points[0][0] / _REACH <= weights <= points[-1][0] * _REACH:
            return None
        if weights <= points[0][0]:
            return points[0][1] * weights / points[0][0]
        for (low, slow), (high, fast) in itertools.pairwise(points):
            if weights <= high:
                share = math.log(weights / low) / math.log(high / low)
                return math.exp((1 - share) * math.log(slow) + share * math.log(fast))
        return points[-1][1]

    def _points(self, replicas: int, precision: Precision) -> list[tuple[float, float]]:
        """Weights and rate of each measured size, of the stack that is most like ``replicas``; by weights."""
        best: dict[float, _Speed] = {}
        for speed in self.speeds:
            if speed.precision == precision:
                known = best.get(speed.weights)
                if known is None or _apart(speed.replicas, replicas) < _apart(known.replicas, replicas):
                    best[speed.weights] = speed
        return sorted((weights, speed.rate) for weights, speed in best.items())


def read_rate(given: str) -> MeasuredRates | float:
    """The value of ``plan --rate``: operations a second, such as ``6e13``, or a file that ``bench`` wrote.

    Raises ``OptionError`` for anything else, with what is wrong.
    """
    try:
        rate = float(given)
    except ValueError:
        return _read_file(Path(given))
    if not _LEAST <= rate <= _MOST:
        raise OptionError(
            f"--rate is {given}; give the operations a second that fine-tuning reaches, in FLOP/s from {_LEAST:.0e} to "
            f"{_MOST:.0e} (60 TFLOP/s are 6e13), or a file that `bench --format json` wrote."
        )
    return rate


def _read_file(path: Path) -> MeasuredRates:
    wanted = "give a number, such as 6e13 for 60 TFLOP/s, or a file that `bench --format json` of this version wrote"
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a text"
        raise OptionError(f"--rate {str(path)!r} cannot be read ({reason}); {wanted}.") from error
    try:
        report = _Report.model_validate(json.loads(text))
        speeds = tuple(
            _Speed(row.precision, report.sizes[row.size].weights, row.replicas, row.operations_per_second)
            for row in report.rows
            if row.replicas is not None  # others are not ours
        )
    except (ValueError, ValidationError, KeyError, RecursionError) as error:
        raise OptionError(f"--rate {str(path)!r} holds no rates that `bench` measured; {wanted}.") from error
    if not speeds:
        raise OptionError(f"--rate {str(path)!r} has no measurement of multibench itself; {wanted}.")
    return MeasuredRates(report.device.name, report.device.kind, report.device.memory, speeds)


def _weights(layers: int, hidden: int, inner: int) -> float:
    return float(layers * (4 * hidden**2 + 2 * hidden * inner))


def _apart(one: int, other: int) -> float:
    return abs(math.log(one / other))
