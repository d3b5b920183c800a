"""One mean has one estimate, one standard error and one interval in every verb, whatever was run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.reports import compare, dynamics, power, scores, variance
from multibench.reports.page import report
from multibench.results import Results
from multibench.stats import Estimate
from tests.support.stored import store_run

STEPS = (100, 200)
FEW, MANY = 10, 200


@dataclass(frozen=True)
class Case:
    """Right answers ``(step, seed, run, example)`` of a results folder, and how its fine-tuning seeds relate."""

    right: np.ndarray
    shared: bool

    def store(self, folder: Path) -> Results:
        labels = np.arange(self.right.shape[3]) % 2
        for s, step in enumerate(STEPS):
            for seed in range(self.right.shape[1]):
                for run in range(self.right.shape[2]):
                    own = self.right[s, seed, run]
                    store_run(
                        folder / "study",
                        outputs=np.eye(2, dtype=np.float32)[np.where(own, labels, 1 - labels)],
                        pretraining_seed=seed,
                        finetuning_seed=run,
                        step=step,
                        labels=labels,
                        metrics={"accuracy": float(own.mean())},
                        design="shared" if self.shared else "nested",
                    )
        return Results.open(folder)


def a_case(number: int) -> Case:
    """Two to six pretraining seeds, one to three runs each, 30 to 90 examples; sometimes hard, sometimes all right."""
    rng = np.random.default_rng([2026, number])
    seeds, runs, n = int(rng.integers(2, 7)), int(rng.integers(1, 4)), int(rng.integers(30, 91))
    spread = float(rng.choice([0.0, 0.3, 1.0]))
    skill = float(rng.choice([-0.5, 1.0, 4.0]))
    latent = skill + 1.5 * rng.normal(size=n) + spread * rng.normal(size=(seeds, 1, 1))
    latent = latent + float(rng.choice([0.0, 0.5])) * rng.normal(size=(1, runs, 1))
    steps = [
        latent + gain + rng.normal(size=(seeds, runs, n)) for gain in (0.0, float(rng.choice([0.0, 0.7])))
    ]
    return Case(np.stack(steps) > 0, bool(rng.random() < 0.5))


def standard_error(y: np.ndarray, shared: bool) -> float:
    """The closed form, by plain sums, of the error of the mean of ``y`` ``(seed, run, example)``."""
    p, f, x = y.shape
    columns = y.mean(axis=(0, 1))
    total = ((columns - columns.mean()) ** 2).sum() / (x - 1) / x
    seeds = y.mean(axis=1)

    def part(rows: np.ndarray) -> tuple[float, float]:
        k = len(rows)
        between = ((rows.mean(axis=1) - rows.mean()) ** 2).sum() / (k - 1) / k
        rest = rows - rows.mean(axis=1, keepdims=True) - rows.mean(axis=0) + rows.mean()
        return float(between), float((rest**2).sum() / (k - 1) / (x - 1) / (k * x))

    between, error = part(seeds)
    total += max(0.0, between - error)
    if shared and f > 1:
        between, error = part(y.mean(axis=0))
        scores_of = y.mean(axis=2)
        inter = scores_of - scores_of.mean(axis=1, keepdims=True) - scores_of.mean(axis=0) + scores_of.mean()
        interaction = (inter**2).sum() / ((p - 1) * (f - 1)) / (p * f)
        cells = y - y.mean(axis=2, keepdims=True) - y.mean(axis=0) - y.mean(axis=1, keepdims=True)
        cells = (
            cells
            + y.mean(axis=(0, 1))
            + y.mean(axis=(0, 2))[:, None]
            + y.mean(axis=(1, 2))[:, None, None]
            - y.mean()
        )
        residual = (cells**2).sum() / ((p - 1) * (f - 1) * (x - 1)) / (p * f * x)
        total += max(0.0, between - error - interaction + residual)
    return math.sqrt(total)


def estimate_in(row: dict[str, Any], name: str) -> Estimate:
    cell = next(value for key, value in row.items() if key.startswith(name) and "band" not in key)
    assert isinstance(cell, Estimate)
    return cell


def same(one: Any, other: Estimate) -> None:
    """All fields agree, numbers but for the order of sums."""
    assert isinstance(one, Estimate)
    for name, value in other.to_dict().items():
        found = one.to_dict()[name]
        assert found == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), name


def agree(case: Case, folder: Path) -> None:
    """Every verb on ``case`` says the same of each mean, and what it says is right."""
    results = case.store(folder)
    table = {int(str(row["checkpoints"]).split()[-1]): row for row in scores(results).rows}
    own = {step: estimate_in(row, "score") for step, row in table.items()}
    (compared,) = compare(results, "step=100", "step=200").rows
    same(compared["base"], own[100])
    same(compared["experiment"], own[200])
    steps = dynamics(results).rows
    for row, step in zip(steps, STEPS, strict=True):
        same(estimate_in(row, "score"), own[step])
    runs = case.right.shape[1] * case.right.shape[2]
    errors = {}
    if runs > 1:
        for row in variance(results).rows:
            errors[int(str(row["checkpoints"]).split()[-1])] = row["standard error"]
    for s, step in enumerate(STEPS):
        y = case.right[s].astype(float)
        assert own[step].value == pytest.approx(y.mean(), abs=1e-12)
        assert own[step].standard_error == pytest.approx(standard_error(y, case.shared), abs=1e-12)
        assert errors[step].value == pytest.approx(own[step].standard_error, abs=1e-12)
        assert 0 <= own[step].low < own[step].high <= 1
        assert own[step].low <= own[step].value <= own[step].high
    difference = compared["difference"]
    assert isinstance(difference, Estimate)
    assert difference.value == pytest.approx(own[200].value - own[100].value, abs=1e-12)
    last = steps[0]["minus last"]
    assert isinstance(last, Estimate)
    assert (-last.high, -last.low) == pytest.approx((difference.low, difference.high), abs=1e-9)
    apart = case.right[1].astype(float) - case.right[0]
    if np.count_nonzero(apart.mean(axis=(0, 1))) >= 5:
        assert difference.standard_error == pytest.approx(standard_error(apart, case.shared), abs=1e-12)
    (planned,) = power(results, 0.05, "step=100", "step=200").rows
    assert planned["pairing"] == compared["pairing"]


@pytest.mark.parametrize("number", range(FEW))
def test_every_verb_agrees(number: int, tmp_path: Path) -> None:
    agree(a_case(number), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FEW, MANY))
def test_every_verb_agrees_on_many_folders(number: int, tmp_path: Path) -> None:
    agree(a_case(number), tmp_path)


def test_a_report_says_the_same(tmp_path: Path) -> None:
    case = a_case(3)
    results = case.store(tmp_path / "results")
    own = {row["checkpoints"]: estimate_in(row, "score") for row in scores(results).rows}
    report(tmp_path / "results", tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "estimates.json").read_text("utf-8"))
    entries = [e for e in stored if e.get("low") is not None]
    bounds = {tuple(round(e[name], 9) for name in ("value", "low", "high")) for e in entries}
    assert {tuple(round(v, 9) for v in (e.value, e.low, e.high)) for e in own.values()} <= bounds
