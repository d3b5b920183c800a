"""The application: its verbs, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from multibench.cli import (
    analysis,
    bringing,
    catalogue,
    conversion,
    importing,
    measuring,
    reporting,
    reproduction,
    running,
    scoring,
)
from multibench.cli.common import echo
from multibench.errors import MultibenchError
from multibench.messages import patient_streams

__all__ = ["app", "main"]

app = typer.Typer(
    name="multibench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune families of BERT-like checkpoints, keep every prediction, and measure what the seeds do.",
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        echo(f"multibench {version('multibench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the verb."""


for module in (
    catalogue,
    bringing,
    conversion,
    running,
    analysis,
    reporting,
    reproduction,
    scoring,
    importing,
    measuring,
):
    module.add_verbs(app)


def main() -> None:
    """Entry point: errors become one sentence and their exit code, which is 2 if nothing else is said."""
    with patient_streams():
        try:
            _run()
        except MultibenchError as error:
            echo(f"multibench: {' '.join(str(error).splitlines())}", err=True)
            raise SystemExit(error.exit_code) from None
        except MemoryError:
            echo("multibench: This takes more memory than there is.", err=True)
            raise SystemExit(2) from None
        except OSError as error:
            if not _is_of_output(error):
                raise
            # What is left in the buffer must not be tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise SystemExit(0) from None  # the reader (head, less) has what it wanted
            echo(f"multibench: Standard output cannot be written: {error.strerror}.", err=True)
            raise SystemExit(2) from None


def _run() -> None:
    """The application; typer's own end for a reader that is gone becomes the error again that it was."""
    try:
        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise


def _is_of_output(error: OSError) -> bool:
    """Whether an error can be that of standard output: no file is named, and output fails with it."""
    return error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)
