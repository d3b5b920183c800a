"""Checkpoints: their facts (``families/*.toml``), the catalogue that finds and selects them, and loading."""

from multibench.checkpoints.catalog import (
    FAMILIES,
    Architecture,
    Checkpoint,
    Evidence,
    Family,
    Source,
    all_checkpoints,
    find,
    read_family,
    select,
)

__all__ = [
    "FAMILIES",
    "Architecture",
    "Checkpoint",
    "Evidence",
    "Family",
    "Source",
    "all_checkpoints",
    "find",
    "read_family",
    "select",
]
