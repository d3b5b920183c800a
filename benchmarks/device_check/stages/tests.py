"""The tests that need a card; in a dry run on a processor, one test that has both forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ..options import REPOSITORY, Given
from . import Say

_DRY = ["tests/training/test_replicas.py", "-k", "replica_equals_its_run_alone and cpu and 0.0"]


def run(given: Given, say: Say) -> int:
    """Returns pytest's exit code, or 1 if no test passed: a card that no test found is no success."""
    chosen = [*marked(REPOSITORY / "tests"), "-m", "gpu"] if given.device == "cuda" else _DRY
    record = Record(say)
    # Libraries of an image warn where those that the tests are pinned to do not.
    options = ["-q", "-o", "addopts=", "-o", "filterwarnings=default", "-p", "no:cacheprovider"]
    code = int(pytest.main([*options, *chosen], plugins=[record]))
    say(what="sum", **record.counts, failed_tests=record.failed)
    return code or int(not record.counts["passed"])


def marked(folder: Path) -> list[str]:
    """The files of tests that name the mark ``gpu``: importing all others takes longer than their tests."""
    files = [
        path
        for path in sorted(folder.rglob("test_*.py"))
        if re.search(r"\bmark\.gpu\b", path.read_text("utf-8"))
    ]
    return [str(path) for path in files]


class Record:
    """A plug-in of pytest that says each outcome as it comes, and counts."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called for the set-up, the call and the end of each test; a set-up that passed is not told."""
        if report.when != "call" and report.passed:
            return
        outcome = str(report.outcome)
        self.counts[outcome] += 1
        if report.failed:
            self.failed.append(report.nodeid)
        self._say(what="test", name=report.nodeid, outcome=outcome, seconds=round(report.duration, 2))
