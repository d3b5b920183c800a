"""Loading: the model computes what transformers' own would, and every weight is accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.checkpoints.load import Dropout, Head, initialise_head, load_model
from multibench.errors import CheckpointError
from tests.support.tiny import HIDDEN, VOCABULARY, Kind, Weights, make_checkpoint, weights_of

CLASSES = Head("classification", 3)
KINDS: list[Kind] = ["bert", "distilbert"]


def _open(
    folder: Path, kind: Kind = "bert", weights: Weights | None = None, **config: object
) -> CheckpointFolder:
    return open_folder(make_checkpoint(folder, kind, weights=weights, **config))


def _inputs() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(5, len(VOCABULARY), size=(3, 12)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_that_of_from_pretrained(tmp_path: Path, kind: Kind) -> None:
    folder = _open(tmp_path / "a", kind)
    model = load_model(folder, CLASSES)
    transformers.utils.logging.disable_progress_bar()
    theirs = transformers.AutoModel.from_pretrained(folder.path)
    mine = model.base_model.state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(mine[name], value), name
    with torch.inference_mode():
        ours = model.base_model(_inputs()).last_hidden_state
        expected = theirs.eval()(_inputs()).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert not model.training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "head", [CLASSES, Head("regression", 1), Head("span", 2)], ids=lambda head: str(head.kind)
)
def test_every_kind_of_head_has_its_outputs(tmp_path: Path, kind: Kind, head: Head) -> None:
    model = load_model(_open(tmp_path / "a", kind), head)
    initialise_head(model, 7)
    with torch.inference_mode():
        output = model(_inputs())
    if head.kind == "span":
        assert output.start_logits.shape == output.end_logits.shape == (3, 12)
    else:
        assert output.logits.shape == (3, head.outputs)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_loading_draws_no_random_numbers_of_the_callers(tmp_path: Path, kind: Kind) -> None:
    folder = _open(tmp_path / "a", kind)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    initialise_head(load_model(folder, CLASSES), 7)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_depends_on_its_seed_alone(tmp_path: Path, kind: Kind) -> None:
    def head(folder: CheckpointFolder, seed: int) -> dict[str, torch.Tensor]:
        model = load_model(folder, CLASSES)
        initialise_head(model, seed)
        prefix = model.base_model_prefix + "."
        return {n: p.detach().clone() for n, p in model.named_parameters() if not n.startswith(prefix)}

    one, two = (_open(tmp_path / name, kind, weights_of(kind, i)) for i, name in enumerate("ab"))
    torch.manual_seed(1)
    first = head(one, 7)
    torch.manual_seed(2)
    second = head(two, 7)
    assert set(first) == (
        {"classifier.weight", "classifier.bias"}
        | ({"pre_classifier.weight", "pre_classifier.bias"} if kind == "distilbert" else set())
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = head(one, 8)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    assert all(not p.any() for name, p in first.items() if name.endswith("bias"))


def test_heads_have_the_distribution_that_the_recipe_says(tmp_path: Path) -> None:
    wide = load_model(_open(tmp_path / "a"), Head("classification", 1500))
    initialise_head(wide, 3)
    normal = wide.classifier.weight.detach().numpy()
    assert normal.std() == pytest.approx(0.02, rel=0.02)
    assert np.abs(normal).max() > 0.04
    initialise_head(wide, 3, "truncated_normal")
    cut = wide.classifier.weight.detach().numpy()
    assert np.abs(cut).max() <= 0.04
    # a normal cut at two standard deviations has 0.8796 of the standard deviation
    assert cut.std() == pytest.approx(0.02 * 0.8796, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_as_asked_for_or_as_configured(tmp_path: Path, kind: Kind) -> None:
    folder = _open(tmp_path / "a", kind)
    model = load_model(folder, CLASSES, Dropout(0.21, 0.22, 0.23))
    rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    config = model.config
    attention = config.attention_probs_dropout_prob if kind == "bert" else config.attention_dropout
    assert (rates | {attention}) == {0.21, 0.22, 0.23}
    assert attention == 0.22
    plain = load_model(folder, CLASSES)
    rates = {module.p for module in plain.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates <= {0.1, 0.2}


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_weights_become_single(tmp_path: Path, kind: Kind) -> None:
    halves = {name: value.astype(np.float16) for name, value in weights_of(kind).items()}
    model = load_model(_open(tmp_path / "a", kind, halves), CLASSES)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    name = "embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(
        model.base_model.state_dict()[name].numpy(), halves[name].astype(np.float32)
    )


def test_weights_that_share_memory_in_a_file_are_apart_in_the_model(tmp_path: Path) -> None:
    """Else a step on one would be a step on the other."""
    folder = make_checkpoint(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    tensors = {name: torch.from_numpy(value) for name, value in weights_of("bert").items()}
    layers = [
        f"encoder.layer.{i}.attention.self.{part}.weight"
        for i in (0, 1)
        for part in ("query", "key", "value")
    ]
    fused = torch.cat([tensors[name] for name in layers[:3]])
    tensors.update(zip(layers[:3], fused.split(HIDDEN), strict=True))
    tensors[layers[3]] = tensors[layers[4]]
    tensors[layers[5]] = tensors[layers[5]].T.contiguous().T
    torch.save(tensors, folder / "pytorch_model.bin")
    model = load_model(open_folder(folder), CLASSES)
    loaded = {name: model.base_model.get_parameter(name) for name in layers}
    for name in layers:
        assert torch.equal(loaded[name], tensors[name]), name
        assert loaded[name].is_contiguous()
        assert loaded[name].requires_grad
    places = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert len(places) == len(list(model.parameters()))
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_published_exports_with_other_heads_load(tmp_path: Path, kind: Kind) -> None:
    prefix = "bert." if kind == "bert" else "distilbert."
    weights = {prefix + name: value for name, value in weights_of(kind).items()}
    extras = (
        ["cls.predictions.bias", "cls.seq_relationship.weight", "classifier.weight"]
        if kind == "bert"
        else ["vocab_transform.weight", "vocab_projector.bias", "qa_outputs.weight"]
    )
    weights.update({name: np.ones(5, np.float32) for name in extras})
    model = load_model(_open(tmp_path / "a", kind, weights), CLASSES)
    plain = load_model(_open(tmp_path / "b", kind), CLASSES)
    for name, value in plain.base_model.state_dict().items():
        assert torch.equal(model.base_model.state_dict()[name], value)


def test_old_layer_norm_names_load(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): (torch.from_numpy(value))
        for name, value in weights_of("bert").items()
    }
    torch.save(old, folder / "pytorch_model.bin")
    model = load_model(open_folder(folder), CLASSES)
    plain = load_model(_open(tmp_path / "b"), CLASSES)
    for name, value in plain.base_model.state_dict().items():
        assert torch.equal(model.base_model.state_dict()[name], value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_checkpoints_own_head_is_read_when_asked_for(tmp_path: Path, kind: Kind) -> None:
    model = load_model(_open(tmp_path / "a", kind), CLASSES)
    initialise_head(model, 7)
    model.save_pretrained(tmp_path / "tuned")
    for name in ("vocab.txt",):
        (tmp_path / "tuned" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    again = load_model(open_folder(tmp_path / "tuned"), CLASSES, own_head=True)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    with pytest.raises(CheckpointError, match=r"lacks .* such as classifier"):
        load_model(open_folder(tmp_path / "a"), CLASSES, own_head=True)
    with pytest.raises(CheckpointError, match="has the shape"):
        load_model(open_folder(tmp_path / "tuned"), Head("classification", 2), own_head=True)


@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_weight_is_noticed(tmp_path: Path, kind: Kind) -> None:
    weights = weights_of(kind)
    for i, name in enumerate(weights):
        if i % 5 and not name.startswith("pooler"):
            continue
        rest = {n: v for n, v in weights.items() if n != name}
        with pytest.raises(CheckpointError, match="no pooler" if name.startswith("pooler") else name):
            load_model(_open(tmp_path / f"{i}", kind, rest), CLASSES)


def test_a_missing_pooler_is_refused_unless_the_head_needs_none(tmp_path: Path) -> None:
    weights = {n: v for n, v in weights_of("bert").items() if not n.startswith("pooler")}
    folder = _open(tmp_path / "a", weights=weights)
    with pytest.raises(CheckpointError, match="no pooler"):
        load_model(folder, CLASSES)
    load_model(folder, Head("span", 2))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("encoder.layer.2.output.dense.bias", np.zeros(HIDDEN, np.float32), "has no place for, such as"),
        ("encoder.layer.0.adapter.weight", np.zeros(3, np.float32), "has no place for"),
        ("pooler.dense.bias", np.zeros(HIDDEN + 1, np.float32), r"pooler\.dense\.bias has the shape \(33,\)"),
        ("pooler.dense.bias", np.zeros(HIDDEN, np.int8), "holds torch.int8"),
    ],
)
def test_weights_of_another_model_are_refused(
    tmp_path: Path, name: str, value: np.ndarray, expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load_model(_open(tmp_path / "a", weights={**weights_of("bert"), name: value}), CLASSES)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    weights = weights_of("bert")
    weights["pooler.dense.weight"][3, 4] = np.nan
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.weight holds .*NaN"):
        load_model(_open(tmp_path / "a", weights=weights), CLASSES)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 5}, "no model that can be built"),
        ({"hidden_act": "sigmoidal"}, "no model that can be built"),
        ({"hidden_size": 64}, "has the shape"),
        ({"num_hidden_layers": 3}, "lacks 16 of the weights"),
        ({"num_hidden_layers": 1}, "has no place for"),
        ({"max_position_embeddings": 512}, "has the shape"),
        ({"vocab_size": -1}, "config.json|WordPieces"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    tmp_path: Path, config: dict[str, object], expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load_model(_open(tmp_path / "a", **config), CLASSES)
