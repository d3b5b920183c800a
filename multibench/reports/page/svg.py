"""Figures inside a page: their ids made unique, their colours those of the page's theme."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from multibench.plots.dots import RUNS
from multibench.plots.house import GRID, INK, MUTED, PALETTE
from multibench.reports.page.document import Figure

__all__ = ["inline_svg"]

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    **{color: f"--series-{k}" for k, color in enumerate(PALETTE)},
}


def inline_svg(figure: Figure) -> str:
    """The figure as an ``svg`` element that can stand in HTML, named by its title and described in words."""
    text = figure.svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        text = text.replace(color.lower(), f"var({variable})")
    if figure.titles:
        text = re.sub(
            rf'<g id="{RUNS}\.([^"]*)">.*?</g>\s*</g>', lambda g: _titled(g, figure.titles), text, flags=re.S
        )
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', lambda found: found.group() + figure.name + "-", text)
    head, rest = text.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None, "matplotlib writes a view box"
    label = html.escape(f"{figure.title}. {figure.alt}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view.group()} '
        f'role="img" aria-label="{label}">{rest.strip()}'
    )


def _titled(group: re.Match[str], titles: Mapping[str, str]) -> str:
    """The dots of runs, each with its title."""
    runs = iter(group[1].split("."))

    def title(dot: re.Match[str]) -> str:
        return f"{dot[1]}><title>{html.escape(titles[next(runs)])}</title></use>"

    return re.sub(r"(<use [^>]*[^/>])\s*/>", title, group[0])
