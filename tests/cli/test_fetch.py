"""``multibench fetch`` as a user sees it, against a Hub on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from multibench.checkpoints.formats.huggingface import weights_digest
from tests.support.command import REPOSITORY, environment, multibench
from tests.support.hub import Hub
from tests.support.tiny import make_bench, make_checkpoint

NAME = "google/multiberts-seed_0-step_20k"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "made")


def test_one_checkpoint(hub: Hub, made: Path, tmp_path: Path) -> None:
    hub.add(NAME, made)
    outcome = multibench("fetch", NAME, "--out", tmp_path / "out")
    assert outcome.code == 0
    assert outcome.out == f"1 checkpoints and 0 splits of data are in {tmp_path / 'out'}.\n"
    assert outcome.err == f"[1/1] {NAME}\n"
    again = multibench("fetch", NAME, "--out", tmp_path / "out", "--json", "--quiet")
    assert json.loads(again.out)["checkpoints"] == {NAME: str(tmp_path / "out" / NAME)}
    assert again.err == ""


def test_a_suite_is_fetched_and_planned_offline(hub: Hub, made: Path, tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    hub.add(NAME, made)
    bench.write(checkpoints=[{"ids": NAME}])
    out = tmp_path / "out"
    outcome = multibench("fetch", bench.suite, "--out", out, "--data", bench.data, "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"1 checkpoints and 2 splits of data are in {out}.\n"
    planned = multibench("plan", bench.suite, "--checkpoints", out, "--data", out, "--json")
    assert json.loads(planned.out)["missing"] == 2, planned.out


def test_run_fetches_what_it_lacks_and_needs_no_hub_afterwards(hub: Hub, made: Path, tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    repository = hub.add(NAME, made, fault="wrong", on="model.safetensors", times=1)
    bench.write(checkpoints=[{"ids": NAME}], finetuning_seeds=[0])
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1)
    assert outcome.code == 0, outcome.err
    assert f"fetching {NAME}" in outcome.err
    (run_id,) = bench.store.run_ids()
    manifest = bench.store.manifest(run_id)
    assert manifest["provenance"]["hub_commit"] == repository.commit
    hub.repositories.clear()
    bench.write(checkpoints=[{"ids": NAME}], finetuning_seeds=[0, 1])
    outcome = multibench("run", bench.suite, *bench.options, "--threads", 1, "--offline", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(list(bench.store.run_ids())) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("503", "HTTP status 503"), ("wrong", "arrived damaged twice"), ("gated", "the repository is gated")],
)
def test_what_cannot_be_had_is_one_sentence(
    hub: Hub, made: Path, tmp_path: Path, fault: str, reason: str
) -> None:
    hub.add(NAME, made, fault=fault)
    outcome = multibench("fetch", NAME, "--out", tmp_path / "out", "--quiet")
    assert reason in outcome.refusal()


def test_names_that_are_neither_suite_nor_checkpoint_are_refused(hub: Hub, tmp_path: Path) -> None:
    assert (
        "no checkpoint 'google/multiberts'"
        in multibench("fetch", "google/multiberts", "--out", tmp_path).refusal()
    )
    assert (
        "no source of the kind 'ngc'"
        in multibench("fetch", NAME, "--out", tmp_path, "--from", "ngc").refusal()
    )
    assert (
        "cannot be reached (offline was asked for)"
        in multibench("fetch", NAME, "--out", tmp_path, "--offline", "--quiet").refusal()
    )


def _start(hub: Hub, tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    there = environment(
        HF_ENDPOINT=hub.endpoint,
        HF_HUB_OFFLINE="0",
        HF_HOME=str(tmp_path / "home"),
        HF_HUB_DOWNLOAD_TIMEOUT="2",
    )
    return subprocess.Popen(
        [sys.executable, "-m", "multibench", *words],
        cwd=REPOSITORY,
        env=there,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_that_fetch_the_same_fetch_it_once(hub: Hub, made: Path, tmp_path: Path) -> None:
    hub.add(NAME, made)
    out = tmp_path / "out"
    started = [_start(hub, tmp_path, "fetch", NAME, "--out", str(out)) for _ in range(4)]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert weights_digest(out / NAME) == weights_digest(made)
    assert hub.bytes_sent_for("model.safetensors") == 1


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
def test_a_fetch_that_was_killed_goes_on(hub: Hub, tmp_path: Path, times: int) -> None:
    names = [f"google/multiberts-seed_{seed}" for seed in range(4)]
    for seed, name in enumerate(names):
        hub.add(name, make_checkpoint(tmp_path / "served" / str(seed), seed=seed))
    bench = make_bench(tmp_path / "bench")
    bench.write(checkpoints=[{"ids": names}])
    hub.repositories[names[2]].fault = "stalled"
    hub.repositories[names[2]].on = "model.safetensors"
    out = tmp_path / "out"
    words = ("fetch", str(bench.suite), "--out", str(out), "--data", str(bench.data))
    for _ in range(times):
        process = _start(hub, tmp_path, *words)
        deadline = time.monotonic() + 60
        before = hub.bytes_sent_for(f"{names[2]} model")
        while hub.bytes_sent_for(f"{names[2]} model") == before:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (out / names[2]).exists()
    hub.repositories[names[2]].fault = None
    process = _start(hub, tmp_path, *words)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    for seed, name in enumerate(names):
        assert weights_digest(out / name) == weights_digest(tmp_path / "served" / str(seed))
    assert hub.bytes_sent_for(f"{names[0]} model") == 1
    assert yaml.safe_load((out / names[0] / "multibench.json").read_text())["checkpoint"] == names[0]
