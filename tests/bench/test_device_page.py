"""The section on GPUs says what the files hold, and that nothing was measured where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device_check.page import BEGIN, END, MEASURED, PAGE, main, read, section, with_section


def stage(*figures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "rc": 0,
        "cut": False,
        "seconds": 12.3,
        "allowed": 30.0,
        "figures": list(figures),
        "said": "",
    } | changes


def measured(**changes: Any) -> dict[str, Any]:
    """A check with a line of each kind, of round numbers."""
    steps = {"size": "base", "dropout": 0.0, "steps": 3, "bits_repeat": True}
    grid = {"size": "base", "runs": 20, "tokens": None}
    speed = {"size": "base", "way": "together", "times_plain": 2.5, "step_ms": 4.0, "step_of_all_ms": 80.0}
    stages = {
        "facts": stage(
            {"what": "import of torch", "seconds": 3.21},
            {"what": "first use of the device", "seconds": 0.5},
            {"what": "device", "torch": "2.11.0+cu130", "cuda": "13.0", "card": "NVIDIA H100"},
            {"what": "rates", "name": "NVIDIA H100", "products": {"bf16": 7.9e14}, "copying": 3e12},
        ),
        "tests": stage(
            {"what": "test", "name": "tests/a.py::test_one", "outcome": "passed"},
            {"what": "test", "name": "tests/a.py::test_two[cuda]", "outcome": "failed"},
            {"what": "sum", "passed": 1, "failed": 1, "skipped": 0, "failed_tests": []},
            rc=1,
            said="E  assert 1 == 2\n1 failed | 1 passed",
        ),
        "steps": stage(
            {"what": "fp32", **steps, "loss_from_host": 2.5e-6, "norm_from_host": 0.0},
            {"what": "bf16", "size": "base", "steps": 12, "loss_from_fp32": None, "loss_from_company": 1e-3},
        ),
        "runs": stage(
            {
                "precision": "bf16",
                "dropout": True,
                "rc": 0,
                "seconds": 20.0,
                "scores": {"rte.dev": [60.0, 62.0]},
            },
            {"precision": "fp32", "dropout": False, "rc": 1, "seconds": 1.0, "scores": {}},
        ),
        "grid": stage(
            {**grid, "who": "multibench", "made": 20, "seconds": 40.0, "without_start": 20.0},
            {**grid, "who": "Trainer", "made": 2, "seconds": 400.0, "without_start": 100.0},
            {**grid, "size": "tiny", "who": "multibench", "made": 20, "seconds": 10.0, "without_start": 5.0},
            {"size": "tiny", "who": "Trainer", "error": "exit code 1: no accelerate"},
            {"size": "medium", "left_out": "10 s were left"},
            rc=None,
            cut=True,
        ),
        "speed": stage(
            {**speed, "replicas": 4, "examples": 8000.0, "of_products": 0.125, "memory": 2.4e9},
            {"size": "base", "way": "together", "replicas": 20, "error": "OutOfMemoryError: a | b"},
        ),
        "profile": stage(
            {
                "size": "tiny",
                "replicas": 20,
                "wall_ms": 9.5,
                "busy_ms": 4.5,
                "launches": 541.0,
                "most": [{"name": "gemm<a|b>", "ms": 1.25, "calls": 10.0}],
            }
        ),
    }
    return {
        "format": 1,
        "begun": "2026-12-01T10:00:00+00:00",
        "device": "cuda",
        "small": False,
        "code": {"commit": "0123456789abcdef", "modified": False, "by": "file", "sources": "ab"},
        "card": {"uuid": "GPU-1", "driver_version": "580.1", "memory.total": "81559 MiB"},
        "versions": {"python": "3.12.3", "torch": "2.11.0", "transformers": "5.17.0", "numpy": "2.5.2"},
        "allowed": 520,
        "seconds": 400.4,
        "stages": stages,
    } | changes


@pytest.mark.parametrize(
    "line",
    [
        "### NVIDIA H100, 2026-12-01",
        "Code of commit `0123456789ab`, as a file beside it says. Python 3.12.3, torch 2.11.0+cu130, transformers",
        "Driver 580.1, CUDA 13.0, memory 81559 MiB, UUID GPU-1.",
        "Matrix products bf16 790.0 TFLOP/s; copies 3.00 TB/s.",
        "Import of torch 3.2 s, first use of the device 0.5 s.",
        "The check took 400 s.",
        "| facts | done | 12 |",
        "| tests | failed with exit code 1: 1 failed / 1 passed | 12 |",
        "| grid | cut: its time was up | 12 |",
        "| 1 | 1 | 0 | `test_two[cuda]` |",
        "| base | fp32, dropout 0, against the processor | 3 | 2.5e-06 | 0 | yes |",
        "| base | bf16, against fp32 | 12 | not a number |  |  |",
        "| bf16 | yes | 20.0 | 61.0 (1.4), 2 runs |",
        "| fp32 | no | 1.0 |  |",
        "| base | 40.0 (20.0) | 400.0 (100.0), from 2 of them | 10.0 | 5.0 |",
        "| tiny | 10.0 (5.0) | none |  |  |",
        "| base | 4 together | 8,000 | 2.50 | 4.00 | 12.5% | 2.4 |",
        "| base | 20 together | OutOfMemoryError: a / b |  |  |  |  |",
        "| tiny | 20 | 9.5 | 4.5 | 541 | `gemm<a/b>` 1.25 |",
    ],
)
def test_the_section_says_what_was_measured(line: str) -> None:
    assert line in section([measured()])


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    width = 0
    for line in section([measured()]).splitlines():
        cells = line.count("|")
        assert cells in (0, width or cells), line
        width = cells


@pytest.mark.parametrize("name", list(measured()["stages"]))
def test_a_stage_that_found_nothing_is_told_and_has_no_table(name: str) -> None:
    stages = measured()["stages"]
    stages[name] = stage(rc=None, cut=True)
    text = section([measured(stages=stages)])
    assert f"| {name} | cut: its time was up | 12 |" in text
    assert text.count("**") == 2 * (6 - (name != "facts"))


def test_what_is_unknown_is_called_so() -> None:
    code = {"commit": None, "modified": None, "by": None, "sources": "ab"}
    text = section([measured(code=code, card=None, stages={})])
    assert "Code of an unknown commit. " in text
    assert "### cuda, 2026-12-01" in text
    changed = {"commit": "a" * 40, "modified": True, "by": "git", "sources": "ab"}
    assert "`aaaaaaaaaaaa`, with changes that it does not have. " in section([measured(code=changed)])


def test_the_latest_check_comes_first() -> None:
    older = measured(begun="2026-11-30T10:00:00+00:00")
    text = section([older, measured()])
    assert text.index("2026-12-01") < text.index("2026-11-30")


def test_without_a_file_nothing_is_measured() -> None:
    assert section([]).startswith("**Not yet measured.**")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no JSON", "cannot be read as JSON"),
        ("[]", "no device_check.json of format 1"),
        (json.dumps({"format": 2}), "no device_check.json of format 1"),
        (json.dumps(measured(small=True)), "a dry run, whose times say nothing"),
        (json.dumps(measured(device="cpu")), "a dry run, whose times say nothing"),
    ],
)
def test_other_files_are_refused(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "device_check.json"
    path.write_text(content, "utf-8")
    with pytest.raises(SystemExit) as caught:
        main([str(path)])
    assert caught.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_file_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "device_check.json"
    path.write_text(json.dumps(measured()), "utf-8")
    main([str(path)])
    assert capsys.readouterr().out == section([measured()]) + "\n"


def test_the_section_replaces_what_stands_between_its_marks() -> None:
    page = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    assert with_section(page, "new") == f"before\n\n{BEGIN}\nnew\n{END}\n\nafter\n"
    for broken in ("none", page + BEGIN, page.replace(END, "")):
        with pytest.raises(ValueError, match="once each"):
            with_section(broken, "new")


def test_the_page_is_made_of_the_files_that_are_kept() -> None:
    text = PAGE.read_text("utf-8")
    assert with_section(text, section([read(path) for path in sorted(MEASURED.glob("*.json"))])) == text
