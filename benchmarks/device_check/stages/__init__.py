"""The stages of the check, by name: functions of what was given and of ``say``, which keeps a line of figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..options import Given

__all__ = ["STAGES", "Say", "Stage"]

Say = Callable[..., None]
Stage = Callable[[Given, Say], Any]

STAGES = ("facts", "tests", "steps", "runs", "grid", "speed", "profile")
