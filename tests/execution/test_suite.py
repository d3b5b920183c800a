"""Suites on tiny checkpoints from end to end: what is made, what is kept, what is made again."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Dropout, Head, initialise_head, load_model
from multibench.execution import group as group_module
from multibench.metrics import METRICS
from multibench.recipes import Hyperparameters
from multibench.results import Results
from multibench.seeds import derive_nested_seeds
from multibench.tasks import DataSources, find_task, load_split
from multibench.tasks.encode import encode
from multibench.training.loop import train, train_together
from multibench.training.predict import predict
from tests.support.command import multibench
from tests.support.tiny import RECIPE, VOCABULARY, Bench, make_bench, weights_of, write_vocabulary


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two checkpoints, two tasks, two settings of one of them, two seeds: twelve finished runs. Read only."""
    bench = make_bench(tmp_path_factory.mktemp("full"))
    bench.write(
        checkpoints=[
            {"path": str(bench.root / "bert"), "family": "tiny", "pretraining_seed": 0},
            {
                "path": str(bench.root / "distilbert"),
                "family": "tiny_distilled",
                "pretraining_seed": 0,
                "paired_with": "tiny",
            },
        ],
        tasks=[bench.task("pairs"), bench.task("tones")],
        recipe={**RECIPE, "tasks": {"pairs": {"learning_rate": [1e-3, 3e-3]}}},
        evaluations={"pairs": ["dev", "extra"]},
    )
    outcome = bench.run()
    assert sum(outcome.made.values()) == 12
    assert outcome.failed == 0
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One checkpoint, one task, two seeds, nothing made yet."""
    return make_bench(tmp_path)


def _inodes(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def _bits(bench: Bench) -> dict[tuple[str, str], bytes]:
    """The outputs of every run and evaluation."""
    return {
        (run.run_id, name): run.store.predictions(run.run_id, name).outputs.tobytes()
        for run in bench.opened().stored
        for name in run.manifest["evaluations"]
    }


def test_every_run_of_the_suite_is_stored_once(full: Bench) -> None:
    frame = full.opened().runs
    cells = Counter(
        zip(frame["family"], frame["task"], frame["learning_rate"], frame["finetuning_seed"], strict=True)
    )
    assert set(cells.values()) == {1}
    assert set(cells) == {
        (family, task, rate, seed)
        for family in ("tiny", "tiny_distilled")
        for task, rates in (("pairs", (1e-3, 3e-3)), ("tones", (3e-3,)))
        for rate in rates
        for seed in (0, 1)
    }
    assert set(frame["status"]) <= {"finished", "collapsed"}
    assert full.store.damage(full.store.run_ids()[0]) is None
    assert not any((full.store.folder / "tmp").iterdir())


def test_a_run_is_what_its_parts_make_of_its_seeds(full: Bench) -> None:
    """The stored predictions are those of model, head, loop and prediction put together by hand."""
    opened = full.opened().where("family=tiny,task=pairs,learning_rate=0.003,finetuning_seed=1")
    (run,) = opened.stored
    task = find_task(full.task("pairs"))
    folder = open_folder(full.root / "bert")
    settings = Hyperparameters.model_validate(run.manifest["settings"])
    sources = DataSources(full.data)
    encoded, dev = (
        encode(load_split(task, split, sources), folder.vocabulary.tokenizer(), 32)
        for split in ("train", "dev")
    )
    labels = load_split(task, "train", sources).labels
    assert labels is not None
    torch.set_num_threads(1)
    model = load_model(folder, Head("classification", 2), Dropout())
    seeds = derive_nested_seeds(run.fields["origin"], 0, 1)
    initialise_head(model, seeds.head)
    record = train(model, encoded, labels, settings, seeds)
    stored = run.store.predictions(run.run_id, "pairs.dev")
    assert predict(model, dev).tobytes() == stored.outputs.tobytes()
    history = run.store.history(run.run_id)
    assert history["loss"] == record.losses.tolist()
    assert len(history["loss"]) == run.manifest["training"]["steps"] == 12
    assert history["loss"][-1] < history["loss"][0]


def test_the_stored_scores_are_those_of_the_stored_predictions(full: Bench) -> None:
    for run in full.opened().stored:
        for name, summary in run.manifest["evaluations"].items():
            part = run.store.predictions(run.run_id, name)
            assert summary["examples"] == len(part.ids) == 24
            if part.labels is None:
                assert name == "pairs.extra"
                assert summary["metrics"] == {}
            for metric, value in summary["metrics"].items():
                expected = METRICS.get(metric).score(part.labels, part.outputs)
                assert value == pytest.approx(expected) or (value is None and math.isnan(expected))


def test_a_learnable_task_is_learnt(full: Bench) -> None:
    scores = full.opened().where("family=tiny").scores
    best = scores[(scores["metric"] == "accuracy") & (scores["learning_rate"] == 3e-3)]["score"]
    assert best.mean() > 0.7  # always the larger class: 0.67
    assert scores[scores["metric"] == "pearson"]["score"].mean() > 0.3


def test_the_record_says_how_the_run_was_made(full: Bench) -> None:
    manifest = full.store.manifest(full.store.run_ids()[0])
    made = manifest["provenance"]
    assert (made["threads"], made["device"], made["precision"], made["replicas"]) == (1, "cpu", "fp32", 1)
    assert made["deterministic"] is True
    assert made["packages"]["torch"] == metadata.version("torch")  # in wheels without what follows a plus
    assert made["started"] <= made["finished"]
    assert set(made["code"]) == {"commit", "dirty"}
    assert manifest["training"]["examples"] == 96
    assert manifest["training"]["tokens"] <= manifest["training"]["computed_tokens"]
    text = json.dumps(manifest)
    assert str(full.data) not in text  # no path of this machine decides anything


def test_paired_checkpoints_share_head_and_order_but_not_their_runs(full: Bench) -> None:
    ids = {run.run_id for run in full.opened().stored}
    assert len(ids) == 12
    seeds = {
        json.dumps(run.manifest["identity"]["seeds"])
        for run in full.opened().stored
        if run.fields["finetuning_seed"] == 0
    }
    assert len(seeds) == 1
    assert {run.fields["finetuning_seed_design"] for run in full.opened().stored} == {"nested"}


def test_the_same_command_does_nothing_the_second_time(full: Bench) -> None:
    before = _inodes(full.store.runs)
    outcome = multibench("run", full.suite, *full.options, "--threads", 1)
    assert outcome.code == 0
    assert outcome.out == ""
    assert "Nothing to do: every run is stored" in outcome.err
    assert _inodes(full.store.runs) == before
    assert full.plan().count("missing") == 0


def test_plan_and_status_say_what_is_done(full: Bench) -> None:
    plan = multibench("plan", full.suite, *full.options, "--set", "finetuning_seeds=0-2", "--json")
    found = json.loads(plan.out)
    assert (found["runs"], found["missing"]) == (18, 6)
    assert found["missing_cost"]["hours"] > 0
    assert found["remarks"] == []
    text = multibench("plan", full.suite, *full.options, "--set", "finetuning_seeds=0-2").out
    assert "18 runs, 6 missing" in text
    for target in (full.suite, full.results):
        status = json.loads(multibench("status", target, *full.options, "--json").out)
        assert sum(status["tasks"]["pairs"].values()) == 8
        assert sum(status["tasks"]["tones"].values()) == 4


def test_scores_and_compare_read_the_results(full: Bench) -> None:
    table = multibench("scores", full.results, "--format", "json", "--nboot", 200)
    assert table.code == 0, table.err
    assert json.loads(table.out)
    words = ["--base", "family=tiny", "--expt", "family=tiny_distilled", "--task", "tones", "--nboot", 200]
    compared = multibench("compare", full.results, *words)
    assert compared.code == 0, compared.err
    assert "tones" in compared.out


def test_repeating_a_suite_elsewhere_gives_the_same_bits(full: Bench, tmp_path: Path) -> None:
    """Other folder, other order of runs, other process state: equal ids, equal predictions."""
    again = make_bench(tmp_path)
    again.write(
        checkpoints=[
            {"path": str(again.root / "bert"), "family": "tiny", "pretraining_seed": 0, "step": 5},
        ],
        tasks=[again.task("tones"), again.task("pairs")],
        recipe={**RECIPE, "learning_rate": 3e-3},
        finetuning_seeds=[1],
        evaluations={"pairs": ["extra", "dev"]},
    )
    torch.manual_seed(1234)
    torch.rand(10)
    again.run()
    here, there = _bits(again), _bits(full)
    assert len(here) == 3
    assert {key: there[key] for key in here} == here


def _weights_file(bench: Bench, run_id: str) -> Path:
    return bench.store.path(run_id) / "weights/model.safetensors"


def test_an_added_evaluation_needs_no_training_where_weights_were_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(keep_weights="last")
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    before, ids = _bits(bench), bench.store.run_ids()
    histories = {run_id: bench.store.history(run_id) for run_id in ids}
    weights = {run_id: _weights_file(bench, run_id).read_bytes() for run_id in ids}
    trained = {run_id: bench.store.manifest(run_id)["provenance"] for run_id in ids}
    assert {made["replicas"] for made in trained.values()} == {2}

    def no_training(*_: Any, **__: Any) -> None:
        raise AssertionError("a run was trained again")

    bench.write(keep_weights="last", evaluations={"pairs": ["dev", "extra"]})
    assert bench.plan().count("missing") == 2
    with monkeypatch.context() as patch:
        patch.setattr(group_module, "train_together", no_training)
        assert sum(bench.run().made.values()) == 2
    after = _bits(bench)
    assert set(after) == {(run_id, name) for run_id in ids for name in ("pairs.dev", "pairs.extra")}
    assert {key: after[key] for key in before} == before
    assert {run_id: bench.store.history(run_id) for run_id in ids} == histories
    assert {run_id: _weights_file(bench, run_id).read_bytes() for run_id in ids} == weights
    for run_id in ids:
        made = bench.store.manifest(run_id)["provenance"]
        (evaluated,) = made.pop("evaluated_again")
        assert made == trained[run_id]
        assert (evaluated["replicas"], evaluated["device"]) == (1, "cpu")
    # The earlier, less complete runs are kept aside; and the added predictions are right:
    assert len(list((bench.store.folder / "replaced").iterdir())) == 2
    fresh = make_bench(bench.root / "fresh")
    fresh.write(evaluations={"pairs": ["extra"]})
    fresh.run(replicas="auto")  # as the command above: both runs together
    assert _bits(fresh).items() <= after.items()


def test_kept_weights_that_were_damaged_are_not_used(bench: Bench) -> None:
    bench.write(keep_weights="last", finetuning_seeds=[0])
    bench.run()
    (run_id,) = bench.store.run_ids()
    path = _weights_file(bench, run_id)
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 64
    path.write_bytes(raw)
    before = _bits(bench)
    bench.write(keep_weights="last", finetuning_seeds=[0], evaluations={"pairs": ["dev", "extra"]})
    bench.run()
    fresh = make_bench(bench.root / "fresh")
    fresh.write(finetuning_seeds=[0], evaluations={"pairs": ["dev", "extra"]})
    fresh.run()
    assert _bits(bench) == _bits(fresh)
    assert before.items() <= _bits(bench).items()
    assert bench.store.damage(run_id) is None


def test_an_added_evaluation_without_weights_trains_again_to_the_same_bits(bench: Bench) -> None:
    bench.write(finetuning_seeds=[0])
    bench.run()
    before = _bits(bench)
    bench.write(finetuning_seeds=[0], evaluations={"pairs": ["dev", "extra"]})
    bench.run()
    after = _bits(bench)
    assert len(after) == 2
    assert before.items() <= after.items()
    bench.write(finetuning_seeds=[0], evaluations={"pairs": ["extra"]})
    assert bench.run().made == {}
    assert _bits(bench) == after


def test_an_evaluation_whose_data_changed_is_made_again(bench: Bench) -> None:
    bench.write(finetuning_seeds=[0])
    bench.run()
    file = bench.data / "pairs/dev.tsv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], *lines[:0:-1]]))  # other order, equal size and counts
    assert bench.plan().count("missing") == 1
    bench.run()
    assert bench.plan().count("missing") == 0
    (run,) = bench.opened().stored
    dev = load_split(find_task(bench.task("pairs")), "dev", DataSources(bench.data))
    assert run.manifest["evaluations"]["pairs.dev"]["data"] == dev.fingerprint


def test_a_run_that_diverges_is_stored_with_the_evidence(bench: Bench) -> None:
    bench.write(recipe={**RECIPE, "learning_rate": 1e30, "clip_norm": None})
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1)
    assert outcome.code == 0, outcome.err
    assert "2 diverged" in outcome.err
    for run in bench.opened().stored:
        assert run.fields["status"] == "diverged"
        assert "the loss became" in run.manifest["reason"]
        assert run.manifest["evaluations"] == {}
        evidence = run.manifest["training"]["divergence"]
        losses = run.store.history(run.run_id)["loss"]
        assert evidence["step"] == len(losses) - 1
        assert losses[-1] is None  # not a number, which JSON has not
        assert all(value is not None for value in losses[:-1])
    assert bench.plan().count("diverged") == 2
    assert "Nothing to do" in multibench("run", bench.suite, *bench.options).err
    status = multibench("status", bench.suite, *bench.options).out
    assert "the loss became" in status


@pytest.mark.parametrize(("task", "expected"), [("pairs", "every one of 24"), ("tones", "constant")])
def test_a_run_that_collapses_is_stored_with_the_evidence(bench: Bench, task: str, expected: str) -> None:
    bench.write(tasks=[bench.task(task)], recipe={**RECIPE, "learning_rate": 0.5})
    outcome = bench.run()
    assert set(outcome.made) == {"collapsed"}
    for run in bench.opened().stored:
        assert expected in run.manifest["reason"]
        assert f"{task}.dev" in run.manifest["evaluations"]
    assert bench.plan().count("collapsed") == 2


def test_a_run_that_fails_is_stored_and_made_again_on_demand(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(finetuning_seeds=[0, 1, 2])
    attempts = []

    def second_fails(*words: Any, **options: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 2:
            raise RuntimeError("CUDA out of memory\nand more of it")
        return train_together(*words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(group_module, "train_together", second_fails)
        outcome = multibench("run", bench.suite, *bench.options, "--threads", 1, "--replicas", 1)
    assert outcome.code == 1
    assert "1 failed" in outcome.err
    assert "Traceback" not in outcome.err
    (failed,) = [run for run in bench.opened().stored if run.fields["status"] == "failed"]
    assert failed.manifest["reason"] == "RuntimeError: CUDA out of memory"
    assert "second_fails" in failed.manifest["traceback"]
    kept = _inodes(bench.store.runs)
    again = multibench("run", bench.suite, *bench.options, "--threads", 1)
    assert again.code == 1  # it is still failed, and still said to be
    assert _inodes(bench.store.runs) == kept
    done = multibench("run", bench.suite, *bench.options, "--threads", 1, "--retry-failed")
    assert done.code == 0, done.err
    assert bench.plan().count("done") + bench.plan().count("collapsed") == 3
    after = _inodes(bench.store.runs)
    assert [path.name.partition(".")[0] for path in (bench.store.folder / "replaced").iterdir()] == [
        failed.run_id
    ]
    same = {k: v for k, v in kept.items() if k.partition("/")[0] != failed.run_id and "/" in k}
    assert same.items() <= after.items()


def test_one_checkpoint_under_two_names_counts_once(bench: Bench) -> None:
    from tests.support.tiny import make_checkpoint

    make_checkpoint(bench.root / "twin")
    bench.write(checkpoints=[{"path": str(bench.root / name)} for name in ("bert", "twin")])
    plan = bench.plan()
    assert len(plan.runs) == 2
    assert "holds the same weights as" in plan.remarks[0]


def test_two_vocabularies_in_one_suite_do_not_mix(bench: Bench) -> None:
    from tests.support.tiny import make_checkpoint

    # The same words in another order: the same texts become other ids, of the same embeddings.
    order = [*range(5), *range(len(VOCABULARY) - 1, 4, -1)]
    weights = weights_of("bert")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][order]
    make_checkpoint(bench.root / "other", weights=weights)
    write_vocabulary(bench.root / "other", [VOCABULARY[i] for i in order])
    bench.write(
        checkpoints=[{"path": str(bench.root / name)} for name in ("bert", "other")],
        recipe={**RECIPE, "dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0},
        finetuning_seeds=[0],
        finetuning_seed_design="shared",
    )
    bench.run()
    one, two = (run.store.predictions(run.run_id, "pairs.dev").outputs for run in bench.opened().stored)
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_damaged_runs_are_reported_set_aside_and_made_again(bench: Bench) -> None:
    bench.run(replicas="auto")  # as the command below
    before = _bits(bench)
    first, second = bench.store.run_ids()
    for path in (
        bench.store.path(first) / "predictions/pairs.dev.parquet",
        bench.store.path(second) / "run.json",
    ):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1)
    assert outcome.code == 0, outcome.err
    assert f"The stored run {first} is damaged" in outcome.err
    assert f"The stored run {second} is damaged" in outcome.err
    assert "does not match its" in outcome.err
    assert _bits(bench) == before
    assert {path.name.partition(".")[0] for path in (bench.store.folder / "damaged").iterdir()} == {
        first,
        second,
    }


def test_bf16_is_another_run_that_also_learns(bench: Bench) -> None:
    bench.write(recipe={**RECIPE, "precision": ["fp32", "bf16"]}, finetuning_seeds=[0])
    bench.run()
    one, two = (
        bench.opened().where(f"precision={name}").predictions("pairs.dev").outputs[0]
        for name in ("fp32", "bf16")
    )
    assert one.tobytes() != two.tobytes()
    np.testing.assert_allclose(one, two, atol=0.3)


def test_results_open_where_the_suite_put_them(full: Bench) -> None:
    assert len(Results.open(full.results)) == len(Results.open(full.store.folder)) == 12
    tensor = full.opened().where("task=tones").predictions("tones.dev")
    assert tensor.outputs.shape == (4, 24, 1)
    assert tensor.as_released


def test_tf32_is_refused_where_there_is_no_gpu(bench: Bench) -> None:
    told = multibench("run", bench.suite, *bench.options, "--device", "cpu", "--set", "recipe.precision=tf32")
    assert told.code == 2
    assert "precision is tf32, which a cpu has not" in told.err
    assert bench.store.run_ids() == []
