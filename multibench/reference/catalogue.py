"""The published tables that come with multibench, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multibench.reference.table import Reference, read_reference
from multibench.registry import Registry

__all__ = ["REFERENCES"]


def _built_in() -> Iterator[tuple[str, Reference]]:
    for path in sorted((Path(__file__).parent / "tables").glob("*.toml")):
        reference = read_reference(path)
        yield reference.name, reference


REFERENCES: Registry[Reference] = Registry("reference", group="multibench.references", built_in=_built_in)
