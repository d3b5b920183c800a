"""Whether a GPU still answers.

After some errors (an assertion on the device, an uncorrectable error of its memory) everything that the process asks
of that GPU fails, for ever. A run that fails so says nothing about the run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from multibench.errors import BrokenDeviceError, MultibenchError
from multibench.execution.devices import VISIBLE, Card, choose_device, device_of, find_cards
from multibench.execution.workers import start_python, stop_all
from multibench.planning import Workers

# Torch is imported where it is used: to use the CPU takes no look.
if TYPE_CHECKING:
    import torch

__all__ = ["describe", "probe", "raise_if_broken", "usable_cards"]

Say = Callable[[str], None]

_PROBE_SECONDS = 60.0
# Of a process that asks, which has to start.
_LOOK_SECONDS = 180.0
_SIDE = 32
# What the cards that were asked are called.
_names: dict[str, str] = {}


def raise_if_broken(device: torch.device, error: Exception) -> None:
    """To be called with an ``error`` that a run met: raises ``BrokenDeviceError`` if ``device`` no longer answers.

    Running out of memory is no reason to ask. A CPU is not asked.
    """
    import torch

    if device.type != "cuda" or isinstance(error, torch.OutOfMemoryError):
        return
    trouble = _trouble(device, _PROBE_SECONDS)
    if trouble is not None:
        raise BrokenDeviceError(
            f"{describe(device)} no longer answers after {_said(error)}. The runs at work are not stored. The same "
            "command goes on, in a new process; if that ends so, too, look at nvidia-smi and the system's log, or use "
            "another card (--device cuda:N)."
        ) from error


def probe(device: torch.device) -> None:
    """Raises ``BrokenDeviceError`` if ``device``, a GPU, does not multiply two small matrices. A CPU is not asked."""
    if device.type != "cuda":
        return
    card = describe(device)
    trouble = _trouble(device, _PROBE_SECONDS)
    if trouble is not None:
        raise BrokenDeviceError(
            f"{card} does not answer: {trouble}. Look at nvidia-smi and the system's log, or use another "
            "device (--device cpu, or cuda:N)."
        )


def usable_cards(name: str, workers: Workers, say: Say) -> tuple[Card, ...]:
    """The cards of ``--device NAME`` that ``workers`` processes use, each of which answers; none means the CPU.

    One that is to be used in this process is asked here, else each by a process of its own: this one computes nothing
    on them. Those that do not answer are told by ``say``. Raises ``OptionError`` for what is no device,
    ``UnavailableError`` for a GPU that is not there, and ``BrokenDeviceError`` if none answers.
    """
    cards = find_cards(name)
    count = len(cards) if workers == "auto" else workers
    if not cards:
        return ()
    if count == 1 and cards[0].here:
        probe(device_of(cards))
        return cards[:1]
    return _answering(cards[:count], say)


def _answering(cards: Sequence[Card], say: Say) -> tuple[Card, ...]:
    """Those of ``cards`` that answer, each asked by a process of its own, all at once."""
    words = ["-m", "multibench.execution.breakage"]
    asked = [start_python(words, {VISIBLE: card.entry}, subprocess.PIPE) for card in cards]
    found = []
    try:
        for card, process in zip(cards, asked, strict=True):
            said = _last_words(process)
            if process.returncode == 0:
                found.append(card)
            else:
                say(f"{card.name} is left out: {said or f'asking it ended with code {process.returncode}.'}")
    finally:
        stop_all(asked)
    if not found:
        raise BrokenDeviceError(
            f"No GPU answers: {', '.join(card.name for card in cards)}. Look at nvidia-smi and the system's log, or "
            "use --device cpu."
        )
    return tuple(found)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """The last line of what it said on standard error before it ended."""
    try:
        _, said = process.communicate(timeout=_LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"it has not answered for {_LOOK_SECONDS:g} seconds."
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def describe(device: torch.device) -> str:
    """``device`` for a person: its number, and the name and UUID of the card as far as they were ever to be had."""
    import torch

    visible = os.environ.get(VISIBLE)
    # A worker sees its own card alone, and calls it the first.
    number = f"{device}" if visible is None else f"{device} of {VISIBLE}={visible}"
    # A broken card may not tell.
    with contextlib.suppress(Exception):
        properties = torch.cuda.get_device_properties(device)
        uuid = getattr(properties, "uuid", None)
        _names[number] = f" ({properties.name}{'' if uuid is None else f', GPU-{uuid}'})"
    return f"The card {number}{_names.get(number, '')}"


def _trouble(device: torch.device, seconds: float) -> str | None:
    """What goes wrong in a small product on ``device``, or that it takes over ``seconds``; None if it is right."""
    found = [f"it has not answered for {seconds:g} seconds"]
    # In a thread, as a call may never return.
    thread = threading.Thread(target=_multiply, args=(device, found), name="probing", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] or None


def _multiply(device: torch.device, found: list[str]) -> None:
    """Put into ``found`` what is wrong with the product, "" for nothing."""
    import torch

    numbers = torch.arange(_SIDE * _SIDE, dtype=torch.float32).remainder(7).reshape(_SIDE, _SIDE)
    expected = _product(numbers)
    try:
        with torch.no_grad():
            right = torch.equal(_product(numbers.to(device)).cpu(), expected)
        found[0] = "" if right else "a small product is wrong"
    except Exception as error:
        # Who says that memory is short answers.
        found[0] = "" if _is_of_memory(error) else _said(error)


def _product(a: torch.Tensor) -> torch.Tensor:
    """``a @ a`` of whole numbers, exact on any device, without cuBLAS, which needs memory that may be short."""
    return (a[:, :, None] * a[None, :, :]).sum(1)


def _is_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _main() -> None:
    """In a process of its own: exit code 0 if its first card answers."""
    try:
        probe(choose_device("cuda"))
    except MultibenchError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    _main()
