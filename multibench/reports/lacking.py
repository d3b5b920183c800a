"""Which runs a published table still needs, and which suites make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from multibench.reference import PublishedCell, Reference, Row, obstacle
from multibench.reports.counterparts import allowed_settings, checkpoint_key, run_key
from multibench.results import Results
from multibench.suite import Suite, find_suite, load_suite
from multibench.tasks import find_task

__all__ = ["Need", "SuiteNeeds", "suite_needs", "without_suite"]


class Need(NamedTuple):
    """A run like the published ones: ``settings`` are those that the source or its code gives."""

    task: str
    checkpoint: tuple[Any, ...]
    settings: tuple[tuple[str, Any], ...]
    finetuning_seed: int | None


@dataclass(frozen=True)
class SuiteNeeds:
    """The runs of one suite that a table needs, and those of them that are not stored.

    ``total`` is 0 where nothing that the suite makes can be compared; ``missing`` is None where there are no results.
    """

    suite: str
    total: int
    missing: tuple[Need, ...] | None

    def __str__(self) -> str:
        name, command = f"suite {self.suite}", f"`multibench run {self.suite}`"
        if not self.total:
            return (
                f"The {name} fine-tunes such models, but none of these figures can be compared with its runs."
            )
        if self.missing is None:
            return f"The {name} makes the {self.total:,} runs that this table needs: {command}."
        if not self.missing:
            return f"All {self.total:,} runs of the {name} that this table needs are stored."
        tasks = Counter(need.task for need in self.missing)
        by_task = ", ".join(f"{task} {count:,}" for task, count in sorted(tasks.items()))
        return (
            f"Of the {self.total:,} runs of the {name} that this table needs, {len(self.missing):,} are missing "
            f"({by_task}): {command}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The suite, how many runs, and each missing one; ready for JSON."""
        missing = None
        if self.missing is not None:
            missing = [
                {**need._asdict(), "checkpoint": list(need.checkpoint), "settings": dict(need.settings)}
                for need in self.missing
            ]
        return {"suite": self.suite, "runs": self.total, "missing": missing}


def suite_needs(reference: Reference, results: Results | None) -> list[SuiteNeeds]:
    """For each suite that makes runs like the published ones, which runs and which of them are missing."""
    cells = list(reference.cells())
    names = dict.fromkeys(cell.row.suite for cell in cells if cell.row.suite)
    return [_of_suite(name, [c for c in cells if c.row.suite == name], reference, results) for name in names]


def without_suite(reference: Reference) -> str:
    """A sentence on the figures that could be compared, but with the runs of no suite; empty if there are none."""
    alone = {
        f"recipe {cell.row.recipe} on {', '.join(cell.row.checkpoints)}"
        for cell in reference.cells()
        if not cell.row.suite and cell.row.recipe and not obstacle(reference, cell)
    }
    if not alone:
        return ""
    what = "; ".join(sorted(alone))
    return f"No suite that comes with multibench makes these: {what}. `multibench init` starts one."


def _of_suite(
    name: str, cells: list[PublishedCell], reference: Reference, results: Results | None
) -> SuiteNeeds:
    suite = load_suite(find_suite(name))
    rows = [(cell.row, cell.task) for cell in cells if cell.row.of is None and not obstacle(reference, cell)]
    needs = {need: None for row, task in rows for need in _needs(suite, row, task)}
    if results is None:
        return SuiteNeeds(name, len(needs), None)
    stored = {need for row, task in rows for need in _stored(results, row, task)}
    return SuiteNeeds(name, len(needs), tuple(need for need in needs if need not in stored))


def _needs(suite: Suite, row: Row, task: str) -> Iterator[Need]:
    allowed = allowed_settings(row, task)
    keys = [checkpoint_key(name) for name in row.chosen_over or row.checkpoints]
    for setting in suite.settings(find_task(task)):
        values = setting.model_dump(mode="json")
        if all(values[name] in allowed[name] for name in row.settings):
            said = tuple((name, values[name]) for name in allowed)
            yield from (Need(task, key, said, seed) for key in keys for seed in suite.finetuning_seeds)


def _stored(results: Results, row: Row, task: str) -> Iterator[Need]:
    names = allowed_settings(row, task)
    for run in results.stored:
        fields = run.fields
        if fields["task"] == task and fields["status"] != "failed" and fields["held_out"] is None:
            said = tuple((name, fields.get(name)) for name in names)
            yield Need(task, run_key(run), said, fields["finetuning_seed"])
