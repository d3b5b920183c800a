"""Which runs a published table still needs, and which suites make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from multibench.reference import PublishedCell, Reference, Row, obstacle
from multibench.reports.counterparts import allowed_settings, checkpoint_key, run_key
from multibench.results import Results
from multibench.suite import Suite, find_suite, load_suite
from multibench.tasks import find_task

__all__ = ["suite_notes"]

Need = tuple[Any, ...]
"""Task, checkpoint, the settings that the source gives, fine-tuning seed."""


def suite_notes(reference: Reference, results: Results | None) -> list[str]:
    """A sentence for each suite that makes runs like the published ones: how many, and how many are missing."""
    cells = list(reference.cells())
    suites = dict.fromkeys(cell.row.suite for cell in cells if cell.row.suite)
    notes = [
        _of_suite(name, [c for c in cells if c.row.suite == name], reference, results) for name in suites
    ]
    alone = {
        f"recipe {cell.row.recipe} on {', '.join(cell.row.checkpoints)}"
        for cell in cells
        if not cell.row.suite and cell.row.recipe and not obstacle(reference, cell)
    }
    if alone:
        what = "; ".join(sorted(alone))
        notes.append(
            f"No suite that comes with multibench makes these: {what}. `multibench init` starts one."
        )
    return notes


def _of_suite(name: str, cells: list[PublishedCell], reference: Reference, results: Results | None) -> str:
    suite = load_suite(find_suite(name))
    comparable = [cell for cell in cells if not obstacle(reference, cell)]
    if not comparable:
        return (
            f"Suite {name} fine-tunes such models, but none of these figures can be compared with its runs."
        )
    rows = [(cell.row, cell.task) for cell in comparable if cell.row.of is None]
    needs = {need for row, task in rows for need in _needs(suite, row, task)}
    command = f"`multibench run {name}`"
    if results is None:
        return f"Suite {name} makes the {len(needs):,} runs that this table needs: {command}."
    stored = {need for row, task in rows for need in _stored(results, row, task)}
    missing = needs - stored
    if not missing:
        return f"All {len(needs):,} runs of suite {name} that this table needs are stored."
    by_task = ", ".join(f"{task} {count:,}" for task, count in sorted(Counter(n[0] for n in missing).items()))
    return (
        f"Of the {len(needs):,} runs of suite {name} that this table needs, {len(missing):,} are missing "
        f"({by_task}): {command}."
    )


def _needs(suite: Suite, row: Row, task: str) -> Iterator[Need]:
    allowed = allowed_settings(row, task)
    keys = [checkpoint_key(name) for name in row.chosen_over or row.checkpoints]
    for setting in suite.settings(find_task(task)):
        values = setting.model_dump(mode="json")
        if all(values[name] in allowed[name] for name in row.settings):
            said = tuple((name, values[name]) for name in allowed)
            yield from ((task, key, said, seed) for key in keys for seed in suite.finetuning_seeds)


def _stored(results: Results, row: Row, task: str) -> Iterator[Need]:
    names = allowed_settings(row, task)
    for run in results.stored:
        fields = run.fields
        if fields["task"] == task and fields["status"] != "failed" and fields["held_out"] is None:
            said = tuple((name, fields.get(name)) for name in names)
            yield (task, run_key(run), said, fields["finetuning_seed"])
