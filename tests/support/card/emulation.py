"""The emulated cards of this process: what ``torch.cuda`` says of them, and what they say of the program.

Works only where the cards are plugged in, see ``tests.support.card``.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from tests.support.card.settings import Settings, visible_cards

__all__ = [
    "break_now",
    "computing_seconds",
    "launches",
    "limit_memory",
    "plug_in",
    "reset",
    "waits",
]

_NAME = "Emulated CUDA card"
_CAPABILITY = (9, 0)
_MODES = ("default", "warn", "error")
_VARIABLE = "MULTIBENCH_EMULATED_CARD"


def _ask(what: str, *arguments: Any) -> Any:
    """An operator of the library, also while operators are recorded or tensors are fake."""
    with _disable_current_modes():
        return getattr(torch.ops.emulated_card, what)(*arguments)


def launches(card: int = 0) -> Counter[str]:
    """Launches since the last ``reset``, by operator; views and fresh memory are none."""
    return Counter(dict(_ask("launches", card)))


def waits(card: int = 0) -> Counter[str]:
    """How often the host waited for the card since the last ``reset``, by what it waited for."""
    return Counter(dict(_ask("waits", card)))


def reset() -> None:
    """Forget launches, waits, peaks of memory and the time of computing, of all cards."""
    _ask("reset")


def limit_memory(total: int, card: int = 0) -> None:
    """Give a card ``total`` bytes from here on."""
    _ask("limit", card, total)


def break_now(card: int = 0) -> None:
    """From here on every call to the card fails."""
    _ask("break_now", card)


def computing_seconds() -> float:
    """Seconds of a core since the last ``reset`` that went into the cards' work; the rest is the host's own."""
    return float(_ask("computing")) / 1e9


def _index(device: Any = None) -> int:
    """The number of a card, however it is named."""
    if device is None:
        return int(_ask("current"))
    if isinstance(device, int):
        return device if device >= 0 else int(_ask("current"))
    found = torch.device(device)
    if found.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {device}")
    return int(_ask("current")) if found.index is None else found.index


def plug_in() -> None:
    """Set up what the environment says, and let ``torch.cuda`` tell of it."""
    settings = Settings.read(os.environ.get(_VARIABLE, ""))
    uuids = [uuid.uuid5(uuid.NAMESPACE_OID, f"emulated card {k}") for k in range(settings.cards)]
    visible = visible_cards(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
    break_after, break_card = settings.break_after, settings.break_card
    _ask(
        "set_up",
        max(1, len(visible)),
        settings.memory,
        settings.taken,
        -1 if break_after is None else break_after,
        -1 if break_card is None else break_card,
        settings.break_once,
    )
    for name, function in {**_facts([uuids[k] for k in visible]), **_choices(), **_memory()}.items():
        setattr(torch.cuda, name, function)
    _random(len(visible))


def _facts(uuids: list[uuid.UUID]) -> dict[str, Callable[..., Any]]:
    """What the cards are."""

    def properties(device: Any = None) -> SimpleNamespace:
        index = _index(device)
        if not 0 <= index < len(uuids):
            raise AssertionError("Invalid device id")
        return SimpleNamespace(
            name=_NAME,
            major=_CAPABILITY[0],
            minor=_CAPABILITY[1],
            total_memory=_ask("memory", index)[0],
            multi_processor_count=132,
            uuid=uuids[index],
        )

    return {
        "is_available": lambda: bool(uuids),
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: len(uuids),
        "get_device_properties": properties,
        "get_device_name": lambda device=None: properties(device).name,
        "get_device_capability": lambda device=None: _CAPABILITY,
        "get_arch_list": lambda: ["sm_90"],
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_tf32_supported": lambda: True,
    }


def _choices() -> dict[str, Callable[..., Any]]:
    """The current card, waiting for one, and the modes of reporting waits."""

    def set_mode(mode: int | str) -> None:
        _ask("wait_mode", _MODES.index(mode) if isinstance(mode, str) else mode)

    def mode() -> int:
        found = int(_ask("wait_mode", 0))
        _ask("wait_mode", found)
        return found

    def exchange(index: int) -> int:
        return int(_ask("exchange", index))

    return {
        "current_device": _index,
        "set_device": lambda device: None if _index(device) < 0 else exchange(_index(device)),
        "_exchange_device": exchange,
        "_maybe_exchange_device": exchange,
        "synchronize": lambda device=None: _ask("synchronize", _index(device)),
        "set_sync_debug_mode": set_mode,
        "get_sync_debug_mode": mode,
    }


def _memory() -> dict[str, Callable[..., Any]]:
    """Bytes. Nothing is kept back here, so that reserved is allocated."""

    def free(device: Any = None) -> tuple[int, int]:
        total, taken, now, _ = _ask("memory", _index(device))
        return total - taken - now, total

    def now(device: Any = None) -> int:
        return int(_ask("memory", _index(device))[2])

    def most(device: Any = None) -> int:
        return int(_ask("memory", _index(device))[3])

    return {
        "mem_get_info": free,
        "memory_allocated": now,
        "memory_reserved": now,
        "max_memory_allocated": most,
        "max_memory_reserved": most,
        "reset_peak_memory_stats": lambda device=None: _ask("reset_peak", _index(device)),
        "empty_cache": lambda: None,
        "ipc_collect": lambda: None,
    }


def _random(cards: int) -> None:
    """``torch.manual_seed`` and all of ``torch.cuda.random``, which took the names of ``torch.cuda`` at its import."""
    torch.cuda.default_generators = tuple(_ask("generator", k) for k in range(cards))
    for name in ("_lazy_init", "device_count", "current_device", "is_initialized"):
        setattr(torch.cuda.random, name, getattr(torch.cuda, name))
    torch.cuda.random._lazy_call = lambda callable, **_: callable()
