"""The compiled card: made once for a version of torch and of the source, outside the repository."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

__all__ = ["lacking", "library"]

_HERE = Path(__file__).parent
_SOURCES = ("card.cpp", "device.hpp", "state.hpp")
_COMPILER = "g++"
_OPTIONS = ("-std=c++20", "-O1", "-fPIC", "-shared", "-w")


def _torch() -> Path:
    """The folder of torch, which is not imported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torch is not installed")
    return Path(spec.origin).parent


def lacking() -> str | None:
    """Why there can be no emulated card here, or None."""
    if shutil.which(_COMPILER) is None:
        return f"there is no {_COMPILER} to compile the emulated card"
    if not (_torch() / "include" / "ATen" / "ATen.h").is_file():
        return "torch came without the headers that the emulated card is compiled with"
    if not re.search(r"^cuda\b.*= None$", (_torch() / "version.py").read_text(), re.MULTILINE):
        return "this torch was built with CUDA, and beside that an emulated card has no place"
    return None


def library() -> Path:
    """The compiled card; the first call compiles it (some 10 seconds), while processes beside it wait."""
    folder = _folder()
    compiled = folder / f"card-{_key()}.so"
    if compiled.exists():
        return compiled
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not compiled.exists():
            unfinished = folder / f"unfinished-{os.getpid()}.so"
            _compile(unfinished)
            unfinished.replace(compiled)
    return compiled


def _folder() -> Path:
    """A folder for temporary files that nobody else can write to."""
    folder = Path(tempfile.gettempdir()) / f"multibench-card-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else; set TMPDIR to another folder")
    return folder


def _key() -> str:
    content = hashlib.sha256()
    for source in _SOURCES:
        content.update((_HERE / source).read_bytes())
    content.update((_torch() / "version.py").read_bytes())
    content.update(f"{_torch()} {_COMPILER} {_OPTIONS}".encode())
    return content.hexdigest()[:16]


def _compile(target: Path) -> None:
    torch = _torch()
    includes = [f"-I{torch / 'include' / part}" for part in ("", "torch/csrc/api/include")]
    libraries = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    command = [_COMPILER, *_OPTIONS, *includes, str(_HERE / _SOURCES[0]), *libraries, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"The emulated card does not compile with torch at {torch}:\n{done.stderr[-4000:]}"
        )
