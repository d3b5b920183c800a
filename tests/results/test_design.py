"""How fine-tuning seeds of stored runs relate: what is recorded, what version 1 meant, what the statistics are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import ResultsError
from multibench.results import PredictionTensor, Results
from multibench.results.design import design_of, design_remarks, origin_of
from tests.support.command import multibench
from tests.support.stored import store_run

LABELS = {"family": "f", "checkpoint": "c", "pretraining_seed": 0, "parameters": 7, "finetuning_seed": 1}


def _manifest(imported: Any = None, **labels: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = {"labels": {**LABELS, **labels}}
    return manifest if imported is None else {**manifest, "imported": imported}


@pytest.mark.parametrize(
    ("manifest", "design"),
    [
        (_manifest(), "shared"),  # made before it was recorded
        (_manifest(finetuning_seed_design="nested"), "nested"),
        (_manifest(finetuning_seed_design="shared"), "shared"),
        (_manifest(finetuning_seed=None), None),
        (_manifest(finetuning_seed=None, finetuning_seed_design=None), None),
        (_manifest(imported={}), "unknown"),
        (_manifest(imported={"finetuning_seeds": "nested"}), "nested"),
        (_manifest(imported={"finetuning_seeds": "shared"}), "shared"),
        (_manifest(imported={"finetuning_seeds": "unknown"}), "unknown"),
        (_manifest(imported={"finetuning_seeds": "crossed"}), "shared"),  # what imports of version 1 said
        (_manifest(imported={}, finetuning_seed=None), "unknown"),
        (_manifest(finetuning_seed_design="something"), "unknown"),
    ],
)
def test_the_design_of_a_run_is_what_its_manifest_says(manifest: dict[str, Any], design: str | None) -> None:
    assert design_of(manifest) == design


def test_the_origin_of_a_run_is_recorded_or_its_family_and_size() -> None:
    assert origin_of(_manifest(origin="base/7")) == "base/7"
    assert origin_of(_manifest()) == "f/7"
    assert origin_of(_manifest(parameters=None)) == "f/unknown"


def _tensor(*runs: tuple[Any, ...]) -> PredictionTensor:
    """Of runs given as pretraining seed, fine-tuning seed, design."""
    fields = tuple(
        {
            "family": "f",
            "parameters": 7,
            "step": None,
            "weights": f"weights of {p}",
            "run_id": f"{p} {k}",
            "checkpoint": "c",
            "pretraining_seed": p,
            "finetuning_seed": k,
            "finetuning_seed_design": design,
        }
        for p, k, design in runs
    )
    outputs = np.zeros((len(runs), 2, 2), np.float32)
    return PredictionTensor("rte.dev", fields, ("0", "1"), np.array([0, 1]), outputs, True)


GRID = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("design", ["shared", "unknown"])
def test_shared_seeds_recur_across_pretraining_seeds(design: str) -> None:
    tensor = _tensor(*((p, k, design) for p, k in GRID))
    assert tensor.design == design
    assert tensor.run_info() == {"seed": [0, 0, 1, 1], "finetune_seed": [0, 1, 0, 1]}


def test_nested_seeds_recur_within_a_pretraining_seed_only() -> None:
    tensor = _tensor(*((p, k, "nested") for p, k in (*GRID, (0, 0))))  # a second step of seed 0
    assert tensor.design == "nested"
    info = tensor.run_info()
    assert info["seed"] == [0, 0, 1, 1, 0]
    assert info["finetune_seed"] == ["0 of 0", "1 of 0", "0 of 1", "1 of 1", "0 of 0"]


def test_runs_without_number_share_nothing() -> None:
    own_heads = _tensor((0, None, None), (1, None, None))
    assert own_heads.design == "nested"
    assert len(set(own_heads.run_info()["finetune_seed"])) == 2
    imported = _tensor((0, None, "unknown"), (1, None, "unknown"), (None, None, "unknown"))
    assert imported.design == "unknown"
    assert len(set(imported.run_info()["finetune_seed"])) == 3


@pytest.mark.parametrize(
    ("designs", "names"),
    [
        (("nested", "shared"), "`nested` and `shared`"),
        (("unknown", "nested"), "`nested` and `unknown`"),
        (("shared", "unknown", "nested"), "`nested` and `shared` and `unknown`"),
    ],
)
def test_several_designs_are_refused_with_their_names(designs: tuple[str, ...], names: str) -> None:
    tensor = _tensor(*((p, 0, design) for p, design in enumerate(designs)))
    for ask in (lambda: tensor.design, tensor.run_info):
        with pytest.raises(ResultsError, match=names) as refused:
            ask()
        assert "finetuning_seed_design=nested" in str(refused.value) or "nested" not in designs


def test_own_heads_go_with_any_design() -> None:
    assert _tensor((0, 0, "shared"), (1, None, None)).design == "shared"


def test_a_remark_says_so_where_numbers_of_unknown_meaning_recur() -> None:
    def remarks(*runs: tuple[Any, ...]) -> tuple[str, ...]:
        return design_remarks(_tensor(*runs).runs, "rte.dev")

    (remark,) = remarks(*((p, k, "unknown") for p, k in GRID))
    assert "analysed as if they did" in remark
    assert remarks(*((p, k, "shared") for p, k in GRID)) == ()
    assert remarks(*((p, k, "nested") for p, k in GRID)) == ()
    assert remarks((0, 0, "unknown"), (0, 1, "unknown"), (1, 2, "unknown")) == ()
    assert remarks((0, None, "unknown"), (1, None, "unknown")) == ()


def test_results_of_version_1_are_read_as_shared(tmp_path: Path) -> None:
    for seed in (0, 1):
        store_run(tmp_path / "suite", outputs=np.zeros((4, 2), np.float32), pretraining_seed=seed, version=1)
    opened = Results.open(tmp_path)
    manifests = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert {manifest["schema"] for manifest in manifests} == {1}
    assert opened.predictions("rte.dev").design == "shared"
    assert len(opened.where("finetuning_seed_design=shared,origin=multiberts/1000")) == 2
    assert len(opened.where("finetuning_seed_design=nested")) == 0


def test_a_table_of_several_designs_is_refused_and_a_filter_helps(tmp_path: Path) -> None:
    for seed in range(4):
        outputs = np.random.default_rng(seed).normal(size=(8, 2)).astype(np.float32)
        design = ("nested", "shared")[seed // 2]
        store_run(tmp_path / "suite", outputs=outputs, pretraining_seed=seed, design=design)
    refused = multibench("scores", tmp_path).refusal()
    assert "several designs, `nested` and `shared`" in refused
    table = multibench("scores", tmp_path, "--where", "finetuning_seed_design=nested")
    assert table.code == 0, table.err


def test_results_of_version_1_open_as_shared() -> None:
    opened = Results.open(Path(__file__).parent / "version_1")
    assert (len(opened), opened.damaged) == (5, ())
    assert len(opened.where("finetuning_seed_design=shared")) == 5
    assert {run.manifest["schema"] for run in opened.stored} == {1}
    info = opened.where("task=pocket_inference").predictions("pocket_inference.dev_matched").run_info()
    assert set(info["finetune_seed"]) == {0, 1}
    committed = Results.open(Path(__file__).parents[2] / "results" / "demo")
    assert len(committed.where("finetuning_seed_design=nested")) == len(committed) == 60
