"""``bench``: how fast fine-tuning is on this machine."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from multibench.cli.common import DeviceOption, FormatOption, echo, print_table

__all__ = ["add_verbs"]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command()(bench)


def bench(
    size: Annotated[
        list[str] | None, typer.Option("--size", help="base, medium, minilm, mini or tiny; may be repeated.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="Texts are as long as those of this task.")] = "mrpc",
    replicas: Annotated[
        str, typer.Option(metavar="N[,N]", help="How many runs are trained together.")
    ] = "1,4,16",
    precision: Annotated[Literal["fp32", "bf16", "both"], typer.Option(help="Of the products.")] = "both",
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences in a step.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Steps in a measurement.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each; medians are printed.")] = 3,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
    format_: FormatOption = "text",
) -> None:
    """Examples a second on this machine: a plain script of transformers, a run alone, runs together.

    The smallest size is measured if no --size is given. Needs no files and no network.
    What --format json prints is a file for `plan --rate`.
    """
    from multibench import api

    numbers = replicas.split(",")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(
            f"{replicas!r} is no list of numbers of runs, such as 1,4,16.", param_hint="--replicas"
        )
    table = api.bench(
        size or ("tiny",),
        task,
        [int(number) for number in numbers],
        ("fp32", "bf16") if precision == "both" else (precision,),
        device,
        threads,
        batch_size,
        steps,
        repeats,
        None if quiet else lambda line: echo(line, err=True),
    )
    print_table(table, format_)
