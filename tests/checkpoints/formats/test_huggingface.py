"""A folder of Hugging Face: every form of the same weights reads alike, and damage is a sentence, never a model."""

from __future__ import annotations

import json
import os
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from multibench.checkpoints.formats.huggingface import (
    read_tensors,
    weight_files,
    weight_names,
    weights_digest,
)
from multibench.errors import CheckpointError
from tests.support.tiny import Weights, weights_of

WEIGHTS = weights_of("bert")


def _torch(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value.copy()) for name, value in weights.items()}


def _shards(weights: Weights) -> list[Weights]:
    names = list(weights)
    return [{n: weights[n] for n in names[i::3]} for i in range(3)]


def _write(folder: Path, form: str, weights: Weights = WEIGHTS) -> Path:
    folder.mkdir()
    if form == "safetensors":
        save_file(weights, folder / "model.safetensors")
    elif form == "bin":
        torch.save(_torch(weights), folder / "pytorch_model.bin")
    elif form == "old bin":
        torch.save(_torch(weights), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    elif form == "sharded safetensors":
        index = {}
        for i, part in enumerate(_shards(weights)):
            save_file(part, folder / f"model-{i}.safetensors")
            index.update(dict.fromkeys(part, f"model-{i}.safetensors"))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    else:
        index = {}
        for i, part in enumerate(_shards(weights)):
            torch.save(_torch(part), folder / f"pytorch_model-{i}.bin")
            index.update(dict.fromkeys(part, f"pytorch_model-{i}.bin"))
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_tensors(folder))


FORMS = ["safetensors", "bin", "old bin", "sharded safetensors", "sharded bin"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_weights(tmp_path: Path, form: str) -> None:
    folder = _write(tmp_path / "a", form)
    read = read_weights(folder)
    assert set(read) == set(WEIGHTS)
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(read[name].numpy(), value)
    assert weights_digest(folder) == weights_digest(_write(tmp_path / "b", "safetensors"))


@pytest.mark.parametrize("form", FORMS)
def test_one_changed_value_changes_the_digest(tmp_path: Path, form: str) -> None:
    before = weights_digest(_write(tmp_path / "a", form))
    changed = {name: value.copy() for name, value in WEIGHTS.items()}
    changed["encoder.layer.1.output.dense.bias"][5] += np.float32(1e-6)
    assert weights_digest(_write(tmp_path / "b", form, changed)) != before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
def test_the_digest_does_not_depend_on_the_form_in_any_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import save_file as save_torch

    tensors = {name: value.to(dtype) for name, value in _torch(WEIGHTS).items()}
    tensors["scalar"] = torch.tensor(3.5, dtype=dtype)
    for name in ("safe", "bin"):
        (tmp_path / name).mkdir()
    save_torch(tensors, tmp_path / "safe/model.safetensors")
    torch.save(tensors, tmp_path / "bin/pytorch_model.bin")
    assert weights_digest(tmp_path / "safe") == weights_digest(tmp_path / "bin")


def test_the_digest_of_given_weights_never_changes(tmp_path: Path) -> None:
    weights = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.zeros(2, np.float32)}
    assert (
        weights_digest(_write(tmp_path / "a", "safetensors", weights))
        == "e921c87bd33a79c5a74f8a045d6a2d9e1352cce260043c61883b709aea08e455"
    )


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_prefixes_old_names_and_buffers_make_no_difference(tmp_path: Path, form: str) -> None:
    def exported(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return f"bert.{name}"

    old = {exported(name): value for name, value in WEIGHTS.items()}
    assert len(old) == len(WEIGHTS)
    old["bert.embeddings.position_ids"] = np.arange(40)[None]
    folder = _write(tmp_path / "old", form, old)
    assert set(read_weights(folder)) == set(WEIGHTS)
    assert weights_digest(folder) == weights_digest(_write(tmp_path / "new", form))


def test_one_name_for_two_tensors_is_refused(tmp_path: Path) -> None:
    twice = {**WEIGHTS, "bert.pooler.dense.bias": WEIGHTS["pooler.dense.bias"] + 1}
    folder = _write(tmp_path / "a", "safetensors", twice)
    with pytest.raises(CheckpointError, match=r"two different tensors for pooler\.dense\.bias"):
        read_weights(folder)


def test_one_weight_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", "sharded safetensors")
    save_file({"bert.pooler.dense.bias": WEIGHTS["pooler.dense.bias"]}, folder / "model-9.safetensors")
    index = folder / "model.safetensors.index.json"
    stated = json.loads(index.read_text())
    stated["weight_map"]["bert.pooler.dense.bias"] = "model-9.safetensors"
    index.write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match=r"holds pooler\.dense\.bias in two files"):
        read_weights(folder)


