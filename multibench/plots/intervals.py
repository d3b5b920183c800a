"""Estimates with intervals, one below the other: scores of groups, and differences between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multibench.errors import ResultsError
from multibench.plots.house import (
    INK,
    MARKERS,
    MUTED,
    PALETTE,
    axes_of,
    by_texts,
    drawn,
    errors_of,
    estimate_in,
    label,
    rows_of,
)
from multibench.reports.cells import Cell, Quantity, level_text
from multibench.reports.findings import Findings, findings_of
from multibench.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from multibench.results import Results

__all__ = ["agreement", "differences", "score_intervals"]

ROW = 0.24
"""Inches of height that a row takes."""


@drawn
def score_intervals(results: Results | Findings, evaluation: str) -> Figure:
    """Scores of all groups on ``evaluation`` (``rte.dev``) in percent, with intervals.

    Raises ``ResultsError`` if nothing was scored on it.
    """
    findings = findings_of(results)
    rows = rows_of(findings.scores, evaluation, "scores")
    families = {group.title: group.family for group in findings.groups}
    names = list(dict.fromkeys(families.values()))
    figure, axes = axes_of(0.8 + ROW * len(rows))
    for k, family in enumerate(names):
        places = [i for i, row in enumerate(rows) if families[str(row["checkpoints"])] == family]
        if not places:
            continue
        estimates = [estimate_in(rows[i]) for i in places]
        axes.errorbar(
            [100 * e.value for e in estimates],
            places,
            xerr=errors_of(estimates),
            fmt=MARKERS[k % len(MARKERS)],
            color=PALETTE[k % len(PALETTE)],
            markersize=5,
            capsize=2.5,
            linewidth=1.3,
        )
    titles = [label(f"{row['checkpoints']} {_setting(row, rows)}") for row in rows]
    _finish(axes, titles)
    level = estimate_in(rows[0]).level
    axes.set_xlabel(f"{label(rows[0]['metric'])} [%], {level_text(level)} intervals")
    axes.set_title(label(evaluation))
    return figure


def _setting(row: dict[str, Cell], rows: list[dict[str, Cell]]) -> str:
    """The setting, where a group has several."""
    same = [other for other in rows if other["checkpoints"] == row["checkpoints"]]
    return f"({row['setting']})" if len(same) > 1 else ""


@drawn
def differences(results: Results | Findings, evaluation: str) -> Figure:
    """Differences between groups on ``evaluation`` in points; filled where they hold after adjustment.

    Raises ``ResultsError`` if there is no comparison on it.
    """
    findings = findings_of(results)
    rows = rows_of(findings.comparisons, evaluation, "differences")
    alpha = 1 - findings.options.confidence
    figure, axes = axes_of(0.8 + ROW * len(rows))
    axes.axvline(0, color=INK, linewidth=0.8)
    for holds, color in ((True, PALETTE[0]), (False, MUTED)):
        places = [i for i, row in enumerate(rows) if _holds(row, alpha) is holds]
        if not places:
            continue
        estimates = [estimate_in(rows[i], "difference") for i in places]
        axes.errorbar(
            [100 * e.value for e in estimates],
            places,
            xerr=errors_of(estimates),
            fmt="o",
            color=color,
            markerfacecolor=color if holds else "none",
            markersize=5,
            capsize=2.5,
            linewidth=1.3,
        )
    _finish(axes, [f"{label(row['from'], 28)} → {label(row['to'], 28)}" for row in rows])
    level = estimate_in(rows[0], "difference").level
    axes.set_xlabel(f"difference in {label(rows[0]['metric'])} [points], {level_text(level)} intervals")
    axes.set_title(label(evaluation))
    return figure


@drawn
def agreement(results: Results | Findings, evaluation: str) -> Figure:
    """Share of examples on ``evaluation`` that two runs answer alike, in percent, by what the two runs share.

    Raises ``ResultsError`` if no two runs answer by classes on it.
    """
    found = rows_of(findings_of(results).agreement, evaluation, "agreement")
    rows = [row for row in found if isinstance(row.get("agreement"), Estimate)]
    if not rows:
        raise ResultsError(f"Runs on '{evaluation}' give no classes to agree on.")
    titles = list(by_texts(rows, "checkpoints", "setting"))
    figure, axes = axes_of(1.1 + 1.3 * ROW * len(titles))
    for k, (kind, members) in enumerate(by_texts(rows, "pairs of runs with").items()):
        estimates = [estimate_in(row, "agreement") for row in members]
        places = [titles.index(next(iter(by_texts([row], "checkpoints", "setting")))) for row in members]
        axes.errorbar(
            [100 * e.value for e in estimates],
            [place + 0.2 * (k - 1) for place in places],
            xerr=errors_of(estimates),
            fmt=MARKERS[k % len(MARKERS)],
            color=PALETTE[k % len(PALETTE)],
            markersize=4.5,
            capsize=2,
            linewidth=1.2,
            label=label(kind, 60),
        )
    _finish(axes, [label(title) for title in titles])
    axes.set_xlabel(f"examples answered alike [%], {level_text(estimates[0].level)} intervals")
    axes.set_title(label(evaluation))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _holds(row: dict[str, Cell], alpha: float) -> bool:
    p = row.get("p (adjusted)", row["p"])
    return isinstance(p, Quantity) and p.value <= alpha


def _finish(axes: Axes, titles: list[str]) -> None:
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
