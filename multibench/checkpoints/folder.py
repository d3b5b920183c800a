"""A checkpoint on this machine: a folder with configuration, vocabulary and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from multibench.cache import cache_folder, keep
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
        # Copies keep sizes and modification times; inode and change time they do not keep.
        found = [(str(p.resolve()), p.stat()) for p in weight_files(self.path)]
        stats = [(n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for n, s in found]
        key = hashlib.sha256(json.dumps(["weights 2", stats]).encode()).hexdigest()
        cached = cache_folder() / "digests" / key
        try:
            known = cached.read_text("ascii")
            if len(known) == 64 and int(known, 16) >= 0:
                return known
        except (OSError, ValueError):  # not there, or no digest
            pass
        digest = weights_digest(self.path)
        keep(cached, digest.encode("ascii"))
        return digest


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
