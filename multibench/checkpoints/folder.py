"""A checkpoint on this machine: configuration, vocabulary and weights, in whatever format they are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from multibench.cache import remembered_digest
from multibench.checkpoints.formats.config import ModelConfig, normalised_config, read_config
from multibench.checkpoints.formats.foreign import find_foreign, is_there
from multibench.checkpoints.formats.huggingface import read_tensors, weight_files, weights_digest
from multibench.checkpoints.formats.saved import read_vocabulary
from multibench.checkpoints.formats.vocabulary import Vocabulary
from multibench.checkpoints.formats.weights import canonical_name, canonical_tensors, tensors_digest
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["CheckpointFolder", "open_folder"]

# To a multiple of 128 for each of the devices, at most 8, that a model of this size is split over.
_MEGATRON_PADDING = 128 * 8


@dataclass(frozen=True)
class CheckpointFolder:
    """Configuration and vocabulary are read and checked; weights only when asked for."""

    path: Path
    """A folder of Hugging Face, or a file or folder of a foreign format."""
    config: ModelConfig
    vocabulary: Vocabulary
    notes: tuple[str, ...] = ()
    """What reading a foreign format left out, assumed, or found untrained."""

    @cached_property
    def content(self) -> str:
        """SHA-256 of all that decides what the model computes: weights, configuration, vocabulary.

        Kept in the user's cache by path, size and modification time, so that planning a large
        suite does not read every weight file each time.
        """
        decisive = {key: value for key, value in self.config.items() if key != "id2label"}
        parts = [self.weights_sha256(), json.dumps(decisive, sort_keys=True), self.vocabulary.digest]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """What ``id2label`` calls the outputs of the checkpoint's own head, in their order.

        Empty if it calls them nothing, or ``LABEL_0`` and so on, which says nothing. Raises ``CheckpointError`` if its
        keys are not the numbers of outputs.
        """
        given = self.config["id2label"] or {}
        names = {str(key).strip(): str(name).strip() for key, name in given.items()}
        if set(names) != {str(k) for k in range(len(names))}:
            raise CheckpointError(
                f"id2label in the configuration of {self.path} has the keys {', '.join(names)[:60]}; expected the "
                f"numbers of the outputs, 0 to {len(names) - 1}."
            )
        ordered = tuple(names[str(k)] for k in range(len(names)))
        return () if all(re.fullmatch(r"label_\d+", name.lower()) for name in ordered) else ordered

    def class_order(self, labels: Sequence[str]) -> list[int] | None:
        """For each of ``labels``, the output of the checkpoint's own head that its ``id2label`` gives that name.

        Capitals do not matter. None unless exactly these are the names: the order could only be guessed.
        """
        names = [name.lower() for name in self.class_names]
        wanted = [label.lower() for label in labels]
        return [names.index(label) for label in wanted] if sorted(names) == sorted(wanted) else None

    def weights_sha256(self) -> str:
        """SHA-256 of the weights alone, whatever format holds them; see ``weights_digest``."""
        foreign = find_foreign(self.path)
        if foreign is None:
            return remembered_digest("weights 2", weight_files(self.path), lambda: weights_digest(self.path))
        return remembered_digest("foreign 1", foreign.files(), lambda: tensors_digest(self.tensors()))

    def weights(self) -> dict[str, torch.Tensor]:
        """All tensors under canonical names, on the CPU, as stored. Raises ``CheckpointError`` if they are damaged."""
        return dict(self.tensors())

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """What ``weights`` gives, one by one; each is let go once it was given, so that few are held at once."""
        foreign = find_foreign(self.path)
        if foreign is None:
            yield from read_tensors(self.path)
        elif foreign.format.tensors is None:
            weights = foreign.read().weights
            yield from canonical_tensors(list(weights), weights.pop, self.path)
        else:
            for name, tensor in foreign.format.tensors(self.path):
                yield canonical_name(name) or name, tensor


def open_folder(path: Path, cased: bool | None = None) -> CheckpointFolder:
    """The checkpoint in the folder or file ``path``; ``cased`` is what the catalogue says, if it says so.

    Raises ``CheckpointError`` if it cannot be a BERT-like checkpoint: no configuration, no weights, no
    vocabulary, more WordPieces than embeddings, casing against the catalogue.
    """
    if not is_there(path):
        raise CheckpointError(f"There is no checkpoint folder {path}.")
    foreign = find_foreign(path)
    vocabulary: Vocabulary | None
    notes: tuple[str, ...] = ()
    if foreign is None:
        config = read_config(path)
        weight_files(path)
        vocabulary = read_vocabulary(path, cased)
    else:
        raw, vocabulary, notes = foreign.description(cased)
        config = normalised_config(raw, foreign.found)
        if vocabulary is None:
            raise CheckpointError(f"{path} comes without a vocabulary; put its vocab.txt beside it.")
    if vocabulary.tokens > config["vocab_size"]:
        beside = vocabulary.tokens - len(vocabulary)
        added = f" and {beside} added tokens" if beside else ""
        raise CheckpointError(
            f"{path}: the vocabulary has {len(vocabulary)} WordPieces{added}, the model {config['vocab_size']} "
            "embeddings. They belong to different models."
        )
    padding = config["vocab_size"] - len(vocabulary)
    if config["model_type"] == "megatron-bert" and padding >= _MEGATRON_PADDING:
        raise CheckpointError(
            f"{path}: the vocabulary has {len(vocabulary)} WordPieces, the model {config['vocab_size']} embeddings; "
            f"Megatron-LM pads by less than {_MEGATRON_PADDING}. The cased and the uncased one may have been swapped."
        )
    return CheckpointFolder(path, config, vocabulary, notes)
