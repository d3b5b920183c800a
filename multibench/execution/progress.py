"""What a person sees while runs happen: bars on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import IO, Any, Self, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from multibench.messages import Messages
from multibench.planning import Plan, PlannedRun
from multibench.printable import printable

__all__ = ["BarProgress", "LineProgress", "ProgressReport", "make_progress", "run_title"]


def run_title(run: PlannedRun) -> str:
    """A run in a few words."""
    seed = "own head" if run.finetuning_seed is None else f"seed {run.finetuning_seed}"
    text = f"{run.checkpoint.id}  {run.task.name}  lr {run.settings.learning_rate:g}  {seed}"
    return printable(" ".join(text.splitlines()))


class ProgressReport:
    """What the execution tells. This base class shows nothing (``--quiet``)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def say(self, text: str) -> None:
        """A remark that stays readable."""

    def open_suite(self, plan: Plan, left: int) -> None:
        """A suite begins, ``left`` of whose runs are to be made: its remarks, then how many runs there are."""
        for remark in plan.remarks:
            self.say(remark)
        self.begin(len(plan.runs), len(plan.runs) - left)

    def begin(self, total: int, done: int) -> None:
        """A suite of ``total`` runs, ``done`` of which are stored."""

    def started(self, runs: Sequence[PlannedRun]) -> None:
        """Runs begin, which are trained together."""

    def step(self, step: int, steps: int, loss: float, examples_per_second: float) -> None:
        """``step`` of ``steps`` optimizer steps are done."""

    def trained(self) -> None:
        """The training of the runs that began last is over."""

    def run_finished(self, run: PlannedRun, status: str, summary: str, seconds: float) -> None:
        """A run is stored, by this process or another."""


class LineProgress(ProgressReport):
    """One line a run on standard error, and one every 30 seconds inside a long run."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self._every = every_seconds
        self._total = self._number = 0
        self._last = 0.0

    def say(self, text: str) -> None:
        """Print one line."""
        stream = Messages(sys.stderr)
        stream.write(f"{printable(text)}\n")
        stream.flush()

    def begin(self, total: int, done: int) -> None:
        """Remember how many runs there are."""
        self._total, self._number = total, done
        self.say(f"{total} runs, {done} done, {total - done} to do")

    def started(self, runs: Sequence[PlannedRun]) -> None:
        """Start the clock."""
        self._last = time.monotonic()

    def step(self, step: int, steps: int, loss: float, examples_per_second: float) -> None:
        """A line when the last one is long enough ago."""
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say(f"    step {step}/{steps}  loss {loss:.3f}  {examples_per_second:.0f} examples/s")

    def run_finished(self, run: PlannedRun, status: str, summary: str, seconds: float) -> None:
        """The run's line."""
        self._number += 1
        note = "" if status == "finished" else f"  {status.upper()}"
        self.say(f"[{self._number}/{self._total}] {run_title(run)}  {summary}  {seconds:.0f} s{note}")


class BarProgress(LineProgress):
    """Two bars on a terminal: the suite and what is trained."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn(
                "{task.description}", markup=False
            ),  # names are no markup, whatever brackets they have
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=Console(file=cast(IO[str], Messages(sys.stderr)), stderr=True),
            transient=True,
            # Runs take minutes; by default rich forgets how fast things went after 30 seconds.
            speed_estimate_period=6 * 3600,
        )
        self._suite: TaskID | None = None
        self._run: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print above the bars."""
        self._progress.console.print(printable(text), markup=False, highlight=False)

    def begin(self, total: int, done: int) -> None:
        """Show the suite's bar."""
        self._total, self._number = total, done
        self._suite = self._progress.add_task("suite", total=total, completed=done, note="")

    def started(self, runs: Sequence[PlannedRun]) -> None:
        """Show a bar for all of them."""
        self.trained()  # what failed before left its own
        more = "" if len(runs) == 1 else f"  and {len(runs) - 1} more"
        self._run = self._progress.add_task(run_title(runs[0]) + more, total=None, note="")

    def trained(self) -> None:
        """Take the bar away."""
        if self._run is not None:
            self._progress.remove_task(self._run)
            self._run = None

    def step(self, step: int, steps: int, loss: float, examples_per_second: float) -> None:
        """Move the run's bar."""
        if self._run is not None:
            note = f"loss {loss:.3f}  {examples_per_second:.0f} examples/s"
            self._progress.update(self._run, completed=step, total=steps, note=note)

    def run_finished(self, run: PlannedRun, status: str, summary: str, seconds: float) -> None:
        """Leave the run's line, move the suite's bar."""
        super().run_finished(run, status, summary, seconds)
        if self._suite is not None:
            self._progress.advance(self._suite)


def make_progress(quiet: bool, stream: Any = None) -> ProgressReport:
    """Bars if standard error is a terminal, lines if it is not, nothing if ``quiet``."""
    if quiet:
        return ProgressReport()
    return BarProgress() if (stream or sys.stderr).isatty() else LineProgress()
