"""What the check was asked for, handed on to the process of each stage as words of a command."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["REPOSITORY", "Given", "read_words"]

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Given:
    """``inputs`` is a folder of ``benchmarks.device_check.inputs``, ``out`` the folder whose files are kept.

    ``scratch`` is for what is thrown away. ``device`` is ``cuda`` or ``cpu``. ``small`` asks for a dry run. ``until``
    is the time of the epoch, in seconds, at which the stage is cut.
    """

    inputs: Path
    out: Path
    scratch: Path
    device: str
    small: bool
    until: float = float("inf")

    @property
    def left(self) -> float:
        """Seconds until the stage is cut."""
        return self.until - time.time()

    def words(self, until: float) -> list[str]:
        """The options of a stage that is cut at ``until``, as ``read_words`` reads them."""
        words = ["--inputs", str(self.inputs), "--out", str(self.out), "--scratch", str(self.scratch)]
        words += ["--device", self.device, "--until", repr(until)]
        return [*words, "--small"] if self.small else words


def read_words(words: Sequence[str]) -> tuple[str, Given]:
    """The name of the stage, and its options."""
    parser = argparse.ArgumentParser(description="One stage of the check; the check itself starts it.")
    parser.add_argument("stage")
    for name in ("--inputs", "--out", "--scratch"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--small", action="store_true")
    own = parser.parse_args(words)
    return own.stage, Given(own.inputs, own.out, own.scratch, own.device, own.small, own.until)
