"""Figures: what is drawn are the numbers of the tables, in one style, in the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from multibench import plots
from multibench.errors import ResultsError
from multibench.plots.house import PALETTE, estimate_in, number_in
from multibench.reports.findings import Findings, Options
from multibench.reports.tables import FORMATS
from multibench.results import Results
from tests.support.command import environment
from tests.support.population import STUDY, Group, write_population

pytestmark = pytest.mark.xdist_group("plots")

EVERY = [name for name in plots.__all__ if name not in {"png_bytes", "save", "svg_bytes"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored runs of three families, with a grid and steps; one run collapsed."""
    groups = [STUDY[0], STUDY[3], *STUDY[5:8]]
    folder = tmp_path_factory.mktemp("plots")
    write_population(folder, groups, ("rte",), finetuning_seeds=2, examples=40)
    return folder


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    """Their analyses."""
    return Findings(Results.open(folder), Options(nboot=200))


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_is_a_function_of_results(name: str, findings: Findings) -> None:
    draw = getattr(plots, name)
    svg = plots.svg_bytes(draw(findings, "rte.dev"))
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert "rte.dev" in words
    assert b"<dc:date>" not in svg
    with pytest.raises(ResultsError, match=r"for 'cola\.dev'; it can be had for rte\.dev\."):
        draw(findings, "cola.dev")


def _points(figure: Any) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in figure.axes[0].lines
        if line.get_marker() not in ("None", None, "|", "_") and len(line.get_xdata())
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_what_is_drawn_is_what_the_tables_say(findings: Findings) -> None:
    scores = sorted(100 * estimate_in(row).value for row in findings.scores.rows)
    assert sorted(x for x, _ in _points(plots.score_intervals(findings, "rte.dev"))) == pytest.approx(scores)
    dots = sorted(y for _, y in _points(plots.seed_dots(findings, "rte.dev")))
    every = sorted(100 * number_in(row, "score") for row in findings.runs.rows)
    assert dots == pytest.approx([score for score in every if not np.isnan(score)])
    assert findings.comparisons is not None
    drawn = sorted(x for x, _ in _points(plots.differences(findings, "rte.dev")))
    expected = sorted(100 * estimate_in(row, "difference").value for row in findings.comparisons.rows)
    assert drawn == pytest.approx(expected)
    assert findings.size is not None
    sizes = sorted(y for _, y in _points(plots.size(findings, "rte.dev")))
    assert sizes == pytest.approx(sorted(100 * estimate_in(row).value for row in findings.size.rows))


def test_every_table_behind_a_figure_has_every_format(findings: Findings) -> None:
    names = "scores runs spread variance comparisons dynamics agreement hardest grids best_of_n best_of_grid trouble"
    for name in [*names.split(), "size", "more_seeds"]:
        table = getattr(findings, name)
        for format_ in FORMATS:
            assert table.render(format_).endswith("\n")
        assert len(json.loads(table.render("json"))["rows"]) == len(table.rows)


def test_collapsed_runs_are_crosses(findings: Findings) -> None:
    lines = plots.seed_dots(findings, "rte.dev").axes[0].lines
    crosses = sum(np.size(line.get_xdata()) for line in lines if line.get_marker() == "x")
    assert crosses == [row["status"] for row in findings.runs.rows].count("collapsed") > 0


def test_files_repeat_in_another_process_whatever_the_user_prefers(folder: Path, tmp_path: Path) -> None:
    code = f"""
import matplotlib, sys
matplotlib.rcParams.update({{"font.size": 30, "lines.linewidth": 9, "text.usetex": False, "svg.fonttype": "path"}})
from multibench import Results, plots
figure = plots.seed_dots(Results.open({str(folder)!r}), "rte.dev")
plots.save(figure, sys.argv[1] + ".svg")
plots.save(figure, sys.argv[1] + ".png")
assert matplotlib.rcParams["font.size"] == 30
assert "matplotlib.pyplot" not in sys.modules
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "there")]
    variables = {**environment(), "PYTHONHASHSEED": "3"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    figure = plots.seed_dots(Results.open(folder), "rte.dev")
    for ending in (".svg", ".png"):
        here = plots.save(figure, tmp_path / f"here{ending}")
        assert here.read_bytes() == (tmp_path / f"there{ending}").read_bytes()
    with pytest.raises(ResultsError, match=r"as \.svg or \.png, not as '\.pdf'"):
        plots.save(figure, tmp_path / "here.pdf")


def test_text_stays_text_and_names_are_taken_literally(tmp_path: Path) -> None:
    names = ("$\\alpha$ 50%", "x" * 300, "🙂_<b>")
    groups = [Group("f", 1.0, [None], checkpoint=name) for name in names]
    write_population(tmp_path, groups, ("rte",), 1, (2e-5,), examples=20, troubled=False)
    svg = plots.svg_bytes(plots.score_intervals(Results.open(tmp_path), "rte.dev"))
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert "$\\alpha$ 50%" in words
    assert "□_<b>" in words
    assert "xxx…xxx" in words
    assert "x" * 41 not in words


def test_colours_are_told_apart_by_the_colour_blind() -> None:
    """Distances in CIELAB under the projections of Viénot, Brettel and Mollon (1999) for protanopia, deuteranopia."""
    colours = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    protan = np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]])
    deutan = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    for loss in (np.eye(3), protan, deutan):
        seen = np.clip(linear @ (np.linalg.inv(lms) @ loss @ lms).T, 0, 1)
        lab = _lab(seen)
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(len(PALETTE), 1)]
        assert distances.min() > 10


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB ``(n, 3)`` under D65."""
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
