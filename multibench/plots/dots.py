"""Every run a dot, seeds side by side: what a table of means hides."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from multibench.errors import ResultsError
from multibench.plots.house import INK, MARKERS, MUTED, PALETTE, axes_of, drawn, label, number_in, rows_of
from multibench.reports.cells import Cell
from multibench.reports.findings import Findings, findings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from multibench.results import Results

__all__ = ["RUNS", "seed_dots"]

RUNS = "runs"
"""SVG groups of dots have ids that begin with this and name their runs, in order."""
GAP = 1.2
"""Between groups, in widths of a seed."""


@drawn
def seed_dots(results: Results | Findings, evaluation: str) -> Figure:
    """Scores of all runs on ``evaluation`` in percent: a column for each pretraining seed, its mean as a bar.

    Collapsed runs are crosses; runs without a score are left out. Raises ``ResultsError`` if nothing was scored on it.
    """
    findings = findings_of(results)
    rows = rows_of(findings.runs, evaluation, "runs")
    by_group: dict[str, dict[str, list[dict[str, Cell]]]] = defaultdict(lambda: defaultdict(list))
    several = len({(row["checkpoints"], row["setting"]) for row in rows}) > len(
        {row["checkpoints"] for row in rows}
    )
    for row in rows:
        if not math.isnan(number_in(row, "score")):
            title = f"{row['checkpoints']} ({row['setting']})" if several else str(row["checkpoints"])
            by_group[title][str(row["checkpoint"])].append(row)
    if not by_group:
        raise ResultsError(f"No run has a score on '{evaluation}'.")
    columns = sum(len(seeds) + GAP for seeds in by_group.values())
    figure, axes = axes_of(3.4)
    size = 4.5 if columns < 60 else 3.0 if columns < 150 else 2.0
    place, ticks, families = 0.0, [], _families(findings)
    for title, seeds in by_group.items():
        color = families.get(title.partition(" (")[0], families.get(title, 0))
        start = place
        for members in seeds.values():
            _column(axes, place, members, color, size)
            place += 1
        ticks.append(((start + place - 1) / 2, title))
        place += GAP
    axes.set_xticks([x for x, _ in ticks], [label(t, 26) for _, t in ticks], rotation=35, ha="right")
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-1, place - GAP)
    axes.set_ylabel(f"{label(rows[0]['metric'])} [%]")
    axes.set_title(f"{label(evaluation)}: every run, by pretraining seed")
    return figure


def _families(findings: Findings) -> dict[str, int]:
    names = list(dict.fromkeys(group.family for group in findings.groups))
    return {group.title: names.index(group.family) for group in findings.groups}


def _column(axes: Axes, place: float, members: list[dict[str, Cell]], color: int, size: float) -> None:
    scores = [100 * number_in(row, "score") for row in members]
    # Spread sideways by rank, so that equal scores stay apart; the same on every machine.
    width = min(0.3, 0.07 * (len(scores) - 1))
    for collapsed in (False, True):
        own = [
            (place + (width * (2 * i / (len(scores) - 1) - 1) if len(scores) > 1 else 0.0), score, row["run"])
            for i, (row, score) in enumerate(zip(members, scores, strict=True))
            if (row["status"] == "collapsed") is collapsed
        ]
        if own:
            axes.plot(
                [x for x, _, _ in own],
                [y for _, y, _ in own],
                gid=".".join([RUNS, *(str(run) for _, _, run in own)]),
                linestyle="none",
                marker="x" if collapsed else MARKERS[color % len(MARKERS)],
                markersize=size + 1 if collapsed else size,
                markeredgewidth=1.2 if collapsed else 0.0,
                color=INK if collapsed else PALETTE[color % len(PALETTE)],
                alpha=None if collapsed else 0.75,
            )
    if len(scores) > 1:
        mean = fmean(scores)
        axes.plot([place - 0.4, place + 0.4], [mean, mean], color=MUTED, linewidth=1.2)
