"""The stored runs that a published figure can be held against, and why there are none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.checkpoints import find
from multibench.errors import ResultsError, UnknownNameError
from multibench.recipes import RECIPES
from multibench.reference import PublishedCell, Reference, Row
from multibench.reports.scores import describe_setting
from multibench.results import Results, select_settings
from multibench.results.frame import StoredRun

__all__ = ["Counterpart", "Unlike", "allowed_settings", "checkpoint_key", "counterpart", "fits", "run_key"]

KNOWN = {"stated", "code_default"}
"""Statuses of hyperparameters that the published runs had for all that is known; the others are fillings."""

NOT_KNOWN = "not known"

Key = tuple[Any, ...]
Allowed = Mapping[str, tuple[Any, ...]]


class Unlike(Exception):
    """No stored runs are like the published ones; ``str()`` is the reason in a few words."""


@dataclass(frozen=True, eq=False)
class Counterpart:
    """Scores of stored runs that are made as the published ones were.

    ``scores`` are fractions, one for each fine-tuning seed that all checkpoints have: the mean over checkpoints, or
    the difference of two such means. ``n_checkpoints``, ``n_runs`` and ``n_examples`` are what stands behind them, and
    ``runs`` are the runs themselves.
    """

    scores: NDArray[np.float64]
    n_checkpoints: int
    n_runs: int
    n_examples: int
    runs: tuple[StoredRun, ...]


@cache
def checkpoint_key(name: str) -> Key:
    """What a checkpoint of the catalogue is: family, pretraining seed and step, or its id if it has no seed."""
    try:
        checkpoint = find(name)
    except UnknownNameError:
        return (name,)
    if checkpoint.pretraining_seed is None:
        return (checkpoint.alias_of or checkpoint.id,)
    return (checkpoint.family, checkpoint.pretraining_seed, checkpoint.step)


def run_key(run: StoredRun) -> Key:
    """The same of a stored run, by what it is listed under."""
    labels = run.manifest["labels"]
    if labels["pretraining_seed"] is None:
        return checkpoint_key(labels["checkpoint"])
    return (labels["family"], labels["pretraining_seed"], labels["step"])


def allowed_settings(row: Row, task: str) -> dict[str, tuple[Any, ...]]:
    """Hyperparameter -> the values that its source, or the released code, has for ``row`` on ``task``."""
    stated: dict[str, tuple[Any, ...]] = {}
    if row.recipe:
        for name, fact in RECIPES.get(row.recipe).facts(task).items():
            if fact.status in KNOWN:
                stated[name] = fact.value if isinstance(fact.value, tuple) else (fact.value,)
    return {**stated, **{name: (value,) for name, value in row.settings.items()}}


def fits(fields: Mapping[str, Any], allowed: Allowed) -> bool:
    """Whether every hyperparameter that is known has a published value."""
    return all(_is_one_of(_setting(fields, name), values) for name, values in allowed.items())


def _setting(fields: Mapping[str, Any], name: str) -> Any:
    """A hyperparameter of a run; for imported runs, of which only some are known, None means that it is not."""
    value = fields.get(name)
    return NOT_KNOWN if value is None and fields.get("imported") else value


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    return any(
        math.isclose(value, other, rel_tol=1e-6)
        if isinstance(value, (int, float)) and isinstance(other, (int, float))
        else value == other
        for other in values
    )


def counterpart(results: Results, reference: Reference, cell: PublishedCell) -> Counterpart:
    """The stored runs like those behind ``cell``. Raises ``Unlike`` with the reason if there are none."""
    if cell.row.of is None:
        scores, runs = _by_finetuning_seed(results, cell, cell.row)
        return _joined([scores], runs, cell.evaluation, lambda parts: parts[0])
    sides = [_by_finetuning_seed(results, cell, reference.row(name)) for name in cell.row.of]
    runs = [run for _, side in sides for run in side]
    return _joined([s for s, _ in sides], runs, cell.evaluation, lambda parts: parts[0] - parts[1])


def _joined(
    parts: Sequence[Mapping[Any, float]],
    runs: Sequence[StoredRun],
    evaluation: str,
    combine: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]],
) -> Counterpart:
    seeds = sorted(set.intersection(*(set(part) for part in parts)), key=str)
    if not seeds:
        raise Unlike("the two sides have no fine-tuning seed in common")
    own = tuple(run for run in runs if run.fields["finetuning_seed"] in seeds)
    return Counterpart(
        scores=combine([np.array([part[seed] for seed in seeds]) for part in parts]),
        n_checkpoints=len({run_key(run) for run in runs}),
        n_runs=len(own),
        n_examples=int(runs[0].manifest["evaluations"][evaluation]["examples"]),
        runs=own,
    )


def _by_finetuning_seed(
    results: Results, cell: PublishedCell, row: Row
) -> tuple[dict[Any, float], list[StoredRun]]:
    """Fine-tuning seed -> mean score over the checkpoints of ``row``, and the runs."""
    runs = _like(results, cell, row)
    evaluations = [run.manifest["evaluations"].get(cell.evaluation) for run in runs]
    if gone := [run for run in runs if run.manifest["status"] == "diverged"]:
        raise Unlike(f"{len(gone)} of the {len(runs)} runs diverged and have no score")
    if any(evaluation is None or cell.metric not in evaluation["metrics"] for evaluation in evaluations):
        raise Unlike(f"not all of the runs were scored on {cell.evaluation} by {cell.metric}")
    if not all(evaluation["as_released"] for evaluation in evaluations if evaluation is not None):
        raise Unlike("the runs were scored on other data than was released")
    if not all((run.manifest.get("training_data") or {}).get("as_released", True) for run in runs):
        raise Unlike("the runs were trained on other data than was released")
    table: dict[Any, dict[Key, float]] = {}
    for run in runs:
        cells = table.setdefault(run.fields["finetuning_seed"], {})
        if run_key(run) in cells:
            raise Unlike("several runs share a checkpoint and a fine-tuning seed; narrow them with --where")
        cells[run_key(run)] = run.score(cell.evaluation, cell.metric)
    whole = {
        seed: list(cells.values()) for seed, cells in table.items() if len(cells) == len(row.checkpoints)
    }
    if not whole:
        raise Unlike("no fine-tuning seed was run on all of the checkpoints")
    if any(math.isnan(score) for scores in whole.values() for score in scores):
        raise Unlike(f"{cell.metric} of a run is undefined")
    return {seed: float(np.mean(scores)) for seed, scores in whole.items()}, runs


def _like(results: Results, cell: PublishedCell, row: Row) -> list[StoredRun]:
    """The runs of the row's checkpoints that were trained, and chosen, as the published ones were."""
    if not row.checkpoints:
        raise Unlike("no checkpoint is known")
    wanted = {checkpoint_key(name) for name in row.checkpoints}
    scope = {checkpoint_key(name) for name in row.chosen_over} | wanted
    tried = [run for run in results.stored if _may_be(run, cell, row)]
    own = [run for run in tried if run_key(run) in scope]
    if not any(run_key(run) in wanted for run in own):
        raise Unlike(_what_there_is(tried, row, cell))
    own = [run for run in own if run.fields["held_out"] is None]
    if not own:
        raise Unlike("the runs were trained without the part of train that they held out")
    allowed = allowed_settings(row, cell.task) if row.trained else {}
    same = [run for run in own if fits(run.fields, allowed)]
    if not same:
        raise Unlike(_other_settings(own, allowed))
    have = {run_key(run) for run in same}
    if not wanted <= have:
        raise Unlike(_too_few(len(wanted), len(wanted & have)))
    if not scope <= have:
        raise Unlike(
            f"the published setting was chosen over {len(scope)} pretraining seeds, of which {len(have)} have runs"
        )
    _refuse_part_of_grid(same, {name: values for name, values in allowed.items() if len(values) > 1})
    try:
        chosen = select_settings(Results(same), row.selection)
    except ResultsError as error:
        raise Unlike(
            "several runs share a checkpoint and a fine-tuning seed; narrow them with --where"
        ) from error
    marks = sorted({part.place.mark for part in chosen if part.place is not None and part.place.mark})
    if len(chosen) != 1 and marks:
        raise Unlike(f"the stored runs are of several groups ({'; '.join(marks)}); narrow them with --where")
    if len(chosen) != 1:
        settings = "; ".join(filter(None, (describe_setting(part) for part in chosen))) or "several groups"
        raise Unlike(f"the stored runs have several settings ({settings}); narrow them with --where")
    return [run for run in chosen[0].runs if run_key(run) in wanted]


