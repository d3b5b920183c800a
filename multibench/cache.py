"""The user's cache: files that can be made again, each written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from uuid import uuid4

__all__ = ["cache_folder", "keep"]


def cache_folder() -> Path:
    """``MULTIBENCH_CACHE``, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multibench"
    return Path(os.environ.get("MULTIBENCH_CACHE") or default)


def keep(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` under a name of its own and rename it, so that no reader sees half of it.

    A cache that cannot be written costs time, nothing else: such errors are passed over.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
