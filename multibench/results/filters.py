"""``key=value[,key=value]`` over the fields of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multibench.errors import SuiteError
from multibench.recipes import Hyperparameters
from multibench.registry import near_matches

__all__ = ["DIGESTS", "RunFilter", "parse_filter"]

DIGESTS = frozenset({"weights", "training_data"})
"""Fields that are long digests: six digits or more of their beginning will do."""


@dataclass(frozen=True)
class RunFilter:
    """Fields and the values that are accepted for each; an empty filter accepts every run."""

    text: str
    conditions: tuple[tuple[str, tuple[str, ...]], ...]

    def accepts(self, run: Mapping[str, Any]) -> bool:
        """Whether ``run`` (labels and settings) has one of the values for every key."""
        return all(_accepted(key, run.get(key), values) for key, values in self.conditions)

    def __str__(self) -> str:
        return self.text or "all runs"


def parse_filter(text: str, fields: Sequence[str]) -> RunFilter:
    """``family=multiberts,step=1000000|2000000`` as a filter; ``|`` separates alternatives.

    Raises ``SuiteError`` for a key that is no field of runs.
    """
    conditions = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not value.strip():
            raise SuiteError(f"The filter {text!r} is not of the form key=value[,key=value].")
        if key not in fields:
            near = near_matches(key, list(fields), limit=1)
            others = ", ".join(name for name in fields if name not in Hyperparameters.model_fields)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {others}, and the hyperparameters."
            raise SuiteError(f"The filter {text!r} names '{key}', which is no field of runs; {hint}")
        conditions.append((key, tuple(v.strip() for v in value.split("|"))))
    return RunFilter(text, tuple(conditions))


def _accepted(key: str, value: Any, wanted: tuple[str, ...]) -> bool:
    if key in DIGESTS and value is not None:
        # As many digits as tables print are enough; a few more letters would be a name, not a digest.
        return any(value == start or (len(start) >= 6 and value.startswith(start)) for start in wanted)
    return any(_same(value, one) for one in wanted)


def _same(value: Any, wanted: str) -> bool:
    if value is None:
        return wanted.lower() in {"none", "unknown"}
    if isinstance(value, bool):
        return wanted.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        try:
            return float(value) == float(wanted)
        except ValueError:
            return False
    return str(value) == wanted
