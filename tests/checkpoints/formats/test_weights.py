"""Names of weights are those of the bare model, whichever file they come from."""

from __future__ import annotations

import pytest

from multibench.checkpoints.formats.weights import canonical_name


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("bert.encoder.layer.0.output.LayerNorm.gamma", "encoder.layer.0.output.LayerNorm.weight"),
        ("distilbert.transformer.layer.0.ffn.lin1.bias", "transformer.layer.0.ffn.lin1.bias"),
        ("cls.predictions.transform.LayerNorm.beta", "cls.predictions.transform.LayerNorm.bias"),
        ("classifier.weight", "classifier.weight"),
        ("bert.embeddings.position_ids", None),
        ("embeddings.token_type_ids", None),
    ],
)
def test_names_are_those_of_the_bare_model(name: str, canonical: str | None) -> None:
    assert canonical_name(name) == canonical
