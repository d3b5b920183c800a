"""The three seeds of a fine-tuning run, derived from its fine-tuning seed alone.

Neither suite nor checkpoint enters: run k of every checkpoint shares head, data order and dropout
noise with run k of every other, so fine-tuning seeds are crossed with pretraining seeds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["Seeds", "derive_seeds"]


@dataclass(frozen=True)
class Seeds:
    """63-bit seeds: of the head's initial weights, of the order of examples, of the dropout masks."""

    head: int
    order: int
    dropout: int


def derive_seeds(finetuning_seed: int) -> Seeds:
    """The seeds that belong to ``finetuning_seed``: independent of each other, the same everywhere."""

    def derive(domain: str) -> int:
        digest = hashlib.sha256(f"multibench seeds 1/{domain}/{finetuning_seed}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    return Seeds(head=derive("head"), order=derive("order"), dropout=derive("dropout"))
