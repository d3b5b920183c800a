"""``score`` and ``export``: prediction files in, prediction files out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from multibench.cli.analysis import LevelOption, SelectOption, WhereOption
from multibench.cli.common import (
    AcceptOption,
    DataOption,
    FormatOption,
    ResultsArgument,
    echo,
    print_json,
    print_table,
    reading,
)

__all__ = ["add_verbs"]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command()(score)
    app.command("scores-alone")(scores_alone)
    app.command()(export)


def score(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's name, or its TOML file.")],
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="SQuAD's {id: text} JSON, ids with predictions (GLUE, HANS), class scores with a header or without, "
            "arrays, or stored parquet.",
        ),
    ],
    split: Annotated[
        str | None, typer.Option("--split", help="The split; by default the one that runs are scored on.")
    ] = None,
    data: DataOption = None,
    accept_different_data: Annotated[
        bool, typer.Option("--accept-different-data", help="Score on data that are not the released ones.")
    ] = False,
    class_order: Annotated[
        str | None,
        typer.Option(
            "--class-order",
            metavar="CLASS,...",
            help="What the outputs mean, in their order; found by accuracy if not given.",
        ),
    ] = None,
    null_odds: Annotated[
        Path | None,
        typer.Option(
            "--null-odds", help="For SQuAD v2.0: the odds of no answer, {id: number} (null_odds.json)."
        ),
    ] = None,
    null_threshold: Annotated[
        float | None,
        typer.Option(
            "--null-threshold", help="Count answers whose odds of no answer exceed this as refused."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take a class order that the labels contradict.")
    ] = False,
    format_: FormatOption = "text",
) -> None:
    """Official metrics of any prediction file."""
    from multibench import api

    order = (
        None if class_order is None else [name.strip() for name in class_order.rpartition("=")[2].split(",")]
    )
    scored = api.score(
        task,
        predictions,
        split,
        data,
        accept_different_data,
        class_order=order,
        null_odds=null_odds,
        null_threshold=null_threshold,
        force=force,
    )
    if format_ == "json":
        print_json(scored.to_dict())
        return
    from multibench.reports.scored import scored_table

    print_table(scored_table(scored), format_)


def scores_alone(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="GROUP...",
            help="Folders with an all_results.json a run (NAME=FOLDER names it), or a table with a column 'group'.",
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Which score, with or without eval_; needed where there are several."),
    ] = None,
    confidence: LevelOption = 0.95,
    format_: FormatOption = "text",
) -> None:
    """Means, spreads and tests of scores without predictions, marked so."""
    from multibench import api

    print_table(api.scores_alone(sources, metric, confidence), format_)


def export(
    what: Annotated[
        Literal["glue-submission", "squad", "google-predictions"],
        typer.Argument(
            help="A zip for the GLUE server, a JSON of answers for each run, or the layout of Google's predictions."
        ),
    ],
    results: ResultsArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")],
    where: WhereOption = "",
    select: SelectOption = None,
    data: DataOption = None,
    accept_damaged: AcceptOption = False,
) -> None:
    """Stored predictions as the files that other people's tools take."""
    from multibench import api

    with reading(results, accept_damaged) as opened:
        for path in api.export(what, opened, out, where, select, data):
            echo(path)
