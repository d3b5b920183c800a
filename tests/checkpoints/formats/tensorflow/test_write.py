"""What is written is what TensorFlow itself writes, and comes back bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.checkpoints.formats.tensorflow import (
    open_bundle,
    read_index,
    read_tensorflow,
    write_tensorflow,
)
from multibench.checkpoints.formats.tensorflow.bundle import write_bundle
from multibench.checkpoints.formats.tensorflow.table import read_table, read_varint, varint, write_table
from multibench.checkpoints.load import Head, load_model
from multibench.errors import CheckpointError, StorageError
from tests.support.tensorflow import GOLDEN, archive
from tests.support.tiny import VOCABULARY, make_bench, make_checkpoint

FILES = ["bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "vocab.txt"]


def _plain() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return read_tensorflow(GOLDEN / "plain")


def test_the_bytes_are_those_of_tensorflow(tmp_path: Path) -> None:
    weights, config = _plain()
    out = write_tensorflow(weights, config, tmp_path / "out", ["[PAD]", "é"])
    assert sorted(path.name for path in out.iterdir()) == FILES
    for name in FILES[1:3]:
        assert (out / name).read_bytes() == (GOLDEN / "plain" / name).read_bytes()
    assert (out / "vocab.txt").read_bytes() == "[PAD]\né\n".encode()
    assert read_tensorflow(out)[1] == config
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_slots_and_scalars_are_written_as_tensorflow_does(tmp_path: Path) -> None:
    bundle = open_bundle(GOLDEN / "pretraining")
    names = sorted(set(bundle.entries) - {"global_step"})
    content = dict(bundle.read(names))
    write_bundle(tmp_path, "a", ((name, content[name]) for name in names))
    written = read_index(tmp_path / "a")
    assert {n: (e.shape, e.crc) for n, e in written.items()} == {
        n: (bundle.entries[n].shape, bundle.entries[n].crc) for n in names
    }


def test_any_table_comes_back() -> None:
    entries = {b"": b"", b"a" * 300: b"x" * 1000, b"\xff\xff": b"y"} | {
        f"{i:05d}".encode(): bytes(i % 7) for i in range(3000)
    }
    assert read_table(write_table(entries)) == dict(sorted(entries.items()))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1])
def test_numbers_come_back(value: int) -> None:
    assert read_varint(b"x" + varint(value) + b"y", 1) == (value, 1 + len(varint(value)))


def _folders(tmp_path: Path, source: CheckpointFolder) -> CheckpointFolder:
    out = write_tensorflow(source.weights(), source.config, tmp_path / "out", source.vocabulary.pieces)
    return open_folder(out)


def test_a_tiny_model_keeps_its_content(tmp_path: Path) -> None:
    source = open_folder(make_checkpoint(tmp_path / "a"))
    assert _folders(tmp_path, source).content == source.content


@pytest.mark.minilm
def test_minilm_comes_back_bit_for_bit_with_its_outputs(minilm_dir: Path, tmp_path: Path) -> None:
    source = open_folder(minilm_dir)
    written = _folders(tmp_path, source)
    ours, theirs = (load_model(f, Head("classification", 2)).bert for f in (written, source))
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    ids = torch.arange(2000, 2024).reshape(2, 12)
    with torch.inference_mode():
        outputs = [model(ids) for model in (ours, theirs)]
    for part in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(outputs[0][part], outputs[1][part], rtol=0, atol=1e-6)
    assert written.vocabulary.pieces == source.vocabulary.pieces
    assert written.weights_sha256() == source.weights_sha256()


def test_heads_and_the_tied_decoder_have_their_places(tmp_path: Path) -> None:
    weights, config = _plain()
    heads = {
        "classifier.weight": torch.ones(3, 8),
        "classifier.bias": torch.zeros(3),
        "qa_outputs.weight": torch.ones(2, 8),
        "qa_outputs.bias": torch.zeros(2),
    }
    copies = {
        "cls.predictions.decoder.weight": weights["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"],
        "bert.embeddings.position_ids": torch.arange(12),
    }
    out = write_tensorflow({**weights, **heads, **copies}, config, tmp_path / "out")
    again = read_tensorflow(out)[0]
    assert set(again) == set(weights) | set(heads)
    assert {"output_weights", "output_bias", "cls/squad/output_weights"} <= set(read_index(out))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_written_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    weights, config = _plain()
    narrow = {name: tensor.to(dtype) for name, tensor in weights.items()}
    again = read_tensorflow(write_tensorflow(narrow, config, tmp_path / "out"))[0]
    assert all(torch.equal(again[name], tensor.float()) for name, tensor in narrow.items())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bert.pooler.dense.bias": None}, r"lack bert\.pooler\.dense\.bias"),
        ({"adapter.weight": torch.ones(1)}, r"no place for adapter\.weight"),
        ({"cls.predictions.decoder.weight": torch.ones(34, 8)}, r"no place for cls\.predictions\.decoder"),
        ({"bert.pooler.dense.weight": torch.ones(8, 9)}, r"has the shape \(8, 9\)"),
    ],
)
def test_weights_without_a_place_are_refused(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    weights, config = _plain()
    changed = {name: tensor for name, tensor in {**weights, **changes}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=expected):
        write_tensorflow(changed, config, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    source = open_folder(make_checkpoint(tmp_path / "a", "distilbert"))
    with pytest.raises(CheckpointError, match="no names in them for distilbert"):
        write_tensorflow(source.weights(), source.config, tmp_path / "out", VOCABULARY)


def test_a_setting_that_google_has_as_a_constant_is_not_lost_silently(tmp_path: Path) -> None:
    weights, config = _plain()
    with pytest.raises(CheckpointError, match=r"layer_norm_eps, .* at 1e-06"):
        write_tensorflow(weights, {**config, "layer_norm_eps": 1e-6}, tmp_path / "out")


def test_a_suite_takes_it_as_the_checkpoint_that_it_is(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    expected = [run.run_id for run in bench.plan().runs]
    source = open_folder(tmp_path / "bert")
    write_tensorflow(source.weights(), source.config, tmp_path / "tf", source.vocabulary.pieces)
    for path in (tmp_path / "tf", archive(tmp_path / "tf", tmp_path / "tf.zip", "bert/")):
        bench.write(checkpoints=[{"path": str(path)}], finetuning_seeds=[0])
        assert [run.run_id for run in bench.plan().runs] == expected[:1]
    assert sum(bench.run().made.values()) == 1
    assert bench.plan().count("done") == 1


def test_nothing_is_overwritten_or_left_half(tmp_path: Path) -> None:
    weights, config = _plain()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    with pytest.raises(CheckpointError, match="nothing is overwritten"):
        write_tensorflow(weights, config, tmp_path / "full")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_tensorflow(weights, config, tmp_path / "file/out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
