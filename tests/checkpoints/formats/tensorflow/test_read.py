"""TensorFlow's files read as TensorFlow and transformers' converter read them, and used like any other folder."""

from __future__ import annotations

import json
import shutil
import tracemalloc
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from multibench.checkpoints.catalogue.lookup import find
from multibench.checkpoints.download.locate import find_local, local_checkpoint
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.config import normalised_config
from multibench.checkpoints.formats.tensorflow import (
    open_bundle,
    read_index,
    read_parameters,
    read_tensorflow,
    write_tensorflow,
)
from multibench.checkpoints.formats.tensorflow.bundle import write_bundle
from multibench.checkpoints.formats.tensorflow.names import bert_variables, head_variables, is_training_state
from multibench.checkpoints.load import Head, load_model
from multibench.errors import CheckpointError
from tests.support.tensorflow import GOLDEN, archive, copied, with_snappy

PREFIXES = {"plain": "bert_model.ckpt", "pretraining": "model.ckpt-20"}


def _converted(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / "converted.npz") as arrays:
        return {k.removeprefix(f"{name}: "): arrays[k] for k in arrays if k.startswith(f"{name}: ")}


def test_every_type_is_read_as_tensorflow_holds_it() -> None:
    bundle = open_bundle(GOLDEN / "types")
    with np.load(GOLDEN / "types/values.npz") as values:
        assert set(values) == set(bundle.entries)
        for name, array in bundle.read(bundle.entries):
            assert array.shape == values[name].shape == bundle.entries[name].shape
            np.testing.assert_array_equal(array, values[name], strict=True)
            assert name in (bundle.entries[name].dtype, "scalar", "empty")


