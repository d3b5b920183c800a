"""Every published table that is shipped: whole, consistent in itself and with the rest of the catalogue."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from multibench.checkpoints import find
from multibench.errors import ResultsError
from multibench.metrics import METRICS
from multibench.recipes import RECIPES
from multibench.reference import REFERENCES, Figure, PublishedCell, Reference, obstacle, read_reference
from multibench.reports.counterparts import allowed_settings, fits
from multibench.suite import find_suite, load_suite
from multibench.tasks import find_task

NAMES = REFERENCES.names()
COMPARABLE = {
    "bert_readme": 5, "bert_squad": 5, "distilbert_cards": 4, "distilbert_readme": 2, "dle_pytorch": 10,
    "hf_glue": 26, "hf_squad": 2, "megatron_nemo_glue": 12, "multiberts_e1": 5, "multiberts_e2": 6,
    "nemo_squad": 20, "wwm": 2,
}  # fmt: skip
"""How many figures of each table can be compared at all; none of the others."""


def _comparable(reference: Reference) -> list[PublishedCell]:
    return [cell for cell in reference.cells() if not obstacle(reference, cell)]


def test_the_promised_tables_are_there() -> None:
    promised = {
        "multiberts_e1", "multiberts_e2", "multiberts_winogender", "miniatures_glue", "bert_glue", "bert_squad", "wwm",
        "distilbert_glue", "distilbert_squad", "nemo_squad", "megatron_paper", "megatron_nemo_glue", "dle_pytorch",
        "dle_tensorflow", "dle_tensorflow2",
    }  # fmt: skip
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_agrees_with_the_catalogue(name: str) -> None:
    reference = REFERENCES.get(name)
    for row in reference.rows:
        for checkpoint in (*row.checkpoints, *row.chosen_over):
            assert find(checkpoint).id == checkpoint
        assert not row.recipe or row.recipe in RECIPES
        if row.suite:
            suite = load_suite(find_suite(row.suite))
            made = {c.id for entry in suite.checkpoints for c in entry.from_catalogue()}
            assert set(row.checkpoints) <= made
            if row.selection is not None and row.trained and not row.settings:
                same = {"mean": "none"}.get(suite.selection, suite.selection)
                assert same == row.selection
    assert len(_comparable(reference)) == COMPARABLE.get(name, 0)


@pytest.mark.parametrize("name", COMPARABLE)
def test_what_can_be_compared_says_all_that_a_verdict_needs(name: str) -> None:
    reference = REFERENCES.get(name)
    for cell in _comparable(reference):
        row = cell.row
        assert cell.value is not None
        assert -1 < cell.value < 1
        assert cell.metric in find_task(cell.task).metrics
        assert METRICS.get(cell.metric).tuned_on_reported_split == bool(row.tuned)
        if row.of is None and row.trained:
            assert row.recipe
            assert row.runs_per_checkpoint >= 1
            allowed = allowed_settings(row, cell.task)
            settings = RECIPES.get(row.recipe).settings(cell.task)
            assert any(fits(setting.model_dump(mode="json"), allowed) for setting in settings)


@pytest.mark.parametrize("name", COMPARABLE)
def test_suites_make_runs_that_the_tables_accept(name: str) -> None:
    for cell in _comparable(REFERENCES.get(name)):
        if cell.row.suite and cell.row.of is None:
            suite, allowed = load_suite(find_suite(cell.row.suite)), allowed_settings(cell.row, cell.task)
            settings = [s.model_dump(mode="json") for s in suite.settings(find_task(cell.task))]
            assert any(fits(setting, allowed) for setting in settings)
            assert cell.task in suite.tasks
            assert len(suite.finetuning_seeds) > 1


def test_printed_means_and_spreads_are_those_of_the_printed_runs() -> None:
    checked = 0
    for reference in REFERENCES:
        for cell in reference.cells():
            figure = cell.figure
            if figure.runs and figure.value is not None:
                printed = Figure(runs=figure.runs)
                assert printed.centre is not None
                assert printed.spread is not None
                assert float(printed.centre) == pytest.approx(float(figure.value), abs=0.01)
                assert figure.sd is not None
                assert printed.spread == pytest.approx(float(figure.sd), abs=0.01)
                checked += 1
    assert checked == 10


def test_digits_are_kept_as_printed() -> None:
    figure = Figure.model_validate(Decimal("84.10"))
    assert str(figure.value) == "84.10"
    assert figure.half_digit == Decimal("0.005")
    assert Figure.model_validate(83).half_digit == Decimal("0.5")
    assert Figure(runs=(Decimal("1.25"), Decimal("1.5"))).half_digit == Decimal("0.005")


def test_misprints_are_no_targets() -> None:
    doubtful = {
        (reference.name, str(cell.figure.value))
        for reference in REFERENCES
        for cell in reference.cells()
        if obstacle(reference, cell).startswith("doubtful: ")
    }
    assert {
        ("distilbert_glue", "86.7"), ("distilbert_squad", "79.8"), ("nemo_squad", "82.78"), ("dle_tensorflow", "87.09"),
        ("distilbert_cards", "85.8"),
    } <= doubtful  # fmt: skip


MINIMAL = """
name = "mine"
title = "Mine"
paper = "A paper"
[[rows]]
model = "A model"
split = "dev"
source = "Table 1"
[rows.scores]
rte.accuracy = 70.1
"""


def _read(tmp_path: Path, text: str) -> Reference:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_reference(path)


def test_a_small_table_is_read_and_what_is_not_given_is_not_known(tmp_path: Path) -> None:
    [cell] = _read(tmp_path, MINIMAL).cells()
    assert (cell.evaluation, cell.metric, cell.value) == ("rte.dev", "accuracy", pytest.approx(0.701))
    assert (cell.row.runs, cell.row.selection, cell.sd) == (None, None, None)
    assert cell.rounding == pytest.approx(0.0005)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('split = "dev"', "", "rows.0.split: Field required"),
        ('source = "Table 1"', 'source = ""', "rows.0.source: String should have at least 1 character"),
        ('split = "dev"', 'split = "dev"\nrunes = 3', "rows.0.runes: Extra inputs"),
        ("70.1", '{ remark = "x" }', "a figure without a number"),
        ('split = "dev"', 'split = "dev"\nof = ["a", "b"]', "'of' speaks of a, b, and no row has that name"),
        (
            'split = "dev"',
            'split = "dev"\nruns = 3\ncheckpoints = ["x_{0..1}"]',
            "3 runs do not divide among 2",
        ),
        ('name = "mine"', 'name = "mine', "is not valid TOML"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ResultsError, match=re.escape(said)):
        _read(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(ResultsError, match="cannot be read"):
        read_reference(tmp_path / "none.toml")
