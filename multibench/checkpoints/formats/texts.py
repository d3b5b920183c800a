"""Small files beside the weights: read whole, but never more of them than such a file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from multibench.errors import CheckpointError

__all__ = ["parse_json", "read_json", "read_small"]

# A tokenizer.json of 120,000 WordPieces, the most of any BERT, takes a third of this.
_LARGEST = 16 << 20


def read_small(path: Path, largest: int = _LARGEST) -> bytes:
    """All bytes of a plain file. Raises ``CheckpointError`` if it is none, cannot be read, or has over ``largest``."""
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is no plain file.")
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > largest:
        raise CheckpointError(f"{path} has more than {largest:,} bytes, far more than such a file needs.")
    return content


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises ``CheckpointError`` as ``read_small`` does, and for what is no JSON."""
    return parse_json(read_small(path), str(path))


def parse_json(content: bytes, where: str) -> Any:
    """What JSON in UTF-8 says. Raises ``CheckpointError``, which names ``where``, for what is none."""
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} cannot be read as JSON: {error}.") from error
