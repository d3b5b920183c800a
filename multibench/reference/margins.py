"""Which difference counts as none: a margin for each task, with its reason, in ``margins.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DEFAULT_MARGIN", "MARGINS", "TaskMargin", "margin_of"]

DEFAULT_MARGIN = 0.01
"""One point: what readers of published tables complain about begins there; the tables themselves print tenths."""


class TaskMargin(BaseModel):
    """``margin`` of a task, a fraction, and why; ``score`` is the usual one that the reason speaks of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(gt=0, lt=1)
    score: float = Field(gt=0, lt=1)
    reason: str = Field(min_length=1)


def _read() -> dict[str, TaskMargin]:
    text = (Path(__file__).parent / "margins.toml").read_text(encoding="utf-8")
    return {task: TaskMargin.model_validate(facts) for task, facts in tomllib.loads(text).items()}


MARGINS = _read()


def margin_of(task: str) -> float:
    """The margin of ``task``, a fraction; ``DEFAULT_MARGIN`` for a task that ``margins.toml`` does not know."""
    return MARGINS[task].margin if task in MARGINS else DEFAULT_MARGIN
