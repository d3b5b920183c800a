"""Runs that are trained together: which, how they are stored, and what happens when something goes wrong."""

from __future__ import annotations

import re
import sys
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from multibench import api
from multibench.errors import ResultsError, StorageError
from multibench.execution import group as group_module
from multibench.execution import local
from multibench.execution.claims import Claims
from multibench.execution.models import Models
from multibench.execution.outcome import SuiteOutcome
from multibench.execution.workers import extra_workers
from multibench.planning import Device, PlannedRun, groups_of
from multibench.planning.together import choose_replicas, training_bytes
from multibench.results import Results, RunStore
from multibench.training.loop import train_together
from tests.support.command import multibench
from tests.support.tiny import RECIPE, Bench, make_bench

GB = 10**9
CPU = Device("cpu", 1000 * GB)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two settings and two seeds of one task: four runs that go together, and two of another that do not."""
    made = make_bench(tmp_path)
    made.write(
        tasks=[made.task("pairs"), made.task("tones")],
        recipe={**RECIPE, "tasks": {"pairs": {"learning_rate": [1e-3, 3e-3]}}},
    )
    return made


def _outputs(results: Path) -> dict[str, np.ndarray]:
    return {
        run.run_id: run.store.predictions(run.run_id, name).outputs
        for run in Results.open(results).stored
        for name in run.manifest["evaluations"]
    }


def test_runs_together_are_stored_as_they_are_alone_up_to_rounding(bench: Bench, tmp_path: Path) -> None:
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1)
    assert outcome.code == 0, outcome.err
    assert "[6/6]" in outcome.err
    recorded = Counter(run.manifest["provenance"]["replicas"] for run in bench.opened().stored)
    assert recorded == {4: 4, 2: 2}
    assert not list((bench.store.folder / "claims").glob("[!.]*"))
    command = ["--results", tmp_path / "alone", "--data", bench.data, "--threads", 1, "--replicas", 1]
    assert multibench("run", bench.suite, *command).code == 0
    together, alone = _outputs(bench.results), _outputs(tmp_path / "alone")
    assert together.keys() == alone.keys()
    for run_id, outputs in alone.items():
        np.testing.assert_allclose(together[run_id], outputs, atol=1e-4)
    assert len({outputs.tobytes() for outputs in together.values()}) == 6


def test_what_is_trained_together_gives_the_same_bits_again(bench: Bench, tmp_path: Path) -> None:
    bench.run(replicas="auto")
    again = make_bench(tmp_path / "again")
    again.write(
        tasks=[again.task("tones"), again.task("pairs")],
        recipe={**RECIPE, "tasks": {"pairs": {"learning_rate": [1e-3, 3e-3]}}},
    )
    again.run(replicas="auto")
    one, other = _outputs(bench.results), _outputs(again.results)
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}


def test_a_group_that_fails_is_tried_one_by_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def fails(model: Any, stack: Any, encoded: Any, labels: Any, replicas: Any, on_step: Any) -> Any:
        sizes.append(len(replicas))
        if len(replicas) == 4 or len(sizes) == 3:
            raise RuntimeError("out of memory")
        return train_together(model, stack, encoded, labels, replicas, on_step)

    monkeypatch.setattr(group_module, "train_together", fails)
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1)
    assert outcome.code == 1
    assert sizes == [4, 1, 1, 1, 1, 2]
    assert "4 runs together failed (RuntimeError: out of memory); each is tried alone." in outcome.err
    states = Counter(run.fields["status"] == "failed" for run in bench.opened().stored)
    assert states == {False: 5, True: 1}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("head_init", ["normal", "truncated_normal"])
def test_a_suite_together_on_any_device_is_that_of_runs_alone(
    bench: Bench, device: str, head_init: str
) -> None:
    """Without dropout, whose random numbers are another generator's on a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    rates = ("dropout", "attention_dropout", "head_dropout")
    words = (f"recipe.head_init={head_init}", *(f"recipe.{rate}=0" for rate in rates))
    outputs = []
    bench.write(tasks=[bench.task("pairs"), bench.task("tones")], recipe={**RECIPE, "epochs": 1})
    for where, replicas in (("cpu", 1), (device, "auto")):
        results = bench.root / f"{where} {replicas}"
        how = {"device": where, "replicas": replicas, "threads": 1, "workers": 1, "quiet": True}
        api.run(bench.suite, results, bench.data, overrides=words, **how)
        outputs.append(_outputs(results))
    alone, together = outputs
    assert len(alone) == 4
    assert alone.keys() == together.keys()
    for run_id, found in together.items():
        np.testing.assert_allclose(found, alone[run_id], atol=1e-5 if device == "cpu" else 1e-3)


