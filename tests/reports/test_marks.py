"""Every table says so if its numbers come from other data than was released."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multibench.reports import Table, compare, dynamics, instances, power, scores, variance
from multibench.results import Results
from tests.support.stored import store_run

_EARLY, _LATE = "step=20000", "step=2000000"
_VERBS: dict[str, Callable[[Results], Table]] = {
    "scores": lambda results: scores(results, nboot=50),
    "compare": lambda results: compare(results, _EARLY, _LATE, nboot=50),
    "variance": variance,
    "power": lambda results: power(results, 0.05, _EARLY, _LATE),
    "dynamics": dynamics,
    "agreement": lambda results: instances(results),
    "difficulty": lambda results: instances(results, "difficulty"),
    "differences": lambda results: instances(results, "differences", _EARLY, _LATE),
}


def _stored(folder: Path, **released: bool) -> Results:
    rng = np.random.default_rng(5)
    for step in (20_000, 2_000_000):
        for seed in range(3):
            for finetuning_seed in range(2):
                outputs = np.eye(2)[np.where(rng.random(30) < 0.8, np.arange(30) % 2, 1 - np.arange(30) % 2)]
                store_run(
                    folder / "study",
                    outputs=outputs,
                    step=step,
                    pretraining_seed=seed,
                    finetuning_seed=finetuning_seed,
                    **released,
                )
    return Results.open(folder)


def _marks(table: Table) -> list[str]:
    return [str(note) for note in table.notes if "NOT trained and scored on the released data" in str(note)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    return {
        "as released": _stored(tmp_path_factory.mktemp("released")),
        "scored on other": _stored(tmp_path_factory.mktemp("scored"), scored_as_released=False),
        "trained on other": _stored(tmp_path_factory.mktemp("trained"), trained_as_released=False),
    }


@pytest.mark.parametrize("verb", _VERBS)
def test_other_data_are_marked_once(folders: dict[str, Results], verb: str) -> None:
    marks = {name: _marks(_VERBS[verb](results)) for name, results in folders.items()}
    assert marks["as released"] == []
    assert len(marks["scored on other"]) == len(marks["trained on other"]) == 1
    assert marks["trained on other"][0].startswith("rte.dev")
