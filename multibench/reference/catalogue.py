"""The published tables that come with multibench, by name."""

from __future__ import annotations

from pathlib import Path

from multibench.reference.table import Reference, read_reference
from multibench.registry import Registry

__all__ = ["REFERENCES"]


class _References(Registry[Reference]):
    """The registry of references, which reads its files when it is first asked something."""

    _unread = True

    def _load_entry_points(self) -> None:
        if self._unread:
            self._unread = False
            for path in sorted((Path(__file__).parent / "tables").glob("*.toml")):
                reference = read_reference(path)
                self.register(reference.name, reference)
        super()._load_entry_points()


REFERENCES: Registry[Reference] = _References("reference", group="multibench.references")
