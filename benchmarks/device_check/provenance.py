"""Which code, card and versions a check measured, found without importing torch, which a broken driver can stop."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from .options import REPOSITORY

__all__ = ["COMMIT", "card", "commit", "now", "sources", "versions", "write_commit"]

COMMIT = "commit.json"
"""The file of the inputs folder that says what the check should find beside it."""
_FOLDERS = ("multibench", "benchmarks")
_PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "accelerate",
    "pydantic",
)
_CARD = ("name", "uuid", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "mig.mode.current")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def sources(root: Path = REPOSITORY) -> str:
    """A digest of the Python and TOML files of the package and of the benchmarks: what the figures depend on."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".toml"}:
                digest.update(f"{path.relative_to(root)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def commit(given: Path | None = None, root: Path = REPOSITORY) -> dict[str, Any]:
    """The commit of the checkout, ``modified``, and ``by``: git, or the file ``given``.

    ``modified`` is whether the package or the benchmarks differ from the commit.
    A machine without git, or a copy without its history, takes the commit from the file that ``write_commit`` wrote. It
    counts as modified if the sources beside it are not those that the file names. Values that nobody knows are None.
    """
    own = _git_commit(root)
    if own is not None:
        return {**own, "by": "git", "sources": sources(root)}
    found: dict[str, Any] = {"commit": None, "modified": None, "by": None, "sources": sources(root)}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(given.read_text("utf-8")) if given is not None else {}
        if isinstance(told.get("commit"), str):
            changed = told.get("sources") != found["sources"]
            found.update(commit=told["commit"], by="file", modified=bool(told.get("modified")) or changed)
    return found


def write_commit(path: Path, root: Path = REPOSITORY) -> dict[str, Any]:
    """Write what ``commit`` finds here to ``path``, for a machine where git cannot say it."""
    found = commit(root=root)
    path.write_text(
        json.dumps({name: found[name] for name in ("commit", "modified", "sources")}) + "\n", "utf-8"
    )
    return found


def _git_commit(root: Path) -> dict[str, Any] | None:
    try:
        if Path(_said(["git", "-C", str(root), "rev-parse", "--show-toplevel"])) != root:
            return None  # inside somebody else's repository
        changes = _said(["git", "-C", str(root), "status", "--porcelain", "--", *_FOLDERS])
        return {"commit": _said(["git", "-C", str(root), "rev-parse", "HEAD"]), "modified": bool(changes)}
    except (OSError, subprocess.SubprocessError):
        return None


def card() -> dict[str, str] | None:
    """What ``nvidia-smi`` says of the card that the check uses; None where it says nothing within ten seconds."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_CARD)}", "--format=csv,noheader"]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    command += ["--id", chosen] if chosen.isdigit() or chosen.startswith("GPU-") else []
    try:
        line = _said(command).splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None
    return dict(zip(_CARD, (part.strip() for part in line.split(",")), strict=False))


def versions() -> dict[str, str | None]:
    """Of Python, the system and the packages that matter; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
