"""Tests in this folder ask the emulated card what a program did to it; a real one would not say."""

from __future__ import annotations

import pytest

from tests.support.card import is_emulated


@pytest.fixture(autouse=True)
def _counting_from_nothing() -> None:
    if not is_emulated():
        pytest.skip("only an emulated card counts launches (python -m tests.support.card pytest -m gpu)")
    from tests.support.card import emulation

    emulation.reset()
