"""Files by address, for what is not on the Hub: resumed where they broke off, and checked where the server says how."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from multibench.checkpoints.catalogue.checkpoint import Source
from multibench.checkpoints.download.hub import DISK_ERRORS, require_room
from multibench.errors import UnavailableError

__all__ = ["address_of", "download_url"]

_NGC = "https://api.ngc.nvidia.com/v2/models"
_SILENCE_SECONDS = 10
_ATTEMPTS = 5
_PAUSE_SECONDS = 1.0
_PIECE = 1 << 20


def address_of(source: Source) -> str | None:
    """Where the file of ``source`` can be had; None if that is not known.

    The rule for NGC is the one by which NVIDIA/NeMo v1.0.0 lists its pretrained models.
    """
    if source.kind == "tf_zip":
        return source.location
    model, colon, version = source.location.partition(":")
    if source.kind == "ngc" and colon and source.file is not None:
        return f"{_NGC}/{model}/versions/{version}/files/{source.file}"
    return None


def download_url(url: str, folder: Path) -> Path:
    """The file at ``url`` in ``folder``, under its own name; a part that is there already is not fetched again.

    A server that is silent for 10 seconds is asked again, from where it broke off; five attempts that bring nothing
    end it. Raises ``UnavailableError``, ``StorageError`` if there is no room for the file, and the ``OSError`` of
    a disk that refuses.
    """
    path = folder / url.rpartition("/")[2]
    fruitless, had = 0, 0
    while True:
        try:
            with _open(url) as response:
                headers = response.headers
            return _continue(url, path, headers)
        except HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in {408, 429}:
                raise UnavailableError(f"{url} was answered with HTTP status {error.code}.") from error
            reason = f"it answers with HTTP status {error.code}"
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and (error.filename is not None or error.errno in DISK_ERRORS):
                raise
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        have = sum(part.stat().st_size for part in folder.glob(f".{path.name}.*.part"))
        fruitless, had = fruitless + (have <= had), have
        if fruitless == _ATTEMPTS:
            raise UnavailableError(
                f"{url} cannot be fetched: {reason}. What arrived is kept; the same command goes on from there."
            )
        time.sleep(_PAUSE_SECONDS)


def _open(url: str, start: int = 0) -> Any:
    headers = {"Range": f"bytes={start}-"} if start else {}
    return urlopen(Request(url, headers=headers), timeout=_SILENCE_SECONDS)


def _continue(url: str, path: Path, headers: Mapping[str, str]) -> Path:
    """Fetch what is missing of the file that ``headers`` describe, and put it at ``path`` once it is whole."""
    from huggingface_hub.utils.tqdm import tqdm

    bars: Any = tqdm  # the client's, so that what hides its bars hides this one; it has no types
    size = int(headers.get("Content-Length") or 0)
    # The part of another version of the file has another name.
    version = hashlib.sha256(f"{headers.get('ETag')} {size}".encode()).hexdigest()[:12]
    part = path.with_name(f".{path.name}.{version}.part")
    have = part.stat().st_size if part.exists() else 0
    require_room(path.parent, size - have, path.name)
    if have < size or not size:
        with _open(url, have) as response, part.open("ab" if response.status == 206 else "wb") as file:
            begun = have if response.status == 206 else 0
            with bars(
                total=size, initial=begun, unit="B", unit_scale=True, desc=path.name, disable=None
            ) as bar:
                while piece := response.read(_PIECE):
                    file.write(piece)
                    bar.update(len(piece))
    if size and part.stat().st_size != size:
        raise HTTPException(f"the connection broke off after {part.stat().st_size:,} of {size:,} bytes")
    _check(part, headers)
    part.replace(path)
    return path


def _check(part: Path, headers: Mapping[str, str]) -> None:
    """Hold the file against the MD5 that Google's storage states (``x-goog-hash: crc32c=...,md5=...``)."""
    stated = [word.strip() for word in (headers.get("x-goog-hash") or "").split(",")]
    md5 = next((word.removeprefix("md5=") for word in stated if word.startswith("md5=")), None)
    if md5 is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    if found != base64.b64decode(md5):
        part.unlink()
        raise HTTPException("it arrived damaged: its MD5 is not the one that the server states")
