"""Failed runs that are to be made again."""

from __future__ import annotations

from dataclasses import replace

from multibench.execution.claims import Claims
from multibench.planning import Plan, PlannedRun
from multibench.results.store import RunStore

__all__ = ["retire_failed"]


def retire_failed(plan: Plan, store: RunStore) -> Plan:
    """Move the failed runs of ``plan`` to ``replaced/``; in the plan returned, and in all later ones, they are missing.

    So each is made again once, however many processes share the suite. One that another process is making stays.
    """
    with Claims(store.folder / "claims") as claims:
        runs = tuple(_retired(run, store, claims) for run in plan.runs)
    return replace(plan, runs=runs)


def _retired(run: PlannedRun, store: RunStore, claims: Claims) -> PlannedRun:
    if run.state != "failed" or run.run_id is None:
        return run
    claim = claims.take(run.run_id)
    if claim is None:
        return run
    if store.path(run.run_id).is_dir() and store.manifest(run.run_id)["status"] == "failed":
        store.retire(run.run_id)
    claim.release()
    return replace(run, state="missing", stored=None)
