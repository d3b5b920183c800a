"""Cards are plugged in while torch is imported: the library just before, the Python part just after.

This is imported whenever an interpreter starts, so it imports next to nothing itself.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["watch"]


class _Loader(importlib.abc.Loader):
    """Loads torch by its own loader, between the two parts of the card."""

    def __init__(self, own: importlib.abc.Loader) -> None:
        self._own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        import ctypes

        from tests.support.card.build import library

        # torch looks for a card once, when it is imported, and looks where this library has entered itself.
        ctypes.CDLL(str(library()), mode=ctypes.RTLD_GLOBAL)
        self._own.exec_module(module)
        from tests.support.card.emulation import plug_in

        plug_in()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds torch where the other finders do; knows nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def watch(finders: list[object]) -> None:
    """From now on the import of torch brings the cards."""
    finders.insert(0, _Finder())
