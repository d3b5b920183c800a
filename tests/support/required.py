"""What a test needs that is not everywhere: it is skipped, or fails where it was said to be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["missing"]

_REQUIRED = set(filter(None, os.environ.get("MULTIBENCH_REQUIRE", "").split(",")))


def missing(what: str, reason: str) -> NoReturn:
    """Skip, or fail where continuous integration says that it must be there (``MULTIBENCH_REQUIRE``)."""
    if what in _REQUIRED:
        pytest.fail(f"MULTIBENCH_REQUIRE names {what}, but {reason}")
    pytest.skip(reason)
