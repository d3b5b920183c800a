"""The boxes of the check of a GPU: a stage that hangs is cut, one that crashes leaves the others alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.device_check import boxes, provenance
from benchmarks.device_check.check import NAME, check, unpacked
from benchmarks.device_check.options import Given, read_words
from benchmarks.device_check.stages import STAGES
from benchmarks.device_check.stages.tests import Record, marked
from tests.support.command import REPOSITORY

_SAY = "import os, signal, subprocess, sys, time, pathlib; out = pathlib.Path(sys.argv[1]); "
GOOD = "out.write_text('{\"found\": 1}\\n')"
PLANTED = {
    "good": GOOD,
    "hangs and hears nothing": """#!sh trap '' TERM INT; echo '{"found": 1}' > "$0"; sleep 60""",
    "half a line": """#!sh printf '{"found": 1}\n{"fou' > "$0"; sleep 60""",
    "no line of figures": "out.write_text('[1]\\n{\"found\": 1}\\nwords\\n')",
    "raises": f"{GOOD}; raise RuntimeError('the card fell off')",
    "crashes": f"{GOOD}; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)",
    "exits": f"{GOOD}; sys.exit(3)",
}
FIGURES = [{"found": 1}]


def planted(name: str, given: Given, until: float) -> list[str]:
    """The command of a stage of that name."""
    code, figures = PLANTED[name], str(given.scratch / f"{name}.jsonl")
    if code.startswith("#!sh "):  # which has begun long before Python would
        return ["sh", "-c", code.removeprefix("#!sh "), figures]
    return [sys.executable, "-S", "-c", _SAY + code, figures]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks git takes time, of which boxes have little here."""
    monkeypatch.setattr("benchmarks.device_check.check._head", lambda *_: {"stages": {}})


def checked(tmp_path: Path, seconds: dict[str, float]) -> dict[str, Any]:
    """What ``check`` returns, which is what the file holds."""
    found = check(tmp_path, tmp_path / "out", "cpu", only=list(seconds), boxes=seconds, command=planted)
    assert json.loads((tmp_path / "out" / NAME).read_text("utf-8")) == found
    return found


@pytest.mark.parametrize("name", ["hangs and hears nothing", "half a line"])
def test_a_stage_that_hangs_is_cut_and_keeps_what_it_found(name: str, tmp_path: Path) -> None:
    clock = time.monotonic()
    found = checked(tmp_path, {name: 1.0, "good": 30.0})
    assert time.monotonic() - clock < 20
    stage = found["stages"][name]
    assert (stage["rc"], stage["cut"], stage["figures"]) == (None, True, FIGURES)
    assert 0.7 < stage["allowed"] <= stage["seconds"]
    assert (found["stages"]["good"]["rc"], found["stages"]["good"]["figures"]) == (0, FIGURES)


@pytest.mark.parametrize(("name", "rc"), [("raises", 1), ("crashes", -11), ("exits", 3)])
def test_a_stage_that_fails_leaves_the_others_alone(name: str, rc: int, tmp_path: Path) -> None:
    found = checked(tmp_path, {"good": 10.0, name: 10.0, "no line of figures": 10.0})
    assert [stage["rc"] for stage in found["stages"].values()] == [0, rc, 0]
    assert [stage["figures"] for stage in found["stages"].values()] == [FIGURES] * 3
    assert not any(stage["cut"] for stage in found["stages"].values())
    assert found["stages"]["good"]["said"] == ""
    if name == "raises":
        assert found["stages"][name]["said"].endswith("RuntimeError: the card fell off")
        assert "the card fell off" in (tmp_path / "out" / "log.txt").read_text("utf-8")


def test_what_a_stage_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the stage is cut or ends by itself; a child that holds its output open delays nothing."""
    code = """#!sh sleep 60 & echo "{\\"child\\": $!}" > "$0" """
    monkeypatch.setitem(PLANTED, "cut", f"{code}; sleep 60")
    monkeypatch.setitem(PLANTED, "ended", code)
    clock = time.monotonic()
    found = checked(tmp_path, {"cut": 1.0, "ended": 30.0})
    assert time.monotonic() - clock < 20
    for name in ("cut", "ended"):
        (line,) = found["stages"][name]["figures"]
        deadline = time.monotonic() + 10
        while _runs(line["child"]) and time.monotonic() < deadline:
            time.sleep(0.01)  # a signal takes a moment to arrive
        assert not _runs(line["child"])


