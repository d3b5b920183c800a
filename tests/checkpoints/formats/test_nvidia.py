"""NVIDIA's formats: equal to what NVIDIA's own modules and transformers' converter made of the same files."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from multibench.checkpoints.catalogue.lookup import find
from multibench.checkpoints.download.locate import find_local, local_checkpoint
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.formats.foreign import find_foreign
from multibench.checkpoints.formats.imported import Imported
from multibench.checkpoints.formats.nemo import read_nemo
from multibench.checkpoints.formats.pytorch import read_pytorch
from multibench.checkpoints.load import Dropout, Head, initialise_head, load_model
from multibench.errors import CheckpointError
from tests.support.tiny import (
    RECIPE,
    SPECIAL,
    make_bench,
    make_checkpoint,
    write_vocabulary,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "nvidia"
VERSIONS = [0, 1, 2, 3]
# Processors multiply matrices in orders of their own; what was expected comes from another one.
ROUNDING = 1e-5
# Those of tests/golden/make_nvidia.py.
INPUTS = {
    "input_ids": torch.tensor([[2, 5, 9, 20, 3, 0], [2, 7, 11, 3, 12, 3]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]),
    "token_type_ids": torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]]),
}


def _model(imported: Imported, name: str) -> Any:
    """transformers' own model, every weight of it from ``imported``, and every weight there used."""
    model = getattr(transformers, name)(
        transformers.CONFIG_MAPPING[imported.config["model_type"]](**imported.config)
    )
    report = model.load_state_dict(imported.weights, strict=False)
    assert not report.unexpected_keys
    assert all(key.startswith(("cls.predictions.decoder", "cls.seq")) for key in report.missing_keys)
    return model.eval()


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_megatron_is_converted_as_transformers_does(version: int) -> None:
    known = np.load(GOLDEN / "megatron.npz")
    imported = read_pytorch(GOLDEN / f"megatron_v{version}.pt")
    values = known[f"megatron_v{version}/converted"]
    for name, shape in json.loads(str(known["shapes"])).items():
        size = int(np.prod(shape))
        expected, values = values[:size].reshape(shape), values[size:]
        if name == "cls.predictions.decoder.weight":  # the word embeddings once more
            name = "bert.embeddings.word_embeddings.weight"
        np.testing.assert_array_equal(imported.weights[name].numpy(), expected, err_msg=name)
    assert len(imported.weights) == len(json.loads(str(known["shapes"]))) - 1
    assert imported.notes == ()
    with torch.inference_mode():
        output = _model(imported, "MegatronBertForPreTraining")(**INPUTS)
    for ours, theirs in ((output.prediction_logits, "mlm"), (output.seq_relationship_logits, "nsp")):
        expected = known[f"megatron_v{version}/outputs/{theirs}"]
        np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("kind", ["bertlm", "qa", "glue"])
def test_nemo_archives_compute_what_nemos_modules_compute(kind: str) -> None:
    known = np.load(GOLDEN / "nemo.npz")
    imported = read_nemo(GOLDEN / f"{kind}.nemo")
    name = {"bertlm": "BertForPreTraining", "qa": "BertForQuestionAnswering", "glue": "BertModel"}[kind]
    if kind == "glue":
        weights = {n.removeprefix("bert."): t for n, t in imported.weights.items()}
        imported = imported._replace(weights=weights)
    if kind == "qa":  # this class has no pooler
        weights = {n: t for n, t in imported.weights.items() if not n.startswith("bert.pooler.")}
        imported = imported._replace(weights=weights)
    model = _model(imported, name)
    with torch.inference_mode():
        states = model.base_model(**INPUTS).last_hidden_state
        output = model(**INPUTS)
    np.testing.assert_allclose(states.numpy(), known[f"{kind}/states"], rtol=0, atol=ROUNDING)
    if kind == "bertlm":
        ours = torch.log_softmax(output.prediction_logits, -1)
        np.testing.assert_allclose(ours.numpy(), known["bertlm/mlm_classifier"], rtol=0, atol=ROUNDING)
    if kind == "qa":
        ours = torch.stack([output.start_logits, output.end_logits], -1)
        np.testing.assert_allclose(ours.numpy(), known["qa/classifier"], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("kind", "head"), [("bertlm", "nsp_classifier"), ("glue", "pooler.mlp"), ("qa", None)]
)
def test_what_nemo_did_not_train_or_computes_otherwise_is_said(kind: str, head: str | None) -> None:
    folder = open_folder(GOLDEN / f"{kind}.nemo")
    assert any("untrained" in note for note in folder.notes)
    left = [note for note in folder.notes if note.startswith("Left out")]
    assert len(left) == (head is not None)
    if head is not None:
        assert left[0].count(head) == 4
    model = load_model(folder, Head("classification", 3))
    assert type(model).__name__ == "BertForSequenceClassification"


