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
from functools import cache
from urllib.parse import urlsplit

__all__ = ["go_offline", "hub_is_reachable", "is_offline"]

_ATTEMPT_SECONDS = 1.5


def go_offline() -> None:
    """From here on nothing in this process touches the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    # The libraries read the variables when imported; set the constants where that has happened.
    for module, names in (
        ("huggingface_hub.constants", ("HF_HUB_OFFLINE",)),
        ("datasets.config", ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")),
    ):
        if module in sys.modules:
            for name in names:
                setattr(sys.modules[module], name, True)


def is_offline() -> bool:
    """True after ``go_offline()``, or if the environment asks for it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_is_reachable() -> bool:
    """Whether a connection to the Hub (or to ``HF_ENDPOINT``) can be opened within 1.5 seconds.

    Behind a proxy the answer is True: only the client library knows the way.
    """
    if is_offline():
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    return _connects(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))


@cache
def _connects(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    answer: list[bool] = []

    def attempt() -> None:
        try:
            socket.create_connection(address, timeout=_ATTEMPT_SECONDS).close()
            answer.append(True)
        except OSError:
            answer.append(False)

    # In a thread of its own, because looking up a host name knows no time limit.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_ATTEMPT_SECONDS)
    return bool(answer and answer[0])
