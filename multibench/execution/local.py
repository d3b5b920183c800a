"""The runs of a plan in this process, group by group, beside other processes that do the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from multibench.errors import ResultsError, UnavailableError
from multibench.execution.claims import Claim, Claims
from multibench.execution.evaluation import check_inputs
from multibench.execution.group import Following, Maker
from multibench.execution.memory import keep_freed_memory
from multibench.execution.models import Models
from multibench.execution.outcome import SuiteOutcome, count_failed
from multibench.execution.progress import ProgressReport
from multibench.execution.run import Made, summary_of
from multibench.execution.storing import Storing
from multibench.execution.workshop import Workshop
from multibench.metrics.evaluate_adapter import load_module
from multibench.planning import Device, Plan, PlannedRun, Replicas, groups_left, memory
from multibench.results.store import RunStore
from multibench.tasks import DataSources

__all__ = ["choose_device", "planning_device", "run_plan"]

_POLL_SECONDS = 0.5


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device. Raises ``UnavailableError`` for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("--device cuda was given, but torch finds no CUDA device. Use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def planning_device(device: torch.device) -> Device:
    """What planning has to know of ``device``."""
    if device.type == "cuda":
        return Device("cuda", torch.cuda.get_device_properties(device).total_memory)
    return Device("cpu", memory())


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
    and a disk that refuses, end the call with their error.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    todo = plan.todo()
    modules = [load_module(metric.evaluate) for metric in plan.suite.metric]
    workshop = Workshop(sources, choose_device(device), modules)
    for run in todo:
        check_inputs(run)
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
        execution = _Execution(plan, store, claims, maker, storing, progress)
        while groups:
            left: list[list[PlannedRun]] = []
            for k, group in enumerate(groups):
                following = partial(execution.first_free, groups, k + 1)
                left = execution.without_stored([*left, execution.attempt(group, following)])
            if sum(map(len, left)) == sum(map(len, groups)):
                time.sleep(_POLL_SECONDS)  # all that is left is being made by others
            groups = left
    failed = count_failed(plan, store) + execution.made["kept"]
    return SuiteOutcome(dict(execution.made), failed, time.perf_counter() - started)


class _Execution:
    """The runs of a plan, claimed, made and stored group by group; ``made`` counts them by status."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        claims: Claims,
        maker: Maker,
        storing: Storing,
        progress: ProgressReport,
    ) -> None:
        self._plan, self._store, self._claims = plan, store, claims
        self._maker, self._storing, self._progress = maker, storing, progress
        self.made: Counter[str] = Counter()

    def attempt(self, group: Sequence[PlannedRun], following: Following) -> list[PlannedRun]:
        """Make those of ``group`` that nobody has made or is making; returns those that others are making."""
        claimed: dict[str, Claim] = {}
        mine: list[PlannedRun] = []
        left: list[PlannedRun] = []
        for k, run in enumerate(group):
            assert run.run_id is not None
            if self._stored_by_another(run):
                self._tell(run)
                continue
            claim = self._claims.take(run.run_id)
            if claim is None:
                if not mine:  # another process has begun the group: it is left to it as a whole
                    return list(group[k:])
                left.append(run)
                continue
            self._put_right(run.run_id)
            if self._stored_meanwhile(run):
                claim.release()
                self._tell(run)
                continue
            claimed[run.run_id] = claim
            mine.append(run)
        if mine:
            self._maker.make(mine, lambda made: self._take(made, claimed[str(made.run.run_id)]), following)
        return left

    def first_free(self, groups: Sequence[Sequence[PlannedRun]], start: int) -> PlannedRun | None:
        """A run of the first of ``groups`` from ``start`` that nobody has made or is making."""
        living = self._claims.living()
        for number in range(start, len(groups)):
            run = groups[number][0]
            if run.run_id not in living and not self._stored_by_another(run):
                return run
        return None

    def without_stored(self, groups: Sequence[Sequence[PlannedRun]]) -> list[list[PlannedRun]]:
        """What is left of ``groups`` beside the runs that others have stored meanwhile, which are told."""
        left = []
        for group in groups:
            stored = [run for run in group if self._stored_by_another(run)]
            for run in stored:
                self._tell(run)
            rest = [run for run in group if run not in stored]
            left += [rest] if rest else []
        return left

    def _tell(self, run: PlannedRun) -> None:
        """Count and show a run that another process has stored."""
        manifest = self._store.manifest(str(run.run_id))
        status, seconds = manifest["status"], manifest["provenance"].get("seconds", 0.0)
        self.made[status] += 1
        summary = summary_of(manifest["evaluations"], manifest["reason"])
        self._progress.run_finished(run, status, summary, seconds)

    def _put_right(self, run_id: str) -> None:
        """With the claim in hand nobody else moves this run: only now is anything put right."""
        store = self._store
        damaged = run_id in self._plan.damaged and store.path(run_id).is_dir()
        if damaged and store.damage(run_id, weights=False) is not None:
            self._progress.say(f"The damaged run {run_id} was moved to {store.set_aside(run_id)}.")
        store.recover(run_id)

    def _stored_by_another(self, run: PlannedRun) -> bool:
        """Whether it has, seen without a claim: what was damaged may be there still, or its place just be empty."""
        try:
            return run.run_id not in self._plan.damaged and self._stored_meanwhile(run)
        except ResultsError:
            return False

    def _stored_meanwhile(self, run: PlannedRun) -> bool:
        """Whether another process has stored the run since the plan was made."""
        assert run.run_id is not None
        if not self._store.path(run.run_id).is_dir():
            return False
        return run.stored is None or self._store.manifest(run.run_id) != run.stored

    def _take(self, made: Made, claim: Claim) -> None:
        """Store a run in the background, release its claim, and tell it."""

        def store() -> None:
            try:
                made.store(self._store)
            finally:
                claim.release()

        def stored() -> None:
            self.made[made.status] += 1
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