def test_a_group_that_failed_leaves_its_memory_to_its_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is tried alone after running out of memory must not find the group's still in use."""
    stacks: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def fails(model: Any, stack: Any, encoded: Any, labels: Any, replicas: Any, on_step: Any) -> Any:
        alive.append(sum(ref() is not None for ref in stacks))
        if len(replicas) == 4:
            stacks.append(weakref.ref(stack))
            raise torch.OutOfMemoryError("out of memory")
        return train_together(model, stack, encoded, labels, replicas, on_step)

    monkeypatch.setattr(group_module, "train_together", fails)
    assert bench.run(replicas="auto").failed == 0
    assert alive == [0] * 4  # four, in halves, and the other two


def test_what_was_too_much_for_memory_is_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight are too many, and so are the four of their halves: the second half begins with pairs."""
    sizes: list[int] = []

    def fails(model: Any, stack: Any, encoded: Any, labels: Any, replicas: Any, on_step: Any) -> Any:
        sizes.append(len(replicas))
        if len(replicas) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return train_together(model, stack, encoded, labels, replicas, on_step)

    monkeypatch.setattr(group_module, "train_together", fails)
    bench.write(finetuning_seeds=list(range(8)), tasks=[bench.task("pairs")], recipe=RECIPE)
    groups = [len(group) for group in groups_of(bench.plan().runs, 8, CPU)]
    assert groups == [8]
    outcome = bench.run(replicas=8)
    assert (outcome.failed, sum(outcome.made.values())) == (0, 8)
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_a_diverged_run_leaves_the_group_alone(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    bench.write(recipe={**RECIPE, "learning_rate": [1e-3, 1e30], "clip_norm": None}, finetuning_seeds=[0])
    bench.run(replicas=2)
    by_rate = {run.fields["learning_rate"]: run for run in bench.opened().stored}
    assert by_rate[1e30].fields["status"] == "diverged"
    assert by_rate[1e-3].fields["status"] in {"finished", "collapsed"}
    assert {run.manifest["provenance"]["replicas"] for run in by_rate.values()} == {2}


def test_a_disk_that_refuses_ends_the_call_and_releases_every_claim(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunStore, *words: Any, **options: Any) -> None:
        raise StorageError("Nothing could be written: the disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "write", full)
        with pytest.raises(StorageError, match="the disk is full"):
            bench.run(replicas="auto")
    assert not list((bench.store.folder / "claims").glob("[!.]*"))
    assert sum(bench.run(replicas="auto").made.values()) == 6


def test_groups_are_of_like_runs_and_of_like_sizes(bench: Bench) -> None:
    runs = bench.plan("finetuning_seeds=0-4").runs
    assert [len(group) for group in groups_of(runs, "auto", CPU)] == [10, 5]
    assert [len(group) for group in groups_of(runs, 4, CPU)] == [3, 3, 4, 2, 3]
    assert [len(group) for group in groups_of(runs, 1, CPU)] == [1] * 15
    for group in groups_of(runs, 4, CPU):
        assert len({(run.task.name, run.settings.batch_size) for run in group}) == 1
    mixed = bench.plan("recipe.batch_size=[8,16]").runs
    assert sorted(len(group) for group in groups_of(mixed, "auto", CPU)) == [4, 8]
    assert sorted(len(group) for group in groups_of(mixed, 4, CPU)) == [4, 4, 4]
    # Those with as many steps go together, as far as that fills groups.
    sizes = [sorted({run.settings.batch_size for run in group}) for group in groups_of(mixed, 4, CPU)]
    assert sorted(sizes) == [[8], [8, 16], [16]]
    untrained = [replace(run, finetuning_seed=None) for run in runs]
    assert [len(group) for group in groups_of(untrained, 8, CPU)] == [1] * 15


def test_the_size_of_a_step_decides_how_many(bench: Bench) -> None:
    (run, *_) = bench.plan().runs
    assert choose_replicas([run] * 100, "auto", CPU).replicas == 32
    assert choose_replicas([run] * 100, 7, CPU).replicas == 7
    large = run.settings.model_copy(update={"batch_size": 2_000})
    choice = choose_replicas([replace(run, settings=large)] * 100, "auto", CPU)
    assert choice.replicas == 1
    assert "keeps a cpu busy" in choice.reason


def test_each_core_or_card_has_a_group(bench: Bench) -> None:
    (run, *_) = bench.plan().runs
    for device in (Device("cpu", 1000 * GB, cores=4), Device("cuda", 1000 * GB, cards=4)):
        for count, size in ((40, 10), (41, 11), (16, 4), (12, 4), (5, 4), (3, 3)):
            assert choose_replicas([run] * count, "auto", device).replicas == size
        assert [len(group) for group in groups_of([run] * 41, "auto", device)] == [10, 10, 10, 11]
        assert choose_replicas([run] * 40, "auto", device).reason.startswith("so that 4 c")
        assert choose_replicas([run] * 40, 40, device).replicas == 40


@pytest.mark.parametrize(("kind", "share"), [("cpu", 25), ("cuda", 90)])
def test_the_memory_of_the_device_decides_how_many(bench: Bench, kind: Any, share: int) -> None:
    (run, *_) = bench.plan().runs
    device = Device(kind, 1)
    room = (training_bytes(run, device, 7) + training_bytes(run, device, 8)) / 2
    choice = choose_replicas([run] * 100, "auto", Device(kind, round(room * 100 / share)))
    assert (choice.replicas, choice.reason) == (7, f"{share}% of the memory holds 7")
    assert choose_replicas([run] * 100, "auto", device).replicas == 1


def test_plan_explains_what_would_be_done(bench: Bench) -> None:
    shown = multibench("plan", bench.suite, *bench.options, "--explain")
    assert shown.code == 0, shown.err
    assert "4 runs of" in shown.out
    assert "4 at a time (all 4 that can be trained together)" in shown.out
    one = multibench("plan", bench.suite, *bench.options, "--explain", "--set", "recipe.batch_size=2000").out
    assert "1 at a time (a step of 24000 tokens by 32 hidden units is 96% of what keeps a cpu busy)" in one
    assert "exact steps, packed without padding, fp32" in " ".join(shown.out.split())
    bucketed = multibench(
        "plan", bench.suite, *bench.options, "--explain", "--set", "recipe.batching=bucketed"
    )
    assert "bucketed steps" in bucketed.out


def test_a_number_of_replicas_has_to_be_one(bench: Bench) -> None:
    said = multibench("run", bench.suite, *bench.options, "--replicas", "none")
    assert said.code == 2
    assert "'none' is no number of runs" in said.err


def test_the_following_model_is_loaded_meanwhile(bench: Bench) -> None:
    first, *_, last = bench.plan().runs
    with Models() as models:
        models.expect(last)
        assert models.load(last).config.num_labels == last.task.outputs
        models.expect(last)
        assert models.load(first).config.num_labels == first.task.outputs  # another than expected
        models.expect(None)
        assert models.load(last).config.num_labels == last.task.outputs


def test_what_is_loaded_ahead_leaves_the_threads_of_training_alone(bench: Bench) -> None:
    """More threads of OpenMP than cores would make it let those of training sleep between operations."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Models() as models:
            models.expect(bench.plan().runs[0])
            inside = models._thread.submit(torch.get_num_threads).result()
        assert (inside, torch.get_num_threads()) == (1, 3)
    finally:
        torch.set_num_threads(before)


