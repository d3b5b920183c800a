"""The built-in checkpoints: where they lie and how they are written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from multibench.pocket.vocabulary import VOCABULARY_FILE

__all__ = ["WEIGHTS", "save_member"]

WEIGHTS = Path(__file__).parent


def save_member(model: Any, folder: Path) -> None:
    """Store a ``BertModel`` or ``DistilBertModel`` so that ``from_pretrained(folder)`` loads it.

    Tensors are half precision; the configuration asks for single precision, which is what a user
    trains with. ``vocab.txt`` is in every folder, so that each is a whole checkpoint.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    for key in list(config):
        if key.startswith("_") or config[key] is None:
            del config[key]
    dropouts = [
        key
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
        if key in config
    ]
    config.update(dict.fromkeys(dropouts, 0.1), dtype="float32", architectures=[type(model).__name__])
    config.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    settings = {"do_lower_case": True, "model_max_length": 128, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    shutil.copyfile(VOCABULARY_FILE, folder / "vocab.txt")
