"""Checkpoints: the catalogue of them, their formats, getting them onto this machine, and loading."""

from multibench.checkpoints.catalogue.lookup import (
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
