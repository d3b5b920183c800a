"""A suite fetched into a folder from a Hub on this machine runs from that folder without any network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from multibench import api
from multibench.errors import StorageError
from multibench.planning.fetch import fetch_checkpoints, fetch_suite
from multibench.suite import load_suite
from multibench.tasks import DataSources
from tests.support.hub import Hub
from tests.support.tiny import Bench, make_bench, make_checkpoint

STEPS = ("google/multiberts-seed_0-step_20k", "google/multiberts-seed_1-step_20k")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = make_bench(tmp_path)
    made.write(checkpoints=[{"family": "multiberts", "pretraining_seeds": [0, 1], "steps": [20_000]}])
    return made


@pytest.fixture
def served(hub: Hub, tmp_path: Path) -> Hub:
    for seed, name in enumerate(STEPS):
        hub.add(name, make_checkpoint(tmp_path / "served" / str(seed), seed=seed + 1))
    return hub


def test_a_fetched_suite_runs_elsewhere_without_a_network(
    served: Hub, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    bench.write(
        checkpoints=[
            {"family": "multiberts", "pretraining_seeds": [0, 1], "steps": [20_000]},
            {"path": "bert"},
        ],
        finetuning_seeds=[0],
    )
    fetched = fetch_suite(load_suite(bench.suite), out, DataSources(bench.data), bench.root, said.append)
    assert fetched.missing == {}
    assert set(fetched.checkpoints) == {*STEPS, "bert"}
    assert set(fetched.data) == {"pairs.train", "pairs.dev"}
    assert said == ["pairs.train", "pairs.dev", f"[1/3] {STEPS[0]}", f"[2/3] {STEPS[1]}", "[3/3] bert"]
    out.rename(tmp_path / "carried")
    for folder in ("data", "bert", "hub cache"):
        shutil.rmtree(bench.root / folder, ignore_errors=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    served.asked.clear()
    elsewhere = tmp_path / "carried"
    outcome = api.run(bench.suite, bench.results, elsewhere, elsewhere, offline=True, threads=1, quiet=True)
    assert (sum(outcome.made.values()), outcome.failed) == (3, 0)
    manifests = [bench.store.manifest(run_id) for run_id in bench.store.run_ids()]
    commits = {m["labels"]["checkpoint"]: m["provenance"]["hub_commit"] for m in manifests}
    assert commits == {**{name: served.repositories[name].commit for name in STEPS}, "bert": None}
    assert not served.asked


def test_one_missing_thing_does_not_keep_the_others_from_being_fetched(
    served: Hub, bench: Bench, tmp_path: Path
) -> None:
    del served.repositories[STEPS[0]]
    (bench.data / "pairs/dev.tsv").unlink()
    fetched = fetch_suite(load_suite(bench.suite), tmp_path / "out", DataSources(bench.data))
    assert set(fetched.checkpoints) == {STEPS[1]}
    assert set(fetched.data) == {"pairs.train"}
    assert set(fetched.missing) == {"pairs.dev", STEPS[0]}
    assert fetched.sentence().startswith("2 things could not be fetched; what could is in")
    assert "no such repository" in fetched.missing[STEPS[0]]
    served.add(STEPS[0], tmp_path / "served/0")
    again = fetch_suite(load_suite(bench.suite), tmp_path / "out", DataSources(bench.data))
    assert set(again.checkpoints) == set(STEPS)
    assert served.bytes_sent_for(f"{STEPS[1]} model.safetensors") == 1


def test_after_three_failures_in_a_row_the_rest_is_not_tried(hub: Hub, tmp_path: Path) -> None:
    from multibench.checkpoints import select

    steps = list(select("multiberts", pretraining_seeds=[0], steps="all"))
    fetched = fetch_checkpoints(steps, tmp_path / "out")
    assert len(fetched.missing) == len(steps)
    assert len(hub.asked) == 3 * 2  # each from its two sources
    assert "not tried" in fetched.missing[steps[-1].id]


def test_no_room_is_said_before_anything_is_fetched(
    served: Hub, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 800_000_000})())
    with pytest.raises(
        StorageError,
        match=r"no room for the weights of 2 checkpoints: 0\.88 GB more are needed at .*out, where 0\.80",
    ):
        fetch_suite(load_suite(bench.suite), tmp_path / "out", DataSources(bench.data))
    assert not served.asked
    assert not (tmp_path / "out").exists()