def test_vocabulary_casing_and_sizes_come_from_the_archive() -> None:
    folder = open_folder(GOLDEN / "qa.nemo")
    assert len(folder.vocabulary) == 21
    assert folder.vocabulary.lower_case
    assert folder.config["vocab_size"] == 24
    with pytest.raises(CheckpointError, match="lower-cases"):
        open_folder(GOLDEN / "qa.nemo", cased=True)


def _repacked(path: Path, out: Path, changes: dict[str, bytes | None], mode: Any = "w") -> Path:
    """An archive with some members changed, added (or dropped: None), and without ``./``."""
    with tarfile.open(path) as archive:
        files = [m for m in archive.getmembers() if m.isfile()]
        read: Any = archive.extractfile
        members = {m.name.removeprefix("./"): read(m).read() for m in files}
    with tarfile.open(out, mode) as archive:
        for name, data in {**members, **changes}.items():
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out


def test_plain_and_gzipped_archives_folders_and_unpacked_members_are_one_checkpoint(tmp_path: Path) -> None:
    content = open_folder(GOLDEN / "qa.nemo").content
    plain = _repacked(GOLDEN / "qa.nemo", tmp_path / "plain.nemo", {})
    assert open_folder(plain).content == content
    (tmp_path / "one").mkdir()
    shutil.copy(plain, tmp_path / "one")
    assert open_folder(tmp_path / "one").content == content
    (tmp_path / "unpacked").mkdir()
    with tarfile.open(plain) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert open_folder(tmp_path / "unpacked").content == content
    weights = torch.load(tmp_path / "unpacked" / "model_weights.ckpt", weights_only=True)
    old = io.BytesIO()
    torch.save(weights, old, _use_new_zipfile_serialization=False)
    written_before_zip = _repacked(plain, tmp_path / "old.nemo", {"model_weights.ckpt": old.getvalue()})
    assert open_folder(written_before_zip).content == content
    shutil.copy(plain, tmp_path / "one" / "two.nemo")
    with pytest.raises(CheckpointError, match="holds 2 archives"):
        open_folder(tmp_path / "one")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            {"config": {"num_attention_heads": 2, "num_hidden_layers": 10**6}},
            r"num_hidden_layers = 1000000, the .* 2\.",
        ),
        (
            {"config": {"num_attention_heads": 2, "intermediate_size": 10**12}},
            "They belong to different models",
        ),
        ({"config": {"num_attention_heads": "two"}}, "and two attention heads were given"),
        ({"config": {}}, "and no attention heads were given"),
        ({"config_file": ""}, "and no attention heads were given"),
        ([], "and no attention heads were given"),
    ],
)
def test_a_configuration_that_is_not_the_weights_own_is_refused(
    tmp_path: Path, model: Any, expected: str
) -> None:
    settings = {"language_model": model, "tokenizer": {"vocab_file": ""}}
    changes: dict[str, bytes | None] = {
        "model_config.yaml": json.dumps(settings).encode(),
        "2c3d_bert-base-uncased_encoder_config.json": None,
    }
    with pytest.raises(CheckpointError, match=expected):
        open_folder(_repacked(GOLDEN / "qa.nemo", tmp_path / "a.nemo", changes))


def test_an_own_head_of_spans_is_read(tmp_path: Path) -> None:
    model = load_model(open_folder(GOLDEN / "qa.nemo"), Head("span", 2), own_head=True)
    known = np.load(GOLDEN / "nemo.npz")
    with torch.inference_mode():
        output = model(**INPUTS)
    np.testing.assert_allclose(
        output.start_logits.numpy(), known["qa/classifier"][..., 0], rtol=0, atol=ROUNDING
    )


