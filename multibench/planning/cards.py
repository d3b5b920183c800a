"""GPUs that ``plan`` can predict hours for: what their data sheets say, in ``cards.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from multibench.errors import UnknownNameError
from multibench.registry import nearest_or_all

__all__ = ["PRECISIONS", "Card", "Precision", "cards", "find_card", "named_by_torch"]

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16")

# Parts of a data sheet's figures that programs reach, assumed: copies of large arrays, and large products.
_COPYING_REACHED, _PRODUCTS_REACHED = 0.9, 0.8


class Card(BaseModel):
    """What a card can do at best: ``memory`` in bytes, rates a second of bytes copied and of operations.

    ``products`` are dense matrix products by the precision of their inputs. ``source`` is the sheet that says so,
    ``quoted`` where that was read, ``inferred`` what was concluded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    torch_names: tuple[str, ...]
    memory: PositiveFloat
    copying: PositiveFloat
    products: dict[Precision, PositiveFloat]
    source: str = Field(min_length=1)
    quoted: str = Field(min_length=1)
    inferred: str = ""

    @property
    def copying_reached(self) -> float:
        """Bytes a second that kernels may be expected to read and write."""
        return _COPYING_REACHED * self.copying

    def products_reached(self, precision: Precision) -> float | None:
        """Operations a second of large products; None where the card has no units for ``precision``."""
        rate = self.products.get(precision)
        return None if rate is None else _PRODUCTS_REACHED * rate


@cache
def cards() -> dict[str, Card]:
    """All cards with figures, by the name that ``plan --gpu`` takes."""
    text = (Path(__file__).parent / "cards.toml").read_text(encoding="utf-8")
    return {name: Card(name=name, **facts) for name, facts in tomllib.loads(text).items()}


def find_card(name: str) -> Card:
    """The card of that name, in either case, or of that name in torch. Raises ``UnknownNameError``."""
    found = cards().get(name.casefold()) or named_by_torch(name)
    if found is None:
        raise UnknownNameError(
            f"There are no figures for the card {name!r}; {nearest_or_all(name.casefold(), cards())}. "
            "Of any other card, `plan --rate FILE` takes the rates that `bench --format json` measured on it."
        )
    return found


def named_by_torch(name: str) -> Card | None:
    """The card that ``torch.cuda.get_device_name`` calls ``name``; None if none is known to be it."""
    return next((card for card in cards().values() if name in card.torch_names), None)
