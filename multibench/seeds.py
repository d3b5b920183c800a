"""The three seeds of a fine-tuning run, derived from its fine-tuning seed and, by default, from its pretraining seed.

Nested: run k of a checkpoint shares head, data order and dropout noise with run k of every checkpoint of the same
origin and pretraining seed (other steps, the other side of a comparison), and with no other. Shared: run k of every
checkpoint shares them, so that fine-tuning seeds are crossed with pretraining seeds. Neither suite nor step, setting
or task enters.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["FinetuningSeedDesign", "Seeds", "derive_nested_seeds", "derive_seeds"]

FinetuningSeedDesign: TypeAlias = Literal["nested", "shared"]
"""Whether fine-tuning seed k means the same within a pretraining seed only, or for all checkpoints."""


@dataclass(frozen=True)
class Seeds:
    """63-bit seeds: of the head's initial weights, of the order of examples, of the dropout masks."""

    head: int
    order: int
    dropout: int


def derive_seeds(finetuning_seed: int) -> Seeds:
    """The seeds that belong to ``finetuning_seed``: independent of each other, the same everywhere (``shared``)."""
    return _derive("1", str(finetuning_seed))


def derive_nested_seeds(origin: str, pretraining_seed: int | str, finetuning_seed: int) -> Seeds:
    """The seeds that belong to ``finetuning_seed`` of one pretraining seed of ``origin`` (``nested``).

    ``origin`` is the procedure that the checkpoint comes from; ``pretraining_seed`` is a number, or the name of a
    checkpoint that has none. Independent of each other and of the seeds of any other triple.
    """
    return _derive("2", json.dumps([origin, pretraining_seed, finetuning_seed]))


def _derive(version: str, of: str) -> Seeds:
    def derive(domain: str) -> int:
        digest = hashlib.sha256(f"multibench seeds {version}/{domain}/{of}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    return Seeds(head=derive("head"), order=derive("order"), dropout=derive("dropout"))
