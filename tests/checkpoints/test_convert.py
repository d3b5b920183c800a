"""Conversion: from every format to every format, nothing changed on the way and nothing lost in silence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import multibench
from multibench.checkpoints.convert import Conversion, Target, convert
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.nemo import read_nemo
from multibench.checkpoints.load import Head, load_model
from multibench.errors import CheckpointError, UnknownNameError
from tests.support.command import multibench as command
from tests.support.tiny import HIDDEN, VOCABULARY, Weights, make_checkpoint, weights_of

GOLDEN = Path(__file__).parents[1] / "golden"
TARGETS: list[Target] = ["huggingface", "tensorflow", "nemo"]


def _pretraining(seed: int = 0) -> Weights:
    """All weights of ``BertForPreTraining``."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> Any:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    heads = {
        "cls.predictions.transform.dense.weight": drawn(HIDDEN, HIDDEN),
        "cls.predictions.transform.dense.bias": drawn(HIDDEN),
        "cls.predictions.transform.LayerNorm.weight": drawn(HIDDEN),
        "cls.predictions.transform.LayerNorm.bias": drawn(HIDDEN),
        "cls.predictions.bias": drawn(len(VOCABULARY)),
        "cls.seq_relationship.weight": drawn(2, HIDDEN),
        "cls.seq_relationship.bias": drawn(2),
    }
    return {**{f"bert.{name}": value for name, value in weights_of("bert").items()}, **heads}