def _second_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first process, whose plan is made, wait until the second has stored two runs."""
    run_plan = local.run_plan

    def later(*words: Any) -> SuiteOutcome:
        deadline = time.monotonic() + 120
        while len(bench.store.run_ids()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return run_plan(*words)

    monkeypatch.setattr(local, "run_plan", later)


def test_what_another_process_makes_is_shown_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run has its line and its place in the sum, whichever of two processes made it."""
    _second_first(bench, monkeypatch)
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1, "--workers", 2, "--replicas", 1)
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("[")]
    assert [line.partition("]")[0] for line in lines] == [f"[{k}/6" for k in range(1, 7)]
    assert len({line.partition("]")[2].rpartition("  ")[0] for line in lines}) == 6
    last = outcome.err.splitlines()[-1]
    assert sum(int(number) for number in re.findall(r"(\d+) (?:finished|collapsed)", last)) == 6
    assert len(bench.opened().stored) == 6


def test_failed_runs_are_made_again_once_by_two_processes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(group_module, "train_together", mock.Mock(side_effect=RuntimeError("out of memory")))
        assert bench.run().failed == 6
    _second_first(bench, monkeypatch)
    words = ("--threads", 1, "--workers", 2, "--replicas", 1, "--retry-failed")
    outcome = multibench("run", bench.suite, *bench.options, *words)
    assert outcome.code == 0, outcome.err
    assert "FAILED" not in outcome.err
    assert Counter(run.fields["status"] == "failed" for run in bench.opened().stored) == {False: 6}
    assert len(list((bench.store.folder / "replaced").iterdir())) == 6


