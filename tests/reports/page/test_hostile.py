"""Names that nobody should give: shown as they are, run by nobody."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.reports.page.conftest import NAMES
from tests.support.pages import ReadPage
from tests.support.required import missing


def test_the_page_shows_names_and_runs_none(hostile: Path) -> None:
    page = ReadPage.of(hostile / "index.html")
    assert page.tags.count("script") == 1
    assert "alert(1)" not in (hostile / "index.html").read_text("utf-8").partition("<script>")[2]
    assert page.headings[0] == (1, NAMES[0])
    shown = {cell.text.strip() for row in page.tables["scores"] for cell in row}
    assert {NAMES[0], NAMES[1], NAMES[2], NAMES[3], NAMES[5]} <= shown
    assert "🙂 Größe Łódź evil" in shown  # what turns or hides text is left out
    assert not any(address.startswith(("http", "javascript")) for address in page.addresses)
    assert page.loose == []


def test_spreadsheets_run_nothing_and_lose_nothing(hostile: Path) -> None:
    for path in (hostile / "tables").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for cell in (cell for row in csv.reader(file) for cell in row):
                assert not cell.startswith(("=", "+", "@")), path
                assert not cell.startswith("-") or float(cell) <= 0
    with (hostile / "tables" / "scores.csv").open(encoding="utf-8", newline="") as file:
        found = {row["checkpoints"].removeprefix("'") for row in csv.DictReader(file)}
    assert set(NAMES) <= found


def test_markdown_takes_names_literally(hostile: Path) -> None:
    text = (hostile / "report.md").read_text("utf-8")
    assert "<" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    for line in (hostile / "tables" / "scores.md").read_text("utf-8").splitlines()[2:9]:
        assert line.replace("\\|", "").count("|") == line.replace("\\|", "").strip("|").count("|") + 2


def test_figures_hold_names_as_text(hostile: Path) -> None:
    for path in (hostile / "figures").glob("*.svg"):
        for element in ElementTree.parse(path).iter():
            assert not element.tag.endswith(("script", "}a"))
            links = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(link.startswith(("#", "data:image/png")) for link in links)


@pytest.fixture(scope="module")
def compiled(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pdflatex says of all tables in one document."""
    if shutil.which("pdflatex") is None:
        missing("pdflatex", "pdflatex is not installed (Debian: texlive-latex-base)")
    folder = tmp_path_factory.mktemp("latex")
    shutil.copytree(hostile / "tables", folder / "tables")
    shutil.copy(hostile / "tables.tex", folder)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=280, check=False)
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, log[-3000:]
    assert (folder / "tables.pdf").stat().st_size > 10_000
    return log


@pytest.mark.slow
def test_latex_tables_compile(compiled: str) -> None:
    for trouble in ("Undefined control", "Missing character", "! ", "/etc/passwd", "Misplaced"):
        assert trouble not in compiled
