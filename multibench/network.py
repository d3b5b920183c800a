"""Whether anything may, or can, be fetched: asked in one place, answered at once.

The Hugging Face libraries retry for 23 to 46 seconds before they give up without a network. Here a
missing network is found out by one connection attempt of at most 1.5 seconds, after which they are
told to stay offline and answer from their caches.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = [
    "before_fetching",
    "go_offline",
    "hub_is_reachable",
    "is_offline",
    "look_for_hub",
    "staying_offline",
]

_ATTEMPT_SECONDS = 1.5
_before_fetching: list[Callable[[], object]] = []


_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
# The libraries read the variables when they are imported; these are the constants they made of them.
_CONSTANTS = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_DATASETS_OFFLINE"),
    ("evaluate.config", "HF_EVALUATE_OFFLINE"),
)


def go_offline() -> None:
    """From here on nothing in this process touches the network."""
    for name in _VARIABLES:
        os.environ[name] = "1"
    for module, name in _CONSTANTS:
        if module in sys.modules:
            setattr(sys.modules[module], name, True)


@contextmanager
def staying_offline() -> Iterator[None]:
    """Nothing touches the network inside; caches are used. Afterwards all is as it was before."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    was_offline = is_offline()
    go_offline()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if not was_offline:
            for module, name in _CONSTANTS:
                if module in sys.modules:
                    setattr(sys.modules[module], name, False)


def is_offline() -> bool:
    """True after ``go_offline()``, or if the environment asks for it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_is_reachable() -> bool:
    """Whether a connection to the Hub (or to ``HF_ENDPOINT``) can be opened within 1.5 seconds.

    Behind a proxy the connection that is tried is the one to the proxy. Whoever asks fetches next: where the answer is
    yes, what ``before_fetching`` was given is called first, and may raise.
    """
    reachable = not is_offline() and _attempt(_first_stop()).succeeded()
    if reachable:
        for look in _before_fetching:
            look()
    return reachable


@contextmanager
def before_fetching(look: Callable[[], object]) -> Iterator[None]:
    """Inside, ``look`` is called each time before anything is fetched; an error that it raises ends that."""
    _before_fetching.append(look)
    try:
        yield
    finally:
        _before_fetching.remove(look)


def look_for_hub() -> None:
    """Begin to find out, so that ``hub_is_reachable`` answers sooner; returns at once."""
    if not is_offline():
        _attempt(_first_stop())


def _first_stop() -> str:
    """Where a request to the Hub goes first: the proxy that applies to it, or the Hub itself."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    parts = urlsplit(endpoint)
    if proxy_bypass(parts.hostname or ""):
        return endpoint
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return endpoint if proxy is None else proxy if "://" in proxy else f"http://{proxy}"


class _Attempt:
    """One connection attempt, in a thread because looking up a host name knows no time limit."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
        self._connected = False
        self._deadline = time.monotonic() + _ATTEMPT_SECONDS
        self._thread = threading.Thread(target=self._connect, daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        # Whatever goes wrong in here means one thing: the Hub cannot be reached.
        with suppress(Exception):
            socket.create_connection(self._address, timeout=_ATTEMPT_SECONDS).close()
            self._connected = True

    def succeeded(self) -> bool:
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._connected


_attempt = cache(_Attempt)
