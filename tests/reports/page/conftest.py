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
from tests.support.population import STUDY, write_population

NBOOT = 200


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
