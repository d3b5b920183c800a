"""Results that documents quote are what the program says of the runs in the repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from multibench.reports import compare, scores
from multibench.reports.cells import shown
from multibench.reports.constant import constant_answer
from multibench.reports.page.document import Ledger
from multibench.reports.tables import Table
from multibench.results import Results

ROOT = Path(__file__).resolve().parents[1]
SOURCED = {"statistics.md", "coverage.md", "performance.md"}
"""Documents whose tables name a script of their own that makes them."""
INTERVAL = re.compile(r"-?\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]|95 % interval[^s]")


def _text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_what_a_step_asks_of_a_card() -> None:
    """The table is what its script prints of the recorded rows."""
    command = [sys.executable, str(ROOT / "benchmarks" / "recorded_steps.py"), "--table"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) >= 4 + 15
    assert printed in _text("docs/performance.md")


@pytest.fixture(scope="module")
def demo() -> Table:
    """The comparison that docs/pocket.md prints."""
    return compare(Results.open(ROOT / "results" / "demo"), "step=0", "step=12000")


def test_the_table_of_the_built_in_family(demo: Table) -> None:
    lines = [
        line.strip("| ").split(" | ") for line in _text("docs/pocket.md").splitlines() if "`pocket_" in line
    ]
    printed = {cells[0].split("`")[1]: cells[1:] for cells in lines if ".dev" in cells[0]}
    names = ("base", "experiment", "difference", "p (adjusted)")
    assert printed == {str(row["evaluation"]): [shown(row[name]) for name in names] for row in demo.rows}


def test_what_is_said_of_the_built_in_family(demo: Table) -> None:
    text = " ".join(_text("docs/pocket.md").split())
    assert (
        "Every mean is higher after pretraining, and two of the five differences can be told from none."
        in text
    )
    assert all(row["difference"].value > 0 for row in demo.rows)  # type: ignore[union-attr]
    assert sum(row["p (adjusted)"].value <= 0.05 for row in demo.rows) == 2  # type: ignore[union-attr]
    assert len(demo.rows) == 5
    stress = Results.open(ROOT / "results" / "demo").predictions("pocket_stress.dev")
    assert stress.labels is not None
    assert (
        f"scores {100 * (constant_answer('accuracy', stress.labels) or 0):.1f}, which the mean after" in text
    )
    (row,) = [row for row in demo.rows if row["evaluation"] == "pocket_stress.dev"]
    assert row["experiment"].low < 0.75 < row["experiment"].high  # type: ignore[union-attr]
    assert row["base"].high < 0.75  # type: ignore[union-attr]


def test_the_entry_that_shows_what_estimates_hold() -> None:
    (block,) = re.findall(r"```json\n(\{\"id\".*?\})\n```", _text("docs/reports.md"), re.S)
    told = json.loads(block)
    table = scores(Results.open(ROOT / "results" / "minilm_glue"))
    _, row, column = told.pop("id").split(".")
    title = table.columns[int(column)]
    ledger = Ledger()
    ledger.cell(table.rows[int(row)][title], "here", "")
    (entry,) = ledger.entries
    words = [str(table.rows[int(row)][name]) for name in ("checkpoints", "setting", "evaluation", "metric")]
    assert told.pop("of").startswith(", ".join(words))
    assert {
        key: round(entry[key], 4) if isinstance(entry[key], float) else entry[key] for key in told
    } == told


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda path: path.name
)
def test_no_other_document_quotes_an_interval(path: Path) -> None:
    """A score with its interval is a result: it stands where a test above compares it, or nowhere."""
    if path.name in SOURCED | {"pocket.md"}:
        return
    found = [m.group() for m in INTERVAL.finditer(path.read_text("utf-8"))]
    found = [text for text in found if path.name not in ("references.md",)]
    assert not found, found


def test_claims_that_the_runs_do_not_bear_are_gone() -> None:
    for path in (*ROOT.glob("docs/*.md"), ROOT / "README.md"):
        text = path.read_text("utf-8")
        assert "helps on every task" not in text
        assert "14 times" not in text
        assert "14.2" not in text


def test_the_speed_of_the_grid_names_the_strongest_contender() -> None:
    """The sentence below the grid's table; its figures are those of ``benchmarks/grid.py pocket``."""
    page = _text("docs/performance.md")
    rows = re.findall(r"\| (Trainer[^|]*core|multibench, bf16) \| ([\d.]+) s \| ([\d.]+) s \|", page)
    (strongest, own) = (tuple(map(float, row[1:])) for row in rows[:2])
    whole, bare = (a / b for a, b in zip(strongest, own, strict=True))
    said = f"the grid takes {whole:.1f} times less time, and {bare:.1f} times less without start-up"
    assert (
        f"Against the strongest contender, one bf16 process of Trainer a core with dynamic padding, {said}"
        in " ".join(page.split())
    )