def _may_be(run: StoredRun, cell: PublishedCell, row: Row) -> bool:
    """Whether a run is of the kind: fine-tuned on the task, or a checkpoint's own head applied to it."""
    if run.manifest["status"] == "failed" or (run.fields["finetuning_seed"] is not None) != row.trained:
        return False
    return run.fields["task"] == cell.task if row.trained else cell.evaluation in run.manifest["evaluations"]


def _what_there_is(tried: Sequence[StoredRun], row: Row, cell: PublishedCell) -> str:
    """Why none of the runs that there are will do."""
    others = sorted(
        {str(run.fields["checkpoint"]) for run in tried if cell.evaluation in run.manifest["evaluations"]}
    )
    if not others:
        return "no run is stored"
    if len(others) == 1 and len(row.checkpoints) > 1:
        return (
            f"the published figure is a mean over {len(row.checkpoints)} pretraining seeds; in the stored runs only "
            f"fine-tuning seeds vary, of one other checkpoint, {others[0]}"
        )
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"the stored runs are of other checkpoints: {named}"


def _too_few(wanted: int, have: int) -> str:
    if have == 1:
        return (
            f"the published figure is a mean over {wanted} pretraining seeds; in the stored runs only fine-tuning "
            "seeds vary, of one of these checkpoints"
        )
    return f"the published figure is a mean over {wanted} pretraining seeds, of which {have} have runs"


def _other_settings(own: Sequence[StoredRun], allowed: Allowed) -> str:
    """Which hyperparameter keeps all runs from being like the published ones."""
    for name, values in allowed.items():
        stored = [_setting(run.fields, name) for run in own]
        if not any(_is_one_of(value, values) for value in stored):
            published = " or ".join(str(value) for value in values)
            there = ", ".join(sorted({str(value) for value in stored}))
            return f"the published {name} is {published}, that of the stored runs {there}"
    return "no run has the published hyperparameters together"


def _refuse_part_of_grid(runs: Sequence[StoredRun], grid: Allowed) -> None:
    settings = list(itertools.product(*grid.values()))
    for key in {run_key(run) for run in runs}:
        own = [run.fields for run in runs if run_key(run) == key]
        there = sum(
            any(fits(f, {n: (v,) for n, v in zip(grid, values, strict=True)}) for f in own)
            for values in settings
        )
        if there < len(settings):
            raise Unlike(f"the published setting is the best of {len(settings)}, of which {there} were run")
