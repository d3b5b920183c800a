"""Programs read fractions under names without units; people read points and percent under titles that say so."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multibench
from multibench.reports.cells import Quantity, points, shown
from multibench.reports.tables import Table, machine_name, machine_names
from multibench.results import Results
from multibench.stats import Estimate
from tests.support.command import multibench as command
from tests.support.stored import store_run

UNITS = re.compile(r"\[|%|\bpoints?\b|\bpercent\b")
SIDES = ("--base", "step=10", "--expt", "family=multiberts,step=20")

VERBS: dict[str, tuple[Any, ...]] = {
    "scores": ("scores", "RESULTS", "--nboot", "100"),
    "scores of all metrics": ("scores", "RESULTS", "--metric", "all"),
    "compare": ("compare", "RESULTS", *SIDES),
    "compare several": ("compare", "RESULTS", *SIDES, "--expt", "family=other"),
    "variance": ("variance", "RESULTS"),
    "power": ("power", "RESULTS", *SIDES, "--effect", "5pt", "--half-width", "20pt"),
    "dynamics": ("dynamics", "RESULTS", "--margin", "5pt"),
    "agreement": ("instances", "RESULTS"),
    "difficulty": ("instances", "RESULTS", "--show", "difficulty"),
    "differences": ("instances", "RESULTS", *SIDES),
    "reproduce": ("reproduce", "multiberts_e1", "RESULTS"),
    "published alone": ("reproduce", "hf_squad"),
    "scores-alone": ("scores-alone", "BASE", "LARGE"),
}
PRINTS_LEVEL = [
    verb for verb in VERBS if verb not in ("reproduce", "published alone", "difficulty", "differences")
]

PRINTED: dict[tuple[Any, ...], str] = {}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two steps and another family, and two folders of scores alone."""
    folder = tmp_path_factory.mktemp("units")
    rng = np.random.default_rng(0)
    gold = np.arange(60) % 2
    for family, step in (("multiberts", 10), ("multiberts", 20), ("other", 20)):
        for seed in range(3):
            for run in range(2):
                outputs = rng.normal(size=(60, 2)).astype(np.float32)
                outputs[np.arange(60), gold] += 0.4 + step / 20
                store_run(
                    folder / "results" / f"{family}-{step}-{seed}-{run}",
                    outputs=outputs,
                    family=family,
                    pretraining_seed=seed,
                    step=step,
                    finetuning_seed=run,
                    metrics={
                        "accuracy": float((outputs.argmax(axis=1) == gold).mean()),
                        "mcc": float(np.corrcoef(outputs.argmax(axis=1), gold)[0, 1]),
                    },
                )
    for name, scores in (("base", (0.80, 0.79, 0.785, 0.795)), ("large", (0.84, 0.83, 0.835))):
        for k, score in enumerate(scores):
            (folder / name / str(k)).mkdir(parents=True)
            found = json.dumps({"eval_accuracy": score, "eval_samples": 277})
            (folder / name / str(k) / "all_results.json").write_text(found)
    return {"RESULTS": folder / "results", "BASE": folder / "base", "LARGE": folder / "large"}


def printed(places: dict[str, Path], verb: str, format_: str, *more: str) -> str:
    if (verb, format_, more) not in PRINTED:
        words = [places.get(word, word) for word in VERBS[verb]]
        done = command(*words, "--format", format_, *more)
        assert (done.code, done.err) == (0, "")
        PRINTED[verb, format_, more] = done.out
    return PRINTED[verb, format_, more]


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from keys(part)
    elif isinstance(value, list):
        for part in value:
            yield from keys(part)


@pytest.mark.parametrize("verb", VERBS)
def test_machine_names_have_no_units_and_no_levels(places: dict[str, Path], verb: str) -> None:
    found = json.loads(printed(places, verb, "json"))
    head = next(csv.reader(io.StringIO(printed(places, verb, "csv"))))
    for name in (*(key for row in found["rows"] for key in row), *head):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
    assert not [key for key in keys(found) if UNITS.search(key)]
    assert not re.search(r"\bin (points|percent)\b", found["title"])
    for name in head:
        in_json = set(keys(found["rows"]))
        assert name in in_json or re.sub("_(low|high|level)$", "", name) in in_json
    assert len(set(head)) == len(head)


@pytest.mark.parametrize("verb", VERBS)
def test_machine_formats_have_fractions_where_people_have_points(places: dict[str, Path], verb: str) -> None:
    """Every number of the CSV file, against the text of the same cell in Markdown."""
    rows = list(csv.DictReader(io.StringIO(printed(places, verb, "csv"))))
    lines = [line for line in printed(places, verb, "markdown").splitlines() if line.startswith("| ")]
    titles, *cells = [line[2:-2].split(" | ") for line in lines]
    names = machine_names(titles)
    seen = 0
    for row, texts in zip(rows, cells[1:], strict=True):
        for title, text in zip(titles, texts, strict=True):
            value, told = row[names[title]], re.match(r"-?\d+\.\d+", text)
            if not value or told is None or title == "hours":
                continue
            digits = len(told.group().partition(".")[2])
            is_p = re.match(r"p\b|welch_p|permutation_p|published p", title)
            expected = float(value) if is_p else 100 * float(value)
            assert expected == pytest.approx(float(told.group()), abs=0.51 * 10**-digits), title
            seen += not is_p
    assert seen


