"""A release of full size: 5 + 25 pretraining seeds x 4 rates x 5 runs on MNLI's 9,815 examples, 600 runs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from multibench.exchange import import_google_predictions
from multibench.reports import compare
from multibench.reports.page import report
from multibench.reports.sides import joined_sides
from multibench.results import Results, select_settings
from tests.exchange.support import assert_same_comparison, best_rate, direct_comparison
from tests.support.released import mnli_labels, write_release

pytestmark = pytest.mark.slow


def test_six_hundred_runs_are_imported_selected_compared_and_reported_within_a_minute(tmp_path: Path) -> None:
    release = write_release(
        tmp_path / "GLUE", mnli_labels(np.random.default_rng(1)), {"1M": range(5), "2M": range(25)}
    )
    assert len(release.rows) == 600
    started = time.process_time()  # of this process alone, whatever else the machine does
    done = import_google_predictions(release.folder, tmp_path / "results")
    assert (done.new, done.absent) == (600, ())
    assert any("contradiction, entailment, neutral (found by" in remark for remark in done.remarks)
    results = Results.open(tmp_path / "results")
    table = compare(results, "step=1000000", "step=2000000", paired=True)
    report(results, tmp_path / "report")
    assert time.process_time() - started < 60
    chosen = {each.group[1]: each.varied["learning_rate"] for each in select_settings(results)}
    assert chosen == {1_000_000: 3e-5, 2_000_000: 2e-5}
    assert [best_rate(release, steps) for steps in ("1M", "2M")] == ["3e-05", "2e-05"]
    (side,) = joined_sides(results, "step=1000000", "step=2000000", paired=True)
    direct = direct_comparison(release, 2000, side.rng, side.corrections)
    assert direct.difference.n_seeds == 5
    assert_same_comparison(table.extra["comparisons"][0], direct)
    size = sum(path.stat().st_size for path in done.folder.rglob("*") if path.is_file())
    given = sum(path.stat().st_size for path in release.folder.rglob("*.tsv"))
    assert size < 0.75 * given
