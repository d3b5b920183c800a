"""How and where a run was made: recorded beside its numbers, never part of its identity."""

from __future__ import annotations

import ctypes
import datetime
import os
import platform
import re
import socket
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["driver_version", "environment", "timestamp"]

_PACKAGES = (
    "multibench",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "datasets",
    "pyarrow",
)
# In a container it may not be there.
_DRIVER = Path("/proc/driver/nvidia/version")


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@cache
def environment() -> dict[str, Any]:
    """Code, packages and machine of this process; the same for all of its runs."""
    return {
        "code": _code(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


@cache
def driver_version() -> str | None:
    """The version of NVIDIA's driver, such as 580.65.06, as the kernel or the driver's own library says; else None."""
    try:
        found = re.search(
            r"^NVRM version:.*?\s(\d+\.\d+(\.\d+)?)\s", _DRIVER.read_text("utf-8"), re.MULTILINE
        )
    except (OSError, ValueError):
        found = None
    return found[1] if found else _driver_of_library()


def _driver_of_library() -> str | None:
    text = ctypes.create_string_buffer(81)
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        right = library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(text, 81) == 0
        library.nvmlShutdown()
    except (OSError, AttributeError):
        return None
    return text.value.decode("ascii", "replace") if right else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _code() -> dict[str, Any]:
    """Commit of the checkout that multibench runs from, and whether it had uncommitted changes."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return {"commit": None, "dirty": None}  # installed into somebody else's repository
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _processor() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None