@pytest.mark.parametrize("verb", VERBS)
def test_people_are_told_the_unit(places: dict[str, Path], verb: str) -> None:
    for format_ in ("text", "markdown", "latex"):
        assert re.search(r"\bpoints\b|\bpercent\b|%\]", printed(places, verb, format_)), format_


@pytest.mark.parametrize("verb", PRINTS_LEVEL)
def test_names_do_not_move_with_the_level(places: dict[str, Path], verb: str) -> None:
    found = [json.loads(printed(places, verb, "json", *more)) for more in ((), ("--confidence", "0.8"))]
    assert list(found[0]["rows"][0]) == list(found[1]["rows"][0])
    levels = {cell["level"] for row in found[1]["rows"] for cell in row.values() if isinstance(cell, dict)}
    assert levels <= {0.8}


def test_a_score_has_its_bounds_beside_it(places: dict[str, Path]) -> None:
    row = next(csv.DictReader(io.StringIO(printed(places, "scores", "csv"))))
    again = json.loads(printed(places, "scores", "json"))["rows"][0]["score"]
    assert [float(row[n]) for n in ("score", "score_low", "score_high", "score_level")] == [
        again[n] for n in ("value", "low", "high", "level")
    ]
    assert 0 < again["low"] < again["value"] < again["high"] < 1


@pytest.mark.parametrize(
    ("title", "name"),
    [
        *(("score [95 %]", "score"), ("score [95 % band]", "score_band"), ("score [99.9 %]", "score")),
        *(("half-width [points]", "half_width"), ("right [%]", "right"), ("error [units]", "error")),
        *(("base, right [%]", "base_right"), ("p (adjusted)", "p_adjusted"), ("95 % low", "low")),
        *(("sd of runs", "sd_of_runs"), ("memory [GB]", "memory_gb"), ("power, 5 seeds", "power_5_seeds")),
        *(("agreement of seeds [90 % band]", "agreement_of_seeds_band"), ("[%]", "column"), ("É [%]", "é")),
    ],
)
def test_machine_name(title: str, name: str) -> None:
    assert machine_name(title) == name


def test_two_columns_never_share_a_name() -> None:
    found = machine_names(["score", "score [95 %]", "Score", "score_2", "score [points]"])
    assert len(set(found.values())) == 5
    estimate = Estimate(0.5, 0.4, 0.6, 0.95, "m", "mean", 0.1, 0.0, 3, 6, 60)
    table = Table("t", ("score", "score [95 %]"), ({"score": points(0.1), "score [95 %]": estimate},))
    assert table.to_dict()["rows"] == [{"score": 0.1, "score_2": estimate.to_dict()}]
    assert table.render("csv").splitlines() == [
        "score,score_2,score_2_low,score_2_high,score_2_level",
        "0.1,0.5,0.4,0.6,0.95",
    ]


def test_a_report_has_fractions_in_its_files(places: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    multibench.report(Results.open(places["RESULTS"]), out, nboot=100, effect=0.02, confidence=0.8)
    tables = {path.stem: path for path in (out / "tables").glob("*.csv")}
    assert {"scores", "comparisons", "variance", "power", "dynamics", "runs", "spread"} <= set(tables)
    for path in tables.values():
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in rows[0]), path
        for row in rows:
            for name, cell in row.items():
                if re.match(
                    r"(score|lowest|median|highest|sd|difference|base|experiment|half_width|with_)", name
                ):
                    known = ("seeds" in name and not name.startswith(("with_", "sd"))) or name == "runs"
                    if (
                        re.fullmatch(r"-?[\d.e-]+", cell)
                        and not known
                        and not name.endswith(("_runs", "_seeds"))
                    ):
                        assert abs(float(cell)) <= 1, (path, name, cell)
    for entry in json.loads((out / "estimates.json").read_text("utf-8")):
        assert "[" not in entry["of"].rpartition(": ")[2] or " " in entry["of"]
        if entry["estimand"] != "as worded":
            assert not UNITS.search(entry["estimand"]), entry


def test_a_prediction_file_is_scored_in_fractions() -> None:
    from multibench.reports.scored import scored_table
    from multibench.scoring import Scored

    fields = {"predictions": "p", "task": "t", "split": "dev", "examples": 3, "metrics": {"f1": 2 / 3}}
    fields |= {"missing": (), "extra": (), "as_released": True}
    scored = Scored(**{**fields, "parts": {"kind": {"a": {"examples": 1, "f1": float("nan")}}}})
    table = scored_table(scored)
    assert table.render("csv").splitlines() == ["part,examples,f1", f"all,3,{2 / 3}", "kind: a,1,"]
    assert [shown(row["f1 [%]"]) for row in table.rows] == ["66.67", "undefined"]
    assert isinstance(table.rows[0]["f1 [%]"], Quantity)
