"""All 170 ids of MultiBERTs, as the Hub has them, from a Hub on this machine: resolved, loaded, planned."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from multibench import api
from multibench.checkpoints import Checkpoint, all_checkpoints, find
from multibench.checkpoints.download.locate import fetch
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Head, load_model
from multibench.planning.fetch import fetch_suite
from multibench.suite import load_suite
from multibench.tasks import DataSources
from tests.support.hub import Hub, Repository
from tests.support.tiny import VOCABULARY, config_of, make_bench, weights_of

EVERY = [checkpoint for checkpoint in all_checkpoints() if checkpoint.family == "multiberts"]
SAMPLE = [
    find(f"google/multiberts-seed_{name}") for name in ("0", "24", "0-step_0k", "3-step_20k", "4-step_2000k")
]
MARK = "pooler.dense.bias"


def _serve(hub: Hub, checkpoints: list[Checkpoint]) -> None:
    """Each with the files of the real repositories, weights in a pickle, and one number that is its own."""
    import json

    config = json.dumps(config_of("bert")).encode()
    vocabulary = "".join(f"{piece}\n" for piece in VOCABULARY).encode()
    tensors = {f"bert.{name}": torch.from_numpy(value) for name, value in weights_of("bert").items()}
    for number, checkpoint in enumerate(checkpoints):
        tensors[f"bert.{MARK}"][0] = float(number)
        packed = io.BytesIO()
        torch.save(tensors, packed)
        hub.repositories[checkpoint.id] = Repository(
            {
                "config.json": config,
                "pytorch_model.bin": packed.getvalue(),
                "tf_model.h5": b"not asked for",
                "tokenizer_config.json": b'{"do_lower_case": true}',
                "vocab.txt": vocabulary,
            }
        )


def _resolves_and_loads(hub: Hub, checkpoints: list[Checkpoint]) -> None:
    _serve(hub, checkpoints)
    for number, checkpoint in enumerate(checkpoints):
        folder = open_folder(fetch(checkpoint), checkpoint.cased)
        model = load_model(folder, Head("classification", 3))
        assert model.base_model.pooler.dense.bias[0].item() == number
    assert hub.bytes_sent_for("pytorch_model.bin") == len(checkpoints)
    assert hub.bytes_sent_for("tf_model.h5") == 0


def test_some_ids_resolve_and_load(hub: Hub) -> None:
    _resolves_and_loads(hub, SAMPLE)


@pytest.mark.slow
def test_every_id_resolves_and_loads(hub: Hub) -> None:
    assert len(EVERY) == 170
    _resolves_and_loads(hub, EVERY)


@pytest.mark.slow
def test_a_suite_of_five_seeds_and_29_steps_is_fetched_and_planned(hub: Hub, tmp_path: Path) -> None:
    _serve(hub, EVERY)
    bench = make_bench(tmp_path)
    bench.write(
        checkpoints=[{"family": "multiberts", "pretraining_seeds": "0-4", "steps": "all"}],
        finetuning_seeds=[0],
    )
    fetched = fetch_suite(load_suite(bench.suite), tmp_path / "out", DataSources(bench.data))
    assert fetched.missing == {}
    assert len(fetched.checkpoints) == 5 * 29
    plan = api.plan(bench.suite, bench.results, tmp_path / "out", tmp_path / "out")
    assert plan.remarks == ()
    assert len({run.run_id for run in plan.runs}) == 5 * 29
    steps = {(run.checkpoint.pretraining_seed, run.checkpoint.step) for run in plan.runs}
    assert len(steps) == 5 * 29
    assert np.ptp([step for _, step in steps]) == 2_000_000
