"""Choosing one setting of a grid, as papers do, and saying so.

A setting is everything in the hyperparameters. Runs of a group (see ``partition.Partition``) and task
that differ in settings came from a grid; a rule keeps one setting for all seeds of the group. Runs that
were trained without a part of the training examples, to choose on it, stand apart from those that were not.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from multibench.errors import SuiteError
from multibench.recipes import SELECTION_RULES
from multibench.results.frame import Results, StoredRun
from multibench.results.partition import Place, refuse_twins
from multibench.tasks import HELD_OUT

__all__ = ["Chosen", "select_settings"]

Group = tuple[Any, ...]


@dataclass(frozen=True)
class Chosen:
    """Runs of one group and task that a rule left over, and how it did."""

    group: Group
    task: str
    runs: tuple[StoredRun, ...]
    varied: dict[str, Any]
    """The hyperparameters that differ between the settings that there were, with these runs' values; one
    that differs among these runs is left out. ``held_out`` stands here, too, if there is such a part."""
    selection: str
    """For a person: the rule, the split it looked at and how many settings or runs there were."""
    estimand: str = "mean"
    """What is reported over the runs: ``mean`` or ``median``."""
    place: Place | None = None
    """The group's name, what tells it from others of that name, and how to find it; None for runs of several."""
    rivals: tuple[tuple[StoredRun, ...], ...] = ()
    """What the choice was among: the runs of every setting, or of every checkpoint where single runs were chosen."""
    decided_on: str = ""
    """The evaluation that the choice looked at; empty where nothing was chosen."""

    by_run: bool = False
    """Whether ``rivals`` are single runs, of each checkpoint."""


def select_settings(results: Results, rule: str | None = None) -> list[Chosen]:
    """Group ``results`` by checkpoint group and task, and choose by ``rule`` (see ``recipes.SELECTION_RULES``).

    Without ``rule`` each suite's own applies. Failed runs are left out; a diverged run, having no
    score, counts as 0 in the choice. Raises ``SuiteError`` for an unknown rule, and ``ResultsError`` if two runs of one
    setting have the same seeds.
    """
    if rule is not None and rule not in SELECTION_RULES:
        raise SuiteError(f"There is no selection rule '{rule}'; there are {', '.join(SELECTION_RULES)}.")
    cells: dict[tuple[Group, str, float | None], dict[str, list[StoredRun]]]
    cells = defaultdict(lambda: defaultdict(list))
    places: dict[Group, Place] = {}
    for run in results.stored:
        if run.manifest["status"] != "failed":
            place = results.partition.place(run)
            places[place.group] = place
            cells[place.group, run.fields["task"], run.fields["held_out"]][_key(run)].append(run)
    chosen: list[Chosen] = []
    for (group, task, held_out), cell in sorted(
        cells.items(), key=lambda item: _sortable((*item[0][0], *item[0][1:]))
    ):
        settings = [tuple(sorted(runs, key=_order)) for runs in cell.values()]
        for runs in settings:
            refuse_twins(runs)
        varied = [*_varied(settings), *([] if held_out is None else ["held_out"])]
        settings.sort(key=lambda runs: _sortable(tuple(_setting(runs[0], name) for name in varied)))
        rule_here = rule or str(settings[0][0].manifest["suite"]["selection"])
        chosen.extend(_apply(rule_here, places[group], task, settings, varied))
    return chosen


