"""The Hugging Face Hub: what its cache holds, and bringing more into it, every byte checked.

The Hub's client checks sizes only. Here each file is held against the hash that the Hub states for it:
SHA-256 for large files, git's own for small ones. In the cache a file is called by that hash, so any
process can check it at any time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multibench.cache import remembered_digest
from multibench.checkpoints.formats.huggingface import DESCRIPTION, has_weights, weight_names
from multibench.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

__all__ = [
    "DISK_ERRORS",
    "cached",
    "differing",
    "download",
    "require_room",
    "why",
]

_ANSWER_SECONDS = 10
# Pauses before a request is repeated that was answered by an error which may pass. Broken connections and
# silence are not repeated here: the client itself has tried six times by then.
_PAUSES = (1.0, 3.0)
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS})
_MAY_PASS = {408, 429, 500, 502, 503, 504}


class _DamagedError(CheckpointError):
    """A file arrived that is not what the Hub says it is."""


@dataclass(frozen=True)
class _RemoteFile:
    """A file of a repository. ``digest`` is SHA-256 (64 digits) or git's hash of the content (40)."""

    name: str
    size: int
    digest: str

    def is_at(self, path: Path) -> bool:
        """Whether ``path`` holds this file, to the last byte."""
        return (
            path.is_file()
            and path.stat().st_size == self.size
            and _digest(path, len(self.digest)) == self.digest
        )


def cached(location: str, revision: str | None = None, cache: Path | None = None) -> Path | None:
    """The snapshot of the repository ``location`` in the client's cache, without touching the network.

    None if there is none, or if it is not whole: a file is missing, or is not what its name says.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # Asked for these only, because a snapshot never holds the repository's other forms of the weights.
        folder = Path(
            snapshot_download(
                location,
                revision=revision,
                cache_dir=cache,
                local_files_only=True,
                allow_patterns=list(DESCRIPTION),
            )
        )
    except (LocalEntryNotFoundError, FileNotFoundError, ValueError):
        return None
    if not has_weights(folder) or not any((folder / n).is_file() for n in ("vocab.txt", "tokenizer.json")):
        return None
    wanted = weight_names(path.name for path in folder.iterdir())
    if not all(_is_what_its_name_says(folder / name) for name in (*DESCRIPTION, *wanted)):
        return None
    return folder


def download(location: str, revision: str | None = None, cache: Path | None = None) -> Path:
    """Bring configuration, vocabulary and one form of the weights into the client's cache, or into ``cache``.

    Files that are there already are not fetched again, and two processes fetch a file once. Raises
    ``StorageError`` if the disk has no room for it, ``CheckpointError`` for a repository without PyTorch
    weights and for files that are not what the Hub says they are, and the client's errors (see ``why``).
    """
    for pause in (*_PAUSES, None):
        try:
            with _silent_client():
                return _download(location, revision, cache)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise StorageError(
                    f"{location} could not be stored: {os.strerror(error.errno)}. Make room, or give another folder."
                ) from error
            if pause is None or not _may_pass(error):
                raise
        time.sleep(pause)
    raise AssertionError("unreachable")


def _download(location: str, revision: str | None, cache: Path | None) -> Path:
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

    info = HfApi().model_info(location, revision=revision, files_metadata=True, timeout=_ANSWER_SECONDS)
    files = _wanted(location, info)
    here = cache or Path(constants.HF_HUB_CACHE)
    blobs = here / f"models--{location.replace('/', '--')}" / "blobs"
    require_room(here, sum(f.size for f in files if not (blobs / f.digest).exists()), location)
    folder = Path(
        snapshot_download(
            location, revision=revision, cache_dir=cache, allow_patterns=[file.name for file in files]
        )
    )
    for file in files:
        path = folder / file.name
        if file.is_at(path):
            continue
        _discard(path)
        hf_hub_download(location, file.name, revision=info.sha, cache_dir=cache, force_download=True)
        if not file.is_at(path):
            _discard(path)
            raise _DamagedError(
                f"{file.name} arrived damaged twice: its content is not the one whose hash the Hub states "
                f"({file.digest})"
            )
    return folder


def _wanted(location: str, info: ModelInfo) -> list[_RemoteFile]:
    files = {file.rfilename: file for file in info.siblings or ()}
    weights = weight_names([name for name in files if "/" not in name])
    if not weights:
        raise CheckpointError(f"the repository holds no PyTorch weights (it has {', '.join(sorted(files))})")
    if not {"vocab.txt", "tokenizer.json"} & set(files):
        raise CheckpointError("the repository holds no vocabulary (vocab.txt or tokenizer.json)")
    found = []
    for name in (*(n for n in DESCRIPTION if n in files), *weights):
        file = files[name]
        digest = file.lfs.sha256 if file.lfs is not None else file.blob_id
        if file.size is None or digest is None:
            raise CheckpointError(f"the Hub states neither size nor hash of {name}")
        found.append(_RemoteFile(name, file.size, digest))
    return found


def require_room(folder: Path, size: int, what: str) -> None:
    """Raise ``StorageError`` if the disk of ``folder`` has no room for ``size`` bytes more."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise StorageError(
            f"There is no room for {what}: {size / 1e9:.2f} GB more are needed at {folder}, where {free / 1e9:.2f} GB "
            "are free. Make room, or give another folder."
        )


