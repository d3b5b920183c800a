"""How a suite ended; needs no torch, so that a suite with nothing left to do is told at once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from multibench.errors import ResultsError
from multibench.planning import Plan, PlannedRun
from multibench.results.store import RunStore

__all__ = ["SuiteOutcome", "count_failed"]


@dataclass(frozen=True)
class SuiteOutcome:
    """How many runs were made, by whichever process, by status; how many are failed now; how long it took."""

    made: dict[str, int]
    failed: int
    seconds: float


def count_failed(plan: Plan, store: RunStore) -> int:
    """How many of the plan's runs are stored as failed, by whichever process."""
    return sum(_is_failed(run, store) for run in plan.runs)


def _is_failed(run: PlannedRun, store: RunStore) -> bool:
    if run.state in {"done", "collapsed", "diverged"} or run.run_id is None:
        return False
    with contextlib.suppress(ResultsError):  # another process is just replacing it
        return store.path(run.run_id).is_dir() and store.manifest(run.run_id)["status"] == "failed"
    return False
