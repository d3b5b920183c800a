"""Figures in one house style: each a function of results that returns a matplotlib figure.

``save(figure, "scores.svg")`` writes the same bytes for the same results, in any process and on any day. Colours
can be told apart by the colour-blind, and shapes repeat what colours say.
"""

from multibench.plots.curves import best_of_n, more_seeds, size
from multibench.plots.dots import seed_dots
from multibench.plots.heat import grid_heat
from multibench.plots.house import png_bytes, save, svg_bytes
from multibench.plots.intervals import agreement, differences, score_intervals
from multibench.plots.shares import variance_shares
from multibench.plots.steps import learning_curves

__all__ = [
    "agreement",
    "best_of_n",
    "differences",
    "grid_heat",
    "learning_curves",
    "more_seeds",
    "png_bytes",
    "save",
    "score_intervals",
    "seed_dots",
    "size",
    "svg_bytes",
    "variance_shares",
]