def _digest(path: Path, digits: int) -> str:
    def make() -> str:
        if digits == 64:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

    return remembered_digest(f"file {digits}", [path], make)


def differing(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names in ``files`` (name -> ``size`` and ``sha256``) that ``folder`` lacks or has with other content."""
    stated = (_RemoteFile(name, entry["size"], entry["sha256"]) for name, entry in files.items())
    return [file.name for file in stated if not file.is_at(folder / file.name)]


def _is_what_its_name_says(path: Path) -> bool:
    """Whether a file of the cache has the content that it is filed under; True where that cannot be known."""
    if not path.is_symlink():
        return True
    name = path.readlink().name  # one step only: what it points to may be shared under another name
    if len(name) not in {40, 64} or not set(name) <= set("0123456789abcdef"):
        return True
    return path.is_file() and _digest(path, len(name)) == name


def _discard(path: Path) -> None:
    """Take a damaged file out of the cache, so that nobody else uses it."""
    if path.is_symlink():
        path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextmanager
def _silent_client() -> Iterator[None]:
    """What the client would log becomes the reason of an error; its bars are for terminals only."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    before = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    # Where the user's environment has decided about bars, the client lets nobody else decide.
    hide = not (
        sys.stderr.isatty()
        or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
        or are_progress_bars_disabled()
    )
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if hide:
            enable_progress_bars()


def _status(error: BaseException) -> int | None:
    """The HTTP status that ``error`` tells of, if it does."""
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _may_pass(error: Exception) -> bool:
    cut_off = str(error).startswith("Consistency check failed")
    return isinstance(error, _DamagedError) or cut_off or _status(error) in _MAY_PASS


def why(error: BaseException) -> str:
    """What an error of ``download`` means, in a few words without a full stop."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for each in chain:
        if isinstance(each, GatedRepoError):
            return "the repository is gated: accept its terms on its page, then log in (hf auth login) or set HF_TOKEN"
        if isinstance(each, RepositoryNotFoundError):
            return "the Hub has no such repository, or shows it only to those who log in (hf auth login)"
        if isinstance(each, RevisionNotFoundError):
            return "the repository has no such revision"
        if (status := _status(each)) is not None:
            refused = (
                ": access is refused; log in (hf auth login) or set HF_TOKEN" if status in {401, 403} else ""
            )
            return f"the Hub answered with HTTP status {status}{refused}"
        if "Timeout" in type(each).__name__:
            return "the Hub stopped answering"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
