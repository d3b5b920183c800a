"""DeepLearningExamples' single files: BERT under other names, with a padded vocabulary."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Head, load_model
from multibench.errors import CheckpointError
from tests.support.tiny import VOCABULARY, make_checkpoint, weights_of, write_vocabulary


def _dle(path: Path, **extra: torch.Tensor) -> Path:
    """Weights named, padded and wrapped as DeepLearningExamples does it."""
    weights = {n: torch.from_numpy(v) for n, v in weights_of("bert").items()}
    words = weights["embeddings.word_embeddings.weight"]
    padding = -len(words) % 8 or 8
    weights["embeddings.word_embeddings.weight"] = torch.cat([words, torch.zeros(padding, words.shape[1])])
    renamed = {
        "bert." + re.sub(r"(intermediate|pooler)\.dense\.", r"\1.dense_act.", name): tensor
        for name, tensor in weights.items()
    }
    path.parent.mkdir(exist_ok=True, parents=True)
    torch.save({"model": {**renamed, **extra}, "optimizer": {"state": {}}, "epoch": 1}, path)
    write_vocabulary(path.parent)
    (path.parent / "bert_config.json").write_text(
        json.dumps({"num_attention_heads": 2, "vocab_size": len(VOCABULARY)})
    )
    return path


def test_deeplearningexamples_is_bert_with_a_padded_vocabulary(tmp_path: Path) -> None:
    decoder = {
        "cls.predictions.transform.dense_act.weight": torch.ones(3),
        "qa_outputs.weight": torch.ones(2, 32),
    }
    folder = open_folder(_dle(tmp_path / "dle" / "ckpt.pt", **decoder))
    plain = load_model(open_folder(make_checkpoint(tmp_path / "plain")), Head("classification", 2))
    model = load_model(folder, Head("classification", 2))
    assert folder.config["vocab_size"] % 8 == 0
    assert any(note.startswith("The vocabulary is padded from") for note in folder.notes)
    ids = torch.randint(5, len(VOCABULARY), (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.base_model(ids).pooler_output, plain.base_model(ids).pooler_output)


def test_a_weight_without_a_place_is_refused(tmp_path: Path) -> None:
    folder = open_folder(
        _dle(tmp_path / "dle" / "ckpt.pt", **{"bert.encoder.layer.0.adapter.weight": torch.ones(3)})
    )
    with pytest.raises(CheckpointError, match=r"no place for, such as encoder\.layer\.0\.adapter"):
        load_model(folder, Head("classification", 2))


def test_a_file_without_a_vocabulary_says_where_to_put_it(tmp_path: Path) -> None:
    path = _dle(tmp_path / "ckpt.pt")
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"put its vocab\.txt beside it"):
        open_folder(path)
