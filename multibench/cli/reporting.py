"""``report``: everything that stored runs say, as a page and as files for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multibench.cli.analysis import LevelOption, NbootOption, SelectOption, WhereOption
from multibench.cli.common import AcceptOption, ResultsArgument, difference, echo, reading

__all__ = ["add_verbs"]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verb."""
    app.command()(report)


def report(
    results: ResultsArgument,
    out: Annotated[Path, typer.Option(help="Folder for the page, the tables and the figures.")],
    where: WhereOption = "",
    metric: Annotated[
        str | None, typer.Option(help="One metric of each evaluation; the headline metric if not given.")
    ] = None,
    select: SelectOption = None,
    base: Annotated[
        str | None,
        typer.Option(help="Filter of the group to compare the others with; by default that with most seeds."),
    ] = None,
    effect: Annotated[
        float,
        typer.Option(
            parser=difference("--effect"),
            metavar="DIFFERENCE",
            help="The smallest difference that matters: 0.5pt, 0.5% (points as well) or 0.005.",
        ),
    ] = 0.005,
    nboot: NbootOption = 2000,
    confidence: LevelOption = 0.95,
    accept_damaged: AcceptOption = False,
) -> None:
    """One page that needs no network, with every table as CSV, Markdown and LaTeX and every figure as SVG and PNG."""
    from multibench.reports.page import report as make

    with reading(results, accept_damaged) as opened:
        page = make(
            opened,
            out,
            where,
            metric=metric,
            rule=select,
            base=base,
            effect=effect,
            nboot=nboot,
            confidence=confidence,
        )
        echo(page)
