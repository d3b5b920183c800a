from dataclasses import replace
from typing import Any

import pytest

from multibench.checkpoints import Architecture, all_checkpoints
from multibench.errors import CheckpointError

# Counts of checkpoints.md (computed there by its formula and checked against published rounded figures).
BASE = Architecture("bert", 12, 768, 12, 3072, 30522)
LARGE = Architecture("bert", 24, 1024, 16, 4096, 30522)
TINY = Architecture("bert", 2, 128, 2, 512, 30522)
DISTIL = Architecture("distilbert", 6, 768, 12, 3072, 30522, type_vocab=0)
MEGATRON = Architecture("megatron-bert", 24, 1024, 16, 4096, 29056)


@pytest.mark.parametrize(
    ("architecture", "count"),
    [
        (BASE, 109_482_240),
        (LARGE, 335_141_888),
        (TINY, 4_385_920),
        (DISTIL, 66_362_880),
        (MEGATRON, 333_640_704),
    ],
)
def test_parameters_are_those_published(architecture: Any, count: Any) -> None:
    assert architecture.parameters() == count


@pytest.mark.parametrize("unknown", ["vocab_size", "intermediate"])
def test_parameters_are_unknown_if_a_size_is(unknown: str) -> None:
    changes: dict[str, Any] = {unknown: None}
    assert replace(TINY, **changes).parameters() is None


def test_the_number_of_heads_does_not_change_the_count() -> None:
    assert replace(TINY, heads=None).parameters() == TINY.parameters()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"model_type": "roberta"}, "'roberta' is not supported"),
        ({"model_type": "distilbert"}, "no token-type"),
        ({"heads": 3}, "128 hidden units do not divide into 3 heads"),
    ],
)
def test_impossible_architectures_are_refused(sizes: Any, message: Any) -> None:
    with pytest.raises(CheckpointError, match=message):
        replace(TINY, **sizes)


def real_model(transformers: Any, shape: Architecture) -> Any:
    if shape.model_type == "distilbert":
        return transformers.DistilBertModel(
            transformers.DistilBertConfig(
                vocab_size=shape.vocab_size,
                max_position_embeddings=shape.max_positions,
                dim=shape.hidden,
                n_layers=shape.layers,
                n_heads=shape.heads,
                hidden_dim=shape.intermediate,
            )
        )
    prefix = {"bert": "Bert", "megatron-bert": "MegatronBert"}[shape.model_type]
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.max_positions,
        type_vocab_size=shape.type_vocab,
    )
    return getattr(transformers, f"{prefix}Model")(config)


def test_counts_equal_those_of_the_real_models() -> None:
    """One model of every catalogued width and vocabulary, built without memory and counted."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    known = {c.architecture for c in all_checkpoints() if c.parameters is not None and c.architecture.heads}
    # Three layers stand for any number: the count is linear in it.
    shapes = {replace(shape, layers=3) for shape in known}
    assert {shape.model_type for shape in shapes} == {"bert", "distilbert", "megatron-bert"}
    for shape in shapes:
        with torch.device("meta"):
            model = real_model(transformers, shape)
        assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters(), shape
