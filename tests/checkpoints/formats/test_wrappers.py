"""What wrappers of a model put into the names of its weights is taken off, alike in every format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.tensorflow.bundle import open_bundle, write_bundle
from multibench.checkpoints.formats.weights import unwrapped
from multibench.checkpoints.load import Head, load_model
from multibench.errors import CheckpointError
from tests.support.tensorflow import copied
from tests.support.tiny import make_checkpoint, weights_of

WRAPPED = {
    "data parallelism": lambda n: f"module.bert.{n}",
    "Lightning": lambda n: f"model.bert.{n}",
    "torch.compile": lambda n: f"_orig_mod.bert.{n}",
    "a compiled encoder in a task model": lambda n: f"bert._orig_mod.{n}",
    "one in the other": lambda n: f"module._orig_mod.model.{n}",
    "the other in the one": lambda n: f"_orig_mod.module.bert.{n}",
    "shards": lambda n: (
        f"_fsdp_wrapped_module.bert.{n.replace('layer.0.', 'layer.0._checkpoint_wrapped_module.')}"
    ),
    "a dictionary's key": lambda n: f"state_dict.model.bert.{n}",
}


def _weights(seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in weights_of("bert", seed).items()}


def _plain(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "plain")


def _without_weights(tmp_path: Path) -> Path:
    folder = make_checkpoint(tmp_path / "wrapped")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("ending", ["safetensors", "bin", "pt"])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_prefix_changes_nothing(tmp_path: Path, ending: str, wrap: Any) -> None:
    folder = _without_weights(tmp_path)
    tensors = {wrap(name): tensor for name, tensor in _weights().items()}
    if ending == "safetensors":
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(tensors, folder / ("pytorch_model.bin" if ending == "bin" else "weights.pt"))
    assert open_folder(folder).weights_sha256() == open_folder(_plain(tmp_path)).weights_sha256()
    load_model(open_folder(folder), Head("classification", 2))


TREES = {
    "state_dict": lambda w: {"state_dict": w},
    "Lightning": lambda w: {
        "state_dict": {f"model.{n}": t for n, t in w.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        "epoch": 3,
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-3},
    },
    "a trainer's": lambda w: {
        "model_state_dict": w,
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(3.0)}}},
        "scheduler": {"last_lr": torch.ones(1)},
        "rng_state": torch.ones(4),
    },
    "nested": lambda w: {"state_dict": {"model": {"module": w}}},
    "nested, with names that are wrapped again": lambda w: {
        "model": {"state_dict": {f"_orig_mod.{n}": t for n, t in w.items()}}
    },
}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_what_a_trainer_keeps_around_the_weights_is_passed_over(tmp_path: Path, name: str, tree: Any) -> None:
    folder = _without_weights(tmp_path)
    torch.save(tree({f"bert.{n}": t for n, t in _weights().items()}), folder / name)
    assert open_folder(folder).weights_sha256() == open_folder(_plain(tmp_path)).weights_sha256()
    load_model(open_folder(folder), Head("classification", 2))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_two_models_in_one_file_are_refused(tmp_path: Path, name: str) -> None:
    folder = _without_weights(tmp_path)
    torch.save({"model": _weights(0), "state_dict": _weights(1)}, folder / name)
    with pytest.raises(CheckpointError, match=r"two different tensors|given twice|under two names"):
        load_model(open_folder(folder), Head("classification", 2))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_keys_that_are_nested_without_end_are_refused(tmp_path: Path, name: str) -> None:
    folder = _without_weights(tmp_path)
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"model": deep}
    wide: dict[str, Any] = {"a": torch.zeros(1)}
    for _ in range(14):
        wide = dict.fromkeys(("module", "model", "state_dict", "model_state_dict"), wide)
    for tree in (deep, wide):
        torch.save(tree, folder / name)
        with pytest.raises(CheckpointError, match=r"more names, or deeper ones|given twice"):
            open_folder(folder).weights()


@pytest.mark.parametrize("beside", ["ema", "teacher", "state"])
def test_weights_beside_the_model_are_not_lost_in_silence(tmp_path: Path, beside: str) -> None:
    folder = _without_weights(tmp_path)
    torch.save({"model": _weights(0), beside: _weights(1)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"no place for, such as {beside}."):
        load_model(open_folder(folder), Head("classification", 2))


def test_a_prefix_that_is_no_wrapper_s_is_named(tmp_path: Path) -> None:
    folder = _without_weights(tmp_path)
    tensors = {f"student.bert.{n}": t for n, t in _weights().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"It holds student\.bert\.embeddings.*: if 'student\.bert\.' is"
    ):
        load_model(open_folder(folder), Head("classification", 2))


def test_wrapped_parts_of_several_files_are_one_model(tmp_path: Path) -> None:
    folder = _without_weights(tmp_path)
    named = {f"module.bert.{n}": t for n, t in _weights().items()}
    parts = {f"model-0000{k}-of-00002.safetensors": dict(list(named.items())[k - 1 :: 2]) for k in (1, 2)}
    for name, tensors in parts.items():
        save_file(tensors, folder / name, metadata={"format": "pt"})
    index = {n: name for name, tensors in parts.items() for n in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert open_folder(folder).weights_sha256() == open_folder(_plain(tmp_path)).weights_sha256()


@pytest.mark.parametrize("prefix", ["module/", "model/", "module/model/"])
def test_variables_of_tensorflow_are_unwrapped(tmp_path: Path, prefix: str) -> None:
    plain = copied("plain", tmp_path / "plain")
    bundle = open_bundle(plain)
    arrays = {f"{prefix}{name}": np.asarray(array) for name, array in bundle.read(bundle.entries)}
    wrapped = tmp_path / "wrapped"
    shutil.copytree(plain, wrapped, ignore=shutil.ignore_patterns("*.ckpt*"))
    floats = {n: a for n, a in arrays.items() if a.dtype == np.float32}
    write_bundle(wrapped, "bert_model.ckpt", sorted(floats.items()))
    assert open_folder(wrapped).weights_sha256() == open_folder(plain).weights_sha256()


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.output.dense.weight",
        "cls.predictions.bias",
        "module",
        "model_weights.x",
        "modules.x",
    ],
)
def test_names_that_no_wrapper_made_stay(name: str) -> None:
    assert unwrapped(name) == name
