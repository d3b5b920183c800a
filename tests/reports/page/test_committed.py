"""The reports in ``reports/`` are what the results in ``results/`` give today."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from multibench.reports.page import report

ROOT = Path(__file__).resolve().parents[3]
KEPT = sorted(path.parent.name for path in ROOT.glob("reports/*/index.html"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _near(kept: str, fresh: str) -> bool:
    """Whether two printed numbers differ by no more than other processors' rounding: a unit of the last digit."""
    decimals = len(kept.partition(".")[2].partition("e")[0])
    return kept == fresh or math.isclose(
        float(kept), float(fresh), rel_tol=1e-5, abs_tol=0 if "e" in kept else 1.01 * 10.0**-decimals
    )


def _same_text(kept: str, fresh: str) -> bool:
    numbers, others = NUMBER.findall(kept), NUMBER.findall(fresh)
    return (
        NUMBER.split(kept) == NUMBER.split(fresh)
        and len(numbers) == len(others)
        and all(map(_near, numbers, others))
    )


def _same_picture(kept: Path, fresh: Path) -> bool:
    own, other = image.imread(kept), image.imread(fresh)
    return own.shape == other.shape and float(np.abs(own - other).mean()) < 0.002


def test_there_are_examples() -> None:
    assert {"demo", "minilm_glue"} <= set(KEPT)


def test_the_comparison_sees_a_changed_digit() -> None:
    assert _same_text("a 12.3 b", "a 12.4 b")  # the last digit may be rounded otherwise
    assert not _same_text("a 12.3 b", "a 12.5 b")
    assert not _same_text("a 12.3 b", "a 12.3 c")
    assert not _same_text("a 12.3 b", "a 12.3 b 4")


@pytest.mark.parametrize("name", KEPT)
def test_a_report_is_what_its_results_give(name: str, tmp_path: Path) -> None:
    kept, fresh = ROOT / "reports" / name, tmp_path / "out"
    report(ROOT / "results" / name, fresh)
    assert _files(kept) == _files(fresh)
    changed = [
        file
        for file in _files(kept)
        if not (
            _same_picture(kept / file, fresh / file)
            if file.endswith(".png")
            else _same_text((kept / file).read_text("utf-8"), (fresh / file).read_text("utf-8"))
        )
    ]
    assert changed == [], f"Render them again: multibench report results/{name} --out reports/{name}"
