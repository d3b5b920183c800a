"""A checkpoint on this machine: a folder with configuration, vocabulary and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from multibench.cache import remembered_digest
from multibench.checkpoints.config import ModelConfig, read_config
from multibench.checkpoints.vocabulary import Vocabulary, read_vocabulary
from multibench.checkpoints.weights import weight_files, weights_digest
from multibench.errors import CheckpointError

__all__ = ["CheckpointFolder", "open_folder"]


@dataclass(frozen=True)
class CheckpointFolder:
    """Configuration and vocabulary are read and checked; weights only when asked for."""

    path: Path
    config: ModelConfig
    vocabulary: Vocabulary

    @cached_property
    def content(self) -> str:
        """SHA-256 of all that decides what the model computes: weights, configuration, vocabulary.

        Kept in the user's cache by path, size and modification time, so that planning a large
        suite does not read every weight file each time.
        """
        decisive = {key: value for key, value in self.config.items() if key != "id2label"}
        parts = [self._weights(), json.dumps(decisive, sort_keys=True), self.vocabulary.digest]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def class_order(self, labels: Sequence[str]) -> list[int]:
        """For each of ``labels``, the output of the checkpoint's own head that its ``id2label`` gives that name.

        Raises ``CheckpointError`` if a label is not among the names: the order could only be guessed.
        """
        names = {str(v).strip().lower(): int(k) for k, v in (self.config["id2label"] or {}).items()}
        missing = [label for label in labels if label not in names]
        if missing:
            raise CheckpointError(
                f"{self.path} names its classes {sorted(names) or 'not at all'}; expected {', '.join(labels)}. "
                "Without names the order of its outputs cannot be known."
            )
        return [names[label] for label in labels]

    def _weights(self) -> str:
        return remembered_digest("weights 2", weight_files(self.path), lambda: weights_digest(self.path))


def open_folder(path: Path, cased: bool | None = None) -> CheckpointFolder:
    """The checkpoint in the folder ``path``; ``cased`` is what the catalogue says, if it says so.

    Raises ``CheckpointError`` if it cannot be a BERT or DistilBERT checkpoint: no configuration, no
    weights, no vocabulary, more WordPieces than embeddings, casing against the catalogue.
    """
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {path}.")
    config = read_config(path)
    weight_files(path)
    vocabulary = read_vocabulary(path, cased)
    if len(vocabulary) > config["vocab_size"]:
        raise CheckpointError(
            f"{path}: the vocabulary has {len(vocabulary)} WordPieces, the model {config['vocab_size']} embeddings. "
            "They belong to different models."
        )
    return CheckpointFolder(path, config, vocabulary)
