"""What is pooled agrees in content, not in name: weights, training data, seeds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multibench.errors import ResultsError
from multibench.reports import compare, dynamics, instances, scores, variance
from multibench.reports.findings import Findings
from multibench.results import Results, select_settings
from multibench.results.partition import short_digests
from tests.support.command import multibench
from tests.support.stored import reseal, store_run

ONE, TWO = "1111aaaa" * 8, "2222bbbb" * 8
EXAMPLES = 40


def _outputs(*key: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(key)
    outputs = rng.normal(size=(EXAMPLES, 2))
    outputs[np.arange(EXAMPLES), np.arange(EXAMPLES) % 2] += 1
    return outputs.astype(np.float32)


def _store(folder: Path, seed: int | None, finetuning_seed: int, **more: Any) -> str:
    key = (0 if seed is None else seed, finetuning_seed, len(more), more.get("step") or 0)
    options = {"pretraining_seed": seed, "finetuning_seed": finetuning_seed, "outputs": _outputs(*key)}
    return store_run(folder / "suite", **{**options, **more})


def _rows(folder: Path, where: str = "") -> dict[str, int]:
    """Names of the groups in the score table, and their runs."""
    table = scores(Results.open(folder).where(where), nboot=100)
    return {str(row["checkpoints"]): int(str(row["runs"])) for row in table.rows}


def _notes(folder: Path) -> str:
    return " ".join(scores(Results.open(folder), nboot=100).notes)


def test_an_overwritten_checkpoint_is_two_checkpoints(tmp_path: Path) -> None:
    for k, weights in enumerate((ONE, ONE, TWO, TWO)):
        _store(tmp_path, None, k, checkpoint="my/model", step=None, weights=weights)
    assert _rows(tmp_path) == {"my/model (weights 1111aaaa)": 2, "my/model (weights 2222bbbb)": 2}
    assert "2 different checkpoints are called my/model: weights 1111aaaa in 2 runs" in _notes(tmp_path)
    assert _rows(tmp_path, "weights=1111aaaa") == {"my/model": 2}


def test_a_seed_with_two_sets_of_weights_stands_apart_from_the_others(tmp_path: Path) -> None:
    for seed in range(3):
        for k in range(2):
            _store(tmp_path, seed, k)
    _store(tmp_path, 0, 2, weights=TWO)
    title, first = "multiberts step 2,000,000", "multiberts-seed_0-step_2000000"
    short = short_digests([first, TWO])
    assert _rows(tmp_path) == {
        f"{title} (seed 0, weights {short[TWO]})": 1,
        f"{title} (seed 0, weights {short[first]})": 2,
        f"{title} (other seeds)": 4,
    }
    assert "They stand apart from the other seeds." in _notes(tmp_path)
    # Whoever chooses one of them has one group of all seeds.
    keep = "|".join(f"multiberts-seed_{seed}-step_2000000" for seed in range(3))
    assert _rows(tmp_path, f"weights={keep}") == {title: 6}


def test_different_seeds_of_one_family_are_one_group(tmp_path: Path) -> None:
    for seed in range(4):
        _store(tmp_path, seed, 0, weights=f"{seed}" * 64)
    assert _rows(tmp_path) == {"multiberts step 2,000,000": 4}
    assert "different" not in _notes(tmp_path)


def test_runs_on_other_training_data_are_another_group(tmp_path: Path) -> None:
    for k in range(2):
        _store(tmp_path, 0, k, training_data=ONE)
        _store(tmp_path, 0, k, training_data=TWO)
        _store(tmp_path, 0, k, task="cola", evaluation="cola.dev")
    title = "multiberts step 2,000,000"
    assert _rows(tmp_path) == {
        f"{title} (training data 1111aaaa)": 2,
        f"{title} (training data 2222bbbb)": 2,
        title: 2,
    }
    assert "2 different sets of training data of rte" in _notes(tmp_path)


def test_runs_of_another_version_of_a_task_are_another_group(tmp_path: Path) -> None:
    first, second = _store(tmp_path, 0, 0), _store(tmp_path, 1, 0)
    folder = tmp_path / "suite/runs"
    _rename(folder / second, lambda m: m["identity"].update(task_version=2))
    assert len(_rows(tmp_path)) == 2
    assert (folder / first).is_dir()


def _rename(folder: Path, change: Any) -> None:
    """Change a run's identity, and give it the id and the folder that belong to it."""
    from multibench.results.identity import recomputed_id

    def changed(manifest: dict[str, Any]) -> None:
        change(manifest)
        manifest["run_id"] = recomputed_id(manifest["identity"])

    reseal(folder, changed)
    folder.rename(folder.with_name(json.loads((folder / "run.json").read_text())["run_id"]))


