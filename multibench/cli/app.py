"""The application: its verbs, and what becomes of errors."""

from __future__ import annotations

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
    """Entry point: errors become one sentence and exit code 2."""
    try:
        app()
    except MultibenchError as error:
        echo(f"multibench: {' '.join(str(error).splitlines())}", err=True)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # The reader (head, less) has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
