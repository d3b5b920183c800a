"""Scores tuned on the split that they are reported for say so wherever they are printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from multibench.metrics import METRICS
from multibench.reports import compare, power, scores, variance
from multibench.results import Results
from multibench.tasks import find_task
from tests.support.stored import store_run

TUNED, PLAIN = "best_exact_match", "exact_match"


def _results(folder: Path) -> Results:
    for family in ("multiberts", "google_bert"):
        for seed in (0, 1):
            rng = np.random.default_rng([seed, len(family)])
            outputs = rng.random((30, 5)).round().astype(np.float32)
            store_run(
                folder / "study",
                outputs=outputs,
                task="squad_v2",
                evaluation="squad_v2.dev",
                pretraining_seed=seed,
                family=family,
                metrics=dict.fromkeys(find_task("squad_v2").metrics, 0.5),
            )
    results = Results.open(folder)
    for run in results.stored:
        run.manifest["provenance"]["seconds"] = 60.0
    return results


def test_a_tuned_score_is_marked_and_a_plain_one_is_not(tmp_path: Path) -> None:
    results = _results(tmp_path)
    for metric, marked in ((TUNED, True), (PLAIN, False)):
        assert METRICS.get(metric).tuned_on_reported_split is marked
        for table in (
            scores(results, metric, nboot=20),
            compare(results, "family=multiberts", "family=google_bert", metric=metric, nboot=20),
            power(results, 0.01, "family=multiberts", "family=google_bert", metric=metric),
            variance(results.where("family=multiberts"), metric),
        ):
            notes = [note for note in table.notes if "tuned on the very examples" in note]
            assert len(notes) == marked
            assert all(note.startswith(f"squad_v2.dev: {TUNED} is") for note in notes)


def test_all_metrics_of_squad_are_shown_and_the_tuned_ones_marked(tmp_path: Path) -> None:
    table = scores(_results(tmp_path).where("family=multiberts"), "all", nboot=20)
    assert [row["metric"] for row in table.rows] == [
        "answer_f1",
        "exact_match",
        "best_answer_f1",
        "best_exact_match",
    ]
    marked = [note for note in table.notes if "tuned on the very examples" in note]
    assert [note.split()[1] for note in marked] == ["best_answer_f1", "best_exact_match"]
