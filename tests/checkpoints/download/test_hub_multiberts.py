"""All 170 ids of MultiBERTs, as the Hub has them, from a Hub on this machine: resolved, loaded, run, and analysed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from multibench.checkpoints import Checkpoint, all_checkpoints, find, select
from multibench.checkpoints.download.locate import fetch
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Head, load_model
from tests.support.command import multibench
from tests.support.hub import Hub, Repository
from tests.support.tiny import (
    DEV_ROWS,
    RECIPE,
    TRAIN_ROWS,
    VOCABULARY,
    Bench,
    config_of,
    make_bench,
    weights_of,
)

EVERY = [checkpoint for checkpoint in all_checkpoints() if checkpoint.family == "multiberts"]
SAMPLE = [
    find(f"google/multiberts-seed_{name}") for name in ("0", "24", "0-step_0k", "3-step_20k", "4-step_2000k")
]
LAST = 2_000_000
MARK = "pooler.dense.bias"


def _weights(checkpoint: Checkpoint, number: int) -> dict[str, torch.Tensor]:
    """Words stand out of the noise as pretraining goes on; one bias is the checkpoint's own."""
    assert checkpoint.pretraining_seed is not None
    assert checkpoint.step is not None
    found = weights_of("bert", checkpoint.pretraining_seed)
    words = found["embeddings.word_embeddings.weight"]
    rng = np.random.default_rng([checkpoint.pretraining_seed, checkpoint.step])
    words += (4 * (1 - checkpoint.step / LAST) ** 4 * rng.normal(size=words.shape)).astype(np.float32)
    found[MARK][0] = number / 1000
    return {f"bert.{name}": torch.from_numpy(value) for name, value in found.items()}


def _serve(hub: Hub, checkpoints: list[Checkpoint]) -> None:
    """Each with the files of the real repositories, weights in a pickle."""
    config = json.dumps(config_of("bert")).encode()
    vocabulary = "".join(f"{piece}\n" for piece in VOCABULARY).encode()
    for number, checkpoint in enumerate(checkpoints):
        packed = io.BytesIO()
        torch.save(_weights(checkpoint, number), packed)
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
        assert model.base_model.pooler.dense.bias[0].item() == np.float32(number / 1000)
    assert hub.bytes_sent_for("pytorch_model.bin") == len(checkpoints)
    assert hub.bytes_sent_for("tf_model.h5") == 0


def test_some_ids_resolve_and_load(hub: Hub) -> None:
    _resolves_and_loads(hub, SAMPLE)


@pytest.mark.slow
def test_every_id_resolves_and_loads(hub: Hub) -> None:
    assert len(EVERY) == 170
    _resolves_and_loads(hub, EVERY)


def _runs_and_has_dynamics(hub: Hub, bench: Bench, seeds: list[int], steps: list[int] | str) -> None:
    """A suite is run from the Hub; the table of ``multibench dynamics`` is what the stored runs say."""
    chosen = select("multiberts", seeds, steps)
    _serve(hub, list(chosen))
    bench.write(
        checkpoints=[{"family": "multiberts", "pretraining_seeds": seeds, "steps": steps}],
        finetuning_seeds=[0],
        recipe={**RECIPE, "epochs": 1, "batch_size": TRAIN_ROWS // 3},
    )
    ran = multibench("run", bench.suite, *bench.options, "--threads", 1, "--quiet")
    assert ran.code == 0, ran.err
    scores = bench.opened().scores
    stored = scores[scores["metric"] == "accuracy"].groupby("step")["score"]
    assert len(bench.opened()) == len(chosen)
    table = multibench("dynamics", bench.results, "--metric", "accuracy", "--format", "json")
    assert table.code == 0, table.err
    rows = json.loads(table.out)["rows"]
    assert [row["step"] for row in rows] == sorted({checkpoint.step or 0 for checkpoint in chosen})
    for row in rows:
        score = row["score_band"]
        assert score["value"] == pytest.approx(stored.mean()[row["step"]])
        assert score["low"] < score["value"] < score["high"]
        assert (row["pretraining_seeds"], row["runs"], row["examples"]) == (len(seeds), len(seeds), DEV_ROWS)
    assert rows[-1]["score_band"]["value"] > rows[0]["score_band"]["value"]
    assert rows[0]["minus_last"]["value"] < 0


def test_a_suite_over_seeds_and_steps_runs_and_has_dynamics(hub: Hub, tmp_path: Path) -> None:
    _runs_and_has_dynamics(hub, make_bench(tmp_path), [0, 1], [0, 20_000, LAST])


@pytest.mark.slow
def test_five_seeds_and_29_steps_run_and_have_dynamics(hub: Hub, tmp_path: Path) -> None:
    _runs_and_has_dynamics(hub, make_bench(tmp_path), [0, 1, 2, 3, 4], "all")
