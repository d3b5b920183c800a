"""The score table: one estimate for each group of checkpoints, evaluation and metric."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from multibench.errors import ResultsError
from multibench.metrics import METRICS
from multibench.reports.cells import Cell, Mention, Name, Quantity, count, percent, points, say, shown
from multibench.reports.modules import module_note, module_summaries
from multibench.reports.tables import Table
from multibench.results import Chosen, PredictionTensor, Results, select_settings
from multibench.stats import Estimate, multibootstrap_group, with_and_without_collapsed

__all__ = ["chosen_title", "describe_setting", "metrics_of", "score_notes", "scores", "seed_for"]


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
) -> Table:
    """Scores with intervals, a row for each group, setting, evaluation and metric.

    ``metrics`` names one metric; without it each evaluation's headline metric is shown, and "all"
    shows every one. ``rule`` replaces the suites' own selection rules. Raises ``ResultsError`` if
    there is nothing to score.
    """
    rows: list[dict[str, Cell]] = []
    modules: list[dict[str, Any]] = []
    level = Quantity(confidence, f"{confidence:.0%}", "confidence level")
    draws = Quantity(nboot, f"{nboot:,}", "bootstrap draws")
    notes: list[str] = [
        say("Intervals: ", level, ", ", draws, " multi-bootstrap draws over the factors in 'over'."),
        *results.partition.notes,
    ]
    for chosen in select_settings(results, rule):
        subset = Results(chosen.runs)
        diverged = [run for run in chosen.runs if run.manifest["status"] == "diverged"]
        collapsed = {run.run_id for run in chosen.runs if run.manifest["status"] == "collapsed"}
        for evaluation in subset.evaluations():
            tensor = subset.predictions(evaluation)
            if tensor.labels is None:
                continue
            for metric in metrics_of(chosen, evaluation, metrics):
                estimate = multibootstrap_group(
                    tensor.run_info(),
                    tensor.outputs,
                    tensor.labels,
                    metric,
                    nboot=nboot,
                    rng=seed_for(evaluation, metric, *(run.run_id for run in chosen.runs)),
                    confidence=confidence,
                    estimand=chosen.estimand,
                )
                rows.append(
                    {
                        "checkpoints": chosen_title(chosen),
                        "setting": describe_setting(chosen),
                        "evaluation": evaluation,
                        "metric": METRICS.get(metric).name,
                        "score [95 %]" if confidence == 0.95 else f"score [{confidence:.0%}]": estimate,
                        "sd of runs": _spread(tensor.outputs, tensor.labels, metric),
                        "pretraining seeds": estimate.n_seeds,
                        "runs": estimate.n_runs,
                        "examples": estimate.n_examples,
                        "collapsed": len(collapsed),
                        "diverged": len(diverged),
                        "selection": chosen.selection,
                        "over": _factors(estimate),
                    }
                )
                notes += score_notes(evaluation, metric, tensor.as_released)
                if collapsed:
                    flags = [
                        r.run_id in collapsed for r in chosen.runs if evaluation in r.manifest["evaluations"]
                    ]
                    notes.append(_collapse_note(chosen_title(chosen), tensor, metric, flags, confidence))
                if estimate.caveat:
                    notes.append(f"{chosen_title(chosen)}: {estimate.caveat}.")
            found = module_summaries(chosen.runs, evaluation)
            notes += [module_note(chosen_title(chosen), summary) for summary in found]
            modules += [{"checkpoints": chosen_title(chosen), **summary} for summary in found]
        notes += [
            f"{chosen_title(chosen)}, {chosen.task}: a run diverged and has no score: {r.manifest['reason']}."
            for r in diverged
        ]
    failed = [run for run in results.stored if run.manifest["status"] == "failed"]
    notes += (
        [f"{len(failed)} runs failed and are left out: {failed[0].manifest['reason']}."] if failed else []
    )
    if not rows and metrics is not None:
        evaluations = [e for run in results.stored for e in run.manifest["evaluations"].values()]
        known = sorted({name for evaluation in evaluations for name in evaluation["metrics"]})
        raise ResultsError(
            f"No stored run was scored by '{metrics}'; there are {', '.join(known) or 'none'}, or 'all'."
        )
    if not rows:
        raise ResultsError("There is nothing to score: no stored run has predictions with labels.")
    names = list(dict.fromkeys(key for row in rows for key in row))
    kept = [n for n in names if n == "selection" or any(shown(row.get(n)) not in ("", "0") for row in rows)]
    said = tuple(dict.fromkeys([*notes, *results.damaged]))
    return Table("Scores", tuple(kept), tuple(rows), said, {"evaluate": modules} if modules else {})


def _collapse_note(
    title: str, tensor: PredictionTensor, metric: str, flags: list[bool], confidence: float
) -> str:
    """How often runs collapsed, and the score without these: a sensitivity analysis, never the score."""
    assert tensor.labels is not None
    found = with_and_without_collapsed(
        tensor.run_info(), tensor.outputs, tensor.labels, metric, confidence, is_collapsed=flags
    )
    rest = found.without_collapsed
    how_often = Mention(found.rate, f"{percent(found.rate)} %")
    return say(
        Name(f"{title}, {tensor.evaluation}: "),
        Quantity(sum(flags), f"{sum(flags)} of ", "collapsed runs"),
        count(len(flags), "run"),
        " collapsed, ",
        how_often,
        " of such runs; they count in the score. Without them ",
        Name(metric),
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


def _factors(estimate: Estimate) -> str:
    return estimate.method.partition(" over ")[2]