def _runs(process: int) -> bool:
    """Whether it is more than a name that nobody has asked about."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    found = check(
        tmp_path,
        tmp_path / "out",
        "cpu",
        only=["facts"],
        command=lambda name, given, until: [str(tmp_path / "no such program")],
    )
    assert found["stages"]["facts"]["rc"] == 127
    assert "FileNotFoundError" in found["stages"]["facts"]["said"]


def test_the_boxes_come_to_520_seconds_and_what_is_left_is_passed_on() -> None:
    assert tuple(boxes.BOXES) == STAGES
    assert sum(boxes.BOXES.values()) == 520
    ends = boxes.deadlines(boxes.BOXES, 1000.0)
    assert list(ends.values())[:3] == [1030, 1090, 1140]
    assert 1510 < ends["profile"] < 1518  # so that ending the last stage falls within the time, too
    assert list(ends.values()) == sorted(ends.values())
    ended = boxes.boxed([sys.executable], time.time() - 1, Path("none"), Path("none"), {})
    assert (ended.rc, ended.cut, ended.figures) == (None, True, [])


def test_a_stage_reads_the_words_that_the_check_gives_it(tmp_path: Path) -> None:
    given = Given(tmp_path / "in", tmp_path / "out", tmp_path, "cuda", small=True)
    name, found = read_words(["grid", *given.words(1234.5)])
    assert (name, found) == ("grid", Given(given.inputs, given.out, tmp_path, "cuda", True, 1234.5))
    assert not read_words(["grid", *Given(tmp_path, tmp_path, tmp_path, "cpu", False).words(1.0)])[1].small


def test_the_commit_comes_from_git_or_from_a_file(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "multibench").mkdir(parents=True)
    (root / "multibench" / "code.py").write_text("1\n")
    told = tmp_path / provenance.COMMIT
    assert provenance.commit(told, root)["commit"] is None  # neither is there
    told.write_text("no JSON")
    assert provenance.commit(told, root)["by"] is None
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "All"]):
        subprocess.run([*git, *words], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"})
    own = provenance.write_commit(told, root)
    assert (own["by"], own["modified"], len(own["commit"])) == ("git", False, 40)
    (root / "multibench" / "new.py").write_text("2\n")
    assert provenance.commit(told, root)["modified"] is True
    (root / "multibench" / "new.py").unlink()
    (root / ".git").rename(tmp_path / "elsewhere")
    copied = provenance.commit(told, root)
    assert (copied["by"], copied["modified"], copied["commit"]) == ("file", False, own["commit"])
    (root / "multibench" / "code.py").write_text("3\n")
    assert provenance.commit(told, root)["modified"] is True


def test_wheels_are_unpacked_where_a_package_is_missing(tmp_path: Path) -> None:
    wheels, target = tmp_path / "wheels", tmp_path / "site"
    assert unpacked(wheels, target) == []
    wheels.mkdir()
    code = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w').writestr(sys.argv[2], 'made = 1')"
    subprocess.run([sys.executable, "-c", code, wheels / "numpy-1-py3-none-any.whl", "a.py"], check=True)
    assert unpacked(wheels, target) == []  # it is installed
    subprocess.run([sys.executable, "-c", code, wheels / "no_such-1-py3-none-any.whl", "b.py"], check=True)
    assert unpacked(wheels, target) == [str(target)]
    assert sorted(path.name for path in target.iterdir()) == ["a.py", "b.py"]


def test_a_stage_counts_tests_by_their_outcome() -> None:
    said: list[dict[str, Any]] = []
    record = Record(lambda **figures: said.append(figures))
    parts = {
        "good": ("passed", "passed", "passed"),
        "bad": ("passed", "failed", "passed"),
        "left out": ("skipped", None, "passed"),
        "without start": ("failed", None, "passed"),
        "without end": ("passed", "passed", "failed"),
    }
    for name, outcomes in parts.items():
        for when, outcome in zip(("setup", "call", "teardown"), outcomes, strict=True):
            if outcome is not None:
                report = SimpleNamespace(when=when, outcome=outcome, nodeid=name, duration=1.0)
                report.passed, report.failed = outcome == "passed", outcome == "failed"
                record.pytest_runtest_logreport(report)
    assert record.counts == {"passed": 2, "failed": 3, "skipped": 1}
    assert record.failed == ["bad", "without start", "without end"]
    assert [line["name"] for line in said] == [
        "good",
        "bad",
        "left out",
        "without start",
        *["without end"] * 2,
    ]


def test_the_files_with_tests_of_a_card_are_found() -> None:
    found = {Path(path).name for path in marked(REPOSITORY / "tests")}
    assert {"test_replicas.py", "test_together.py"} <= found
    assert len(found) < 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--inputs", "nowhere", "--out", "out"], "There is no folder nowhere"),
        (["--inputs", ".", "--out", "out", "--device", "tpu"], "invalid choice"),
        (["--out", "out"], "--inputs"),
    ],
)
def test_wrong_words_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.device_check", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())
