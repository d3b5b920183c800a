"""Names of strangers on terminals: shown, never obeyed."""

from __future__ import annotations

import re

__all__ = ["printable"]

# Control characters but line feed and tab, halves of characters, and what turns the direction of text.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def printable(text: str) -> str:
    r"""``text`` with all that a terminal would obey, or could not show, as ``\u001b``; JSON stays JSON by that."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
