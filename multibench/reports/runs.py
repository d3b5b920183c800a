"""Runs one by one: each score with its seeds, how scores spread, and which runs went wrong."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean, median, stdev
from typing import Any

from multibench.metrics import METRICS
from multibench.reports.cells import Cell, Quantity, points
from multibench.reports.evaluated import evaluated
from multibench.reports.scores import chosen_title, describe_setting, metrics_of
from multibench.reports.tables import Table
from multibench.results import Chosen, Results
from multibench.stats import collapse_rate, with_and_without_collapsed

__all__ = ["evaluations_of", "run_table", "sensitivity_table", "spread_table", "trouble_table"]


def evaluations_of(chosen: Chosen, metric: str | None = None) -> Iterator[tuple[str, str]]:
    """Evaluation and metric of all that the chosen runs were scored on: the headline metric, or ``metric``."""
    for evaluation in Results(chosen.runs).evaluations():
        for name in metrics_of(chosen, evaluation, metric):
            if any(run.manifest["evaluations"].get(evaluation, {}).get("metrics") for run in chosen.runs):
                yield evaluation, name


def run_table(chosen: Sequence[Chosen], metric: str | None = None) -> Table:
    """A row for each run and evaluation, of the settings that were chosen."""
    rows: list[dict[str, Cell]] = []
    for one in chosen:
        for evaluation, name in evaluations_of(one, metric):
            for run in one.runs:
                score = run.score(evaluation, name)
                known = not math.isnan(score)
                rows.append(
                    {
                        "run": run.run_id,
                        "checkpoints": chosen_title(one),
                        "evaluation": evaluation,
                        "setting": describe_setting(one),
                        "metric": METRICS.get(name).name,
                        "checkpoint": run.fields["checkpoint"],
                        "pretraining seed": _name(run.fields["pretraining_seed"]),
                        "fine-tuning seed": _name(run.fields["finetuning_seed"]),
                        "status": run.manifest["status"],
                        "score": points(score, unit="score", unknown="" if known else "none"),
                    }
                )
    columns = [
        "run",
        "checkpoints",
        "evaluation",
        "setting",
        "pretraining seed",
        "fine-tuning seed",
        "status",
        "score",
    ]
    kept = [name for name in columns if any(row[name] not in ("", None) for row in rows)]
    return Table("Runs", tuple(kept), tuple(rows), units="Scores are in percent.")


def _name(seed: int | None) -> str:
    return "" if seed is None else str(seed)


def spread_table(runs: Table) -> Table:
    """How the scores of ``run_table`` spread, a row for each group, setting and evaluation."""
    rows: list[dict[str, Cell]] = []
    for (title, evaluation, setting), members in _grouped(runs, "checkpoints", "evaluation", "setting"):
        scores = [s for row in members if not math.isnan(s := _score(row))]
        if not scores:
            continue
        by_seed: dict[Any, list[float]] = defaultdict(list)
        for row in members:
            if not math.isnan(_score(row)):
                by_seed[row["checkpoint"]].append(_score(row))
        means = [fmean(values) for values in by_seed.values()]
        rows.append(
            {
                "checkpoints": title,
                "evaluation": evaluation,
                "setting": setting,
                "lowest": points(min(scores), unit="lowest score"),
                "median": points(median(scores), unit="median score"),
                "highest": points(max(scores), unit="highest score"),
                "sd of runs": points(_sd(scores), unit="standard deviation of runs"),
                "sd of seed means": points(_sd(means), unit="standard deviation of pretraining seeds' means"),
                "pretraining seeds": len(means),
                "runs": len(scores),
            }
        )
    note = (
        "Standard deviations divide by n - 1; those of seed means hold what fine-tuning noise "
        "is left in them."
    )
    kept = [name for name in rows[0] if name != "setting" or any(row[name] for row in rows)] if rows else []
    return Table(
        "How scores of single runs spread", tuple(kept), tuple(rows), (note,), units="In percent and points."
    )


def _grouped(table: Table, *keys: str) -> list[tuple[tuple[str, ...], list[dict[str, Cell]]]]:
    found: dict[tuple[str, ...], list[dict[str, Cell]]] = defaultdict(list)
    for row in table.rows:
        found[tuple(str(row[key]) for key in keys)].append(row)
    return list(found.items())


def _score(row: dict[str, Cell]) -> float:
    cell = row["score"]
    assert isinstance(cell, Quantity)
    return cell.value


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan


def trouble_table(results: Results, confidence: float = 0.95) -> Table:
    """How many runs collapsed, diverged or failed, of each group, task and setting, whether chosen or not.

    The share is of collapsed and diverged runs, failed ones (out of memory and the like) say nothing of training.
    The last row is for all runs.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for run in results.stored:
        rate = run.fields.get("learning_rate")
        setting = "" if rate is None else f"lr {rate:g}"
        counts[results.partition.place(run).name, run.fields["task"], setting][run.manifest["status"]] += 1
    rows = []
    for (title, task, setting), found in sorted(counts.items()):
        if found["collapsed"] or found["diverged"] or found["failed"]:
            rows.append(_trouble_row(title, task, setting, found, confidence))
    total = sum(counts.values(), Counter())
    rows.append(_trouble_row("all", "all", "", total, confidence))
    return Table(
        "Runs that went wrong",
        tuple(rows[0]),
        tuple(rows),
        ("Exact binomial intervals.",),
        units="Shares are in percent.",
    )


def _trouble_row(
    title: str, task: str, setting: str, found: Counter[str], confidence: float
) -> dict[str, Cell]:
    trained = found.total() - found["failed"]
    bad = found["collapsed"] + found["diverged"]
    return {
        "checkpoints": title,
        "task": task,
        "setting": setting,
        "runs": found.total(),
        "collapsed": found["collapsed"],
        "diverged": found["diverged"],
        "failed": found["failed"],
        "share collapsed or diverged": collapse_rate(bad, trained, confidence) if trained else None,
    }


def sensitivity_table(
    chosen: Sequence[Chosen], metric: str | None = None, confidence: float = 0.95
) -> Table | None:
    """Scores with and without collapsed runs, where chosen settings have any; None if none has."""
    rows: list[dict[str, Cell]] = []
    for one in chosen:
        collapsed = {run.run_id for run in one.runs if run.manifest["status"] == "collapsed"}
        if not collapsed:
            continue
        for evaluation, name in evaluations_of(one, metric):
            measured = evaluated(one, evaluation, name)
            if measured is None:
                continue
            flags = [run["run_id"] in collapsed for run in measured.tensor.runs]
            found = with_and_without_collapsed(
                measured.run_info,
                measured.tensor.outputs,
                measured.labels,
                name,
                confidence,
                is_collapsed=flags,
                **measured.options(),
            )
            rows.append(
                {
                    "checkpoints": chosen_title(one),
                    "evaluation": evaluation,
                    "metric": METRICS.get(name).name,
                    "all runs": found.all_runs,
                    "without collapsed runs": found.without_collapsed,
                    "collapsed": sum(flags),
                    "runs": len(flags),
                }
            )
    if not rows:
        return None
    note = (
        "Collapsed runs count in every other table; leaving them out is a sensitivity analysis, not a score."
    )
    title = "Scores with and without collapsed runs"
    return Table(title, tuple(rows[0]), tuple(rows), (note,), units="In percent.")
