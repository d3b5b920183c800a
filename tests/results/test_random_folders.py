"""Random results folders: no row mixes what can change a number, and no two tables contradict each other.

A folder holds runs of checkpoints that were overwritten, on training data that were changed, under several settings,
in one or two suites, with copies and renamed folders between them. Whatever was drawn, a group is of one kind, or the
table is refused with a sentence.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import ResultsError
from multibench.reports import compare, instances, scores, variance
from multibench.reports.groups import checkpoint_groups
from multibench.reports.runs import run_table
from multibench.results import Chosen, Results, select_settings
from multibench.stats import Estimate
from tests.support.stored import store_run

EXAMPLES = 24
FOLDERS = 6


@dataclass(frozen=True)
class Folder:
    """A drawn folder: the ids of its runs, and the names of the folders that are none of them."""

    path: Path
    ids: frozenset[str]
    strange: tuple[str, ...]


def _draw(root: Path, number: int) -> Folder:
    rng = np.random.default_rng([41, number])
    ids = set()
    generations = rng.choice([1, 1, 2], size=4)  # of each seed's weights
    data = ["train one", "train two"][: int(rng.choice([1, 1, 2]))]
    rates = [2e-5, 3e-5][: int(rng.integers(1, 3))]
    known = bool(rng.random() < 0.8)
    for seed, finetuning_seed in itertools.product(range(4), range(3)):
        if rng.random() < 0.2:
            continue
        weights = f"{seed}{'ab'[int(rng.integers(generations[seed]))]}" * 32
        outputs = rng.normal(size=(EXAMPLES, 2))
        outputs[np.arange(EXAMPLES), np.arange(EXAMPLES) % 2] += 0.5 + 0.2 * seed
        ids.add(
            store_run(
                root / ("one" if rng.random() < 0.7 else "two"),
                outputs=outputs.astype(np.float32),
                family="made_up",
                checkpoint=f"made_up/{seed}",
                pretraining_seed=seed if known else None,
                step=7,
                finetuning_seed=finetuning_seed,
                weights=weights,
                training_data=str(rng.choice(data)),
                learning_rate=float(rng.choice(rates)),
                metrics={"accuracy": float((outputs.argmax(axis=1) == np.arange(EXAMPLES) % 2).mean())},
            )
        )
    return Folder(root, frozenset(ids), tuple(_strange(root, rng)))


def _strange(root: Path, rng: np.random.Generator) -> list[str]:
    """Copies of runs under other names, as people and file managers make them; returns their names."""
    names = []
    for folder in sorted(root.glob("*/runs/*")):
        name = str(rng.choice(["", "", "", ".bak", " (1)", "another"]))
        if name == "another":
            target = folder.with_name(f"{int(folder.name, 16) ^ 1:016x}")
        else:
            target = folder.with_name(folder.name + name)
        if target != folder:
            shutil.copytree(folder, target)
            names.append(target.name)
    return names


@pytest.fixture(params=range(FOLDERS), scope="module")
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return _draw(tmp_path_factory.mktemp("drawn"), request.param)


def _kind(run: Any) -> str:
    """All of a run that can change its numbers, besides its checkpoint and its noise."""
    identity = run.manifest["identity"]
    parts = [identity[key] for key in ("task", "task_version", "training_data", "hyperparameters")]
    labels = [run.fields[key] for key in ("family", "step", "parameters", "held_out", "imported")]
    return json.dumps([*parts, *labels], sort_keys=True)


def _one_kind(chosen: Chosen) -> None:
    assert len({_kind(run) for run in chosen.runs}) == 1
    weights: dict[Any, set[str]] = {}
    for run in chosen.runs:
        seed = (
            run.fields["checkpoint"]
            if run.fields["pretraining_seed"] is None
            else run.fields["pretraining_seed"]
        )
        weights.setdefault(seed, set()).add(run.manifest["identity"]["checkpoint"])
    assert all(len(sets) == 1 for sets in weights.values()), weights
    seeds = Counter((run.fields["checkpoint"], run.fields["finetuning_seed"]) for run in chosen.runs)
    assert max(seeds.values()) == 1


@pytest.mark.parametrize("rule", ["none", "best_mean_dev"])
def test_no_two_runs_that_differ_in_what_changes_a_number_are_in_one_group(drawn: Folder, rule: str) -> None:
    results = Results.open(drawn.path)
    assert {run.run_id for run in results.stored} == drawn.ids
    chosen = select_settings(results, rule)
    for one in chosen:
        _one_kind(one)
    if rule == "none":  # nothing is lost, nothing counted twice
        assert sorted(run.run_id for one in chosen for run in one.runs) == sorted(drawn.ids)


def test_what_is_not_in_its_own_folder_is_named_and_counts_nowhere(drawn: Folder) -> None:
    damaged = " ".join(Results.open(drawn.path).damaged)
    assert len(Results.open(drawn.path).damaged) == len(drawn.strange)
    assert all(f"/{name} holds the run" in damaged for name in drawn.strange)


def _estimate(row: dict[str, Any]) -> Estimate:
    return next(cell for cell in row.values() if isinstance(cell, Estimate))


def test_no_two_tables_contradict_each_other(drawn: Folder) -> None:
    results = Results.open(drawn.path)
    chosen = select_settings(results, "none")
    table = scores(results, rule="none", nboot=100)
    keys = [(row["checkpoints"], row["setting"]) for row in table.rows]
    assert len(set(keys)) == len(keys), "two rows have one name"
    shown = {(str(row["checkpoints"]), str(row["setting"])): row for row in table.rows}
    assert sum(int(str(row["runs"])) for row in table.rows) == len(drawn.ids)
    # Every run's score stands once, under the name of the row that it is a part of.
    single = Counter((str(row["checkpoints"]), str(row["setting"])) for row in run_table(chosen).rows)
    assert single == {key: row["runs"] for key, row in shown.items()}
    for row in _rows_or_none(lambda: instances(results, rule="none")):
        own = shown[str(row["checkpoints"]), str(row["setting"])]
        assert (row["runs"], row["pretraining seeds"]) == (own["runs"], own["pretraining seeds"])
    for row in _rows_or_none(lambda: variance(results, rule="none")):
        assert (str(row["checkpoints"]), str(row["setting"])) in shown


def _rows_or_none(make: Any) -> tuple[dict[str, Any], ...]:
    try:
        rows: tuple[dict[str, Any], ...] = make().rows
    except ResultsError:  # no group has two runs
        return ()
    return rows


def test_sides_of_a_comparison_have_the_scores_of_the_table(drawn: Folder) -> None:
    results = Results.open(drawn.path).where("learning_rate=2e-05")
    table = scores(results, rule="none", nboot=100)
    shown = {str(row["checkpoints"]): _estimate(row) for row in table.rows}
    groups = checkpoint_groups(select_settings(results, "none"))
    for base, experiment in itertools.pairwise(groups[:4]):
        found = compare(results, base.filter, experiment.filter, nboot=100, rule="none").rows[0]
        for side, group in (("base", base), ("experiment", experiment)):
            cell = found[side]
            assert isinstance(cell, Estimate)
            assert cell.value == pytest.approx(shown[group.title].value)
            assert (cell.n_runs, cell.n_seeds) == (shown[group.title].n_runs, shown[group.title].n_seeds)
