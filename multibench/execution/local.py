"""The runs of a plan in this process, group by group, beside other processes that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from multibench.execution.claims import Claim, Claims
from multibench.execution.devices import choose_device, planning_device, use_device
from multibench.execution.evaluation import check_inputs
from multibench.execution.group import Following, Maker
from multibench.execution.memory import keep_freed_memory
from multibench.execution.models import Models
from multibench.execution.outcome import SuiteOutcome, count_failed
from multibench.execution.progress import ProgressReport
from multibench.execution.run import Made
from multibench.execution.storing import Storing
from multibench.execution.watching import Watching
from multibench.execution.workshop import Workshop
from multibench.metrics.evaluate_adapter import load_module
from multibench.planning import Plan, PlannedRun, Replicas, groups_left
from multibench.results.store import RunStore
from multibench.tasks import DataSources

__all__ = ["run_plan"]

_POLL_SECONDS = 0.5


def run_plan(
    plan: Plan,
    store: RunStore,
    sources: DataSources,
    progress: ProgressReport,
    device: str = "auto",
    threads: int | None = None,
    replicas: Replicas = "auto",
) -> SuiteOutcome:
    """Make the missing runs of ``plan``, beside any other process that does so, up to ``replicas`` at a time.

    Interrupt it when you like: stored runs stay stored. A run that another living process has
    claimed is left to it; one whose process died is taken over. A run that fails for a reason of its
    own (out of memory, say) is stored as failed and the next one begins; inputs that cannot be used,
    a disk that refuses, and a GPU that no longer answers (``BrokenDeviceError``) end the call with their error.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    todo = plan.todo()
    modules = [load_module(metric.evaluate) for metric in plan.suite.metric]
    workshop = Workshop(sources, choose_device(device), modules)
    use_device(workshop.device)
    for run in todo:
        check_inputs(run, workshop.device.type)
    groups = groups_left(plan, replicas, planning_device(workshop.device))
    started = time.perf_counter()
    suite = suite_record(plan)
    with (
        Claims(store.folder / "claims") as claims,
        store.leaving_nothing(),
        progress,
        Models() as models,
        Storing() as storing,
    ):
        progress.open_suite(plan, len(todo))
        maker = Maker(workshop, store, suite, progress, models)
        watching = Watching(plan, store, progress)
        execution = _Execution(plan, store, claims, maker, storing, progress, watching)
        while groups:
            left: list[list[PlannedRun]] = []
            for k, group in enumerate(groups):
                following = partial(execution.first_free, groups, k + 1)
                left = watching.without_stored([*left, execution.attempt(group, following)])
            if sum(map(len, left)) == sum(map(len, groups)):
                time.sleep(_POLL_SECONDS)  # all that is left is being made by others
            groups = left
    failed = count_failed(plan, store) + watching.made["kept"]
    return SuiteOutcome(dict(watching.made), failed, time.perf_counter() - started)


class _Execution:
    """The runs of a plan, claimed, made and stored group by group."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        claims: Claims,
        maker: Maker,
        storing: Storing,
        progress: ProgressReport,
        watching: Watching,
    ) -> None:
        self._plan, self._store, self._claims = plan, store, claims
        self._maker, self._storing, self._progress = maker, storing, progress
        self._watching = watching

    def attempt(self, group: Sequence[PlannedRun], following: Following) -> list[PlannedRun]:
        """Make those of ``group`` that nobody has made or is making; returns those that others are making."""
        claimed: dict[str, Claim] = {}
        mine: list[PlannedRun] = []
        left: list[PlannedRun] = []
        for k, run in enumerate(group):
            assert run.run_id is not None
            if self._watching.stored_by_another(run):
                self._watching.tell(run)
                continue
            claim = self._claims.take(run.run_id)
            if claim is None:
                if not mine:  # another process has begun the group: it is left to it as a whole
                    return list(group[k:])
                left.append(run)
                continue
            self._put_right(run.run_id)
            if self._watching.stored_meanwhile(run):
                claim.release()
                self._watching.tell(run)
                continue
            claimed[run.run_id] = claim
            mine.append(run)
        if mine:
            self._maker.make(mine, lambda run, made: self._take(made, claimed[str(run.run_id)]), following)
        return left

    def first_free(self, groups: Sequence[Sequence[PlannedRun]], start: int) -> PlannedRun | None:
        """A run of the first of ``groups`` from ``start`` that nobody has made or is making."""
        living = self._claims.living()
        for number in range(start, len(groups)):
            run = groups[number][0]
            if run.run_id not in living and not self._watching.stored_by_another(run):
                return run
        return None

    def _put_right(self, run_id: str) -> None:
        """With the claim in hand nobody else moves this run: only now is anything put right."""
        store = self._store
        damaged = run_id in self._plan.damaged and store.path(run_id).is_dir()
        if damaged and store.damage(run_id, weights=False) is not None:
            self._progress.say(f"The damaged run {run_id} was moved to {store.set_aside(run_id)}.")
        store.recover(run_id)

    def _take(self, put_together: Callable[[], Made], claim: Claim) -> None:
        """Put a run together and store it in the background, release its claim, and tell it."""
        known: list[Made] = []

        def store() -> None:
            try:
                known.append(put_together())
                known[0].store(self._store)
            finally:
                claim.release()

        def stored() -> None:
            (made,) = known
            self._watching.made[made.status] += 1
            self._progress.run_finished(made.run, made.status, made.summary, made.seconds)

        self._storing.add(store, stored)


def suite_record(plan: Plan) -> dict[str, Any]:
    """What each run records about the suite that asked for it."""
    return {
        "name": plan.suite.name,
        "recipe": plan.suite.recipe.base,
        "selection": plan.suite.selection,
        "keep_weights": plan.suite.keep_weights,
    }
