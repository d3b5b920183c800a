"""Grids of settings as heat maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from multibench.plots.house import INK, axes_of, drawn, label, number_in, rows_of
from multibench.reports.findings import Findings, findings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from multibench.results import Results

__all__ = ["grid_heat"]


@drawn
def grid_heat(results: Results | Findings, evaluation: str) -> Figure:
    """Mean scores of every setting of every group on ``evaluation``, in percent; the chosen ones are framed.

    Raises ``ResultsError`` if there is no grid on it.
    """
    from matplotlib.patches import Rectangle

    rows = rows_of(findings_of(results).grids, evaluation, "grids of settings")
    titles = list(dict.fromkeys(str(row["checkpoints"]) for row in rows))
    settings = list(dict.fromkeys(str(row["setting"]) for row in rows))
    means = np.full((len(titles), len(settings)), math.nan)
    for row in rows:
        place = titles.index(str(row["checkpoints"])), settings.index(str(row["setting"]))
        means[place] = 100 * number_in(row, "mean")
    figure, axes = axes_of(1.3 + 0.27 * len(titles))
    image = axes.imshow(means, cmap="cividis", aspect="auto")
    low, high = np.nanmin(means), np.nanmax(means)
    for (i, j), value in np.ndenumerate(means):
        if not math.isnan(value):
            dark = high == low or (value - low) / (high - low) < 0.55
            axes.text(
                j,
                i,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if dark else "black",
            )
    for row in rows:
        if row["chosen"]:
            corner = (
                settings.index(str(row["setting"])) - 0.47,
                titles.index(str(row["checkpoints"])) - 0.46,
            )
            axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=INK, linewidth=2))
            axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor="white", linewidth=0.8))
    axes.set_xticks(range(len(settings)), [label(s, 26) for s in settings], rotation=30, ha="right")
    axes.set_yticks(range(len(titles)), [label(t) for t in titles])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_title(f"{label(evaluation)}: mean score of each setting [%]")
    figure.colorbar(image, ax=axes, pad=0.02)
    return figure
