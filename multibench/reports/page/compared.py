"""Sections on differences: comparisons, what choosing does, and what more seeds would buy."""

from __future__ import annotations

from dataclasses import replace

from multibench import plots
from multibench.reports.cells import Name, Quantity, count, say
from multibench.reports.findings import Findings
from multibench.reports.page.document import Figure, Section
from multibench.reports.page.figures import figures_of

__all__ = ["comparisons", "more_seeds", "selection"]

_COLUMNS = (
    "evaluation",
    "from",
    "to",
    "base",
    "experiment",
    "difference",
    "p",
    "simultaneous",
    "p (adjusted)",
    "pairing",
    "base seeds",
    "experiment seeds",
    "examples",
)


def comparisons(findings: Findings) -> Section:
    """Differences between groups."""
    table = findings.comparisons
    reasons = tuple(
        say(Name(f"{what} could not be compared: {why}"))
        for what, why in findings.silent.items()
        if " and " in what
    )
    if table is None:
        why = findings.silent.get("comparisons", "No two groups were scored on the same evaluation.")
        return Section("comparisons", "Comparisons", (why, *reasons))
    said = say(
        "One group is compared with each other one. The column 'pairing' says whether pretraining seeds belong "
        "together, and why. The column 'difference' has each interval by itself. The simultaneous intervals and "
        "adjusted p-values, where there are several comparisons, hold for all ",
        count(len(table.rows), "comparison"),
        " of this table together; filled marks in the figures hold after that adjustment.",
    )
    kept = tuple(name for name in _COLUMNS if any(name in row for row in table.rows))
    figures = figures_of(findings, plots.differences, "differences", table, "Differences with intervals")
    shown = replace(
        table, title="Differences", columns=kept, units="Scores in percent, differences in points."
    )
    return Section("comparisons", "Comparisons", (said, *reasons), {"comparisons": shown}, figures)


def selection(findings: Findings) -> Section | None:
    """Grids and best-of-n; nothing where each group has one setting and fewer than three runs."""
    tables = {
        name: table
        for name, table in (
            ("grid", findings.grids),
            ("best_of_n", findings.best_of_n),
            ("best_of_grid", findings.best_of_grid),
        )
        if table is not None
    }
    if not tables:
        return None
    said = [
        say(
            "What choosing does to a score. The mean of all runs, the best of n runs and the best of a grid "
            "are different things, and only the first is used elsewhere in this report."
        )
    ]
    figures: list[Figure] = []
    if findings.grids is not None:
        said.append(
            say(
                "Framed in the heat maps is the setting that the selection rule chose; it is the same for all"
                " seeds."
            )
        )
        figures += figures_of(
            findings, plots.grid_heat, "grid", findings.grids, "Mean score of every setting"
        )
    if findings.best_of_n is not None:
        figures += figures_of(findings, plots.best_of_n, "best_of_n", findings.best_of_n, "Best of n runs")
    return Section("selection", "Selection", tuple(said), tables, tuple(figures))


def more_seeds(findings: Findings) -> Section:
    """Power."""
    table = findings.more_seeds
    if table is None:
        return Section("power", "What more seeds would buy", (findings.silent["power"],))
    said = say(
        "Expected half-widths of the intervals above, had there been more pretraining seeds with as many runs"
        " and examples each. Where a curve flattens, examples are the noise that is left. The dashed line is ",
        Quantity(findings.options.effect, f"{100 * findings.options.effect:g} points", "difference to find"),
        ", the difference that is to be found.",
    )
    figures = figures_of(findings, plots.more_seeds, "power", table, "Half-width against pretraining seeds")
    return Section("power", "What more seeds would buy", (said,), {"power": table}, figures)
