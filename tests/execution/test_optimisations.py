"""Numbers do not depend on how runs are made fast, beyond what the way's name says: each way against the plainest.

The plainest way: each run alone, one after the other, in one process of one thread, in float32, nothing remembered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multibench.cache import cache_folder
from multibench.execution import local
from multibench.execution.models import Models
from multibench.execution.outcome import SuiteOutcome
from multibench.tasks import cache
from multibench.training import predict as predict_module
from tests.support.command import multibench
from tests.support.tiny import RECIPE, Bench, make_bench

# Of outputs up to 0.7. Seen: 2e-7 and 0.02; other steps change outputs by 0.4.
ROUNDING = 2e-6
HALF = 0.1
_PLAINEST = ("--threads", 1, "--workers", 1, "--replicas", 1)

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Way:
    """Options that replace the plainest ones, what is changed beside them, and how far outputs may be apart."""

    options: tuple[Any, ...] = ()
    patch: Patch = lambda patch: None
    bound: float = 0.0


def _remember_tokens(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("MULTIBENCH_TOKEN_CACHE")
    patch.setattr(cache, "_WORTH_KEEPING", 1)


def _forget_models(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Models, "expect", lambda self, run: None)


def _small_evaluations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(predict_module, "_NUMBERS_PER_BATCH", {"cpu": 1_000})


def _many_buckets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("multibench.training.packing.overhead_in_tokens", lambda *_: 1)


WAYS = {
    "again": Way(),
    "two processes": Way(("--workers", 2)),
    "tokens remembered": Way(patch=_remember_tokens),
    "models loaded when they are needed": Way(patch=_forget_models),
    "two threads": Way(("--threads", 2), bound=ROUNDING),
    "two together": Way(("--replicas", 2), bound=ROUNDING),
    "all together": Way(("--replicas", "auto"), bound=ROUNDING),
    "together in two processes": Way(("--replicas", 2, "--workers", 2), bound=ROUNDING),
    "small evaluation batches": Way(patch=_small_evaluations, bound=ROUNDING),
    "a bucket for each length": Way(patch=_many_buckets, bound=ROUNDING),
}

Outputs = dict[tuple[Any, ...], np.ndarray]


def _outputs(root: Path, *options: Any) -> Outputs:
    """Every output of a suite of BERT and DistilBERT, classes and scores, rates and seeds, by what it is of."""
    bench: Bench = make_bench(root)
    bench.write(
        checkpoints=[{"path": str(root / kind)} for kind in ("bert", "distilbert")],
        tasks=[bench.task("pairs"), bench.task("tones")],
        recipe={**RECIPE, "learning_rate": [1e-3, 3e-3]},
    )
    outcome = multibench("run", bench.suite, *bench.options, "--quiet", *options)
    assert outcome.code == 0, outcome.err
    found = {}
    for run in bench.opened().stored:
        names = ("task", "learning_rate", "finetuning_seed")
        kind = Path(run.fields["checkpoint"]).name
        for evaluation in run.manifest["evaluations"]:
            key = kind, evaluation, *(run.fields[name] for name in names)
            found[key] = run.store.predictions(run.run_id, evaluation).outputs
    assert len(found) == 16
    return found


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leave other tests as many threads as they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plainest(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIBENCH_TOKEN_CACHE", "0")
        return _outputs(tmp_path_factory.mktemp("plainest"), *_PLAINEST)


def _apart(one: Outputs, other: Outputs) -> float:
    """The largest difference between two outputs of the same run."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[key] - other[key]).max()) for key in one)


@pytest.mark.parametrize("name", WAYS)
def test_a_faster_way_gives_the_same_numbers(
    name: str, plainest: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS[name]
    monkeypatch.setenv("MULTIBENCH_TOKEN_CACHE", "0")
    way.patch(monkeypatch)
    if name == "tokens remembered":
        _outputs(tmp_path / "before", *_PLAINEST)
        assert list((cache_folder() / "tokens").iterdir())
    if "--workers" in way.options:  # the first process waits until the second has made something
        run_plan = local.run_plan
        runs = tmp_path / "results" / "tiny" / "runs"

        def later(*words: Any) -> SuiteOutcome:
            deadline = time.monotonic() + 120
            while not any(runs.glob("*")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return run_plan(*words)

        monkeypatch.setattr(local, "run_plan", later)
    apart = _apart(_outputs(tmp_path, *_PLAINEST, *way.options), plainest)
    assert apart <= way.bound


@pytest.mark.parametrize(("choice", "bound"), [("precision=bf16", HALF), ("batching=bucketed", None)])
def test_what_changes_numbers_says_so(
    choice: str, bound: float | None, plainest: Outputs, tmp_path: Path
) -> None:
    """In runs with other ids: bfloat16 rounds otherwise, bucketed steps are other steps; the rest holds there, too."""
    options = ("--set", f"recipe.{choice}")
    chosen = _outputs(tmp_path / "alone", *_PLAINEST, *options)
    apart = _apart(chosen, plainest)
    assert apart > ROUNDING
    assert bound is None or apart < bound
    assert _apart(_outputs(tmp_path / "again", *_PLAINEST, *options), chosen) == 0
    together = _outputs(tmp_path / "together", *_PLAINEST, *options, "--replicas", "auto")
    assert _apart(together, chosen) <= (ROUNDING if bound is None else bound)
