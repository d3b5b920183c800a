"""``scores`` and ``compare``: from stored runs to statements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multibench.cli.common import FormatOption, ResultsArgument, print_table

__all__ = ["add_verbs"]

SelectOption = Annotated[
    str | None,
    typer.Option("--select", help="How one setting of a grid is chosen, instead of the suite's rule."),
]
NbootOption = Annotated[int, typer.Option(min=100, help="Bootstrap draws.")]
LevelOption = Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of intervals.")]
MetricOption = Annotated[
    str | None, typer.Option("--metric", help="One metric, or 'all'; the headline metric if not given.")
]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command()(scores)
    app.command()(compare)


def scores(
    results: ResultsArgument = Path("results"),
    where: Annotated[
        str, typer.Option("--where", help="Only runs that this filter accepts: key=value[,key=value].")
    ] = "",
    metric: MetricOption = None,
    select: SelectOption = None,
    nboot: NbootOption = 2000,
    confidence: LevelOption = 0.95,
    format_: FormatOption = "text",
) -> None:
    """Scores with intervals for each group of checkpoints, task and metric."""
    from multibench.reports import scores as make
    from multibench.results import Results

    chosen = Results.open(results).where(where)
    print_table(make(chosen, metric, select, nboot, confidence), format_)


def compare(
    results: ResultsArgument,
    base: Annotated[str, typer.Option("--base", help="Filter of the base side: family=pocket,step=0.")],
    expt: Annotated[str, typer.Option("--expt", help="Filter of the experiment side.")],
    task: Annotated[str | None, typer.Option("--task", help="Only this task.")] = None,
    metric: MetricOption = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired", help="Pair pretraining seeds; by default if both sides have the same."
        ),
    ] = None,
    select: SelectOption = None,
    nboot: NbootOption = 2000,
    confidence: LevelOption = 0.95,
    format_: FormatOption = "text",
) -> None:
    """Base against experiment by multi-bootstrap, with interval and p-value."""
    from multibench.reports import compare as make
    from multibench.results import Results

    table = make(Results.open(results), base, expt, task, metric, paired, select, nboot, confidence)
    print_table(table, format_)
