"""Where the noise of mean scores comes from, as stacked bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from multibench.errors import ResultsError
from multibench.plots.house import PALETTE, axes_of, drawn, estimate_in, label, rows_of
from multibench.reports.findings import Findings, findings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from multibench.results import Results

__all__ = ["variance_shares"]

_SEEDS = ("pretraining seeds", "fine-tuning seeds")


@drawn
def variance_shares(results: Results | Findings, evaluation: str) -> Figure:
    """Shares of pretraining seeds, fine-tuning seeds and examples in the variance of each group's mean score.

    What stands under examples (or clusters of them) holds their interactions with seeds.

    Raises ``ResultsError`` if there are no components for ``evaluation``.
    """
    rows = rows_of(findings_of(results).variance, evaluation, "variance components")
    shares: dict[str, dict[str, float]] = {}
    for row in rows:
        title = " ".join(str(row[key]) for key in ("checkpoints", "setting") if row.get(key))
        share = estimate_in(row, "share of variance").value
        if not math.isnan(share):
            shares.setdefault(title, {})[str(row["factor"])] = share
    if not shares:
        raise ResultsError(f"No component of variance is known for '{evaluation}'.")
    figure, axes = axes_of(1.1 + 0.26 * len(shares))
    left = [0.0] * len(shares)
    units = [name for found in shares.values() for name in found if name not in _SEEDS]
    for k, name in enumerate((*_SEEDS, units[0])):
        own = (name,) if name in _SEEDS else units
        widths = [100 * sum(found.get(c, 0.0) for c in dict.fromkeys(own)) for found in shares.values()]
        axes.barh(
            range(len(shares)),
            widths,
            left=left,
            height=0.68,
            label=name,
            color=PALETTE[(0, 4, 2)[k]],
            edgecolor="white",
            linewidth=0.5,
        )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(shares)), [label(title) for title in shares])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the variance of the mean score [%]")
    axes.set_title(label(evaluation))
    figure.legend(loc="outside lower right", ncols=3)
    return figure
