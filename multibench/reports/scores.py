"""The score table: one estimate for each group of checkpoints, evaluation and metric."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from multibench.errors import ResultsError
from multibench.metrics import METRICS
from multibench.reports.cells import (
    Cell,
    Mention,
    Name,
    Quantity,
    Sentence,
    count,
    level_text,
    percent,
    points,
    say,
    shown,
)
from multibench.reports.constant import constant_answer, constant_note, holds_constant
from multibench.reports.evaluated import Evaluated, choice_notes, evaluated, few_notes
from multibench.reports.modules import module_note, module_summaries
from multibench.reports.tables import Table
from multibench.results import Chosen, Results, select_settings
from multibench.stats import with_and_without_collapsed
from multibench.stats.compare import Method
from multibench.stats.inference import Few

__all__ = [
    "chosen_title",
    "describe_setting",
    "how_intervals",
    "metrics_of",
    "score_notes",
    "scores",
    "seed_for",
]

# In JSON only; other formats have a note.
_BESIDE = {"constant answer", "told from constant answer"}


def seed_for(*parts: str) -> int:
    """A seed of the bootstrap that depends on what is asked and on nothing else."""
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:6], "big")


def chosen_title(chosen: Chosen) -> str:
    """A group of checkpoints as a person would name it, with what tells it from others of that name."""
    if chosen.place is not None:
        return chosen.place.name
    labels = chosen.runs[0].fields
    if labels["pretraining_seed"] is None:
        return str(labels["checkpoint"])
    step = "" if labels["step"] is None else f" step {labels['step']:,}"
    return f"{labels['family']}{step}"


def describe_setting(chosen: Chosen) -> str:
    """The hyperparameters that were varied, with the values of this setting."""
    short = {"learning_rate": "lr", "batch_size": "batch", "epochs": "epochs"}
    return ", ".join(
        f"{short.get(name, name)} {value:g}"
        if isinstance(value, float)
        else f"{short.get(name, name)} {value}"
        for name, value in chosen.varied.items()
    )


def scores(
    results: Results,
    metrics: str | None = None,
    rule: str | None = None,
    nboot: int = 2000,
    confidence: float = 0.95,
    method: Method = "surrogate",
) -> Table:
    """Scores with intervals, a row for each group, setting, evaluation and metric.

    ``metrics`` names one metric; without it each evaluation's headline metric is shown, and "all"
    shows every one. ``rule`` replaces the suites' own selection rules. ``method`` ``multibootstrap`` gives the
    published percentile intervals, of ``nboot`` draws. Raises ``ResultsError`` if there is nothing to score.
    """
    rows: list[dict[str, Cell]] = []
    modules: list[dict[str, Any]] = []
    few: list[tuple[str, str, Few]] = []
    notes: list[str] = [how_intervals(confidence, method, nboot), *results.partition.notes]
    notes += results.partition.vocabularies
    for chosen in select_settings(results, rule):
        title = chosen_title(chosen)
        for evaluation in Results(chosen.runs).evaluations():
            for metric in metrics_of(chosen, evaluation, metrics):
                one = evaluated(chosen, evaluation, metric)
                if one is None:
                    continue
                row, said = _scored(one, confidence, method, nboot)
                few += [(title, evaluation, f) for f in one.few(confidence)] if method == "surrogate" else []
                rows.append(row)
                notes += said
            found = module_summaries(chosen.runs, evaluation)
            notes += [module_note(title, summary) for summary in found]
            modules += [{"checkpoints": title, **summary} for summary in found]
        notes += [
            f"{title}, {chosen.task}: a run diverged and has no score: {r.manifest['reason']}."
            for r in chosen.runs
            if r.manifest["status"] == "diverged"
        ]
    notes[1:1] = few_notes(few)
    failed = [run for run in results.stored if run.manifest["status"] == "failed"]
    if failed:
        notes.append(f"{len(failed)} runs failed and are left out: {failed[0].manifest['reason']}.")
    if not rows and metrics is not None:
        evaluations = [e for run in results.stored for e in run.manifest["evaluations"].values()]
        known = sorted({name for evaluation in evaluations for name in evaluation["metrics"]})
        raise ResultsError(
            f"No stored run was scored by '{metrics}'; there are {', '.join(known) or 'none'}, or 'all'."
        )
    if not rows:
        raise ResultsError("There is nothing to score: no stored run has predictions with labels.")
    names = list(dict.fromkeys(key for row in rows for key in row))
    names = [name for name in names if name not in _BESIDE]
    kept = [n for n in names if n == "selection" or any(shown(row.get(n)) not in ("", "0") for row in rows)]
    said_once = tuple(dict.fromkeys([*notes, *results.damaged]))
    extra = {"evaluate": modules} if modules else {}
    return Table(
        "Scores", tuple(kept), tuple(rows), said_once, extra, "Scores in percent, their sd in points."
    )


def how_intervals(confidence: float, method: Method, nboot: int) -> Sentence:
    """What the intervals of a table are."""
    level = Quantity(confidence, level_text(confidence), "confidence level")
    if method == "multibootstrap":
        draws = Quantity(nboot, f"{nboot:,}", "bootstrap draws")
        return say(
            "Intervals: ",
            level,
            ", percentiles of ",
            draws,
            " multi-bootstrap draws, over the factors in 'over'.",
        )
    return say("Intervals: ", level, ", by surrogate mean squares over the random factors in 'over'.")


def _scored(
    one: Evaluated, confidence: float, method: Method, nboot: int
) -> tuple[dict[str, Cell], list[str]]:
    """The row of one mean, and what there is to say of it."""
    chosen, evaluation, metric, tensor = one.chosen, one.evaluation, one.metric, one.tensor
    title = chosen_title(chosen)
    rng = seed_for(evaluation, metric, *(run.run_id for run in chosen.runs))
    estimate = one.estimate(confidence, method, nboot, rng)
    states = [run.manifest["status"] for run in chosen.runs]
    row: dict[str, Cell] = {
        "checkpoints": title,
        "setting": describe_setting(chosen),
        "evaluation": evaluation,
        "metric": METRICS.get(metric).name,
        f"score [{level_text(confidence)}]": estimate,
        "sd of runs": _spread(tensor.outputs, one.labels, metric),
        "pretraining seeds": estimate.n_seeds,
        "runs": estimate.n_runs,
        "examples": estimate.n_examples,
        "collapsed": states.count("collapsed"),
        "diverged": states.count("diverged"),
        "selection": chosen.selection,
        "over": estimate.over,
        "method": estimate.method,
    }
    notes: list[str] = [*score_notes(evaluation, metric, tensor.as_released)]
    constant = constant_answer(metric, one.labels)
    if constant is not None:
        row["constant answer"] = points(constant, 1, "score of a constant answer")
        row["told from constant answer"] = not holds_constant(estimate, constant)
    if constant is not None and holds_constant(estimate, constant):
        named = ", ".join(filter(None, (title, describe_setting(chosen))))
        notes.append(constant_note(named, evaluation, metric, estimate, constant))
    notes += tensor.remarks
    collapsed = {run.run_id for run in chosen.runs if run.manifest["status"] == "collapsed"}
    if collapsed:
        notes.append(_collapse_note(title, one, collapsed, confidence))
    notes += choice_notes(title, one, estimate) if method == "surrogate" else ()
    notes += [f"{title}, {evaluation}: no interval: {estimate.reason}."] if estimate.reason else []
    if estimate.caveat:
        notes.append(f"{title}: {estimate.caveat}.")
    return row, notes


def _collapse_note(title: str, one: Evaluated, collapsed: set[str], confidence: float) -> str:
    """How often runs collapsed, and the score without these: a sensitivity analysis, never the score."""
    flags = [run["run_id"] in collapsed for run in one.tensor.runs]
    found = with_and_without_collapsed(
        one.run_info,
        one.tensor.outputs,
        one.labels,
        one.metric,
        confidence,
        is_collapsed=flags,
        **one.options(),
    )
    rest = found.without_collapsed
    how_often = Mention(found.rate, f"{percent(found.rate)} %")
    return say(
        Name(f"{title}, {one.evaluation}: "),
        Quantity(sum(flags), f"{sum(flags)} of ", "collapsed runs"),
        count(len(flags), "run"),
        " collapsed, ",
        how_often,
        " of such runs; they count in the score. Without them ",
        Name(one.metric),
        " is ",
        Mention(rest, percent(rest)),
        " over ",
        count(rest.n_runs, "run"),
        ".",
    )


def metrics_of(chosen: Chosen, evaluation: str, asked: str | None) -> list[str]:
    """The metrics of an evaluation that are asked for: the headline metric, "all", or the one named."""
    summary = next(
        r.manifest["evaluations"][evaluation] for r in chosen.runs if evaluation in r.manifest["evaluations"]
    )
    if asked is None:
        return [str(summary["headline"])]
    return [name for name in summary["metrics"] if asked in ("all", name)]


def score_notes(evaluation: str, metric: str, as_released: bool) -> list[str]:
    """What must stand beside every number that comes from a score tuned on the split it is reported for, or
    from other data than was released; nothing for others.
    """
    notes, known = [], METRICS.get(metric)
    if known.tuned_on_reported_split:
        notes.append(
            f"{evaluation}: {known.name} is tuned on the very examples it is reported for, each run for itself: too "
            "good for others, and not comparable with scores of fixed settings."
        )
    if not as_released:
        notes.append(f"{evaluation}: NOT trained and scored on the released data (accepted by the suite).")
    return notes


def _spread(outputs: Any, labels: Any, metric: str) -> Quantity:
    """Standard deviation over runs (n - 1) in points; what a table with one seed hides."""
    values = np.array([METRICS.get(metric).score(labels, run) for run in outputs])
    known = len(values) > 1 and bool(np.isfinite(values).all())
    return points(float(values.std(ddof=1)) if known else math.nan, 1, "standard deviation of runs")
