"""The command line, as a user sees it: exit code, standard output, standard error."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from multibench.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def refusal(self) -> str:
        """The one clear sentence with which the command was refused; checks that it is one."""
        assert self.code == 2, f"exit code {self.code}: {self.err}"
        assert self.out == ""
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("multibench: ")
        assert lines[0].endswith((".", "?", ".)", "?)")), lines[0]
        assert len(lines[0]) < 600
        return lines[0].removeprefix("multibench: ")


def multibench(*words: Any) -> Outcome:
    """``multibench WORDS`` in this process (starting Python and torch anew takes seconds)."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["multibench", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


def environment(**changes: str) -> dict[str, str]:
    """For subprocesses: no network, one thread, this checkout's package."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(REPOSITORY),
        **changes,
    }


def heed_interruptions() -> None:
    """For ``preexec_fn``: a job in the background of a shell starts with SIGINT ignored, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
