"""Examples as a source has them: columns of values, before it is known whether they are what a task needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multibench.bounded import within_seconds
from multibench.errors import DataError
from multibench.tasks.layouts import Column, Parts

__all__ = ["Table", "short"]

# A pattern takes microseconds a row, unless it tries exponentially many ways to match it.
_SECONDS = 2.0
_SECONDS_A_ROW = 2e-5


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length; ``numbers`` is what the source calls its rows, in messages ("line 7")."""

    columns: Mapping[Column, Sequence[Any]]
    numbers: Sequence[int]
    origin: str
    unit: str = "example"

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, row: int) -> str:
        """Where row ``row``, counted from 0, is."""
        return f"{self.origin}, {self.unit} {self.numbers[row]}"

    def rows(self, kept: Sequence[int]) -> Table:
        """Only these rows, in this order."""
        columns = {name: [values[i] for i in kept] for name, values in self.columns.items()}
        return replace(self, columns=columns, numbers=[self.numbers[i] for i in kept])

    def with_parts(self, parts: Parts) -> Table:
        """With the columns that ``parts`` makes. Raises ``DataError`` for a value that has no such parts."""
        pattern = re.compile(parts.pattern)
        values = self.columns[parts.column]
        why = f"takes too long to match '{parts.column}'; write it without repetitions inside of repetitions"
        try:
            with within_seconds(_SECONDS + _SECONDS_A_ROW * len(values), why):
                return self._parted(pattern, parts, values)
        except ValueError as error:
            raise DataError(f"{self.origin}: the pattern '{parts.pattern}' {error}.") from error

    def _parted(self, pattern: re.Pattern[str], parts: Parts, values: Sequence[Any]) -> Table:
        columns: dict[Column, list[str]] = {name: [] for name in pattern.groupindex}
        for i, value in enumerate(values):
            match = pattern.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                raise DataError(
                    f"{self.place(i)}: '{parts.column}' is {short(value)}, not of the form '{parts.pattern}'."
                )
            for name, part in match.groupdict(default="").items():
                columns[name].append(part)
        return replace(self, columns={**self.columns, **columns})


def short(value: Any) -> str:
    """``repr`` of what was found, cut to 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
