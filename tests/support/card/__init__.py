"""A CUDA card that computes on the CPU, for tests of what only a card would show.

    environment(cards=2, memory="80GiB")      for a subprocess whose torch then finds two cards
    python -m tests.support.card COMMAND...   a command with one card

Any Python process that starts in such an environment has the cards, and so have its children: nothing has to be
imported (``start/sitecustomize.py`` waits for torch). The cards do not survive ``fork``, as real ones do not. A torch
that was built with CUDA has no room for them (``lacking`` says so).

The environment variable ``MULTIBENCH_EMULATED_CARD`` holds ``name=value`` with commas between:

===============  ===================================================================================================
``cards``        How many there are (1). ``cuda:0`` and ``cuda:1`` do not mix. ``CUDA_VISIBLE_DEVICES`` leaves some out,
                 by number, UUID (``GPU-...``) or MIG id (``MIG-...``).
``memory``       Of each card, in bytes, MiB or GiB (80GiB). Beyond it ``torch.OutOfMemoryError`` is raised. Blocks are
                 multiples of 512 bytes, as torch's are; what real kernels need besides is not there.
``taken``        So much of it is in other processes' hands (0).
``break_after``  After so many launches on it a card breaks: every further call to it raises ``torch.AcceleratorError``
                 (a ``RuntimeError``), "CUDA error: device-side assert triggered", until the process ends (never).
``break_card``   Only this one breaks, counted among the cards that are visible (all).
``break_once``   The path of a file. A card breaks only if the file can be made anew: of several processes, one only.
===============  ===================================================================================================

What a process can ask is in ``tests.support.card.emulation``: ``launches``, ``waits``, ``reset``, ``limit_memory``,
``break_now``, ``computing_seconds``.

Shown: tensors of two devices mixed, generators of another device, memory that nobody wrote (floats are NaN, integers
out of all bounds), memory beyond the limit, waits of the host (also through ``torch.cuda.set_sync_debug_mode``), the
number of launches. One operator is one launch here, where a real card may need several.
Not shown: numbers of real kernels, time, races between streams, events, captured graphs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.card.build import lacking, library

__all__ = ["VARIABLE", "environment", "is_emulated", "lacking", "library", "require"]

VARIABLE = "MULTIBENCH_EMULATED_CARD"
_START = Path(__file__).parent / "start"
_REPOSITORY = Path(__file__).resolve().parents[3]


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with emulated cards, which hide real ones; ``settings`` as in the table above."""
    inherited = dict(os.environ)
    inherited.pop("CUDA_VISIBLE_DEVICES", None)
    paths = [str(_START), str(_REPOSITORY), *filter(None, [inherited.get("PYTHONPATH")])]
    said = ",".join(f"{name}={value}" for name, value in settings.items())
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), VARIABLE: said}


def is_emulated() -> bool:
    """Whether the cards of this process are emulated."""
    return VARIABLE in os.environ and "tests.support.card.hook" in sys.modules


def require() -> None:
    """In a test that starts a process with emulated cards: skip where there can be none (see ``required.missing``)."""
    reason = lacking()
    if reason is not None:
        from tests.support.required import missing

        missing("card", reason)
