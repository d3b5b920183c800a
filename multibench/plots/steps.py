"""Scores along pretraining."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from multibench.plots.house import (
    MARKERS,
    PALETTE,
    axes_of,
    drawn,
    estimate_in,
    label,
    number_in,
    rows_of,
)
from multibench.reports.cells import Cell, level_text
from multibench.reports.findings import Findings, findings_of
from multibench.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from multibench.results import Results

__all__ = ["learning_curves"]


@drawn
def learning_curves(results: Results | Findings, evaluation: str) -> Figure:
    """Scores on ``evaluation`` in percent against pretraining steps, with bands that hold for all steps at once.

    A thick line for each family and setting, a thin one for each pretraining seed. Raises ``ResultsError`` if no
    family was scored on it at two steps or more.
    """
    findings = findings_of(results)
    rows = rows_of(findings.dynamics, evaluation, "steps")
    figure, axes = axes_of(3.4)
    curves = _curves(rows)
    for k, members in enumerate(curves):
        color = PALETTE[k % len(PALETTE)]
        for seed in _seed_curves(findings, members):
            axes.plot(*zip(*seed, strict=True), color=color, linewidth=0.6, alpha=0.35)
        steps = [number_in(row, "step") for row in members]
        bands = [_band(row) for row in members]
        axes.plot(
            steps,
            [100 * band.value for band in bands],
            color=color,
            marker=MARKERS[k % len(MARKERS)],
            markersize=4.5,
            label=label(_title(members, several=len(curves) > 1)),
        )
        low, high = [100 * b.low for b in bands], [100 * b.high for b in bands]
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
    _scale(axes, sorted({number_in(row, "step") for row in rows}))
    axes.set_xlabel("pretraining steps")
    axes.set_ylabel(f"{label(rows[0]['metric'])} [%]")
    axes.set_title(f"{label(evaluation)}: {level_text(estimate_in(rows[0]).level)} bands over all steps")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _band(row: dict[str, Cell]) -> Estimate:
    """The bounds that hold for all steps at once."""
    return estimate_in(row, next(name for name in row if name.startswith("score [") and "band" in name))


def _curves(rows: list[dict[str, Cell]]) -> list[list[dict[str, Cell]]]:
    """The rows of each curve: a new one begins with another family, or where steps begin again."""
    found: list[list[dict[str, Cell]]] = []
    for row in rows:
        last = found[-1][-1] if found else None
        if (
            last is None
            or row["family"] != last["family"]
            or number_in(row, "step") <= number_in(last, "step")
        ):
            found.append([])
        found[-1].append(row)
    return found


def _title(members: list[dict[str, Cell]], several: bool) -> str:
    """The family, with its setting where there is one for all steps and another curve to tell it from."""
    settings = {row["setting"] for row in members}
    return (
        f"{members[0]['family']} {settings.pop()}"
        if several and len(settings) == 1
        else str(members[0]["family"])
    )


def _seed_curves(findings: Findings, members: list[dict[str, Cell]]) -> list[list[tuple[float, float]]]:
    """Mean scores of each pretraining seed along the steps, in percent, for seeds that have two steps or more."""
    steps = {group.title: group.step for group in findings.groups if group.family == members[0]["family"]}
    wanted = {(number_in(row, "step"), row["evaluation"], row["setting"]) for row in members}
    scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in findings.runs.rows:
        step = steps.get(str(row["checkpoints"]))
        if step is not None and (step, row["evaluation"], row["setting"]) in wanted:
            score = number_in(row, "score")
            if not math.isnan(score):
                scores[str(row["pretraining seed"])][step].append(100 * score)
    return [
        [(step, fmean(found[step])) for step in sorted(found)] for found in scores.values() if len(found) > 1
    ]


def _scale(axes: Axes, steps: list[float]) -> None:
    """Logarithmic from the first step after 0, with the steps themselves as ticks, as far as they keep apart."""
    positive = [step for step in steps if step > 0]
    if positive[-1] / positive[0] > 20:
        axes.set_xscale("symlog", linthresh=positive[0]) if steps[0] == 0 else axes.set_xscale("log")
    shown = steps if len(steps) <= 7 else [steps[0], *steps[len(steps) // 3 :: max(1, len(steps) // 4)]]
    axes.set_xticks(shown, [f"{step / 1000:g}k" if step >= 1000 else f"{step:g}" for step in shown])
    axes.minorticks_off()
