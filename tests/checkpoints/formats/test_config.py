"""Configurations: reduced to what decides the computation, refused where it cannot be what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multibench.checkpoints.catalogue.architecture import MODEL_TYPES
from multibench.checkpoints.formats.config import read_config
from multibench.errors import CheckpointError
from tests.support.tiny import Kind, config_of


def _write(folder: Path, **changes: object) -> Path:
    config = {**config_of("bert"), **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "DROP"}))
    return folder


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_defaults_are_those_of_transformers(tmp_path: Path, kind: Kind) -> None:
    import transformers

    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    theirs = transformers.CONFIG_MAPPING[kind]()
    for key, value in read_config(tmp_path).items():
        if key not in {"model_type", "id2label"}:
            assert getattr(theirs, key) == value, key


def test_what_changes_no_computation_changes_nothing(tmp_path: Path) -> None:
    plain = read_config(_write(tmp_path))
    said = _write(
        tmp_path,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        transformers_version="2.3.0",
        architectures=["BertForPreTraining"],
        _name_or_path="somewhere",
        torch_dtype="float32",
        gradient_checkpointing=False,
        position_embedding_type="absolute",
        use_cache=True,
    )
    assert read_config(said) == plain


def test_old_google_configurations_name_no_type(tmp_path: Path) -> None:
    assert read_config(_write(tmp_path, model_type="DROP"))["model_type"] == "bert"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"model_type": "roberta"},
            "architecture 'roberta'; multibench fine-tunes bert, distilbert, megatron-bert",
        ),
        ({"model_type": "DROP", "hidden_size": "DROP"}, "architecture 'None'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' position embeddings"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"),
        ({"hidden_size": "32"}, "hidden_size is '32', not a count of 1 or more"),
        ({"hidden_size": True}, "hidden_size is True, not a count"),
        ({"hidden_size": 32.0}, r"hidden_size is 32\.0, not a count"),
        ({"num_hidden_layers": 10**5}, "asks for 100000 layers; no BERT has so many"),
        ({"model_type": {"a": 1}}, "names the architecture"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\], where 'gelu' would be expected"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps is inf, not a number"),
        ({"initializer_range": float("nan")}, "initializer_range is nan, not a number"),
        ({"initializer_range": -1}, "initializer_range is -1, not a number of 0 or more"),
        ({"classifier_dropout": "no"}, "classifier_dropout is 'no', not a number"),
        ({"layer_norm_eps": None}, "layer_norm_eps is None"),
        ({"max_position_embeddings": [512]}, "max_position_embeddings"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_config(_write(tmp_path, **changes))
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"7", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        read_config(tmp_path)