def test_one_weight_twice_in_a_file_is_given_once(tmp_path: Path) -> None:
    twice = {**WEIGHTS, "bert.pooler.dense.bias": WEIGHTS["pooler.dense.bias"]}
    names = [name for name, _ in read_tensors(_write(tmp_path / "a", "safetensors", twice))]
    assert sorted(names) == sorted(WEIGHTS)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_given_is_let_go(tmp_path: Path, form: str) -> None:
    """Whoever copies the tensors one by one holds no second set of weights at the end."""
    held: list[weakref.ref[torch.Tensor]] = []
    for _, tensor in read_tensors(_write(tmp_path / "a", form)):
        assert not any(reference() is not None for reference in held)
        held.append(weakref.ref(tensor))
        del tensor
    assert len(held) == len(WEIGHTS)


def test_numbers_of_a_type_that_no_weights_have_are_refused(tmp_path: Path) -> None:
    header = b'{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(CheckpointError, match="type F8_E4M3"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["adapter.safetensors", "pytorch_model.bin", "training_args.bin"], ["pytorch_model.bin"]),
        (["model-1.safetensors", "tf_model.h5"], []),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-1.bin", "config.json"],
            ["pytorch_model-1.bin", "pytorch_model.bin.index.json"],
        ),
    ],
)
def test_one_whole_form_of_the_weights_is_chosen(names: list[str], expected: list[str]) -> None:
    assert weight_names(names) == expected


def _cuts(size: int) -> list[int]:
    return sorted({0, 1, 7, 8, 9, 100, size // 4, size // 2, size - 1000, size - 2, size - 1})


@pytest.mark.parametrize("form", ["safetensors", "bin", "old bin"])
def test_files_cut_anywhere_are_refused(tmp_path: Path, form: str) -> None:
    folder = _write(tmp_path / "a", form)
    (path,) = weight_files(folder)
    whole = path.read_bytes()
    for cut in _cuts(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=path.name):
            read_weights(folder)
        with pytest.raises(CheckpointError, match=path.name):
            weights_digest(folder)


def test_files_with_something_at_the_end_are_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", "safetensors")
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_weights(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}',
        b'{"a": {"dtype": "F32", "data_offsets": [0, 4]}}',
        b'{"a": 7}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b"[" * 5000,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        weights_digest(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_weights(tmp_path)


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, (_Evil.target,)

    target = ""


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    _Evil.target = str(tmp_path / "was here")
    path = tmp_path / "pytorch_model.bin"
    if zipped:
        torch.save({"a": _Evil()}, path)
    else:
        path.write_bytes(pickle.dumps({"a": _Evil()}))
    for use in (read_weights, weights_digest):
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            use(tmp_path)
    assert not Path(_Evil.target).exists()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(2**33),
        torch.as_strided(torch.zeros(10), (4, 4), (1, 1)),
        torch.zeros(4).to_sparse(),
        torch.empty(4, device="meta"),
        torch._neg_view(torch.zeros(4)),
        torch.zeros(4, dtype=torch.complex64).conj(),
    ],
    ids=["expanded", "overlapping", "sparse", "without memory", "negative view", "conjugate view"],
)
def test_tensors_that_are_not_numbers_in_a_row_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({**_torch(WEIGHTS), "pooler.dense.bias": tensor}, tmp_path / "pytorch_model.bin")
    for use in (read_weights, weights_digest):
        with pytest.raises(CheckpointError, match=r"pooler\.dense\.bias is no plain tensor"):
            use(tmp_path)


def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_weights(tmp_path)


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", "safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"rubbish")
    assert [path.name for path in weight_files(folder)] == ["model.safetensors"]
    assert len(read_weights(folder)) == len(WEIGHTS)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ('{"weight_map": {"a": "model-9.safetensors"}}', "lacks model-9.safetensors"),
        ('{"weight_map": {"a": "../../etc/passwd"}}', "lacks passwd"),
        ('{"weight_map": {}}', "index"),
        ('{"weight_map": ["a"]}', "is no index"),
        ('{"weight_map": {"a": 7}}', "is no index"),
        ("{", "cannot be read as JSON"),
        ("[]", "is no index"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(tmp_path: Path, index: str, expected: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=expected):
        weight_files(tmp_path)