def _apply(
    rule: str, place: Place, task: str, settings: list[tuple[StoredRun, ...]], varied: list[str]
) -> list[Chosen]:
    split = _selection_split([run for runs in settings for run in runs])

    def one(runs: tuple[StoredRun, ...], text: str, estimand: str = "mean") -> Chosen:
        own = {name: _setting(runs[0], name) for name in varied}
        return Chosen(place.group, task, runs, own, text, estimand, place)

    if rule == "best_dev" and split is not None:
        candidates: dict[str, list[StoredRun]] = defaultdict(list)
        for run in sorted((run for runs in settings for run in runs), key=_order):
            candidates[run.fields["checkpoint"]].append(run)
        best = tuple(max(runs, key=lambda run: _score(run, split)) for runs in candidates.values())
        most = max(len(runs) for runs in candidates.values())
        text = f"each checkpoint's best single run of {most} on {split}" if most > 1 else "none (one run)"
        same = {
            name: _setting(best[0], name)
            for name in varied
            if len({json.dumps(_setting(run, name)) for run in best}) == 1
        }
        rivals = tuple(tuple(runs) for runs in candidates.values()) if most > 1 else ()
        return [
            Chosen(
                place.group, task, best, same, text, place=place, rivals=rivals, decided_on=split, by_run=True
            )
        ]
    if rule == "best_mean_dev" and split is not None and len(settings) > 1:
        common = set.intersection(*({_seeds(run) for run in runs} for runs in settings))
        if not common:
            return [one(runs, "none (the settings share no seeds to compare them on)") for runs in settings]

        def mean(runs: tuple[StoredRun, ...]) -> float:
            return fmean(_score(run, split) for run in runs if _seeds(run) in common)

        text = f"best mean over all seeds on {split}, of {len(settings)} settings"
        if any(len(runs) > len(common) for runs in settings):
            text += f", compared on the {len(common)} runs that all of them have"
        best_setting = one(max(settings, key=mean), text)
        return [replace(best_setting, rivals=tuple(settings), decided_on=split)]
    text = "none (one setting)" if len(settings) == 1 else "none (each setting on its own)"
    return [one(runs, text, "median" if rule == "median" else "mean") for runs in settings]


def _key(run: StoredRun) -> str:
    return json.dumps(_hyperparameters(run), sort_keys=True)


def _hyperparameters(run: StoredRun) -> dict[str, Any]:
    """Those that a recipe sets: which output of a checkpoint's own head is which class is none."""
    found: dict[str, Any] = run.manifest["identity"]["hyperparameters"]
    return {name: value for name, value in found.items() if name != "class_order"}


def _varied(settings: list[tuple[StoredRun, ...]]) -> list[str]:
    if len(settings) == 1:
        return []
    names = dict.fromkeys(name for runs in settings for name in _hyperparameters(runs[0]))
    return [n for n in names if len({json.dumps(_setting(runs[0], n)) for runs in settings}) > 1]


def _setting(run: StoredRun, name: str) -> Any:
    """A hyperparameter of a run; the order of classes is in its identity alone."""
    return run.fields.get(name, run.manifest["identity"]["hyperparameters"].get(name))


def _seeds(run: StoredRun) -> tuple[Any, Any]:
    """What tells runs of one setting apart: checkpoint and fine-tuning seed."""
    return run.fields["checkpoint"], run.fields["finetuning_seed"]


def _selection_split(runs: list[StoredRun]) -> str | None:
    """What was held out to choose on, if anything was.

    Otherwise the labelled evaluation of the task itself that most runs have, the first by name among equals.
    """
    counts = Counter(
        str(name)
        for run in runs
        for name, summary in run.manifest["evaluations"].items()
        if summary["metrics"] and name.startswith(run.fields["task"] + ".")
    )
    held_out = f"{runs[0].fields['task']}.{HELD_OUT}"
    return min(counts, key=lambda name: (name != held_out, -counts[name], name), default=None)


def _score(run: StoredRun, split: str) -> float:
    summary = run.manifest["evaluations"].get(split)
    score = float("nan") if summary is None else run.score(split, summary["headline"])
    return 0.0 if math.isnan(score) else score


def _order(run: StoredRun) -> tuple[Any, ...]:
    labels = run.manifest["labels"]
    return _sortable((labels["pretraining_seed"], labels["checkpoint"], labels["finetuning_seed"]))


def _sortable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A key under which None, numbers, texts and tuples can be mixed."""
    return tuple(
        (0, 0.0, "")
        if v is None
        else (1, float(v), "")
        if isinstance(v, (int, float))
        else (2, 0.0, v)
        if isinstance(v, str)
        else (3, 0.0, str(v))
        for v in values
    )
