"""What choosing does: every setting of a grid, the best of n runs, and the best of a whole grid."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from multibench.reports.cells import Cell, Quantity, points
from multibench.reports.runs import evaluations_of
from multibench.reports.scores import chosen_title, describe_setting
from multibench.reports.tables import Table
from multibench.results import Chosen, Results, select_settings
from multibench.stats import best_of_grid, best_of_n, expected_best

__all__ = ["best_of_grid_table", "best_of_n_table", "grid_table"]

TRIALS = (1, 2, 3, 5, 10, 20, 50)


def grid_table(results: Results, chosen: Sequence[Chosen]) -> Table | None:
    """Mean scores of every setting of every grid, and which was chosen; None if there is no grid."""
    kept = {(c.group, c.task, _key(c)) for c in chosen}
    by_cell: dict[tuple[Any, ...], list[Chosen]] = defaultdict(list)
    for one in select_settings(results, "none"):
        by_cell[one.group, one.task].append(one)
    rows: list[dict[str, Cell]] = []
    for (group, task), settings in by_cell.items():
        if len(settings) < 2:
            continue
        for one in settings:
            for evaluation, metric in evaluations_of(one):
                scores = _scores(one, evaluation, metric)
                rows.append(
                    {
                        "checkpoints": chosen_title(one),
                        "evaluation": evaluation,
                        "setting": describe_setting(one),
                        "mean": points(float(np.mean(scores)), unit="mean score of a setting"),
                        "sd of runs": points(
                            float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
                            unit="standard deviation of runs",
                        ),
                        "runs": len(scores),
                        "chosen": (group, task, _key(one)) in kept,
                        "varied": ", ".join(one.varied),
                    }
                )
    if not rows:
        return None
    columns = tuple(name for name in rows[0] if name != "varied")
    note = "Runs without a score count as 0. Rules that choose single runs mark no setting."
    return Table("Every setting of every grid", columns, tuple(rows), (note,), units="In percent and points.")


def _key(chosen: Chosen) -> str:
    return describe_setting(chosen)


def _scores(chosen: Chosen, evaluation: str, metric: str) -> list[float]:
    found = [run.score(evaluation, metric) for run in chosen.runs]
    return [0.0 if math.isnan(score) else score for score in found]


def best_of_n_table(chosen: Sequence[Chosen], confidence: float = 0.95) -> Table | None:
    """Expected and median best of n runs of each group under its setting; None if no group has three runs."""
    rows: list[dict[str, Cell]] = []
    for one in chosen:
        for evaluation, metric in evaluations_of(one):
            scores = _scores(one, evaluation, metric)
            if len(scores) < 3:
                continue
            for n in TRIALS:
                if n > len(scores):
                    break
                rows.append(
                    {
                        "checkpoints": chosen_title(one),
                        "evaluation": evaluation,
                        "setting": describe_setting(one),
                        "n": n,
                        "expected best": points(expected_best(scores, n), unit="expected best of n runs"),
                        "median best": best_of_n(scores, n, confidence),
                        "runs": len(scores),
                    }
                )
    if not rows:
        return None
    note = (
        "The expected best is unbiased. Half of all searches of n runs end above the median best, whose bounds are "
        "order statistics: they hold whatever the distribution, and there are none where n is too near the number of "
        "runs. Runs count as exchangeable and the test set as fixed; a run without a score counts as 0. The best of "
        "n runs is not a mean: it grows with n, and is not to be put beside scores of other tables."
    )
    return Table("Best of n runs", tuple(rows[0]), tuple(rows), (note,), units="In percent.")


def best_of_grid_table(results: Results) -> Table | None:
    """Expected best of one run of every setting, for grids in which each setting has equally many runs."""
    cells: dict[tuple[Any, ...], list[Chosen]] = defaultdict(list)
    for one in select_settings(results, "none"):
        cells[one.group, one.task, one.runs[0].fields["held_out"]].append(one)
    rows: list[dict[str, Cell]] = []
    for settings in cells.values():
        sizes = {len(one.runs) for one in settings}
        if len(settings) < 2 or len(sizes) > 1 or min(sizes) < 2:
            continue
        for evaluation, metric in evaluations_of(settings[0]):
            scores = np.array([_scores(one, evaluation, metric) for one in settings])
            rows.append(
                {
                    "checkpoints": chosen_title(settings[0]),
                    "evaluation": evaluation,
                    "settings": len(settings),
                    "mean of all": points(float(scores.mean()), unit="mean over all settings"),
                    "expected best": points(best_of_grid(scores, 1).value, unit="expected best of the grid"),
                    "best seen": Quantity(
                        float(scores.max()), f"{100 * scores.max():.2f}", "highest score of any run"
                    ),
                    "runs": scores.size,
                }
            )
    if not rows:
        return None
    note = (
        "One run of every setting, the best reported. It depends on the grid; another grid has another best. No "
        "interval is known to cover it with so few runs a setting."
    )
    title = "Expected best of a search over the grid"
    return Table(title, tuple(rows[0]), tuple(rows), (note,), units="In percent.")
