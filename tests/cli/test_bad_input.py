"""Bad input through the command line: one clear sentence, exit code 2, and nothing that was stored is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multibench import network
from tests.support.command import REPOSITORY, environment, multibench
from tests.support.stored import reseal, store_run
from tests.support.tiny import (
    RECIPE,
    VOCABULARY,
    Bench,
    make_bench,
    weights_of,
    write_config,
    write_vocabulary,
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A suite whose results hold one run of something else, which must survive whatever happens."""
    bench = make_bench(tmp_path)
    store_run(bench.store.folder, outputs=np.zeros((4, 2), dtype=np.float32))
    return bench


def _refused(bench: Bench, *words: Any) -> str:
    """The sentence with which a run of the suite is refused; what was stored before is still there."""
    before = {run_id: bench.store.manifest(run_id) for run_id in bench.store.run_ids()}
    sentence = multibench("run", bench.suite, *bench.options, "--quiet", *words).refusal()
    assert {run_id: bench.store.manifest(run_id) for run_id in bench.store.run_ids()} == before
    assert all(bench.store.damage(run_id) is None for run_id in before)
    scratch = bench.store.folder / "tmp"
    assert not scratch.exists() or list(scratch.iterdir()) == []
    return sentence


def _nothing(_: Path) -> None: ...


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _reconfigure(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: write_config(folder, "bert", changes)


def _cut(share: float) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        path = folder / "model.safetensors"
        os.truncate(path, int(path.stat().st_size * share))

    return cut


def _as_pickle(share: float = 1.0, content: object = None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        path = folder / "pytorch_model.bin"
        tensors = {name: torch.from_numpy(value) for name, value in weights_of("bert").items()}
        torch.save(tensors if content is None else content, path)
        os.truncate(path, int(path.stat().st_size * share))

    return write


class _Code:
    """A pickle that would make a folder if it were run."""

    place = "pickle_was_run"

    def __reduce__(self) -> Any:
        return os.mkdir, (self.place,)


def _foreign_words(folder: Path) -> None:
    write_vocabulary(folder, [*VOCABULARY[:5], *(f"wort{i}" for i in range(len(VOCABULARY) - 5))])


CHECKPOINTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no folder": (shutil.rmtree, ["no checkpoint folder", "bert"]),
    "no weights": (_drop("model.safetensors"), ["bert holds no weights", "model.safetensors"]),
    "no configuration": (_drop("config.json"), ["holds no config.json"]),
    "no vocabulary": (_drop("vocab.txt"), ["holds no vocabulary", "vocab.txt"]),
    "wider": (_reconfigure(hidden_size=64), ["has the shape", "config.json asks for"]),
    "deeper": (_reconfigure(num_hidden_layers=3), ["lacks", "config.json asks for", "encoder.layer.2"]),
    "shallower": (_reconfigure(num_hidden_layers=1), ["has no place for", "encoder.layer.1"]),
    "heads that do not divide": (_reconfigure(num_attention_heads=5), ["config.json"]),
    "unknown architecture": (_reconfigure(model_type="xlnet"), ["'xlnet'", "bert, distilbert"]),
    "relative positions": (_reconfigure(position_embedding_type="relative_key"), ["'relative_key'"]),
    "too few positions": (_reconfigure(max_position_embeddings=16), ["16", "32"]),
    "foreign vocabulary": (_foreign_words, ["% of pairs.dev into [UNK]"]),
    "empty vocabulary": (lambda f: write_vocabulary(f, []), ["lacks [PAD]"]),
    "cut in the header": (_cut(0.01), ["model.safetensors", "damaged or cut off"]),
    "cut in the middle": (_cut(0.5), ["model.safetensors", "damaged or cut off"]),
    "cut at the end": (_cut(0.999), ["model.safetensors", "damaged or cut off"]),
    "emptied": (_cut(0.0), ["model.safetensors", "damaged or cut off"]),
    "pickle cut in the middle": (_as_pickle(0.5), ["pytorch_model.bin", "cannot be read as weights"]),
    "pickle cut at the end": (_as_pickle(0.999), ["pytorch_model.bin", "cannot be read as weights"]),
    "pickle with code": (_as_pickle(content=_Code()), ["pytorch_model.bin", "cannot be read as weights"]),
    "pickle of a list": (_as_pickle(content=[1, 2]), ["pytorch_model.bin", "holds a list"]),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_bad_checkpoint_is_refused(
    bench: Bench, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil, expected = CHECKPOINTS[case]
    spoil(bench.root / "bert")
    sentence = _refused(bench)
    for part in expected:
        assert part in sentence
    assert not (tmp_path / _Code.place).exists()


def _rewrite(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Bench], None]:
    def write(bench: Bench) -> None:
        path = bench.data / "pairs" / name
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return write


DATA: dict[str, tuple[Callable[[Bench], None], list[str]]] = {
    "no folder": (lambda b: shutil.rmtree(b.data), ["is not a folder"]),
    "no task": (lambda b: shutil.rmtree(b.data / "pairs"), ["pairs.train was not found", "train.tsv"]),
    "no dev file": (lambda b: (b.data / "pairs/dev.tsv").unlink(), ["pairs.dev was not found", "dev.tsv"]),
    "one column less": (
        _rewrite("train.tsv", lambda rows: [row.partition("\t")[2] for row in rows]),
        ["train.tsv has no column 'sentence1'"],
    ),
    "a row cut short": (
        _rewrite("train.tsv", lambda rows: [*rows[:-1], rows[-1].split("\t")[0]]),
        ["train.tsv, line 49: 1 columns instead of 3"],
    ),
    "an unknown label": (
        _rewrite("train.tsv", lambda rows: [*rows[:-1], rows[-1].rpartition("\t")[0] + "\tperhaps"]),
        ["train.tsv, line 49: the label is 'perhaps'", "'no', 'yes'"],
    ),
    "a row less": (
        _rewrite("train.tsv", lambda rows: rows[:-1]),
        ["47 examples instead of 48", "accept_different_data"],
    ),
    "a row less in dev": (_rewrite("dev.tsv", lambda rows: rows[:-1]), ["23 examples instead of 24"]),
    "all of one class": (
        _rewrite("train.tsv", lambda rows: [row.replace("\tno", "\tyes") for row in rows]),
        ["label counts", "instead of"],
    ),
    "no examples": (_rewrite("train.tsv", lambda rows: rows[:1]), ["train.tsv holds no examples"]),
    "no text": (
        lambda b: (b.data / "pairs/train.tsv").write_bytes(b"\xff\xfe\x00"),
        ["train.tsv is not UTF-8 text"],
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_is_refused_before_anything_is_trained(bench: Bench, case: str) -> None:
    spoil, expected = DATA[case]
    spoil(bench)
    sentence = _refused(bench)
    for part in expected:
        assert part in sentence


def test_different_data_can_be_accepted_and_is_marked(bench: Bench) -> None:
    _rewrite("dev.tsv", lambda rows: rows[:-1])(bench)
    bench.write(accept_different_data=["pairs"], finetuning_seeds=[0])
    assert multibench("run", bench.suite, *bench.options, "--threads", 1).code == 0
    (run,) = bench.opened().where("task=pairs").stored
    assert run.manifest["evaluations"]["pairs.dev"]["as_released"] is False
    table = multibench("scores", bench.results, "--where", "task=pairs", "--nboot", 100)
    assert table.code == 0, table.err
    assert "*" in table.out or "released" in table.out


def test_results_of_another_schema_version_are_refused_and_left_alone(bench: Bench) -> None:
    path = bench.store.path(bench.store.run_ids()[0]) / "run.json"
    reseal(path.parent, lambda manifest: manifest.update(schema=99))
    before = path.read_bytes()
    for words in (["run", bench.suite, *bench.options, "--quiet"], ["plan", bench.suite, *bench.options]):
        sentence = multibench(*words).refusal()
        assert "results schema 99" in sentence
        assert "another --results folder" in sentence
    assert path.read_bytes() == before
    assert len(bench.store.run_ids()) == 1


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small file system below the test's folder, if that is permitted."""
    made: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / "mounted"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("mounting a file system is not permitted here")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("keep_weights", ["none", "last"])
def test_a_full_disk_is_named_and_the_finished_runs_stay(
    bench: Bench, mounted: Callable[..., Path], keep_weights: str
) -> None:
    disk = mounted("200k" if keep_weights == "last" else "60k")
    bench.write(finetuning_seeds="0-9", keep_weights=keep_weights, recipe={**RECIPE, "epochs": 0.2})
    words = ["run", bench.suite, "--results", disk, "--data", bench.data, "--threads", 1, "--quiet"]
    from multibench.results import RunStore

    store = RunStore(disk / "tiny")
    assert multibench(*words, "--set", "finetuning_seeds=0").code == 0
    (first,) = store.run_ids()
    sentence = multibench(*words).refusal()
    assert "the disk is full" in sentence
    assert "All finished runs are kept" in sentence
    stored = {run_id: store.manifest(run_id) for run_id in store.run_ids()}
    assert first in stored
    assert 0 < len(stored) < 10
    assert all(store.damage(run_id) is None for run_id in stored)
    subprocess.run(["mount", "-o", "remount,size=5m", str(disk)], check=True)
    assert multibench(*words).code == 0
    assert len(store.run_ids()) == 10
    assert {run_id: store.manifest(run_id) for run_id in stored} == stored


def test_a_read_only_folder_is_named(bench: Bench, mounted: Callable[..., Path]) -> None:
    disk = mounted("1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    sentence = multibench("run", bench.suite, "--results", disk, "--data", bench.data).refusal()
    assert "the file system is read-only" in sentence
    assert "--results" in sentence


def test_a_results_folder_that_is_a_file_is_named(bench: Bench) -> None:
    (bench.root / "file").write_text("")
    words = ["run", bench.suite, "--results", bench.root / "file", "--data", bench.data]
    assert "a part of the path is a file" in multibench(*words).refusal()


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_and_data_the_sentence_says_what_to_put_where(
    bench: Bench, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "hub_is_reachable", lambda: False)
    bench.write(tasks=["rte"])
    sentence = _refused(bench, *(["--offline"] if offline else []))
    assert f"Put the official file at {bench.data}/glue/RTE/train.tsv" in sentence
    bench.write(checkpoints=[{"ids": ["google/multiberts-seed_0"]}])
    sentence = _refused(bench, "--checkpoints", bench.root / "models", *(["--offline"] if offline else []))
    assert "google/multiberts-seed_0 is not on this machine" in sentence
    assert f"into {bench.root}/models/google/multiberts-seed_0" in sentence


def test_without_network_the_refusal_comes_at_once(bench: Bench) -> None:
    """In a process of its own, with a Hub that refuses. Processor time is held to, as the machine may be busy."""
    bench.write(tasks=["rte"], checkpoints=[{"ids": ["google/multiberts-seed_0"]}])
    before = os.times()
    environment_ = environment(HF_HUB_OFFLINE="0", HF_DATASETS_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:1")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        environment_.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "multibench", "run", str(bench.suite), "--results", str(bench.results)],
        cwd=REPOSITORY,
        env=environment_,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    after = os.times()
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be reached" in done.stderr
    work = after.children_user + after.children_system - before.children_user - before.children_system
    assert work < 8.0


def test_an_unknown_device_is_refused(bench: Bench) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert "--device cpu" in _refused(bench, "--device", "cuda")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "task", "rtee"], "Did you mean 'rte'"),
        (["show", "checkpoint", "google/multibert-seed_0"], "google/multiberts-seed_0"),
        (["show", "recipe", "nothing"], "There is no recipe 'nothing'"),
        (["list", "checkpoints", "--family", "multibert"], "Did you mean 'multiberts'"),
        (["scores", "nowhere"], "There is no results folder nowhere"),
        (["run", "nowhere"], "nowhere"),
        (["status", "nowhere"], "nowhere"),
        (["verify", "results", "nowhere"], "There is no results folder nowhere"),
    ],
)
def test_names_that_do_not_exist_are_refused(words: list[str], expected: str) -> None:
    assert expected in multibench(*words).refusal()


def test_filters_that_name_no_field_are_refused(bench: Bench) -> None:
    assert "familly" in multibench("scores", bench.results, "--where", "familly=x").refusal()
    words = ["compare", bench.results, "--base", "step=2000000", "--expt", "colour=red"]
    assert "colour" in multibench(*words).refusal()


def test_a_metric_that_does_not_exist_is_refused(bench: Bench) -> None:
    sentence = multibench("scores", bench.results, "--metric", "acuracy").refusal()
    assert "acuracy" in sentence
    assert "accuracy" in sentence


@pytest.mark.parametrize("words", [["run"], ["run", "x", "--threads", "0"], ["nothing"], ["list", "cars"]])
def test_wrong_usage_has_exit_code_2(words: list[str]) -> None:
    outcome = multibench(*words)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
