"""Standard error that is full, or that nobody reads any more, ends no work: what cannot be said is not said."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["Messages", "patient_streams"]

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


class Messages(io.TextIOBase):
    """What is written goes to ``stream`` as long as that takes it. Never raises for what it does not take."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What becomes of characters that its encoding has not."""
        return getattr(self._stream, "errors", None)

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether a person sees it."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return bool(self._stream.isatty())
        return False

    def fileno(self) -> int:
        """The stream's; raises ``OSError`` as that does if it has none."""
        return int(self._stream.fileno())

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As far as that goes."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()


@contextlib.contextmanager
def patient_streams() -> Iterator[None]:
    """Standard error as ``Messages`` during the block, and all three streams open.

    A stream that is closed from the start gives its number to the next file that is opened, and whatever is then said
    ends in that file: the null device takes its place.
    """
    for number, name, mode in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    before = sys.stderr
    sys.stderr = Messages(before)
    try:
        yield
    finally:
        sys.stderr = before