def _nemo_of_megatron(out: Path, later: bool, settings: dict[str, Any], version: int | None) -> Path:
    """Megatron's weights as NeMo names them: around the encoder, or as its later model."""
    import io

    tree = torch.load(GOLDEN / "megatron_v2.pt", weights_only=False)["model"]
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(f"{prefix}{key}.", value)
        else:
            flat[prefix.rstrip(".")] = node

    walk("", tree)
    if later:
        saved = {f"model.{name}": tensor for name, tensor in flat.items()}
    else:
        saved = {
            f"bert_model.{n}": t
            for n, t in flat.items()
            if n.startswith("language_model.") and "pooler" not in n
        }
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    changes: dict[str, bytes | None] = {
        "model_weights.ckpt": buffer.getvalue(),
        "model_config.yaml": json.dumps(settings).encode(),
        "2c3d_bert-base-uncased_encoder_config.json": None,
    }
    if version is not None:
        changes["5e_megatron_checkpoint_version.json"] = json.dumps({"checkpoint_version": version}).encode()
    return _repacked(GOLDEN / "qa.nemo", out, changes)


def test_megatron_inside_nemo_is_the_same_encoder(tmp_path: Path) -> None:
    expected = read_pytorch(GOLDEN / "megatron_v2.pt")
    settings = {
        "language_model": {
            "config": {"num-attention-heads": 2},
            "pretrained_model_name": "megatron-bert-cased",
        }
    }
    inner = read_nemo(_nemo_of_megatron(tmp_path / "inner.nemo", False, settings, 2))
    later = read_nemo(_nemo_of_megatron(tmp_path / "later.nemo", True, {"num_attention_heads": 2}, None))
    assert inner.vocabulary is not None
    assert not inner.vocabulary.lower_case
    assert any("no pooler" in note for note in inner.notes)
    assert later.weights.keys() == expected.weights.keys()
    for imported in (inner, later):
        for name, tensor in imported.weights.items():
            assert torch.equal(tensor, expected.weights[name]), name
    with pytest.raises(CheckpointError, match="holds no pooler"):
        load_model(open_folder(tmp_path / "inner.nemo"), Head("classification", 2))
    load_model(open_folder(tmp_path / "inner.nemo"), Head("span", 2))


@pytest.mark.parametrize("head", [Head("classification", 3), Head("regression", 1), Head("span", 2)])
def test_megatron_loads_under_every_head(head: Head) -> None:
    folder = open_folder(GOLDEN / "megatron_v3.pt")
    model = load_model(folder, head, Dropout(0.3, 0.2, 0.05))
    initialise_head(model, 7)
    assert model.config.hidden_dropout_prob == 0.3
    assert model.config.attention_probs_dropout_prob == 0.2
    if head.kind != "span":
        assert model.dropout.p == 0.05
    with torch.inference_mode():
        assert torch.isfinite(model(**INPUTS)[0]).all()


@pytest.mark.parametrize("layout", ["release/mp_rank_00", "mp_rank_00", "zip"])
def test_megatrons_folders_and_zips_are_found(tmp_path: Path, layout: str) -> None:
    here = tmp_path / "model"
    if layout == "zip":
        here.mkdir()
        with zipfile.ZipFile(here / "megatron.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(GOLDEN / "megatron_v1.pt", "release/mp_rank_00/model_optim_rng.pt")
        path = here / "megatron.zip"
    else:
        (here / layout).mkdir(parents=True)
        shutil.copy(GOLDEN / "megatron_v1.pt", here / layout / "model_optim_rng.pt")
        path = here
    shutil.copy(GOLDEN / "vocab.txt", here)
    assert open_folder(path).content == open_folder(GOLDEN / "megatron_v1.pt").content
    if layout != "zip":
        shutil.copytree(here / layout, (here / layout).with_name("mp_rank_01"))
        with pytest.raises(CheckpointError, match="split over 2 files"):
            open_folder(path)


def _megatron(path: Path, **changes: Any) -> Path:
    tree = torch.load(GOLDEN / "megatron_v2.pt", weights_only=False)
    torch.save({**tree, **changes}, path)
    shutil.copy(GOLDEN / "vocab.txt", path.parent)
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"checkpoint_version": 7}, "checkpoint version 7"),
        ({"checkpoint_version": "2"}, "checkpoint version '2'"),
        ({"args": Namespace(num_attention_heads=3)}, "8 hidden units and 3 attention heads"),
        ({"args": None}, "8 hidden units and no attention heads were given; put a config.json"),
        ({"args": Namespace(num_attention_heads=2, openai_gelu=True)}, "openai_gelu = True"),
        ({"args": Namespace(openai_gelu=torch.ones(2))}, "no attention heads were given"),
        ({"model": {}}, "no matrix"),
        ({"model": [1]}, "holds a list"),
    ],
)
def test_what_megatron_bert_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        open_folder(_megatron(tmp_path / "a.pt", **changes))