def test_two_runs_of_equal_seeds_in_one_setting_are_refused_with_both_ids(tmp_path: Path) -> None:
    first, second = _store(tmp_path, 0, 0), _store(tmp_path, 1, 0)
    third = _store(tmp_path, 0, 1)
    folder = tmp_path / "suite/runs" / third
    # Drawn from other noise under the same number, as by a version that derives seeds otherwise.
    reseal(folder, lambda m: m["labels"].update(finetuning_seed=0))
    for verb in (["scores"], ["variance"], ["instances"]):
        sentence = multibench(*verb, tmp_path).refusal()
        assert first in sentence
        assert third in sentence
        assert "seeds that noise is drawn from" in sentence
    assert second not in sentence
    assert multibench("scores", tmp_path, "--where", "pretraining_seed=1").code == 0


def test_runs_of_two_suites_with_equal_seeds_are_refused(tmp_path: Path) -> None:
    """One setting and one pair of seeds: other noise makes no second run of them."""
    for suite in ("a", "b"):
        store_run(tmp_path / suite, outputs=_outputs(7), finetuning_seed=0)
    assert len(Results.open(tmp_path)) == 1  # the very same run
    store_run(tmp_path / "c", outputs=_outputs(8), finetuning_seed=1)
    folder = next((tmp_path / "c/runs").iterdir())
    reseal(folder, lambda m: m["labels"].update(finetuning_seed=0))
    sentence = multibench("scores", tmp_path).refusal()
    assert "--where suite=" in sentence


def test_imported_runs_and_runs_made_here_are_two_groups(tmp_path: Path) -> None:
    _store(tmp_path, 0, 0)
    folder = tmp_path / "suite/runs" / _store(tmp_path, 1, 0)

    def imported(manifest: dict[str, Any]) -> None:
        manifest["imported"] = {"layout": "x", "from": "y", "finetuning_seeds": "nested"}
        labels = manifest["labels"]
        manifest["identity"].update(checkpoint=None, training_data=None, seeds=None)
        manifest["identity"].update(domain="imported", labels=labels)
        del manifest["training_data"]

    _rename(folder, imported)
    title = "multiberts step 2,000,000"
    assert _rows(tmp_path) == {f"{title} (made here)": 1, f"{title} (imported)": 1}


def test_groups_of_two_sizes_do_not_share_a_name(tmp_path: Path) -> None:
    small, large = _store(tmp_path, 0, 0), _store(tmp_path, 1, 0)
    reseal(tmp_path / "suite/runs" / large, lambda m: m["labels"].update(parameters=2_000_000))
    title = "multiberts step 2,000,000"
    assert set(_rows(tmp_path)) == {f"{title} (1,000 parameters)", f"{title} (2,000,000 parameters)"}
    assert small != large


def _grid(folder: Path, steps: Iterable[int] = (0, 100), seeds: int = 3, **more: Any) -> None:
    for step in steps:
        for seed in range(seeds):
            for k in range(2):
                _store(folder, seed, k, step=step, family="made_up", **more)


def test_a_report_finds_the_runs_of_each_part_of_a_group(tmp_path: Path) -> None:
    _grid(tmp_path)
    _store(tmp_path, 0, 2, step=100, family="made_up", weights=TWO)
    _store(tmp_path, 1, 0, step=100, family="made_up", training_data=ONE)
    findings = Findings(Results.open(tmp_path))
    found = {group.title: findings.results.where(group.filter) for group in findings.groups}
    counted = [run.run_id for part in found.values() for run in part.stored]
    assert sorted(counted) == sorted(run.run_id for run in findings.results.stored)
    assert len(found) == 5
    for title, part in found.items():
        assert {chosen.place.name for chosen in select_settings(part) if chosen.place} == {title}
    rows = {str(row["checkpoints"]): row["runs"] for row in findings.scores.rows}
    assert rows == {title: len(part) for title, part in found.items()}
    # No sides are silently of something else.
    for side in findings.sides():
        assert {side.base, side.experiment} <= set(found)


