"""Runs stored by version 1 of the layout and of identities open for ever; these were made by an early multibench."""

from __future__ import annotations

from pathlib import Path

import pytest

from multibench.results import Results
from multibench.results.identity import recomputed_id

OLD = Path(__file__).parent / "version_1"
REPOSITORY = Path(__file__).resolve().parents[2]


def test_old_runs_open_and_have_their_scores() -> None:
    results = Results.open(OLD)
    assert len(results.stored) == 5
    assert {run.manifest["identity"]["identity_version"] for run in results.stored} == {1}
    table = results.where("task=pocket_inference").predictions("pocket_inference.dev_matched")
    assert table.design == "shared"
    assert table.outputs.shape[0] == 4
    for run in results.stored:
        for name, evaluation in run.manifest["evaluations"].items():
            outputs = results.where(f"run_id={run.run_id}").predictions(name).outputs[0]
            assert outputs.shape[0] == evaluation["examples"]


@pytest.mark.parametrize(
    "folder",
    [OLD, REPOSITORY / "results/demo", REPOSITORY / "results/minilm_glue"],
    ids=lambda folder: folder.name,
)
def test_the_id_recomputed_from_each_stored_run_is_its_name(folder: Path) -> None:
    stored = Results.open(folder).stored
    assert stored
    for run in stored:
        assert recomputed_id(run.manifest["identity"]) == run.run_id
        assert (folder / "runs" / run.run_id / "run.json").is_file()
