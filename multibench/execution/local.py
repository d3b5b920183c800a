"""The runs of a plan in this process, one after the other, beside other processes that do the same."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from typing import Any

import torch

from multibench.errors import MultibenchError, UnavailableError
from multibench.execution.claims import Claims
from multibench.execution.outcome import SuiteOutcome, count_failed
from multibench.execution.progress import ProgressReport
from multibench.execution.run import check_inputs, execute, record_failure
from multibench.execution.workshop import Workshop
from multibench.metrics.evaluate_adapter import load_module
from multibench.planning import Plan, PlannedRun
from multibench.results.store import RunStore
from multibench.tasks import DataSources

__all__ = ["choose_device", "run_plan"]

_POLL_SECONDS = 0.5
_ELSEWHERE = "made by another process"


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device. Raises ``UnavailableError`` for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("--device cuda was given, but torch finds no CUDA device. Use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def run_plan(
    plan: Plan,
    store: RunStore,
    sources: DataSources,
    progress: ProgressReport,
    device: str = "auto",
    threads: int | None = None,
    retry_failed: bool = False,
) -> SuiteOutcome:
    """Make the missing runs of ``plan``, beside any other process that does so.

    Interrupt it when you like: stored runs stay stored. A run that another living process has
    claimed is left to it; one whose process died is taken over. A run that fails for a reason of its
    own (out of memory, say) is stored as failed and the next one begins; inputs that cannot be used,
    and a disk that refuses, end the call with their error.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    todo = plan.todo(retry_failed)
    modules = [load_module(metric.evaluate) for metric in plan.suite.metric]
    workshop = Workshop(sources, choose_device(device), modules)
    for run in todo:
        check_inputs(run)
    made: Counter[str] = Counter()
    started = time.perf_counter()
    suite = suite_record(plan)
    with Claims(store.folder / "claims") as claims, progress:
        progress.open_suite(plan, len(todo))
        while todo:
            left = []
            for run in todo:
                status = _attempt(run, plan, workshop, store, claims, suite, progress)
                if status is None:
                    left.append(run)
                elif status != _ELSEWHERE:
                    made[status] += 1
            if len(left) == len(todo):
                time.sleep(_POLL_SECONDS)  # all that is left is being made by others
            todo = left
    failed = count_failed(plan, store) + made["kept"]
    return SuiteOutcome(dict(made), failed, time.perf_counter() - started)


def _attempt(
    run: PlannedRun,
    plan: Plan,
    workshop: Workshop,
    store: RunStore,
    claims: Claims,
    suite: dict[str, Any],
    progress: ProgressReport,
) -> str | None:
    """Make one run and return its status; None if another process is at it."""
    assert run.run_id is not None
    damaged = run.run_id in plan.damaged
    if not damaged and _stored_meanwhile(run, store):
        progress.run_elsewhere(run)
        return _ELSEWHERE
    claim = claims.take(run.run_id)
    if claim is None:
        return None
    with claim:
        # With the claim in hand nobody else moves this run: only now is anything put right.
        if (
            damaged
            and store.path(run.run_id).is_dir()
            and store.damage(run.run_id, weights=False) is not None
        ):
            progress.say(f"The damaged run {run.run_id} was moved to {store.set_aside(run.run_id)}.")
        store.recover(run.run_id)
        if _stored_meanwhile(run, store):
            progress.run_elsewhere(run)
            return _ELSEWHERE
        progress.run_started(run)
        clock = time.perf_counter()
        try:
            outcome = execute(run, workshop, store, suite, progress)
            status, summary = outcome.status, outcome.summary
        except MultibenchError:
            raise
        except Exception as error:  # whatever torch raises: recorded with its traceback, never hidden
            stored = record_failure(run, store, suite, error, traceback.format_exc())
            status = "failed" if stored else "kept"
            summary = f"{type(error).__name__}: {error}".splitlines()[0]
        progress.run_finished(run, status, summary, time.perf_counter() - clock)
    return status


def _stored_meanwhile(run: PlannedRun, store: RunStore) -> bool:
    """Whether another process has stored the run since the plan was made."""
    assert run.run_id is not None
    if not store.path(run.run_id).is_dir():
        return False
    return run.stored is None or store.manifest(run.run_id) != run.stored


def suite_record(plan: Plan) -> dict[str, Any]:
    """What each run records about the suite that asked for it."""
    return {
        "name": plan.suite.name,
        "recipe": plan.suite.recipe.base,
        "selection": plan.suite.selection,
        "keep_weights": plan.suite.keep_weights,
    }
