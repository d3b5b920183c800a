"""``metric: {evaluate: ...}`` in suites: what it may say, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multibench.errors import SuiteError
from multibench.suite import load_suite
from tests.support.modules import EQUAL, NUMBERS, write_module


def _suite(folder: Path, metric: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(f"checkpoints: {{family: miniatures}}\ntasks: rte\nmetric: {metric}\n", "utf-8")
    return path


def test_modules_are_named_or_given_by_path(tmp_path: Path) -> None:
    script = write_module(tmp_path, "shares", NUMBERS, EQUAL)
    for given, sources in (
        ("{evaluate: accuracy}", ["accuracy"]),
        (f"[{{evaluate: {script}}}, {{evaluate: {script.parent}}}]", [str(script), str(script.parent)]),
        ("[]", []),
    ):
        assert [choice.evaluate for choice in load_suite(_suite(tmp_path, given)).metric] == sources


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("{evaluate: ./none.py}", r"line 3: There is no script none\.py; expected a module of evaluate"),
        ("{evaluate: a, evaluat: b}", r"there is no key 'evaluat' here; did you mean 'evaluate'"),
        ("{}", r"line 3: the suite lacks 'evaluate'"),
        ("accuracy", r"line 3: metric.*accuracy"),
    ],
)
def test_what_is_no_module_is_refused_with_its_line(tmp_path: Path, metric: str, words: str) -> None:
    with pytest.raises(SuiteError, match=words):
        load_suite(_suite(tmp_path, metric))
