"""Small inputs that once went wrong, from the shared data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Case = Callable[[str], Path]
