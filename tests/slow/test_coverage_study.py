"""The coverage study: a cell run anew, and the bounds that the recorded grid must keep."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from multibench.stats.anova import two_way

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("coverage_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_moments_of_small_integers_are_the_package_s(study):
    y = np.random.default_rng(0).integers(-1, 2, (3, 4, 50)).astype(np.int8)
    fast, columns = study.moments(y)
    slow = two_way(y)
    for name in ("mean", "ms_seed", "ms_unit", "ms_error"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name))
    np.testing.assert_allclose(columns, y.mean(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("design", ["paired", "unpaired"])
def test_the_recommended_interval_keeps_its_level(study, design):
    rows = study.run_cell(("accuracy", design, 5, 277, 0.015), 1500)
    coverage = {row[5]: float(row[7]) for row in rows}
    assert 0.93 <= coverage["crossed"] <= 0.98
    assert coverage["examples only"] < coverage["crossed"] < coverage["multi-bootstrap, percentile"]


def test_the_recorded_grid_keeps_the_bounds(study):
    recorded = study.finished(study.OUT)
    assert set(recorded) == set(study.grid())
    cells = [(key, rows) for key, rows in recorded.items() if key[1] != "one" and key[2] >= 5]
    assert len(cells) == 70
    for key, methods in cells:
        coverage = {name: float(row["coverage"]) for name, row in methods.items()}
        assert 0.93 <= coverage["crossed"] <= 0.98, key
        assert all(int(row["repetitions"]) >= 2000 for row in methods.values()), key
        valid = [name for name in study.SHORT if coverage[name] >= 0.93]
        narrowest = min(float(methods[name]["width"]) for name in valid)
        assert float(methods["crossed"]["width"]) <= 1.1 * narrowest, key
