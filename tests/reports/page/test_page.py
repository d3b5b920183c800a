"""The report's page: every number traced, nothing from elsewhere, sections that have something to say."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multibench.checkpoints import all_checkpoints
from multibench.errors import ResultsError, StorageError
from multibench.reports.page import report
from multibench.reports.page.methods import METHODS, citations
from multibench.tasks import TASKS
from tests.reports.page.conftest import Reported
from tests.support.command import environment, multibench
from tests.support.pages import ReadPage, read_estimates
from tests.support.population import Group, write_population
from tests.support.stored import store_run

pytestmark = pytest.mark.xdist_group("report")

# Columns of texts that are copied from the results; digits in them are names.
NAMES = {
    "run", "checkpoints", "setting", "evaluation", "metric", "selection", "over", "from", "to", "report", "pairing",
    "pretraining seed", "fine-tuning seed", "status", "component", "family", "task", "suite", "recipe", "multibench",
    "commit", "imported from", "torch", "transformers", "device", "precision", "chosen", "settled",
    "pairs of runs with", "example", "label", "better", "differs",
}  # fmt: skip
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def test_every_number_on_the_page_is_in_estimates_json(reported: Reported) -> None:
    page, estimates = reported.page, reported.estimates
    assert page.loose == []
    assert set(page.numbers) <= set(estimates)
    assert len(page.numbers) > 1000
    for number, texts in page.numbers.items():
        value = estimates[number]["value"]
        for text in texts:
            _agrees(text, value)


def _agrees(text: str, value: float | None) -> None:
    """The first number in ``text`` is ``value``, as such or in percent, to the digits that are shown."""
    if value is None:
        assert text in {"unknown", "undefined", "an unknown value"}
        return
    if text.startswith("<"):
        assert value < float(text.split()[1])
        return
    shown = NUMBER.findall(text)[0].replace(",", "")
    decimals = len(shown.partition(".")[2].partition("e")[0])
    close = 0.5001 * 10**-decimals * (10 ** math.floor(math.log10(value)) if "e" in shown else 1)
    assert min(abs(float(shown) - value), abs(float(shown) - 100 * value)) <= close, (text, value)


def test_texts_with_digits_in_tables_are_names(reported: Reported) -> None:
    for name, (head, *rows) in reported.page.tables.items():
        columns = [_heading(reported.out, name, j) for j in range(len(head))]
        for row in rows:
            for column, cell in zip(columns, row, strict=True):
                if any(c.isdigit() for c in cell.text) and not cell.numbers:
                    assert column in NAMES, (name, column, cell.text)


def _heading(out: Path, table: str, column: int) -> str:
    first = (out / "tables" / f"{table}.md").read_text("utf-8").splitlines()[2]
    return first.strip("| ").split(" | ")[column]


def test_nothing_comes_from_elsewhere(reported: Reported) -> None:
    page = reported.page
    for address in page.addresses:
        assert address.startswith(("#", "tables/", "figures/", "data:")), address
        if address.startswith(("tables/", "figures/")):
            assert (reported.out / address).is_file()
    text = (reported.out / "index.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"'\s)<>]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert page.tags.count("script") == 1
    assert len(page.ids) == len(set(page.ids))


def test_headings_are_in_order_and_figures_are_described(reported: Reported) -> None:
    levels = [level for level, _ in reported.page.headings]
    assert levels[:3] == [1, 2, 3]
    assert set(levels[1:]) == {2, 3}  # topics stand in the summary alone
    assert levels.index(2, 2) == 2 + levels.count(3)
    assert [text for level, text in reported.page.headings if level == 2] == [
        "Summary", "Scores", "Seed distributions", "Where the noise comes from", "Comparisons", "Learning dynamics",
        "Size", "Selection", "Agreement and flips", "Runs that went wrong", "What more seeds would buy",
        "Provenance, and how to reproduce this", "Methods, and what to cite",
    ]  # fmt: skip
    text = (reported.out / "index.html").read_text("utf-8")
    drawings = re.findall(r"<svg [^>]*>", text)
    assert len(drawings) == len(list((reported.out / "figures").glob("*.svg"))) > 10
    assert all('role="img" aria-label="' in drawing for drawing in drawings)


def test_every_dot_says_which_run_it_is(reported: Reported) -> None:
    text = (reported.out / "index.html").read_text("utf-8")
    dots = re.findall(r"<use [^>]*><title>([^<]*): (\S+) % \((\w+), (\w+)\)</title></use>", text)
    drawn = {run: (score, status) for _, score, status, run in dots}
    rows = [[cell.text.strip() for cell in row] for row in reported.page.tables["runs"][1:]]
    assert drawn == {row[0]: (row[-1], row[-2]) for row in rows if row[-1] != "none" and row[-1]}
    assert len(dots) == len(drawn) >= 100


def test_every_table_and_figure_is_a_file(reported: Reported) -> None:
    names = set(reported.page.tables)
    assert names >= {
        "scores",
        "runs",
        "spread",
        "variance",
        "comparisons",
        "dynamics",
        "size",
        "grid",
        "best_of_n",
    }
    assert {path.name for path in (reported.out / "tables").iterdir()} == {
        f"{name}.{ending}" for name in names for ending in ("csv", "md", "tex")
    }
    for path in (reported.out / "figures").glob("*.svg"):
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    for name in names:
        assert r"\toprule" in (reported.out / "tables" / f"{name}.tex").read_text("utf-8")
    markdown = (reported.out / "report.md").read_text("utf-8")
    assert {n: markdown.count(f"\n{'#' * n} ") for n in (2, 3)} == {
        n: sum(level == n for level, _ in reported.page.headings) for n in (2, 3)
    }


def test_the_summary_says_gains_with_intervals(reported: Reported) -> None:
    text = (reported.out / "report.md").read_text("utf-8").partition("## Scores")[0]
    seeds, number = "over 5 and 6 pretraining seeds, the gain is ", r"[+-]\d+\.\d"
    assert re.search(rf"{seeds}{number} points \(95 % interval {number} to {number}\)", text), text
    assert "1 diverged, 1 failed" in text


@pytest.mark.slow
def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    groups = (Group("multiberts", 0.4, range(3), 1_000_000), Group("multiberts", 1.2, range(4), 2_000_000))
    write_population(tmp_path / "results", groups, ("rte",), finetuning_seeds=2, examples=40)
    report(tmp_path / "results", tmp_path / "first", nboot=100)
    words = (str(tmp_path / "results"), str(tmp_path / "second"))
    code = "import sys; from multibench import report; report(*sys.argv[1:], nboot=100)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words],
        env={**environment(), "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    files = [p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*") if p.is_file()]
    assert len(files) > 30
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


def test_what_cannot_be_said_is_left_out_or_explained(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store_run(tmp_path / "results" / "one", outputs=rng.normal(size=(20, 2)).astype(np.float32))
    page = ReadPage.of(report(tmp_path / "results", tmp_path / "out", nboot=100))
    headings = [text for _, text in page.headings]
    assert not {"Learning dynamics", "Size", "Selection"} & set(headings)
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "There is one group of checkpoints, so there is nothing to compare." in text
    assert "two or more runs" in text
    assert "No run collapsed, diverged or failed" in text
    assert set(page.numbers) <= set(read_estimates(tmp_path / "out"))


def test_errors_are_sentences(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for step in (0, 1000):
        store_run(
            tmp_path / "results" / "one", outputs=rng.normal(size=(20, 2)).astype(np.float32), step=step
        )
    results = tmp_path / "results"
    with pytest.raises(ResultsError, match="no stored run was selected"):
        report(results, tmp_path / "out", where="step=7")
    with pytest.raises(
        ResultsError, match="must be one group of checkpoints; 'family=multiberts' accepts multiberts"
    ):
        report(results, tmp_path / "out", base="family=multiberts")
    with pytest.raises(ResultsError, match="one metric of each evaluation"):
        report(results, tmp_path / "out", metric="all")
    for status in ("failed", "diverged"):
        store_run(tmp_path / status / "one", outputs=None, status=status)
        with pytest.raises(ResultsError, match="nothing to score: no stored run has predictions"):
            report(tmp_path / status, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<p>my home page</p>")
    with pytest.raises(StorageError, match="is no report of multibench"):
        report(results, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "<p>my home page</p>"
    outcome = multibench("report", str(tmp_path / "nothing"), "--out", str(tmp_path / "out"))
    assert (outcome.code, outcome.err.strip()) == (
        2,
        f"multibench: There is no results folder {tmp_path / 'nothing'}.",
    )


def test_the_verb_prints_where_the_page_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store_run(tmp_path / "results" / "one", outputs=rng.normal(size=(20, 2)).astype(np.float32))
    out = tmp_path / "out"
    words = ("--nboot", "100", "--confidence", "0.9", "--effect", "0.02")
    outcome = multibench("report", str(tmp_path / "results"), "--out", str(out), *words)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{out / 'index.html'}\n", "")
    assert {e["level"] for e in read_estimates(out).values() if "level" in e} == {0.9}
    again = "multibench report RESULTS --out DIR --effect 0.02 --nboot 100 --confidence 0.9"
    assert again in (out / "report.md").read_text("utf-8")


def test_whatever_is_used_can_be_cited(reported: Reported) -> None:
    subjects = {subject for entry in citations().values() for subject in entry["for"]}
    methods = {subject for _, named in METHODS.values() for subject in named} | {"multibootstrap"}
    assert methods <= subjects
    released = {name for name in TASKS.names() if not name.startswith("pocket")}
    assert released <= subjects
    assert subjects - methods - released <= {checkpoint.family for checkpoint in all_checkpoints()}
    for entry in citations().values():
        assert re.fullmatch(r"@\w+\{\w+,\n(  \w+ *= \{.*\},?\n)+\}\n", entry["bibtex"].lstrip("\n")), entry[
            "short"
        ]
    text = (reported.out / "report.md").read_text("utf-8")
    assert "@inproceedings{wang2019glue," in text
    assert "rajpurkar" not in text  # no question was asked
