"""``bench``: what it says it measured adds up. How fast anything is, no test can know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from multibench.bench import SIZES, Case, Speed, bench, measure_hardware, plain, together
from multibench.cli import app
from multibench.errors import UnknownNameError
from multibench.planning.measured import MeasuredRates, read_rate

CPU = torch.device("cpu")


def test_ratios_are_those_of_the_rates_beside_them() -> None:
    told: list[str] = []
    table = bench(
        ["tiny"], "rte", (1, 2), device="cpu", batch_size=4, steps=2, repeats=1, on_measured=told.append
    )
    rows = table.to_dict()["rows"]
    assert len(rows) == len(told) == 2 * 4
    assert [row["precision"] for row in rows] == ["fp32"] * 4 + ["bf16"] * 4
    for part in (rows[:4], rows[4:]):
        for row in part:
            rate = row["examples_s"]
            assert row["times_padded_fp32"] == pytest.approx(rate / rows[0]["examples_s"])
            assert row["times_padded_to_the_longest"] == pytest.approx(rate / part[1]["examples_s"])
            assert 0 < row["of_the_device_s_rate"] < 1
    assert "memory [GB]" not in table.columns  # known of a GPU only
    assert [row["replicas"] for row in rows] == [None, None, 1, 2] * 2  # for programs
    assert not {"replicas", "operations per second"} & set(table.columns)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'large'"):
        bench(["large"])
    with pytest.raises(UnknownNameError, match="'nothing'"):
        bench(["tiny"], "nothing")


def test_the_share_of_the_rate_counts_six_operations_a_weight() -> None:
    """BERT-base has 85,054,464 weights in its layers, of which 84,934,656 are in matrices."""
    assert SIZES["base"].operations_per_token == 6 * 84_934_656
    case = Case("base", "mrpc", "fp32", CPU)
    assert Speed(1.0, 1000.0, None).share_of(6e3 * 84_934_656, case) == 1.0
    # One step a second: weight, gradient and two moments of four bytes each are read, three of them written.
    assert Speed(32.0, 1000.0, None).copied(28 * 84_934_656, case) == 1.0


def test_both_ways_train_the_same_number_of_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the clock of the test, which says that everything takes two seconds."""
    ticks = iter(range(0, 100, 2))
    monkeypatch.setattr("multibench.bench.contenders.now", lambda device: float(next(ticks)))
    case = Case("tiny", "mrpc", "fp32", CPU, batch_size=4, steps=3)
    alone, three, padded = together(case, 1), together(case, 3), plain(case, "max")
    assert alone.examples == padded.examples == 6
    assert three.examples == 18
    assert padded.tokens < 6 * 128  # real ones only


def test_hardware_in_a_sentence() -> None:
    found = measure_hardware(CPU)
    assert found.products["fp32"] > 1e8
    assert found.copying > 1e8
    assert "matrix products fp32" in found.sentence()


def test_the_verb_prints_a_table(tmp_path: Path) -> None:
    words = [
        "bench",
        "--size",
        "tiny",
        "--replicas",
        "2",
        "--precision",
        "fp32",
        "--batch-size",
        "4",
        "--steps",
        "1",
    ]
    done = CliRunner().invoke(
        app.app, [*words, "--repeats", "1", "--device", "cpu", "--format", "json", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    training = [row["training"] for row in report["rows"]]
    assert training[-1] == "multibench, 2 runs together"
    # `plan --rate` reads it: rates of multibench alone, by the operations of real tokens.
    path = tmp_path / "rates.json"
    path.write_text(done.output, "utf-8")
    found = read_rate(str(path))
    assert isinstance(found, MeasuredRates)
    assert (found.name, found.kind) == (report["device"]["name"], "cpu")
    assert found.memory > 10**8
    (speed,) = found.speeds
    row = report["rows"][-1]
    reached = row["of_the_device_s_rate"] * report["device"]["products"]["fp32"]
    assert (speed.replicas, speed.weights) == (2, SIZES["tiny"].weights)
    assert speed.rate == pytest.approx(reached)
    assert CliRunner().invoke(app.app, ["bench", "--replicas", "many"]).exit_code == 2
