"""The shipped tables hold exactly the numbers that were collected from the sources."""

from __future__ import annotations

import csv
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from multibench.reference import REFERENCES, PublishedCell

Entry = tuple[str, str, str, str, str, str, Decimal]
"""Source, task, split, metric, statistic, unit, number."""

NOT_READ = "secondary: stored GitHub literature note (file) quoting arXiv 1908.08962"
"""Nobody could read these four numbers in the paper itself."""

STATISTICS = {
    "_ci95_low": "low", "_ci95_high": "high", "_expected_min": "from", "_expected_max": "to",
    "_sd_over_seeds_shuffled_with_replacement": "sd", "_sd_over_seeds_shuffled": "sd", "_sd_over_seeds": "sd",
    "_mean_over_seeds": "value", "_mean": "value", "_sd": "sd", "_max": "maximum",
}  # fmt: skip
OURS = {"matthews_correlation": "mcc", "best_answer_f1": "f1", "answer_f1": "f1"}
OVER_TASKS = {"macro", "average", "score"}


def _collected(row: dict[str, str]) -> Entry:
    metric, statistic = row["metric"], "value"
    if metric.startswith("p_value"):
        metric, statistic = metric.removeprefix("p_value").lstrip("_") or "accuracy", "p_value"
    for suffix, name in STATISTICS.items():
        if metric.endswith(suffix):
            metric, statistic = metric.removesuffix(suffix), name
            break
    metric = metric.removesuffix("_delta")
    task = "glue" if row["task"] in OVER_TASKS else row["task"]
    number = Decimal(row["value"])
    return row["source"], task, row["split"], OURS.get(metric, metric), statistic, row["unit"], number


def _shipped(cell: PublishedCell) -> list[Entry]:
    row, figure = cell.row, cell.figure
    found = [("value", run) for run in figure.runs]
    found += [
        (name, number)
        for name in ("value", "sd", "maximum", "p_value")
        if (number := getattr(figure, name)) is not None
    ]
    found += list(zip(("low", "high"), figure.interval or (), strict=False))
    found += list(zip(("from", "to"), figure.range or (), strict=False))
    metric = OURS.get(cell.metric, cell.metric)
    return [
        (row.source, cell.published_task, row.split, metric, statistic, row.unit, number)
        for statistic, number in found
    ]


@pytest.mark.shared
def test_every_collected_number_is_shipped_and_every_shipped_one_was_collected(shared_dir: Path) -> None:
    with (shared_dir / "reference" / "published_scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    unread = [
        row for row in rows if row["source"] == NOT_READ or re.search("unverified|from memory", row["notes"])
    ]
    assert len(unread) == 4
    collected = Counter(_collected(row) for row in rows if row not in unread)
    shipped = Counter(
        entry for reference in REFERENCES for cell in reference.cells() for entry in _shipped(cell)
    )
    assert collected - shipped == Counter()
    assert shipped - collected == Counter()
    assert shipped.total() == 746