@pytest.mark.parametrize("name", list(PREFIXES))
def test_the_conversion_is_that_of_transformers(name: str) -> None:
    weights, config = read_tensorflow(GOLDEN / name)
    expected = _converted(name)
    assert set(weights) == {key for key in expected if "." in key}
    for key, tensor in weights.items():
        np.testing.assert_array_equal(tensor.numpy(), expected[key], strict=True)
    settings = {key: value for key, value in config.items() if key != "id2label"}
    model = transformers.BertForPreTraining(transformers.BertConfig(**settings)).eval()
    report = model.load_state_dict(weights, strict=False)
    assert not report.unexpected_keys
    assert all("decoder" in key for key in report.missing_keys)
    model.double().tie_weights()
    with torch.inference_mode():
        output = model(
            torch.from_numpy(expected["input ids"]), token_type_ids=torch.from_numpy(expected["segments"])
        )
    for ours, theirs in (("prediction_logits", "prediction"), ("seq_relationship_logits", "relationship")):
        np.testing.assert_allclose(output[ours].numpy(), expected[f"{theirs} logits"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(PREFIXES))
def test_a_folder_can_be_named_in_four_ways(tmp_path: Path, name: str) -> None:
    prefix = GOLDEN / name / PREFIXES[name]
    zipped = archive(GOLDEN / name, tmp_path / "all.zip", "model/")
    expected = read_index(GOLDEN / name)
    for path in (prefix, prefix.with_name(f"{prefix.name}.index"), zipped, tmp_path):
        assert read_index(path) == expected


def test_several_data_files_and_slots_of_the_optimizer() -> None:
    bundle = open_bundle(GOLDEN / "pretraining")
    assert bundle.shards == 3
    assert len(bundle.entries) == 139
    assert bundle.entries["global_step"].dtype == "int64"
    folder = open_folder(GOLDEN / "pretraining")
    assert "92 more serve the optimizer" in folder.notes[0]
    assert not any("adam" in name or "step" in name for name in folder.weights())


def test_it_is_one_checkpoint_with_its_export_to_hugging_face(tmp_path: Path) -> None:
    weights, config = read_tensorflow(GOLDEN / "plain")
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    shutil.copy(GOLDEN / "plain/vocab.txt", tmp_path)
    ours, theirs = open_folder(GOLDEN / "plain"), open_folder(tmp_path)
    assert ours.content == theirs.content
    assert ours.content != open_folder(GOLDEN / "pretraining").content
    models = [load_model(folder, Head("span", 2)).bert.state_dict() for folder in (ours, theirs)]
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_a_local_folder_or_archive_is_described_by_its_configuration(tmp_path: Path) -> None:
    zipped = archive(GOLDEN / "plain", tmp_path / "all.zip", "")
    for path in (GOLDEN / "plain", zipped):
        found = local_checkpoint(str(path), None, None, None, None).architecture
        assert (found.layers, found.hidden, found.vocab_size) == (2, 8, 34)


def test_a_published_archive_lies_in_the_folder_of_its_id(tmp_path: Path) -> None:
    known = find("google/bert_uncased_L-2_H-128_A-2")
    folder = tmp_path / known.id
    folder.mkdir(parents=True)
    archive(GOLDEN / "plain", folder / "uncased_L-2_H-128_A-2.zip", "")
    assert find_local(known, tmp_path) == folder
    assert open_folder(folder, known.cased).content == open_folder(GOLDEN / "plain").content
    archive(GOLDEN / "plain", folder / "other.zip", "")
    with pytest.raises(CheckpointError, match="holds 2 archives of checkpoints"):
        find_local(known, tmp_path)


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("inside", ["", "uncased_L-2/", "./a/b/"])
def test_an_archive_is_as_good_as_its_folder(tmp_path: Path, packed: int, inside: str) -> None:
    zipped = archive(GOLDEN / "plain", tmp_path / "all.zip", inside, packed)
    with zipfile.ZipFile(zipped, "a") as file:
        file.writestr("__MACOSX/._bert_model.ckpt.index", b"resource fork")
    assert open_folder(zipped).content == open_folder(GOLDEN / "plain").content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.zip"]


def test_configuration_and_vocabulary_may_lie_beside_an_archive(tmp_path: Path) -> None:
    names = ("bert_config.json", "vocab.txt")
    zipped = archive(GOLDEN / "plain", tmp_path / "all.zip", "seed_0/", without=names)
    with pytest.raises(CheckpointError, match=r"holds no bert_config\.json"):
        open_folder(zipped)
    for name in names:
        shutil.copy(GOLDEN / "plain" / name, tmp_path)
    assert open_folder(zipped).content == open_folder(GOLDEN / "plain").content


def test_compressed_blocks_read_alike(tmp_path: Path) -> None:
    folder = copied("plain", tmp_path / "snappy")
    index = folder / "bert_model.ckpt.index"
    index.write_bytes(with_snappy(index.read_bytes()))
    assert index.stat().st_size < (GOLDEN / "plain/bert_model.ckpt.index").stat().st_size
    assert read_index(folder) == read_index(GOLDEN / "plain")


def test_of_several_checkpoints_the_latest_is_taken_if_it_is_named(tmp_path: Path) -> None:
    folder = copied("pretraining", tmp_path / "a")
    for path in (GOLDEN / "plain").glob("bert_model.ckpt.*"):
        shutil.copy(path, folder)
    assert open_bundle(folder).prefix == "model.ckpt-20"
    (folder / "checkpoint").write_text('model_checkpoint_path: "/gone/bert_model.ckpt"\n')
    assert open_bundle(folder).prefix == "bert_model.ckpt"
    for state in ("", 'model_checkpoint_path: "other"\n'):
        (folder / "checkpoint").write_text(state)
        with pytest.raises(CheckpointError, match=r"several TensorFlow checkpoints"):
            open_bundle(folder)


@pytest.mark.parametrize(
    ("pieces", "cased"), [([], False), (["The", "##A", "Ab"], True), (["[unused1]"], False)]
)
def test_a_vocabulary_with_capitals_is_a_cased_one(tmp_path: Path, pieces: list[str], cased: bool) -> None:
    folder = copied("plain", tmp_path / "a")
    known = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").write_text("".join(f"{p}\n" for p in [*known[: 34 - len(pieces)], *pieces]))
    assert open_folder(folder).vocabulary.lower_case is not cased
    assert open_folder(folder, cased=False).vocabulary.lower_case
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": cased}))
    assert open_folder(folder).vocabulary.lower_case is cased
    with pytest.raises(CheckpointError, match="catalogue lists"):
        open_folder(folder, cased=cased)


def test_what_is_stored_in_another_way_is_refused() -> None:
    with pytest.raises(CheckpointError, match="object graph of TensorFlow 2"):
        read_index(GOLDEN / "object_graph")
    with pytest.raises(CheckpointError, match="stored in slices"):
        read_index(GOLDEN / "partitioned")


def _rewritten(folder: Path, changes: dict[str, Any]) -> Path:
    """``plain`` with some tensors replaced, or taken out where the replacement is None."""
    copied("plain", folder)
    bundle = open_bundle(GOLDEN / "plain")
    content = {**dict(bundle.read(bundle.entries)), **changes}
    write_bundle(folder, bundle.prefix, ((n, content[n]) for n in sorted(content) if content[n] is not None))
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bert/pooler/dense/kernel": None}, "lacks bert/pooler/dense/kernel"),
        ({"bert/encoder/layer_2/output/dense/bias": np.zeros(8, np.float32)}, "has no place"),
        ({"electra/embeddings": np.zeros(8, np.float32)}, "holds electra/embeddings"),
        ({"bert/pooler/dense/bias": np.zeros(9, np.float32)}, r"has the shape \(9,\)"),
        ({"cls/seq_relationship/output_bias": np.zeros((2, 1), np.float32)}, r"asks for \(2,\)"),
        ({"adam_m": np.zeros(8, np.float32)}, "holds adam_m"),
    ],
)
def test_every_weight_is_accounted_for(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    folder = _rewritten(tmp_path / "a", changes)
    for use in (open_folder, read_tensorflow):
        with pytest.raises(CheckpointError, match=expected):
            use(folder)


def test_heads_may_be_missing_and_heads_of_tasks_are_read(tmp_path: Path) -> None:
    names = [name for name in read_index(GOLDEN / "plain") if name.startswith("cls/")]
    heads = {"output_weights": np.ones((3, 8), np.float32), "output_bias": np.zeros(3, np.float32)}
    folder = open_folder(_rewritten(tmp_path / "a", {**dict.fromkeys(names), **heads}))
    model = load_model(folder, Head("classification", 3), own_head=True)
    assert bool((model.classifier.weight == 1).all())
    with pytest.raises(CheckpointError, match=r"lacks 2 .* qa_outputs\.bias"):
        load_model(folder, Head("span", 2), own_head=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert_model.ckpt.data-00000-of-00001", "lacks bert_model.ckpt.data"),
        ("bert_config.json", r"no bert_config\.json"),
        ("vocab.txt", "without a vocabulary"),
        ("bert_model.ckpt.index", "holds no config"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, expected: str) -> None:
    folder = copied("plain", tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=expected):
        open_folder(folder)


def test_data_that_are_cut_off_or_changed_are_found(tmp_path: Path) -> None:
    folder = copied("plain", tmp_path / "a")
    data = folder / "bert_model.ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="cut off: it has 7247 bytes"):
        open_folder(folder)
    data.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    with pytest.raises(CheckpointError, match="fails its checksum"):
        dict(read_parameters(folder))


@pytest.mark.parametrize("packed", [False, True])
def test_only_one_tensor_is_held_at_a_time(tmp_path: Path, packed: bool) -> None:
    weights, config = read_tensorflow(GOLDEN / "plain")
    words = torch.rand(600_000, 8)
    weights["bert.embeddings.word_embeddings.weight"] = words
    weights = {name: tensor for name, tensor in weights.items() if name.startswith("bert.")}
    folder = write_tensorflow(weights, {**config, "vocab_size": len(words)}, tmp_path / "a")
    path = archive(folder, tmp_path / "a.zip", "") if packed else folder
    tracemalloc.start()
    total = sum(tensor.numel() for _, tensor in read_parameters(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == sum(tensor.numel() for tensor in weights.values())
    assert peak < 4 * words.numel() + (6 << 20)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "tensors", "slots"),
    [
        ("google-bert-medium-uncased_L-8_H-512_A-8", 142, 0),
        ("google-chinese_L-12_H-768_A-12", 206, 0),
        ("bert-base-pretraining-ckpt-with-adam-slots-snappy", 619, 413),
    ],
)
def test_real_indexes_hold_what_the_names_say(shared_dir: Path, name: str, tensors: int, slots: int) -> None:
    folder = shared_dir / "models/tf-checkpoint-indexes" / name
    entries = read_index(folder)
    assert len(entries) == tensors
    config = normalised_config(json.loads((folder / "bert_config.json").read_text()), folder)
    known = bert_variables(config) | {
        n: v for n, v in head_variables(config).items() if v.parameter.startswith("cls.")
    }
    state = {n for n in entries if is_training_state(n, entries)}
    assert len(state) == slots
    assert set(entries) - state == set(known)
    for variable in known.values():
        assert variable.holds(entries[variable.name].shape), variable
    ends = sorted((e.offset, e.offset + e.size) for e in entries.values())
    assert all(before[1] == after[0] for before, after in pairwise(ends))


@pytest.mark.shared
def test_a_real_object_graph_is_refused(shared_dir: Path) -> None:
    with pytest.raises(CheckpointError, match="object graph of TensorFlow 2"):
        read_index(shared_dir / "models/tf-checkpoint-indexes/tf2-keras-object-graph")
