"""What the environment says of the emulated cards."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields

__all__ = ["Settings", "visible_cards"]

_UNITS = {"MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Settings:
    """See the table in ``tests.support.card``."""

    cards: int = 1
    memory: int = 80 * 2**30
    taken: int = 0
    break_after: int | None = None
    break_card: int | None = None
    break_once: str = ""

    @classmethod
    def read(cls, said: str) -> Settings:
        """Settings out of ``name=value,name=value``. Raises ``ValueError`` for names that there are not."""
        known = {field.name for field in fields(cls)}
        found: dict[str, int | str] = {}
        for part in filter(None, said.split(",")):
            name, _, value = part.partition("=")
            if name not in known:
                raise ValueError(
                    f"An emulated card has no setting {name!r}; there are {', '.join(sorted(known))}."
                )
            found[name] = value if name == "break_once" else _number(value)
        return cls(**found)


def _number(text: str) -> int:
    for unit, size in _UNITS.items():
        if text.endswith(unit):
            return round(float(text.removesuffix(unit)) * size)
    return int(text)


def visible_cards(said: str | None, uuids: list[uuid.UUID]) -> list[int]:
    """The numbers of the cards that ``CUDA_VISIBLE_DEVICES`` leaves, in its order, as CUDA reads it.

    Names are numbers, or beginnings of ``GPU-uuid`` or ``MIG-uuid``. From the first name that no card has, all is
    left out.
    """
    if said is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for name in filter(None, (part.strip() for part in said.split(","))):
        if name.isdecimal():
            matches = [int(name)] if int(name) < len(uuids) else []
        else:
            matches = [
                k
                for k, one in enumerate(uuids)
                if any(f"{kind}-{one}".startswith(name) for kind in ("GPU", "MIG"))
            ]
        if len(matches) != 1 or matches[0] in found:
            break
        found += matches
    return found
