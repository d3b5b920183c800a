"""The page in a real browser: nothing fails, nothing is fetched, everything that can be pressed works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multibench.reports.page import report
from multibench.results import store
from tests.reports.page.conftest import Reported
from tests.support.browser import Page, browser
from tests.support.population import Group, write_population

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("report"),
]

# A4 across, less the margins that the page asks for, in CSS pixels.
PRINTED_WIDTH, PRINTED_HEIGHT = 1032, 703


@pytest.fixture(scope="module")
def page(reported: Reported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The report, opened; whatever a test does, nothing may go wrong or leave the page."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.resize(1280, 900)
        opened.open(reported.out / "index.html")
        yield opened
        assert opened.problems == []
        assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data"}
        assert [url for url in opened.requests if url.startswith("file:")] == [
            (reported.out / "index.html").resolve().as_uri()
        ]


def test_tables_sort_by_number_and_by_word(page: Page) -> None:
    page.run("window.runs = document.querySelector('#table-runs table')")
    column = page.run("[...runs.tHead.rows[0].cells].findIndex(c => c.textContent === 'score')")
    press = f"runs.tHead.rows[0].cells[{column}].querySelector('button').click()"
    read = f"[...runs.tBodies[0].rows].map(r => r.cells[{column}].dataset.v).filter(v => v !== undefined).map(Number)"
    page.run(press)
    rising = page.run(read)
    assert rising == sorted(rising)
    assert len(rising) >= 100
    assert page.run(f"runs.tHead.rows[0].cells[{column}].getAttribute('aria-sort')") == "ascending"
    page.run(press)
    assert page.run(read) == sorted(rising, reverse=True)
    page.run("runs.tHead.rows[0].cells[1].querySelector('button').click()")
    names = page.run("[...runs.tBodies[0].rows].map(r => r.cells[1].textContent)")
    steps = [int(n.split()[-1].replace(",", "")) for n in names if n.startswith("multiberts")]
    assert steps == sorted(steps)


def test_long_tables_turn_pages_and_filter(page: Page) -> None:
    visible = "[...document.querySelectorAll('#table-runs tbody tr')].filter(r => r.offsetParent).length"
    assert page.run(visible) == 25
    first = "[...document.querySelectorAll('#table-runs tbody tr')].find(r => r.offsetParent).cells[0].textContent"
    before = page.run(first)
    page.run("document.querySelectorAll('#table-runs .tools button')[1].click()")
    assert page.run(first) != before
    page.run(
        "(() => { const i = document.querySelector('#table-runs input'); i.value = 'GOOGLE_BERT stsb';"
        " i.value = 'base-uncased STSB'; i.dispatchEvent(new Event('input')); })()"
    )
    assert page.run(visible) == 2
    assert "2 of" in page.run("document.querySelector('#table-runs .tools span').textContent")
    page.run(
        "(() => { const i = document.querySelector('#table-runs input'); i.value = '';"
        " i.dispatchEvent(new Event('input')); document.querySelectorAll('#table-runs .tools button')[2].click(); })()"
    )
    assert page.run(visible) == page.run("document.querySelectorAll('#table-runs tbody tr').length")


def test_themes_follow_the_system_and_the_button(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    page.media(prefers_color_scheme="light")
    light = page.run(paper)
    page.media(prefers_color_scheme="dark")
    dark = page.run(paper)
    assert light != dark
    shown = []
    for _ in range(3):
        page.run("document.getElementById('theme').click()")
        shown.append((page.run("document.getElementById('theme').textContent"), page.run(paper)))
    assert shown == [("Theme: light", light), ("Theme: dark", dark), ("Theme: system", dark)]
    page.media(prefers_color_scheme="light")
    assert page.run("getComputedStyle(document.querySelector('.plot svg text')).fill") != "rgb(255, 255, 255)"


def test_what_stands_behind_a_number_is_shown_by_keyboard(page: Page) -> None:
    page.run("document.querySelector('#table-scores .estimate').focus()")
    tip = page.run("document.getElementById('tip').textContent")
    assert "95 % interval: surrogate mean squares" in tip
    assert page.run("document.getElementById('tip').hidden") is False
    page.press("Escape")
    assert page.run("document.getElementById('tip').hidden") is True


def test_nothing_is_cut_on_a_phone(page: Page) -> None:
    page.resize(390, 844, mobile=True)
    assert page.run("document.documentElement.scrollWidth") == 390
    page.resize(1280, 900)


def _cut(page: Page) -> list[str]:
    """What does not fit on the width of a printed page."""
    page.media("print")
    page.resize(PRINTED_WIDTH, PRINTED_HEIGHT)
    page.run("dispatchEvent(new Event('beforeprint'))")
    cut: list[str] = page.run(
        "[...document.querySelectorAll('table, td, th, pre, .plot svg')].filter(e => e.offsetParent || e.viewBox)"
        f".filter(e => e.getBoundingClientRect().right > {PRINTED_WIDTH + 1} || e.scrollWidth > e.clientWidth + 1 &&"
        " e.tagName !== 'svg').map(e => e.closest('figure, section').id + ' ' + e.textContent.slice(0, 60))"
    )
    return cut


def test_nothing_is_cut_on_paper(page: Page) -> None:
    assert _cut(page) == []
    rows = page.run("document.querySelectorAll('#table-runs tbody tr').length")
    printed = "[...document.querySelectorAll('#table-runs tbody tr')].filter(r => r.offsetParent).length"
    assert page.run(printed) == rows >= 100
    assert page.run("[...document.querySelectorAll('details')].every(d => d.open)")
    page.media("")
    page.resize(1280, 900)


def test_strange_names_do_no_harm(hostile: Path, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as opened:
        opened.resize(390, 844, mobile=True)
        opened.open(hostile / "index.html")
        assert opened.run("document.documentElement.scrollWidth") == 390
        assert _cut(opened) == []
        assert opened.problems == []
        assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data"}


def test_ten_thousand_runs_are_reported_and_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_sync", lambda path: None)  # the disk may take its time with files of a test
    steps = (0, 500_000, 1_000_000, 2_000_000)
    groups = [Group("multiberts", 1.0 + step / 4e6, range(25), step) for step in steps]
    rates = tuple(k * 1e-5 for k in range(1, 8))
    stored = write_population(tmp_path / "results", groups, finetuning_seeds=5, rates=rates, examples=277)
    assert len(stored) == 10_500
    start = time.process_time()
    path = report(tmp_path / "results", tmp_path / "out")
    assert time.process_time() - start < 60
    with browser(tmp_path / "profile") as opened:
        opened.open(path)
        assert opened.problems == []
        assert opened.run("document.querySelectorAll('#table-runs tbody tr').length") >= 1500