@pytest.mark.parametrize("first", TARGETS)
@pytest.mark.parametrize("second", TARGETS)
def test_every_format_leads_to_every_other_and_back(tmp_path: Path, first: Target, second: Target) -> None:
    source = make_checkpoint(tmp_path / "source", weights=_pretraining())
    one = convert(source, first, tmp_path / "one")
    two = convert(one.path, second, tmp_path / "two")
    back = convert(two.path, "huggingface", tmp_path / "back")
    assert (one.weights, two.weights, back.weights) == (46, 46, 46)
    assert one.notes == two.notes == back.notes == ()
    assert open_folder(back.path).content == open_folder(source).content


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_what_huggingface_gets_is_what_transformers_loads(tmp_path: Path, kind: Any) -> None:
    transformers.utils.logging.disable_progress_bar()
    nemo = convert(make_checkpoint(tmp_path / "source", kind), "nemo", tmp_path / "nemo")
    back = convert(nemo.path, "huggingface", tmp_path / "back")
    _, info = transformers.AutoModel.from_pretrained(back.path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(back.path)
    assert (
        tokenizer("Bala good")["input_ids"]
        == open_folder(back.path).vocabulary.tokenizer().encode("bala good").ids
    )
    model = transformers.BertForPreTraining.from_pretrained(
        convert(
            make_checkpoint(tmp_path / "heads", weights=_pretraining()), "huggingface", tmp_path / "a"
        ).path
    )
    assert torch.equal(
        model.cls.seq_relationship.bias, torch.from_numpy(_pretraining()["cls.seq_relationship.bias"])
    )


def test_nemos_next_sentence_head_gets_the_pooler_that_was_trained_for_it(tmp_path: Path) -> None:
    path = convert(
        make_checkpoint(tmp_path / "source", weights=_pretraining()), "nemo", tmp_path / "out"
    ).path
    imported = read_nemo(path)
    assert not any("untrained" in note for note in imported.notes)
    assert "cls.seq_relationship.weight" in imported.weights


@pytest.mark.parametrize(("name", "target"), [("qa", "QAModel"), ("bertlm", "BERTLMModel")])
def test_nemos_own_archives_come_back_as_they_were(tmp_path: Path, name: str, target: str) -> None:
    import tarfile

    conversion = convert(GOLDEN / "nvidia" / f"{name}.nemo", "nemo", tmp_path / "out")
    assert open_folder(conversion.path).content == open_folder(GOLDEN / "nvidia" / f"{name}.nemo").content
    with tarfile.open(conversion.path, "r:gz") as archive:  # what NeMo 1.0.0 opens it with
        assert archive.getnames() == ["./model_config.yaml", "./model_weights.ckpt", "./vocab.txt"]
        config: Any = archive.extractfile("./model_config.yaml")
        assert target in config.read().decode()


def test_the_same_checkpoint_gives_the_same_archive(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source")
    one, two = (convert(source, "nemo", tmp_path / out).path.read_bytes() for out in ("one", "two"))
    assert one == two


def test_heads_without_a_place_are_named(tmp_path: Path) -> None:
    weights = {**weights_of("bert"), "classifier.weight": np.ones((3, HIDDEN), np.float32)}
    source = make_checkpoint(tmp_path / "source", weights=weights)
    nemo = convert(source, "nemo", tmp_path / "nemo")
    assert nemo.weights == len(weights) - 1
    assert "classifier.weight" in nemo.notes[0]
    assert "strict=False" in nemo.notes[1]
    hub = convert(source, "huggingface", tmp_path / "hub")
    config = json.loads((hub.path / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert len(config["id2label"]) == 3


@pytest.mark.parametrize(
    ("target", "changes", "expected"),
    [
        ("tensorflow", {"layer_norm_eps": 1e-5}, "has layer_norm_eps, for which the new format has no place"),
        ("onnx", {}, "'onnx' is no format to convert to; use one of huggingface, tensorflow, nemo"),
    ],
)
def test_what_cannot_be_said_in_a_format_is_refused(
    tmp_path: Path, target: Target, changes: dict[str, Any], expected: str
) -> None:
    source = make_checkpoint(tmp_path / "source", **changes)
    with pytest.raises(CheckpointError, match=expected):
        convert(source, target, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("target", ["tensorflow", "nemo"])
def test_other_architectures_are_refused_where_there_is_no_place_for_them(
    tmp_path: Path, target: Target
) -> None:
    with pytest.raises(CheckpointError, match=r"(?i)megatron-bert"):
        convert(GOLDEN / "nvidia" / "megatron_v1.pt", target, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(CheckpointError, match="nothing is overwritten"):
        convert(source, "nemo", tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert convert(source, "nemo", tmp_path / "empty").path == tmp_path / "empty" / "source.nemo"
    with pytest.raises(UnknownNameError):
        convert("no such checkpoint", "nemo", tmp_path / "out")


def test_a_cased_vocabulary_stays_one(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source")
    (source / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    for target in TARGETS:
        conversion = convert(source, target, tmp_path / target)
        if target == "tensorflow":
            assert "keeps case" in conversion.notes[0]
        else:
            assert not open_folder(conversion.path).vocabulary.lower_case


def test_the_verb_and_the_function(tmp_path: Path) -> None:
    conversion = multibench.convert(GOLDEN / "nvidia" / "qa.nemo", "huggingface", tmp_path / "one")
    assert isinstance(conversion, Conversion)
    shutil.copy(GOLDEN / "nvidia" / "qa.nemo", tmp_path)
    done = command(
        "convert", "qa.nemo", "--checkpoints", str(tmp_path), "--to", "nemo", "--out", str(tmp_path / "two")
    )
    assert done.code == 0
    assert "qa.nemo holds 41 tensors, each read back and equal." in done.out
    assert "untrained" in done.out
    done = command("convert", "nowhere", "--to", "nemo", "--out", str(tmp_path / "three"))
    assert "nowhere" in done.refusal()


@pytest.mark.minilm
def test_minilm_goes_through_nemo_with_the_same_outputs(tmp_path: Path, minilm_dir: Path) -> None:
    head = Head("classification", 2)
    conversion = convert(minilm_dir, "nemo", tmp_path / "nemo")
    ids = torch.randint(1000, 20000, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = (
            load_model(open_folder(path), head).base_model(ids) for path in (conversion.path, minilm_dir)
        )
    torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.pooler_output, theirs.pooler_output, rtol=0, atol=1e-6)
    assert open_folder(conversion.path).content == open_folder(minilm_dir).content