def test_the_vocabulary_of_the_other_megatron_is_refused(tmp_path: Path) -> None:
    path = _megatron(tmp_path / "a.pt")
    tree = torch.load(path, weights_only=False)
    words = tree["model"]["language_model"]["embedding"]["word_embeddings"]
    words["weight"] = torch.cat([words["weight"], torch.zeros(1040, 8)])
    torch.save(tree, path)
    with pytest.raises(CheckpointError, match="cased and the uncased one may have been swapped"):
        open_folder(path)


def test_a_configuration_beside_says_what_the_file_does_not(tmp_path: Path) -> None:
    path = _megatron(tmp_path / "a.pt", args=None)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2, "layer_norm_eps": 1e-5}')
    folder = open_folder(path)
    assert folder.config["num_attention_heads"] == 2
    assert folder.config["layer_norm_eps"] == 1e-5
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4}')
    assert open_folder(path).config["num_attention_heads"] == 4


def test_a_foreign_file_is_a_path_of_a_suite_and_an_entry_below_checkpoints(tmp_path: Path) -> None:
    entry = local_checkpoint(str(GOLDEN / "megatron_v1.pt"), None, None, 3, None)
    assert entry.architecture.model_type == "megatron-bert"
    assert entry.architecture.layers == 2
    assert find_local(entry) == GOLDEN / "megatron_v1.pt"
    below = tmp_path / "nvidia" / "nemo" / "bertbaseuncased"
    below.mkdir(parents=True)
    shutil.copy(GOLDEN / "bertlm.nemo", below / "bertbaseuncased.nemo")
    assert find_local(find("bertbaseuncased"), tmp_path) == below
    assert open_folder(below).content == open_folder(GOLDEN / "bertlm.nemo").content
    shutil.rmtree(below)
    assert find_local(find("bertbaseuncased"), tmp_path) is None
    shutil.copy(GOLDEN / "bertlm.nemo", tmp_path / "bertbaseuncased.nemo")
    assert find_local(find("bertbaseuncased"), tmp_path) == tmp_path / "bertbaseuncased.nemo"


def test_a_folder_of_hugging_face_is_never_taken_for_another_format(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "a")
    (folder / "optimizer.pt").write_bytes(b"rubbish")
    (folder / "other.nemo").write_bytes(b"rubbish")
    assert find_foreign(folder) is None
    assert open_folder(folder).notes == ()


def test_a_suite_trains_megatron_and_says_what_was_read(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    pieces = [*SPECIAL, *"bdfgk", *(f"##{letter}" for letter in "aeiloumnrs")]  # spell most words of the task
    shutil.copy(GOLDEN / "megatron_v1.pt", tmp_path)
    write_vocabulary(tmp_path, pieces)
    changes: dict[str, bytes | None] = {"0a1b_vocab.txt": (tmp_path / "vocab.txt").read_bytes()}
    archive = _repacked(GOLDEN / "glue.nemo", tmp_path / "glue.nemo", changes)
    short = {**RECIPE, "max_length": 10, "epochs": 1}
    paths = [{"path": str(tmp_path / "megatron_v1.pt")}, {"path": str(archive)}]
    bench.write(checkpoints=paths, recipe=short, finetuning_seeds=[0])
    assert sum("untrained" in remark for remark in bench.plan().remarks) == 1
    assert bench.run().failed == 0
    notes = [bench.store.manifest(r)["provenance"]["checkpoint_notes"] for r in bench.store.run_ids()]
    assert sorted(map(len, notes)) == [0, 2]
