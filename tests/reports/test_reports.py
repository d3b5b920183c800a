"""Tables from stored runs: the numbers are those of the statistics, the formats are safe to paste."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import ResultsError, SuiteError
from multibench.reports import Table, compare, power, scores, variance
from multibench.reports.tables import Cell
from multibench.results import Results
from multibench.stats import Estimate, compare_groups, estimate_group, multibootstrap_group
from tests.support.stored import store_run

N_EXAMPLES = 60
LABELS = np.random.default_rng(0).integers(0, 2, size=N_EXAMPLES)


def _outputs(step: int, seed: int, finetuning_seed: int, rate: float) -> np.ndarray:
    """Class scores that get better with steps, differ by seed, and are best at rate 2e-5."""
    rng = np.random.default_rng([step, seed, finetuning_seed, int(rate * 1e7)])
    skill = 0.3 + 0.5 * (step > 0) + 0.1 * seed + (0.3 if rate == 2e-5 else 0.0)
    noise = rng.normal(size=(N_EXAMPLES, 2))
    noise[np.arange(N_EXAMPLES), LABELS] += skill
    return noise.astype(np.float32)


def _store(
    folder: Path, rates: tuple[float, ...] = (2e-5,), selection: str = "none", steps: Any = (0, 100)
) -> Results:
    for step in steps:
        for seed in range(3):
            for finetuning_seed in range(2):
                for rate in rates:
                    outputs = _outputs(step, seed, finetuning_seed, rate)
                    accuracy = float((outputs.argmax(axis=1) == LABELS).mean())
                    store_run(
                        folder / "study",
                        outputs=outputs,
                        labels=LABELS,
                        family="made_up",
                        checkpoint=f"made_up/{seed}-{step}",
                        pretraining_seed=seed,
                        finetuning_seed=finetuning_seed,
                        step=step,
                        metrics={"accuracy": accuracy},
                        suite={"selection": selection},
                        provenance={"seconds": 36.0},
                        learning_rate=rate,
                    )
    return Results.open(folder)


def test_scores_are_the_statistics_of_the_stored_predictions(tmp_path: Path) -> None:
    table = scores(_store(tmp_path), nboot=300)
    assert [row["checkpoints"] for row in table.rows] == ["made_up step 0", "made_up step 100"]
    row = table.rows[1]
    shown = row["score [95 %]"]
    assert isinstance(shown, Estimate)
    runs = [(seed, ft, _outputs(100, seed, ft, 2e-5)) for seed in range(3) for ft in range(2)]
    expected = np.mean([(o.argmax(axis=1) == LABELS).mean() for _, _, o in runs])
    assert shown.value == pytest.approx(expected, abs=1e-12)
    arrays = (
        {"seed": [s for s, _, _ in runs], "finetune_seed": [f for _, f, _ in runs]},
        np.stack([o for _, _, o in runs]),
        LABELS,
        "accuracy",
    )
    assert shown.to_dict() == estimate_group(*arrays).to_dict()
    published = scores(_store(tmp_path), nboot=4000, method="multibootstrap").rows[1]["score [95 %]"]
    assert isinstance(published, Estimate)
    again = multibootstrap_group(*arrays, nboot=4000, rng=1)
    assert published.low == pytest.approx(again.low, abs=0.02)
    assert published.high == pytest.approx(again.high, abs=0.02)
    assert (row["pretraining seeds"], row["runs"], row["examples"]) == (3, 6, N_EXAMPLES)
    assert scores(_store(tmp_path / "again"), nboot=300).to_dict() == table.to_dict()


def test_collapsed_runs_count_and_are_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    for seed in range(6):
        right = rng.random(40) < 0.8
        outputs = np.eye(2)[np.where(right, labels, 1 - labels)]
        if seed == 3:
            outputs = np.eye(2)[np.zeros(40, dtype=int)]
        status = "collapsed" if seed == 3 else "finished"
        store_run(folder, outputs=outputs, pretraining_seed=seed, status=status)
    table = scores(Results.open(folder))
    assert table.rows[0]["collapsed"] == 1
    assert table.rows[0]["runs"] == 6
    (note,) = (n for n in table.notes if "collapsed" in n)
    assert "1 of 6 runs collapsed, 16.7 [0.4, 64.1] %" in note  # exact binomial, by statsmodels
    assert "over 5 runs" in note


def test_selection_keeps_the_best_setting_and_says_so(tmp_path: Path) -> None:
    results = _store(tmp_path, rates=(1e-5, 2e-5, 3e-5), selection="best_mean_dev")
    table = scores(results, nboot=200)
    assert [row["setting"] for row in table.rows] == ["lr 2e-05", "lr 2e-05"]
    assert all(
        "best mean over all seeds on rte.dev, of 3 settings" in str(row["selection"]) for row in table.rows
    )
    assert len(scores(results, rule="none", nboot=200).rows) == 6
    best = scores(results, rule="best_dev", nboot=200)
    assert all(row["runs"] == 3 and "best single run of 6" in str(row["selection"]) for row in best.rows)
    with pytest.raises(SuiteError, match="no selection rule 'best'"):
        scores(results, rule="best")


def test_compare_pairs_equal_seeds_and_shows_the_interval_of_its_method(tmp_path: Path) -> None:
    results = _store(tmp_path)
    table = compare(results, "step=0", "step=100", nboot=500)
    (row,) = table.rows
    assert row["pairing"] == "paired by pretraining seed: one origin, made_up/1000"
    assert row["seeds"] == "3 / 3"
    runs = [(step, s, f) for step in (0, 100) for s in range(3) for f in range(2)]
    arrays: Any = (
        {
            "seed": [s for _, s, _ in runs],
            "finetune_seed": [f for _, _, f in runs],
            "intervention": [step == 100 for step, _, _ in runs],
        },
        np.stack([_outputs(step, s, f, 2e-5) for step, s, f in runs]),
        LABELS,
        "accuracy",
        True,
    )
    direct, shown = compare_groups(*arrays), row["difference"]
    assert isinstance(shown, Estimate)
    assert shown.to_dict() == direct.difference.to_dict()
    assert row["method"] == "surrogate mean squares"
    published = compare(results, "step=0", "step=100", nboot=500, method="multibootstrap").rows[0]
    assert isinstance(published["difference"], Estimate)
    assert published["difference"].value == pytest.approx(shown.value, abs=1e-12)
    assert str(published["method"]).startswith("multi-bootstrap, percentile")
    always = compare(results, "step=0", "step=100", always_valid=True)
    assert isinstance(always.rows[0]["difference"], Estimate)
    assert always.rows[0]["difference"].low < shown.low
    assert "however often one has looked" in " ".join(always.notes)
    unpaired = compare(results, "step=0", "step=100", paired=False, nboot=500).rows[0]
    assert unpaired["pairing"] == "unpaired, as asked"


@pytest.mark.parametrize(
    ("base", "experiment", "message"),
    [
        ("step=7", "step=100", "base filter 'step=7' accepts no stored run"),
        ("step=0", "family=made_up", "share 6 runs"),
        ("step=0", "stepp=100", "did you mean 'step'"),
        ("step", "step=100", "not of the form key=value"),
    ],
)
def test_compare_refuses_sides_that_make_no_sense(
    tmp_path: Path, base: str, experiment: str, message: str
) -> None:
    with pytest.raises((ResultsError, SuiteError), match=message):
        compare(_store(tmp_path), base, experiment)


def test_compare_refuses_several_settings(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="several settings for rte"):
        compare(_store(tmp_path, rates=(1e-5, 2e-5)), "step=0", "step=100")


def test_variance_and_power(tmp_path: Path) -> None:
    results = _store(tmp_path)
    table = variance(results)
    shares = [row["share of variance"] for row in table.rows if row["checkpoints"] == "made_up step 100"]
    assert sum(share.value for share in shares if isinstance(share, Estimate)) == pytest.approx(1)
    factors = {row["factor"] for row in table.rows}
    assert factors == {"pretraining seeds", "fine-tuning seeds", "examples"}
    (row,) = power(results, 0.3, "step=0", "step=100").rows
    assert row["selection"] == "none (one setting) / none (one setting)"
    assert row["enough"] is True
    assert float(str(row["hours"])) == pytest.approx(
        2 * int(str(row["seeds"])) * int(str(row["runs a seed"])) * 0.01, rel=0.1
    )
    (row,) = power(results, 0.3, "step=0", "step=100", budget_hours=0.001).rows
    assert row["enough"] is False


NASTY = [
    "=cmd()",
    "a|b",
    "50% & #1_{x}",
    "<script>",
    "back\\slash~^",
    "🙂" * 3,
    "x" * 300,
    'quo"te',
    "line\nfeed",
]


def _table() -> Table:
    estimate = Estimate(0.5, 0.25, 0.75, 0.95, "m", "mean", 0.1, 0.0, 3, 6, 60)
    unknown = Estimate(
        0.5, math.nan, math.nan, 0.95, "m", "mean", math.nan, math.nan, 1, 1, 60, reason="one run"
    )
    rows: list[dict[str, Cell]] = [{"name": text, "score": estimate, "n": 3, "p": math.nan} for text in NASTY]
    return Table(
        "A & B", ("name", "score", "n", "p"), ({"name": "first", "score": unknown, "n": 1, "p": 0.5}, *rows)
    )


def test_csv_is_read_back_and_runs_no_formula() -> None:
    read = list(csv.DictReader(io.StringIO(_table().render("csv"))))
    assert [row["name"].removeprefix("'") for row in read[1:]] == NASTY
    assert not any(row["name"].startswith(("=", "+", "-", "@")) for row in read)
    assert (read[1]["score"], read[1]["score_low"], read[1]["score_high"]) == ("0.5", "0.25", "0.75")
    assert read[0]["score_low"] == ""


def test_json_has_no_nan() -> None:
    loaded = json.loads(_table().render("json"), parse_constant=lambda name: pytest.fail(name))
    assert loaded["rows"][0]["score"]["low"] is None
    assert loaded["rows"][1]["p"] is None


def test_markdown_latex_and_text_keep_their_columns() -> None:
    table = _table()
    for line in table.render("markdown").splitlines()[2:]:
        assert line.replace("\\|", "").count("|") == 5
    body = [line for line in table.render("latex").splitlines() if line.endswith(r"\\")]
    assert len(body) == len(NASTY) + 2
    for line in body:
        assert line.replace(r"\&", "").count("&") == 3
    assert r"50\% \& \#1\_\{x\}" in table.render("latex")
    assert "<script>" not in table.render("latex")
    lines = table.render("text").splitlines()
    assert "50.0 [25.0, 75.0]" in lines[5]
    assert len(lines) == 4 + 1 + len(NASTY)
