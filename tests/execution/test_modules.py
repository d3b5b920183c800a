"""A suite that brings a module of ``evaluate``: its scores are stored beside the task's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from multibench.errors import UnavailableError
from multibench.metrics import METRICS
from multibench.metrics.evaluate_adapter import as_evaluate
from multibench.reports import scores
from tests.support.command import multibench
from tests.support.modules import EQUAL, NUMBERS, own_folders, write_module
from tests.support.tiny import make_bench


@pytest.mark.parametrize("source", ["nothing_like_it", "local"])
def test_a_suite_with_a_module_is_refused_without_the_library(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "evaluate", None)
    bench = make_bench(tmp_path)
    script = write_module(tmp_path / "modules", "shares", NUMBERS, EQUAL)
    bench.write(metric={"evaluate": str(script) if source == "local" else source})
    refused = multibench("run", bench.suite, *bench.options, "--threads", 1).refusal()
    assert "The package 'evaluate' cannot be imported" in refused
    assert "pip install evaluate" in refused
    assert not (bench.results / "tiny" / "runs").exists() or not bench.store.run_ids()
    with pytest.raises(UnavailableError, match="'evaluate' cannot be imported"):
        as_evaluate(METRICS.get("mcc"))


def test_a_local_module_scores_every_run_and_leaves_its_id_alone(tmp_path: Path) -> None:
    pytest.importorskip("evaluate")
    bench = make_bench(tmp_path)
    plain = {run.run_id for run in bench.plan().runs}
    script = write_module(tmp_path / "modules", "shares", NUMBERS, EQUAL)
    with own_folders(tmp_path / "huggingface"):
        bench.write(metric={"evaluate": "nothing_like_it"})
        with pytest.raises(UnavailableError, match="no evaluate module nothing_like_it"):
            bench.run()
        assert not (bench.results / "tiny" / "runs").exists() or not bench.store.run_ids()
        bench.write(metric={"evaluate": str(script)})
        bench.run()
    runs = bench.opened().stored
    assert {run.run_id for run in runs} == plain
    for run in runs:
        (evaluation,) = run.manifest["evaluations"].values()
        found = evaluation["evaluate"][str(script)]["scores"]["equal"]
        assert found == pytest.approx(evaluation["metrics"]["accuracy"])
    assert any(f"{script} gave equal" in note for note in scores(bench.opened(), nboot=20).notes)
