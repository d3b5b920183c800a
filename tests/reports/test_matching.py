"""Comparisons of several groups: matched on seeds, steps or size, and adjusted for their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multibench.errors import ResultsError
from multibench.reports import compare, power
from multibench.reports.cells import Quantity
from multibench.reports.groups import CheckpointGroup, checkpoint_groups, comparison_pairs, reference_group
from multibench.results import Results, select_settings
from multibench.results.filters import RunFilter
from multibench.results.memory import remembering
from multibench.stats import Estimate
from tests.support.command import multibench
from tests.support.population import Group, write_population
from tests.support.stored import store_run

GROUPS = (
    Group("multiberts", 0.6, range(5), 1_000_000),
    Group("multiberts", 1.2, range(1, 7), 2_000_000),
    Group("other", 0.8, range(5), 1_000_000),
    Group("other", 0.8, range(5), 3_000_000),
    Group("small", 0.3, [None], parameters=4_000_000, checkpoint="small/one"),
    Group("tiny", 0.2, [None], parameters=4_000_000, checkpoint="tiny/one"),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Families with common and with other steps, sizes and seeds."""
    return write_population(
        tmp_path_factory.mktemp("matched"), GROUPS, ("rte",), 2, examples=50, troubled=False
    )


def test_several_experiments_are_adjusted_together(results: Results) -> None:
    table = compare(
        results, "family=multiberts,step=2000000", ["family=other,step=3000000", "family=small"], nboot=200
    )
    assert [row["to"] for row in table.rows] == ["family=other,step=3000000", "family=small"]
    for row in table.rows:
        alone_p, adjusted, held = row["p"], row["p (adjusted)"], row["simultaneous"]
        assert isinstance(alone_p, Quantity)
        assert isinstance(adjusted, Quantity)
        assert isinstance(held, Estimate)
        assert alone_p.value <= adjusted.value <= 2 * alone_p.value + 1e-12
        assert (adjusted.value <= 0.05) is not (held.low <= 0 <= held.high)
    ranks = {row["group"]: (row["best"], row["worst"]) for row in table.extra["ranks"]}
    assert len(ranks) == 3
    assert all(1 <= best <= worst <= 3 for best, worst in ranks.values())
    assert any("ranks that hold together at 95 %" in note for note in table.notes)
    alone = compare(results, "family=multiberts,step=2000000", "family=small", nboot=200)
    assert "p (adjusted)" not in alone.columns
    assert "from" not in alone.columns
    assert alone.rows[0]["difference"].to_dict() == table.rows[1]["difference"].to_dict()  # type: ignore[union-attr]


def test_seeds_are_matched_on_those_that_both_sides_have(results: Results) -> None:
    sides = ("family=multiberts,step=1000000", "family=multiberts,step=2000000")
    (row,) = compare(results, *sides, match=["seeds"], nboot=200).rows
    assert row["pairing"] == "paired by pretraining seed: one origin, multiberts/109482240"
    assert row["seeds"] == "4 / 4"
    table = compare(results, *sides, nboot=200)
    (usual,) = table.rows
    assert (usual["pairing"], usual["seeds"]) == ("unpaired: 4 of 5 pretraining seeds are common", "5 / 6")
    (note,) = (
        note for note in table.notes if "paired on the 4 pretraining seeds that both sides have" in note
    )
    assert isinstance(row["difference"], Estimate)
    assert f"{100 * row['difference'].value:+.1f} points" in note


def test_equal_numbers_of_unrelated_seeds_are_not_paired(results: Results) -> None:
    sides = ("family=multiberts,step=1000000", "family=other,step=1000000")
    (row,) = compare(results, *sides).rows
    assert row["pairing"] == "unpaired: no common origin"
    with pytest.raises(ResultsError, match="declare in the suite whose seeds they share"):
        compare(results, *sides, paired=True)


