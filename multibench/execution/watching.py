"""Runs of a plan that other processes store: seen, counted, and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from multibench.errors import ResultsError
from multibench.execution.progress import ProgressReport
from multibench.execution.run import summary_of
from multibench.planning import Plan, PlannedRun
from multibench.results.store import RunStore

__all__ = ["Watching"]


class Watching:
    """What becomes of the runs of a plan in other processes; ``made`` counts by status those that are told."""

    def __init__(self, plan: Plan, store: RunStore, progress: ProgressReport) -> None:
        self._plan, self._store, self._progress = plan, store, progress
        self._damaged = {run_id: self._stamp(run_id) for run_id in plan.damaged}
        self.made: Counter[str] = Counter()

    def without_stored(self, groups: Sequence[Sequence[PlannedRun]]) -> list[list[PlannedRun]]:
        """What is left of ``groups`` beside the runs that others have stored meanwhile, which are told."""
        left = []
        for group in groups:
            stored = [run for run in group if self.stored_by_another(run)]
            for run in stored:
                self.tell(run)
            rest = [run for run in group if run not in stored]
            left += [rest] if rest else []
        return left

    def tell(self, run: PlannedRun) -> None:
        """Count and show a run that another process has stored."""
        manifest = self._store.manifest(str(run.run_id))
        status, seconds = manifest["status"], manifest["provenance"].get("seconds", 0.0)
        self.made[status] += 1
        summary = summary_of(manifest["evaluations"], manifest["reason"])
        self._progress.run_finished(run, status, summary, seconds)

    def stored_by_another(self, run: PlannedRun) -> bool:
        """Whether it has, seen without a claim: what was damaged may be there still, or its place just be empty."""
        run_id = str(run.run_id)
        if run_id in self._damaged and self._stamp(run_id) == self._damaged[run_id]:
            return False
        try:
            return self.stored_meanwhile(run)
        except ResultsError:
            return False

    def stored_meanwhile(self, run: PlannedRun) -> bool:
        """Whether another process has stored the run since the plan was made."""
        assert run.run_id is not None
        if not self._store.path(run.run_id).is_dir():
            return False
        return run.stored is None or self._store.manifest(run.run_id) != run.stored

    def _stamp(self, run_id: str) -> tuple[int, int] | None:
        """Of the record of the run: another when the run was made again."""
        try:
            found = (self._store.path(run_id) / "run.json").stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
