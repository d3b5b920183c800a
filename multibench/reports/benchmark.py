"""The average over GLUE with its interval, a row for each group of checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError, StatisticsError, UnknownNameError
from multibench.registry import did_you_mean
from multibench.reports.cells import Cell, level_text, points
from multibench.reports.evaluated import Evaluated, choice_notes, evaluated
from multibench.reports.scores import chosen_title, describe_setting, score_notes
from multibench.reports.tables import Table
from multibench.results import Chosen, Results, select_settings
from multibench.scoring.glue import GLUE_SCORES, GlueScore
from multibench.stats import MacroScore, TaskRuns, macro_score

__all__ = ["BENCHMARKS", "benchmark_scores"]

BENCHMARKS = {"glue": "glue_server", "glue-bert": "bert_average"}
"""What may be asked for, and the name of its definition in ``GLUE_SCORES``."""

Term = tuple[str, ...]
Parts = Mapping[str, Chosen]


@dataclass(frozen=True)
class _Average:
    """The average of one group over ``terms``, and what stands behind it."""

    parts: Parts
    terms: tuple[Term, ...]
    missing: tuple[Term, ...]
    evaluated: tuple[Evaluated, ...]
    score: MacroScore


def benchmark_scores(
    results: Results,
    benchmark: str = "glue",
    rule: str | None = None,
    confidence: float = 0.95,
    partial: bool = False,
) -> Table:
    """The average over the tasks of ``benchmark`` (``BENCHMARKS``) on dev sets, for each group of checkpoints.

    Intervals are by surrogate mean squares; seeds that tasks share count once. ``rule`` replaces the suites' own
    selection rules. A group that lacks a task is left out and named; with ``partial`` it has the average over the
    tasks that it has, which is another quantity. Raises ``UnknownNameError`` for an unknown benchmark, and
    ``ResultsError`` if no group has an average, or if a group has several settings on a task.
    """
    definition = _definition(benchmark)
    found: list[_Average] = []
    notes: list[str] = []
    for parts in _groups(results, rule):
        title = chosen_title(next(iter(parts.values())))
        terms = tuple(term for term in definition.terms if _has(parts, term))
        missing = tuple(term for term in definition.terms if term not in terms)
        if not terms or (missing and not partial):
            notes.append(f"{title} is left out: it has no scores on {_names(missing)}.")
            continue
        try:
            found.append(_average(parts, terms, missing, confidence))
        except StatisticsError as error:
            notes.append(f"{title} is left out: {error}")
    if not found:
        raise ResultsError(_nothing(definition, notes, partial))
    rows = [_row(average, definition, confidence) for average in found]
    for average in found:
        notes += _notes(average, definition)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    kept = [name for name in columns if any(row.get(name) not in (None, "", 0) for row in rows)]
    said = [_explanation(definition, confidence), *results.partition.notes, *notes, *results.damaged]
    return Table(
        "GLUE average, dev sets",
        tuple(kept),
        tuple(rows),
        tuple(dict.fromkeys(said)),
        units="Scores are in percent.",
    )


def _definition(benchmark: str) -> GlueScore:
    if benchmark not in BENCHMARKS:
        raise UnknownNameError(
            f"There is no benchmark '{benchmark}'; there are {', '.join(BENCHMARKS)}."
            f"{did_you_mean(benchmark, BENCHMARKS)}"
        )
    return GLUE_SCORES.get(BENCHMARKS[benchmark])


def _groups(results: Results, rule: str | None) -> list[dict[str, Chosen]]:
    """For each group of checkpoints its chosen runs by task."""
    groups: dict[object, dict[str, Chosen]] = {}
    for chosen in select_settings(results, rule):
        parts = groups.setdefault(chosen.group, {})
        if chosen.task in parts:
            settings = "; ".join(filter(None, map(describe_setting, (parts[chosen.task], chosen))))
            raise ResultsError(
                f"{chosen_title(chosen)} has several settings on {chosen.task} ({settings}); an average needs one. "
                "Choose one with --select, or narrow the runs with --where."
            )
        if chosen.estimand != "mean":
            raise ResultsError(
                f"The selection of {chosen_title(chosen)} on {chosen.task} reports a {chosen.estimand}; the GLUE "
                "average is one of means. Choose another rule with --select."
            )
        parts[chosen.task] = chosen
    return list(groups.values())


def _place(column: str) -> tuple[str, str, str]:
    """Task, evaluation and metric of a column such as ``mnli_matched.accuracy``."""
    name, _, metric = column.partition(".")
    task, _, part = name.partition("_")
    return task, f"{task}.dev_{part}" if part else f"{task}.dev", metric


def _has(parts: Parts, term: Term) -> bool:
    places = [_place(column) for column in term]
    return all(
        task in parts and evaluation in Results(parts[task].runs).evaluations()
        for task, evaluation, _ in places
    )


def _names(terms: Sequence[Term]) -> str:
    return ", ".join(dict.fromkeys(_place(column)[1] for term in terms for column in term))


def _average(parts: Parts, terms: Sequence[Term], missing: Sequence[Term], confidence: float) -> _Average:
    used: list[Evaluated] = []
    tasks = []
    for term in terms:
        by_evaluation: dict[str, list[Evaluated]] = {}
        for task, evaluation, metric in map(_place, term):
            one = evaluated(parts[task], evaluation, metric)
            if one is None:
                raise StatisticsError(f"The examples of {evaluation} have no labels.")
            by_evaluation.setdefault(evaluation, []).append(one)
        for evaluation, ones in by_evaluation.items():
            tasks.append(_task_runs(evaluation, ones, len(ones) / len(term)))
            used += ones
    return _Average(
        parts, tuple(terms), tuple(missing), tuple(used), macro_score(tasks, confidence=confidence)
    )


def _task_runs(evaluation: str, ones: Sequence[Evaluated], weight: float) -> TaskRuns:
    """The runs on one evaluation, by the mean of its metrics."""
    first = ones[0]
    return TaskRuns(
        name=evaluation,
        run_info=first.run_info,
        preds=first.tensor.outputs,
        labels=first.labels,
        metrics=tuple(one.metric for one in ones),
        clusters=first.tensor.clusters,
        strata=first.tensor.strata,
        weight=weight,
        corrections=_corrections(ones),
    )


def _corrections(ones: Sequence[Evaluated]) -> NDArray[np.float64] | None:
    """What a choice on these examples takes off the mean of the metrics, for each run."""
    found = [one.corrections for one in ones]
    if all(each is None for each in found):
        return None
    zero = np.zeros(len(ones[0].tensor.runs))
    return np.asarray(np.mean([zero if each is None else each for each in found], axis=0))


def _row(average: _Average, definition: GlueScore, confidence: float) -> dict[str, Cell]:
    estimate = average.score.estimate
    runs = {run["run_id"]: run for one in average.evaluated for run in one.tensor.runs}
    states = [
        run.manifest["status"]
        for chosen in average.parts.values()
        for run in chosen.runs
        if run.run_id in runs
    ]
    row: dict[str, Cell] = {
        "checkpoints": chosen_title(next(iter(average.parts.values()))),
        f"average [{level_text(confidence)}]": estimate,
        "tasks": f"{len(average.terms)} of {len(definition.terms)}"
        if average.missing
        else len(average.terms),
    }
    values = average.score.tasks
    for term in average.terms:
        value = fmean(values[_place(column)[1]] for column in term)
        row[_heading(term)] = points(value, 1, "mean score of the task")
    return row | {
        "pretraining seeds": estimate.n_seeds,
        "runs": len(runs),
        "examples": estimate.n_examples,
        "collapsed": states.count("collapsed"),
        "over": estimate.over,
        "method": estimate.method,
    }


def _heading(term: Term) -> str:
    """What the columns of a term have in common: ``mrpc``, ``mnli``, or ``mnli_matched`` where it stands alone."""
    names = dict.fromkeys(column.partition(".")[0] for column in term)
    return next(iter(names)) if len(names) == 1 else _place(term[0])[0]


def _explanation(definition: GlueScore, confidence: float) -> str:
    terms = "; ".join(" and ".join(term) for term in definition.terms)
    return (
        f"{definition.title}. Here on dev sets, so that it is no score of the leaderboard, which is on test. It is the "
        f"plain mean of: {terms}. Intervals: {level_text(confidence)}, by surrogate mean squares; seeds that the tasks "
        "share count once."
    )


def _notes(average: _Average, definition: GlueScore) -> Iterator[str]:
    title = chosen_title(next(iter(average.parts.values())))
    if average.missing:
        yield (
            f"{title}: {_names(average.missing)} missing. The average is over {len(average.terms)} of the "
            f"{len(definition.terms)} terms of the definition: another quantity, to be put beside no published "
            "average, nor beside one over other tasks."
        )
    for warning in average.score.warnings:
        yield f"{title}: {warning}"
    for one in average.evaluated:
        yield from score_notes(one.evaluation, one.metric, one.tensor.as_released)
        yield from one.tensor.remarks
        if one.choice is not None:
            yield from choice_notes(f"{title}, {one.metric}", one, one.estimate())
    gone = [
        run
        for chosen in average.parts.values()
        for run in chosen.runs
        if run.manifest["status"] == "diverged"
    ]
    if gone:
        yield f"{title}: {len(gone)} runs diverged and have no score: {gone[0].manifest['reason']}."
    estimate = average.score.estimate
    if estimate.reason:
        yield f"{title}: no interval: {estimate.reason}."
    if estimate.caveat:
        yield f"{title}: {estimate.caveat}."


def _nothing(definition: GlueScore, left_out: Sequence[str], partial: bool) -> str:
    if not left_out:
        return "There is nothing to average: no stored run has predictions with labels."
    more = "" if partial else " --partial averages over what there is, which is another quantity."
    return (
        f"No group of checkpoints has the {len(definition.terms)} terms of '{definition.title}'. "
        f"{' '.join(left_out)}{more}"
    )