def test_two_settings_of_one_checkpoint_are_paired_by_fine_tuning_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=80)
    for rate in (1e-5, 2e-5):
        for seed in range(5):
            outputs = np.stack([np.zeros(80), hard + rng.normal(size=80) + 1e4 * rate], axis=1)
            store_run(
                tmp_path / "study",
                outputs=outputs.astype(np.float32),
                finetuning_seed=seed,
                learning_rate=rate,
            )
    opened = Results.open(tmp_path)
    (row,) = compare(opened, "learning_rate=1e-5", "learning_rate=2e-5").rows
    assert str(row["pairing"]).startswith("paired by fine-tuning seed")
    assert isinstance(row["difference"], Estimate)
    assert row["difference"].over == "fine-tuning seeds and examples"
    assert power(opened, 0.2, "learning_rate=1e-5", "learning_rate=2e-5").rows


def test_steps_and_sizes_are_matched_value_by_value(results: Results) -> None:
    (row,) = compare(results, "family=multiberts", "family=other", match=["step"], nboot=200).rows
    assert row["at"] == "step 1,000,000"
    direct = compare(results, "family=multiberts,step=1000000", "family=other,step=1000000", nboot=200).rows[
        0
    ]
    crossed, expected = row["difference"], direct["difference"]
    assert isinstance(crossed, Estimate)
    assert isinstance(expected, Estimate)
    assert crossed.to_dict() == expected.to_dict()
    (row,) = compare(results, "family=small", "family=tiny|multiberts", match=["size"], nboot=200).rows
    assert row["at"] == "parameters 4,000,000"
    assert row["runs"] == "2 / 2"


def test_what_cannot_be_matched_is_said(results: Results) -> None:
    with pytest.raises(
        ResultsError, match="no parameters in common: base has 109,482,240, experiment has 4,000,000"
    ):
        compare(results, "family=multiberts", "family=small", match=["size"])
    with pytest.raises(ResultsError, match="cannot be matched on 'colour'; they can on seeds, step, size"):
        compare(results, "family=multiberts", "family=small", match=["colour"])
    outcome = multibench(
        "compare",
        results.stored[0].store.folder,
        "--base",
        "family=multiberts",
        "--expt",
        "family=small",
        "--match",
        "step",
    )
    assert "have no step in common: base has 1,000,000, 2,000,000, experiment has none" in outcome.refusal()


def test_the_command_takes_several_experiments(results: Results) -> None:
    folder = results.stored[0].store.folder
    words = ("--base", "family=multiberts", "--expt", "family=other", "--match", "step")
    outcome = multibench("compare", folder, *words, "--nboot", "100", "--format", "csv")
    assert outcome.code == 0
    assert outcome.out.splitlines()[1].startswith('rte.dev,"step 1,000,000"')


def test_reports_compare_one_group_with_all_others(results: Results) -> None:
    groups = checkpoint_groups(select_settings(results))
    reference = reference_group(groups, results)
    assert reference.title == "multiberts step 2,000,000"  # it has most seeds
    titles = [(base.title, experiment.title) for base, experiment in comparison_pairs(groups, reference)]
    assert titles[0] == (
        "multiberts step 1,000,000",
        reference.title,
    )  # an earlier step: what pretraining brought
    assert {base for base, _ in titles[1:]} == {reference.title}
    assert len(titles) == len(groups) - 1
    assert reference_group(groups, results, "family=small").title == "small/one"


def test_many_steps_are_stood_for_by_three() -> None:
    def group(step: int) -> CheckpointGroup:
        return CheckpointGroup(f"f step {step}", "f", step, 1, frozenset(range(5)), RunFilter("", ()))

    groups = [group(step) for step in (0, 100, 200, 400, 500, 600, 900, 1000)]
    pairs = comparison_pairs(groups, groups[-1])
    assert [base.step for base, _ in pairs] == [0, 500, 900]


def test_remembered_predictions_are_those_on_disk(results: Results, tmp_path: Path) -> None:
    kept = remembering(results.where("family=small"))
    first = kept.predictions("rte.dev")
    assert np.array_equal(first.outputs, results.where("family=small").predictions("rte.dev").outputs)
    run = kept.stored[0]
    assert run.store.predictions(run.run_id, "rte.dev") is run.store.predictions(run.run_id, "rte.dev")
    without = remembering(results, room=0).stored[0]
    assert without.store.predictions(without.run_id, "rte.dev") is not without.store.predictions(
        without.run_id, "rte.dev"
    )