def test_a_worker_that_cannot_work_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert bench.run(workers=2).failed == 0
    said: list[str] = []
    with extra_workers(1, [], None, said.append):
        pass
    assert said == []  # code 1 is that of failed runs, which the outcome tells
    monkeypatch.setattr(sys, "executable", _ending(bench.root, 3))
    with extra_workers(1, [], None, said.append):
        pass
    assert said == ["A further process ended with code 3; its runs were made by the others."]


def _ending(root: Path, code: int) -> str:
    script = root / "ending"
    script.write_text(f"#!/bin/sh\nexit {code}\n")
    script.chmod(0o755)
    return str(script)


def test_a_run_that_is_being_replaced_is_no_damage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by another process just when the earlier one has gone and the new one is not there yet."""
    bench.run()
    added = [bench.task("pairs"), bench.task("tones")]
    bench.write(tasks=added, evaluations={"pairs": ["dev", "extra"]})
    manifest = RunStore.manifest
    gone: list[str] = []

    def read(self: RunStore, run_id: str) -> dict[str, Any]:
        if gone.count(run_id) == 1:
            gone.append(run_id)
            raise ResultsError("It is gone.")
        return manifest(self, run_id)

    plan = bench.plan()
    assert plan.count("missing") > 0
    gone += [str(run.run_id) for run in plan.todo()]
    monkeypatch.setattr(RunStore, "manifest", read)
    assert bench.run().failed == 0


def test_the_model_that_is_loaded_ahead_is_one_that_nobody_makes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = bench.plan().runs
    claims = Claims(bench.store.folder / "claims")
    theirs = claims.take(str(runs[1].run_id))
    assert theirs is not None
    expected: list[str | None] = []

    def expect(self: Models, run: PlannedRun | None) -> None:
        expected.append(None if run is None else run.run_id)
        theirs.release()

    monkeypatch.setattr(Models, "expect", expect)
    bench.run()
    assert expected[0] == runs[2].run_id
    assert expected[-1] is None
    assert len(expected) == 6
