"""``reproduce``: a published table, and what was measured beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multibench.cli.common import AcceptOption, FormatOption, difference, print_table, reading

__all__ = ["add_verbs"]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verb."""
    app.command()(reproduce)


def reproduce(
    reference: Annotated[
        str,
        typer.Argument(metavar="REFERENCE", help="A published table; `multibench list references` has them."),
    ],
    results: Annotated[
        Path | None,
        typer.Argument(metavar="[RESULTS]", help="A results folder, or one suite of it, to hold against it."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            parser=difference("--margin"),
            metavar="DIFFERENCE",
            help="The largest difference that counts as none: 1pt, 1% (a point as well) or 0.01; by default by task.",
        ),
    ] = None,
    where: Annotated[
        str, typer.Option("--where", help="Only runs that this filter accepts: key=value[,key=value].")
    ] = "",
    format_: FormatOption = "text",
    accept_damaged: AcceptOption = False,
) -> None:
    """Published against measured with a verdict for each figure: match, differs or cannot tell."""
    from multibench.reports.reproduction import reproduce as make

    if results is None:
        print_table(make(reference, None, margin), format_)
        return
    with reading(results, accept_damaged) as opened:
        print_table(make(reference, opened.where(where), margin), format_)
