"""One generic registry, used for checkpoints' families, tasks, metrics, recipes and references."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from multibench.errors import MultibenchError, NameTakenError, UnknownNameError

__all__ = ["Registry", "did_you_mean", "near_matches", "nearest_or_all"]

T = TypeVar("T")


def near_matches(name: str, known: list[str], limit: int = 3) -> list[str]:
    """The entries of ``known`` that a person who typed ``name`` may have meant, best first."""
    by_folded = {entry.lower(): entry for entry in known}
    hits = difflib.get_close_matches(name.lower(), list(by_folded), n=limit, cutoff=0.6)
    return [by_folded[hit] for hit in hits]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A further sentence after one about an unknown ``name``, with a space before it; nothing if none is like it."""
    near = near_matches(name, list(known))
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown ``name``: ``did you mean 'x'?``, or all names that are known."""
    names = list(dict.fromkeys(known))
    near = near_matches(name, names, limit=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}."


class Registry(Generic[T]):
    """Names to objects of one kind.

    ``kind`` is the singular noun that messages use ("task"). ``built_in`` reads the entries that come with
    multibench, as names and objects. ``group`` is the entry-point group through which other packages add
    theirs; such an entry point names either an object or a function without arguments that returns one.
    Both are read on first use, so that importing a registry costs nothing.
    """

    def __init__(
        self,
        kind: str,
        group: str | None = None,
        built_in: Callable[[], Iterable[tuple[str, T]]] | None = None,
    ) -> None:
        self.kind = kind
        self._group = group
        self._built_in = built_in
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str, entry: T, origin: str = "multibench") -> T:
        """Add ``entry`` under ``name``; ``origin`` says who did, for messages.

        Raises ``NameTakenError`` if the name is taken: nothing is ever replaced silently.
        """
        if name in self._entries:
            raise NameTakenError(
                f"The {self.kind} '{name}' is registered twice: by {self._origins[name]} "
                f"and by {origin}. Give one of them another name."
            )
        self._entries[name] = entry
        self._origins[name] = origin
        return entry

    def get(self, name: str) -> T:
        """The entry called ``name``. Raises ``UnknownNameError`` with near matches."""
        self._load()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self._unknown(name)) from None

    def origin(self, name: str) -> str:
        """Who registered ``name``."""
        self.get(name)
        return self._origins[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[T]:
        return iter([self._entries[name] for name in self.names()])

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __len__(self) -> int:
        return len(self.names())

    def _unknown(self, name: str) -> str:
        known = self.names()
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        return f"There is no {self.kind} '{name}'.{did_you_mean(name, known)} Known: {shown or 'none'}."

    def _load(self) -> None:
        """Read what is read on first use; each of the two once, whatever becomes of it."""
        built_in, self._built_in = self._built_in, None
        if built_in is not None:
            for name, entry in built_in():
                self.register(name, entry)
        group, self._group = self._group, None
        if group is not None:
            self._load_entry_points(group)

    def _load_entry_points(self, group: str) -> None:
        from importlib.metadata import entry_points  # slow to import, so only where it is used

        for point in entry_points(group=group):
            package = point.dist.name if point.dist else point.value
            try:
                loaded = point.load()
                entry = loaded() if callable(loaded) and not isinstance(loaded, type) else loaded
            except Exception as error:  # somebody else's code: whatever it raises
                raise MultibenchError(
                    f"The {self.kind} '{point.name}' of the package {package} cannot be loaded "
                    f"({type(error).__name__}: {error}). Update or remove that package."
                ) from error
            self.register(point.name, entry, origin=f"the package {package}")
