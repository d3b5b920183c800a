"""The tests marked `gpu`, all of them, on emulated cards in a process of their own; and how cards are asked for.

A real card is out of sight there: ``pytest -m gpu`` runs the same tests on that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.card import environment, require
from tests.support.card.settings import Settings, visible_cards

REPOSITORY = Path(__file__).resolve().parents[1]
MARKED = [
    str(path.relative_to(REPOSITORY))
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py"))
    if re.search(r"\bmark\.gpu\b", path.read_text()) and path != Path(__file__).resolve()
]
PATIENCE = 840  # seconds; some 30 where nothing else runs

Outcomes = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of each file the tests that did not pass and why, and those that did with ""."""
    require()
    report = tmp_path_factory.mktemp("card") / "report.xml"
    said = {name: value for name, value in environment(cards=3).items() if not name.startswith("PYTEST_")}
    words = [
        "-m",
        "gpu",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-q",
        "--tb=short",
        f"--junitxml={report}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *MARKED],
        cwd=REPOSITORY,
        env=said | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    found: Outcomes = {}
    for test in ET.parse(report).iter("testcase"):
        file = test.get("classname", "").replace(".", "/") + ".py"
        found.setdefault(file, []).append((test.get("name", ""), _trouble(test)))
    return found


def _trouble(test: ET.Element) -> str:
    """Why a test did not pass. One that no emulated card can run is skipped with a reason that names it."""
    for part in test:
        skipped = part.tag == "skipped" and "emulated card" not in part.get("message", "")
        if skipped or part.tag in {"failure", "error"}:
            return f"{part.tag}: {part.get('message', '')}\n{part.text or ''}"
    return ""


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("emulated card")
@pytest.mark.parametrize("file", MARKED)
def test_every_test_marked_gpu_passes_on_an_emulated_card(file: str, outcomes: Outcomes) -> None:
    tests = outcomes.get(file, [])
    trouble = [f"{name}\n{why}" for name, why in tests if why]
    assert not trouble, "\n\n".join(trouble)
    assert tests, f"of {file} no test ran"


def test_files_with_tests_marked_gpu_are_found() -> None:
    assert {"tests/card/test_steps.py", "tests/training/test_replicas.py"} <= set(MARKED)


def test_settings_are_read_from_the_environment() -> None:
    said = "cards=2,memory=1.5GiB,taken=512MiB,break_after=500,break_card=1,break_once=/tmp/once"
    assert Settings.read(said) == Settings(2, 3 * 2**29, 2**29, 500, 1, "/tmp/once")
    assert Settings.read("") == Settings()
    with pytest.raises(ValueError, match="no setting 'card'"):
        Settings.read("card=2")


UUIDS = [uuid.UUID(int=k << 96) for k in range(1, 5)]


@pytest.mark.parametrize(
    ("said", "visible"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("1,7,0", [1]),
        ("-1", []),
        (f"GPU-{UUIDS[3]},GPU-00000001", [3, 0]),
        (f"MIG-{UUIDS[1]}", [1]),
        ("GPU-0", []),
        ("0,0,1", [0]),
    ],
)
def test_cards_that_are_visible(said: str | None, visible: list[int]) -> None:
    assert visible_cards(said, UUIDS) == visible


def test_a_process_with_emulated_cards_does_not_see_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    said = environment(cards=2, memory="1GiB")
    assert "CUDA_VISIBLE_DEVICES" not in said
    assert said["MULTIBENCH_EMULATED_CARD"] == "cards=2,memory=1GiB"
    assert said["PYTHONPATH"].split(os.pathsep)[-1] == "/elsewhere"
