"""Weights small enough to travel: 8 bits a number with a scale a row, rebuilt to the same float32 file everywhere."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

__all__ = ["FILES", "PACKED", "pack", "rebuild", "rounded", "widened"]

PACKED = "packed.safetensors"
FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
_SCALE = "scale of "
_DIGEST = "sha256.txt"


def rounded(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """``(n, m)`` as whole numbers of -127 to 127, and the scale of each row ``(n, 1)``; a row of zeros has scale 1."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    return np.clip(np.rint(matrix / scale), -127, 127).astype(np.int8), scale


def widened(whole: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float32 matrix that ``rounded`` stands for: one product a number, whose bits IEEE 754 fixes."""
    return whole.astype(np.float32) * scale


def pack(model: Path, target: Path) -> None:
    """Write the checkpoint folder ``model`` in small to ``target``, with the digest of the file that it rebuilds to."""
    target.mkdir(parents=True, exist_ok=True)
    packed: dict[str, NDArray[np.float32] | NDArray[np.int8]] = {}
    for name, values in load_file(model / "model.safetensors").items():
        if not np.issubdtype(values.dtype, np.floating):
            continue  # positions, which every library counts by itself
        exact = values.astype(np.float32)
        if exact.ndim == 2:
            packed[name], packed[_SCALE + name] = rounded(exact)
        else:
            packed[name] = exact
    save_file(packed, target / PACKED)
    for name in FILES:
        shutil.copy(model / name, target)
    # What a copy keeps of a file's rights may forbid the next copy.
    for path in target.iterdir():
        path.chmod(0o644)
    (target / _DIGEST).write_text(_sha256(_write(target, target / "rebuilt")) + "\n", "utf-8")
    (target / "rebuilt").unlink()


def rebuild(packed: Path, target: Path) -> Path:
    """Make the float32 checkpoint ``target`` of the folder ``packed``, unless it is there already; returns ``target``.

    Raises ``ValueError`` if the file is not, bit for bit, the one that ``pack`` foresaw.
    """
    path = target / "model.safetensors"
    if path.exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(packed / name, target / name)
    made = _write(packed, target / "unfinished")
    expected, found = (packed / _DIGEST).read_text("utf-8").strip(), _sha256(made)
    if found != expected:
        made.unlink()
        raise ValueError(
            f"The weights rebuilt from {packed / PACKED} have SHA-256 {found}, but {expected} was expected. "
            "The file was damaged on its way, or was packed by another version: make the inputs anew."
        )
    made.rename(path)
    return target


def _write(packed: Path, path: Path) -> Path:
    parts = load_file(packed / PACKED)
    whole = {
        name: widened(values, parts[_SCALE + name]) if values.dtype == np.int8 else values
        for name, values in parts.items()
        if not name.startswith(_SCALE)
    }
    save_file(whole, path, metadata={"format": "pt"})
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
