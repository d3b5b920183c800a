"""Curves: score against size, the best of n runs, and the precision that more seeds would buy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multibench.plots.house import (
    MARKERS,
    MUTED,
    PALETTE,
    axes_of,
    by_texts,
    drawn,
    errors_of,
    estimate_in,
    label,
    number_in,
    rows_of,
)
from multibench.reports.cells import level_text
from multibench.reports.findings import Findings, findings_of
from multibench.stats import Noise, power_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from multibench.results import Results

__all__ = ["best_of_n", "more_seeds", "size"]

MOST_CURVES = 12
STYLES = ("-", "--", ":", "-.")


@drawn
def size(results: Results | Findings, evaluation: str) -> Figure:
    """Scores on ``evaluation`` in percent, with intervals, against the number of parameters (logarithmic).

    Raises ``ResultsError`` if fewer than three sizes are known.
    """
    rows = rows_of(findings_of(results).size, evaluation, "score against size")
    figure, axes = axes_of(3.2)
    for k, (family, members) in enumerate(by_texts(rows, "family").items()):
        estimates = [estimate_in(row) for row in members]
        axes.errorbar(
            # Families of one size stand a little apart.
            [number_in(row, "parameters") / 1e6 * 1.03**k for row in members],
            [100 * e.value for e in estimates],
            yerr=errors_of(estimates),
            fmt=MARKERS[k % len(MARKERS)],
            linestyle="-" if len(members) > 1 else "none",
            linewidth=1,
            color=PALETTE[k % len(PALETTE)],
            capsize=2.5,
            label=label(family),
        )
    axes.set_xscale("log")
    axes.set_xlabel("parameters [millions]")
    ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000) if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_ylabel(f"score [%], {level_text(estimate_in(rows[0]).level)} intervals")
    axes.set_title(label(evaluation))
    figure.legend(loc="outside right upper")
    return figure


@drawn
def best_of_n(results: Results | Findings, evaluation: str) -> Figure:
    """Expected best of n runs on ``evaluation`` in percent, a curve for each group, with intervals.

    Raises ``ResultsError`` if no group has three runs on it.
    """
    rows = rows_of(findings_of(results).best_of_n, evaluation, "best of n runs")
    figure, axes = axes_of(3.0 + 0.1 * min(MOST_CURVES, len(by_texts(rows, "checkpoints", "setting"))))
    several = len(by_texts(rows, "checkpoints", "setting")) > len(by_texts(rows, "checkpoints"))
    keys = ("checkpoints", "setting") if several else ("checkpoints",)
    curves = list(by_texts(rows, *keys).items())[:MOST_CURVES]
    for k, (title, members) in enumerate(curves):
        estimates = [estimate_in(row) for row in members]
        n = [int(number_in(row, "n")) for row in members]
        color = PALETTE[k % len(PALETTE)]
        axes.plot(
            n,
            [100 * e.value for e in estimates],
            color=color,
            linestyle=STYLES[k // len(PALETTE) % len(STYLES)],
            marker=MARKERS[k % len(MARKERS)],
            markersize=4,
            label=label(title),
        )
        low, high = [100 * e.low for e in estimates], [100 * e.high for e in estimates]
        axes.fill_between(n, low, high, color=color, alpha=0.12, linewidth=0)
    axes.set_xlabel("n, runs of which the best is kept")
    axes.set_ylabel("expected best score [%]")
    axes.set_xticks(sorted({int(number_in(row, "n")) for row in rows}))
    axes.set_title(label(evaluation))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@drawn
def more_seeds(results: Results | Findings, evaluation: str) -> Figure:
    """Expected half-width of each comparison's interval on ``evaluation``, in points, against the number of seeds.

    Raises ``ResultsError`` if no comparison on it has two pretraining seeds on both sides.
    """
    findings = findings_of(results)
    table = findings.more_seeds
    rows_of(table, evaluation, "more seeds")
    assert table is not None
    figure, axes = axes_of(3.2)
    counts = [*range(2, 10), *range(10, 31, 2), 35, 40, 50]
    curves = [
        (row, curve)
        for row, curve in zip(table.rows, table.extra["noise"], strict=True)
        if row["evaluation"] == evaluation
    ]
    for k, (row, curve) in enumerate(curves[:MOST_CURVES]):
        designs = [
            power_of(
                Noise(**curve["noise"]),
                findings.options.effect,
                s,
                curve["runs"],
                curve["examples"],
                findings.options.confidence,
            )
            for s in counts
        ]
        color = PALETTE[k % len(PALETTE)]
        axes.plot(
            counts,
            [100 * design.half_width for design in designs],
            color=color,
            linestyle=STYLES[k // len(PALETTE) % len(STYLES)],
            label=f"{label(row['from'], 34)} → {label(row['to'], 34)}",
        )
        now = int(number_in(row, "seeds"))
        if now in counts:
            here = 100 * designs[counts.index(now)].half_width
            axes.plot([now], [here], marker=MARKERS[k % len(MARKERS)], color=color, markersize=6)
    axes.axhline(100 * findings.options.effect, color=MUTED, linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("pretraining seeds on each side (markers: now)")
    axes.set_ylabel("half-width [points]")
    axes.set_title(label(evaluation))
    figure.legend(loc="outside lower center")
    return figure
