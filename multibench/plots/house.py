"""The house style: colours, shapes, labels, and files whose bytes repeat."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from multibench.errors import ResultsError
from multibench.reports.cells import Cell, Quantity, one_line
from multibench.reports.tables import Table
from multibench.results.store import writing
from multibench.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GRID",
    "INK",
    "MARKERS",
    "MUTED",
    "PALETTE",
    "axes_of",
    "by_texts",
    "drawn",
    "errors_of",
    "estimate_in",
    "label",
    "number_in",
    "png_bytes",
    "rows_of",
    "save",
    "style",
    "svg_bytes",
]

P = ParamSpec("P")

# Okabe and Ito, "Color universal design" (2008), jfly.uni-koeln.de/color, in an order of falling contrast to white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, MUTED, GRID = "#1f2328", "#59636e", "#d8dee4"

WIDTH = 7.0
"""Of every figure, in inches: two columns of a paper."""

_STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has it
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "svg.hashsalt": "multibench",
    "figure.dpi": 160,
}


@contextmanager
def style() -> Iterator[None]:
    """The house style, whatever the user's own settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(_STYLE)
        yield


def drawn(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style."""

    @wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            return function(*args, **kwargs)

    return styled


def axes_of(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure of ``width`` x ``height`` inches with one pair of axes; no window, no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def label(text: Cell, limit: int = 40) -> str:
    """A name as a figure can show it: one line, letters that the font has, the middle of long ones left out."""
    clean = "".join(c if ord(c) < 0x500 else "□" for c in one_line(text))
    return clean if len(clean) <= limit else f"{clean[: limit // 2 - 1]}…{clean[-(limit // 2) :]}"


def rows_of(table: Table | None, evaluation: str, what: str) -> list[dict[str, Cell]]:
    """The rows of one evaluation. Raises ``ResultsError`` if there are none, saying ``what`` is missing."""
    rows = [] if table is None else [row for row in table.rows if row.get("evaluation") == evaluation]
    if not rows:
        known = sorted({str(row["evaluation"]) for row in table.rows}) if table else []
        raise ResultsError(
            f"There is no figure of {what} for '{evaluation}'; it can be had for {', '.join(known) or 'none'}."
        )
    return rows


def estimate_in(row: dict[str, Cell], column: str | None = None) -> Estimate:
    """The estimate of a row: in ``column``, or the first."""
    cell = (
        row[column] if column else next((cell for cell in row.values() if isinstance(cell, Estimate)), None)
    )
    if not isinstance(cell, Estimate):
        raise ResultsError(f"The row {row} holds no estimate to draw.")
    return cell


def number_in(row: dict[str, Cell], column: str) -> float:
    """The number in ``column`` of a row; NaN where there is none."""
    cell = row[column]
    number = cell.value if isinstance(cell, Quantity) else cell
    return float(number) if isinstance(number, (int, float)) else math.nan


def by_texts(rows: list[dict[str, Cell]], *columns: str) -> dict[str, list[dict[str, Cell]]]:
    """Rows by the texts of ``columns``, in the order of their first."""
    found: dict[str, list[dict[str, Cell]]] = defaultdict(list)
    for row in rows:
        found[" ".join(str(row[name]) for name in columns if row.get(name))].append(row)
    return dict(found)


def errors_of(estimates: list[Estimate]) -> list[list[float]]:
    """Lengths below and above in percent, as matplotlib takes them; NaN is drawn as nothing."""
    return [
        [100 * max(0.0, e.value - e.low) if e.low == e.low else float("nan") for e in estimates],
        [100 * max(0.0, e.high - e.value) if e.high == e.high else float("nan") for e in estimates],
    ]


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG, with text as text and without a date."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, dpi = io.BytesIO(), figure.dpi
    with style():
        _arrange(figure)
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        figure.dpi = dpi  # SVG has its own
    return buffer.getvalue()


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    before = figure.get_facecolor()
    with style():
        _arrange(figure)
        figure.set_facecolor("white")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(buffer, metadata={"Software": None})
        figure.set_facecolor(before)
    return buffer.getvalue()


def _arrange(figure: Figure) -> None:
    """Lay the figure out once, so that it is the same in every format."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, path: Path | str) -> Path:
    """Write the figure as SVG or PNG, by the ending of ``path``.

    Raises ``ResultsError`` for another ending, ``StorageError`` if the file cannot be written.
    """
    path = Path(path)
    makers = {".svg": svg_bytes, ".png": png_bytes}
    if path.suffix not in makers:
        raise ResultsError(f"Figures are written as .svg or .png, not as '{path.suffix}' ({path}).")
    with writing(path.parent):
        path.write_bytes(makers[path.suffix](figure))
    return path
