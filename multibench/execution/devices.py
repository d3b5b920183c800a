"""Which devices there are, what planning has to know of them, and which card each worker process has."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from multibench.errors import OptionError, UnavailableError
from multibench.planning import Device, memory
from multibench.planning.machine import cores

# Torch is imported where it is used: a name that means no device is refused without it.
if TYPE_CHECKING:
    import torch

__all__ = [
    "SHARERS",
    "VISIBLE",
    "Card",
    "check_device_name",
    "choose_device",
    "device_of",
    "find_cards",
    "planning_device",
    "posts",
    "use_device",
]

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARERS = "MULTIBENCH_CARD_SHARERS"
"""Set for worker processes: how many of them have their card."""
_NAME = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
_INSTANCE = "MIG-"


@dataclass(frozen=True)
class Card:
    """A GPU, or a part of one, that this command may use."""

    index: int
    """Its number among the visible ones."""
    entry: str
    """``CUDA_VISIBLE_DEVICES`` of a process that is to see this card alone: ``3``, ``GPU-...``, ``MIG-...``."""
    here: bool = True
    """Whether this process can use it. Of several MIG instances CUDA shows a process the first alone."""

    @property
    def name(self) -> str:
        """As ``--device`` names it: ``cuda:0`` is the first visible card."""
        return f"cuda:{self.index}"


def check_device_name(name: str) -> None:
    """Raises ``OptionError`` for what cannot be a device, whatever the machine; needs no torch."""
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"--device is '{name}'; give auto, cpu, cuda for every visible GPU, or one of them by its number: cuda:0 "
            "is the first."
        )


def find_cards(name: str) -> tuple[Card, ...]:
    """The cards that ``--device NAME`` means: one for ``cuda:1``, else every visible one; none is the CPU.

    Raises ``OptionError`` for what is no device, and ``UnavailableError`` for a GPU that is not there.
    """
    check_device_name(name)
    cards = () if name == "cpu" else _visible_cards()
    if name in ("auto", "cpu"):
        return cards
    if not cards:
        raise UnavailableError(
            f"--device {name} was given, but torch finds no CUDA device. Use --device cpu."
        )
    number = name.partition(":")[2]
    if not number:
        return cards
    if int(number) >= len(cards):
        there = "is cuda:0" if len(cards) == 1 else f"are cuda:0 to cuda:{len(cards) - 1}"
        raise UnavailableError(
            f"--device {name} was given, but what torch finds {there}. Use one of these, and look at {VISIBLE}, which "
            "says what is visible."
        )
    return (cards[int(number)],)


def _visible_cards() -> tuple[Card, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    found = torch.cuda.device_count()
    entries = [entry.strip() for entry in os.environ.get(VISIBLE, "").split(",")]
    instances = list(dict.fromkeys(takewhile(lambda entry: entry.startswith(_INSTANCE), entries)))
    if instances:
        return tuple(Card(k, entry, k < found) for k, entry in enumerate(instances))
    if len(entries) < found or not entries[0]:
        entries = [str(k) for k in range(found)]
    # CUDA leaves out what follows an entry that it does not understand.
    return tuple(Card(k, entry) for k, entry in enumerate(entries[:found]))


def device_of(cards: Sequence[Card]) -> torch.device:
    """The first of ``cards`` as torch names it in this process; the CPU if there is none."""
    import torch

    if not cards:
        return torch.device("cpu")
    return torch.device("cuda", cards[0].index if cards[0].here else 0)


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` as one device of this process; of several cards it is the first.

    Raises ``OptionError`` for what is no device, and ``UnavailableError`` for a GPU that is not there, or that this
    process does not see.
    """
    cards = find_cards(name)
    if cards and not cards[0].here:
        raise UnavailableError(
            f"--device {name} was given, and CUDA shows a process one MIG instance alone: set {VISIBLE} to "
            f"{cards[0].entry}."
        )
    return device_of(cards)


def use_device(device: torch.device) -> None:
    """Make ``device`` the one that torch means by ``cuda``, for what names none."""
    import torch

    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        torch.cuda.set_device(device)


def planning_device(device: torch.device, cards: int = 1) -> Device:
    """What planning has to know of ``device``, and that there are ``cards`` like it.

    Of a card's memory there is what is free, in whole twentieths of all, so that a little more or less changes no
    groups; or the share of this process, if several have the card.
    """
    import torch

    if device.type != "cuda":
        return Device("cpu", memory(), cores=cores())
    free, total = torch.cuda.mem_get_info(device)
    grain = max(1, total // 20)
    sharers = max(1, int(os.environ.get(SHARERS, "1")))
    return Device("cuda", min(free // grain * grain, total // sharers), cards)


def posts(cards: Sequence[Card], workers: int) -> list[Card]:
    """The card of each of ``workers`` processes: in turn, so that no card has two more than another."""
    return [cards[k % len(cards)] for k in range(workers)]