def test_no_verb_pools_two_sets_of_weights(tmp_path: Path) -> None:
    _grid(tmp_path)
    for k in (2, 3):
        _store(tmp_path, 0, k, step=100, family="made_up", weights=TWO)
    results = Results.open(tmp_path)
    with pytest.raises(ResultsError, match="mixes groups of checkpoints"):
        compare(results, "step=0", "step=100")
    with pytest.raises(ResultsError, match="their weights differ"):
        dynamics(results)
    with pytest.raises(ResultsError, match="their weights differ"):
        results.predictions("rte.dev").run_info()
    for table in (variance(results), instances(results)):
        assert len({row["checkpoints"] for row in table.rows}) > 2
    kept = results.where("weights=made_up")
    assert len(compare(kept, "step=0", "step=100").rows) == 1


def test_a_side_of_several_checkpoints_is_trained_alike(tmp_path: Path) -> None:
    for name, data, rate in (("a", ONE, 2e-5), ("b", ONE, 2e-5), ("c", TWO, 2e-5), ("d", ONE, 3e-5)):
        _store(tmp_path, None, 0, checkpoint=name, training_data=data, learning_rate=rate, step=None)
    _store(tmp_path, None, 1, checkpoint="a", training_data=TWO, step=None)
    results = Results.open(tmp_path)
    whole = "checkpoint=b,training_data=1111aaaa"
    with pytest.raises(ResultsError, match="of one name that are not of one group"):
        compare(results, whole, "checkpoint=a")
    with pytest.raises(ResultsError, match="on different training data"):
        compare(results, whole, "checkpoint=c|d")
    with pytest.raises(ResultsError, match="of different settings"):
        compare(results, "checkpoint=c", "checkpoint=a|d,training_data=1111aaaa")
    table = compare(results, whole, "checkpoint=c")
    assert "trained on different data (1111aaaa and 2222bbbb)" in " ".join(table.notes)


def test_layouts_that_know_labels_alone_are_refused(tmp_path: Path) -> None:
    for k, weights in enumerate((ONE, TWO)):
        _store(tmp_path, 0, k, weights=weights)
    sentence = multibench("export", "google-predictions", tmp_path, "--out", tmp_path / "out").refusal()
    assert "2 different checkpoints are called pretraining seed 0" in sentence
    assert not (tmp_path / "out").exists()


def test_the_folder_says_that_it_holds_two_generations(tmp_path: Path) -> None:
    for k, weights in enumerate((ONE, TWO)):
        _store(tmp_path, 0, k, weights=weights, training_data=weights)
    outcome = multibench("status", tmp_path)
    assert "2 different checkpoints are called pretraining seed 0" in outcome.out
    assert "weights=DIGITS" in outcome.out


def _own_heads(folder: Path, orders: dict[int, list[int]]) -> None:
    """A run of each seed's own head; which output is which class is in the identity alone, and no field of runs."""
    for k, (seed, order) in enumerate(orders.items()):
        run = folder / "suite/runs" / _store(folder, seed, k, weights=f"{seed}" * 64)

        def own_head(manifest: dict[str, Any], order: list[int] = order) -> None:
            manifest["labels"].update(finetuning_seed=None)
            manifest["identity"].update(seeds=None, training_data=None)
            manifest["identity"]["hyperparameters"] = {"max_length": 128, "class_order": order}
            del manifest["training_data"]

        _rename(run, own_head)


def test_own_heads_may_have_their_classes_in_orders_of_their_own(tmp_path: Path) -> None:
    _own_heads(tmp_path, {1: [0, 1], 2: [1, 0]})
    (chosen,) = select_settings(Results.open(tmp_path))
    assert (len(chosen.runs), chosen.varied) == (2, {})


def test_one_head_read_in_two_orders_is_refused(tmp_path: Path) -> None:
    _own_heads(tmp_path, {1: [0, 1]})
    for folder in list((tmp_path / "suite/runs").iterdir()):
        again = folder.with_name("again")
        shutil.copytree(folder, again)
        _rename(again, lambda m: m["identity"]["hyperparameters"].update(class_order=[1, 0]))
    with pytest.raises(ResultsError, match="their identities differ in: settings"):
        select_settings(Results.open(tmp_path))


def test_short_digests_tell_apart_what_begins_alike() -> None:
    assert short_digests(["a" * 64, None, "b" * 64]) == {
        None: "unknown",
        "a" * 64: "a" * 8,
        "b" * 64: "b" * 8,
    }
    alike = ["a" * 10 + "b", "a" * 11]
    assert set(short_digests(alike).values()) == {"unknown", *alike}
