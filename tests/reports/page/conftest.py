"""A study and its report, made once for all tests here that only look at them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from multibench.reports.page import report
from multibench.results import Results
from tests.support.pages import ReadPage, read_estimates
from tests.support.population import STUDY, Group, write_population

NBOOT = 200

NAMES = (
    "<script>alert(1)</script>",
    "=HYPERLINK(\"http://evil\",'x')",
    "50%_of #1 & $x^2$ {a} ~ \\input{/etc/passwd}",
    "[x](javascript:alert(1)) `code` *bold* | cell",
    "🙂 Größe Łódź \u202eevil\u200b\x07 ",
    "+" + "long" * 75,
)


@dataclass(frozen=True)
class Reported:
    """A results folder and the report on it."""

    results: Path
    out: Path

    @cached_property
    def runs(self) -> Results:
        """The stored runs."""
        return Results.open(self.results)

    @cached_property
    def page(self) -> ReadPage:
        """The page."""
        return ReadPage.of(self.out / "index.html")

    @cached_property
    def estimates(self) -> dict[str, dict[str, Any]]:
        """Every number by id."""
        return read_estimates(self.out)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A report on three families, four steps, two tasks, two rates; some runs went wrong."""
    folder = tmp_path_factory.mktemp("reported")
    write_population(folder / "results", STUDY[:-1], ("rte", "stsb"), finetuning_seeds=2, examples=60)
    report(folder / "results", folder / "out", nboot=NBOOT)
    return Reported(folder / "results", folder / "out")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on checkpoints and families with such names."""
    folder = tmp_path_factory.mktemp("hostile")
    groups = [
        Group(NAMES[1], 0.5, range(3), 1000),
        *(
            Group(f"{name} family", 1.0, [None], checkpoint=name, parameters=10**k)
            for k, name in enumerate(NAMES)
        ),
    ]
    write_population(folder / "results", groups, ("rte",), 2, (2e-5,), examples=30, troubled=False)
    return report(folder / "results", folder / "out", nboot=100, title=NAMES[0]).parent
