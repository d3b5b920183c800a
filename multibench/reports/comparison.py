"""Base against experiment by multi-bootstrap, paired over pretraining seeds or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from multibench.errors import ResultsError
from multibench.reports.scores import describe_setting, seed_for
from multibench.reports.tables import Table
from multibench.results import Chosen, PredictionTensor, Results, select_settings
from multibench.stats import multibootstrap

__all__ = ["compare"]


def compare(
    results: Results,
    base: str,
    experiment: str,
    task: str | None = None,
    metric: str | None = None,
    paired: bool | None = None,
    rule: str | None = None,
    nboot: int = 2000,
    confidence: float = 0.95,
) -> Table:
    """Compare the runs that the filters ``base`` and ``experiment`` accept, a row for each evaluation.

    ``paired`` None pairs when both sides have the same two or more pretraining seeds. ``task`` and
    ``metric`` narrow the table; without ``metric`` each evaluation's headline metric is compared.
    Raises ``ResultsError`` if a side is empty, the sides share a run, or a side still has several
    settings.
    """
    sides = [results.where(text) for text in (base, experiment)]
    for name, text, side in zip(("base", "experiment"), (base, experiment), sides, strict=True):
        if not len(side):
            raise ResultsError(f"The {name} filter {text!r} accepts no stored run.")
    shared = {run.run_id for run in sides[0].stored} & {run.run_id for run in sides[1].stored}
    if shared:
        raise ResultsError(
            f"Base and experiment share {len(shared)} runs, such as {min(shared)}; narrow the filters."
        )
    chosen = [
        {c.task: c for c in _one_setting(side, rule, name)}
        for side, name in zip(sides, ("base", "experiment"), strict=True)
    ]
    tasks = sorted(set(chosen[0]) & set(chosen[1]))
    if task is not None:
        tasks = [name for name in tasks if name == task]
    if not tasks:
        raise ResultsError(f"Base and experiment have no task in common{f' named {task}' if task else ''}.")
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for name in tasks:
        rows += _rows(chosen[0][name], chosen[1][name], metric, paired, nboot, confidence, notes)
    if not rows:
        raise ResultsError("Base and experiment were scored on no evaluation and metric in common.")
    notes.insert(
        0,
        f"Base: {base}. Experiment: {experiment}. "
        f"Intervals {confidence:.0%}; p two-sided from the same {nboot:,} draws.",
    )
    columns = tuple(rows[0])
    return Table("Comparison by multi-bootstrap", columns, tuple(rows), tuple(dict.fromkeys(notes)))


def _one_setting(side: Results, rule: str | None, name: str) -> list[Chosen]:
    """The side's runs by task, every group of checkpoints under one setting."""
    by_task: dict[str, list[Chosen]] = {}
    for chosen in select_settings(side, rule):
        by_task.setdefault(chosen.task, []).append(chosen)
    merged = []
    for task, parts in by_task.items():
        groups = [part.group for part in parts]
        if len(set(groups)) < len(groups):
            settings = "; ".join(describe_setting(part) for part in parts)
            raise ResultsError(
                f"The {name} side has several settings for {task} ({settings}) and its selection rule keeps them all. "
                "Filter by one of them, or give --select best_mean_dev."
            )
        if len(parts) > 1 and any(part.runs[0].fields["pretraining_seed"] is not None for part in parts):
            titles = ", ".join(str(group) for group in groups)
            raise ResultsError(
                f"The {name} side mixes groups of checkpoints for {task}: {titles}. Narrow its filter."
            )
        runs = tuple(run for part in parts for run in part.runs)
        merged.append(Chosen(groups[0], task, runs, parts[0].varied, parts[0].selection, parts[0].estimand))
    return merged


def _rows(
    base: Chosen,
    experiment: Chosen,
    metric: str | None,
    paired: bool | None,
    nboot: int,
    confidence: float,
    notes: list[str],
) -> list[dict[str, Any]]:
    rows = []
    subsets = [Results(base.runs), Results(experiment.runs)]
    common = [name for name in subsets[0].evaluations() if name in subsets[1].evaluations()]
    for evaluation in common:
        tensors = [subset.predictions(evaluation) for subset in subsets]
        labels, outputs, info = _join(tensors[0], tensors[1], evaluation)
        if labels is None:
            continue
        summary = base.runs[0].manifest["evaluations"].get(evaluation) or {}
        for name in [metric or summary["headline"]]:
            if name not in summary["metrics"]:
                continue
            pairing = _pairing(tensors[0], tensors[1]) if paired is None else paired
            found = multibootstrap(
                info,
                outputs,
                labels,
                name,
                paired_seeds=pairing,
                nboot=nboot,
                rng=seed_for(evaluation, name, *(run.run_id for run in (*base.runs, *experiment.runs))),
                confidence=confidence,
            )
            notes += list(found.warnings)
            if not (tensors[0].as_released and tensors[1].as_released):
                notes.append(f"{evaluation}: NOT the released data (accepted by the suite).")
            rows.append(
                {
                    "evaluation": evaluation,
                    "metric": name,
                    "base": found.base,
                    "experiment": found.experiment,
                    "difference": found.delta,
                    "p": found.p_value,
                    "pairing": "paired" if pairing else "unpaired",
                    "seeds": f"{found.base.n_seeds} / {found.experiment.n_seeds}",
                    "runs": f"{found.base.n_runs} / {found.experiment.n_runs}",
                    "examples": found.delta.n_examples,
                    "selection": f"{base.selection} / {experiment.selection}",
                }
            )
    return rows


def _pairing(base: PredictionTensor, experiment: PredictionTensor) -> bool:
    seeds = [set(side.run_info()["seed"]) for side in (base, experiment)]
    return seeds[0] == seeds[1] and len(seeds[0]) > 1


def _join(
    base: PredictionTensor, experiment: PredictionTensor, evaluation: str
) -> tuple[Any, Any, dict[str, list[Any]]]:
    if base.ids != experiment.ids:
        raise ResultsError(f"Base and experiment were scored on different examples of {evaluation}.")
    sides = [side.run_info() for side in (base, experiment)]
    info = {key: [*sides[0][key], *sides[1][key]] for key in sides[0]}
    info["intervention"] = [False] * len(base.runs) + [True] * len(experiment.runs)
    return base.labels, np.concatenate([base.outputs, experiment.outputs]), info
