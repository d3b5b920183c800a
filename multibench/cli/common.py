"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from multibench.reports import Table

__all__ = [
    "CheckpointsOption",
    "DataOption",
    "FormatOption",
    "JsonOption",
    "OfflineOption",
    "ResultsArgument",
    "ResultsOption",
    "SetOption",
    "SuiteArgument",
    "print_json",
    "print_table",
]

SuiteArgument = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one that comes with multibench.")
]
ResultsArgument = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="A results folder, or one suite of it.")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Where finished runs are kept.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder with official files (glue/RTE/train.tsv); without it the Hub is asked."
    ),
]
CheckpointsOption = Annotated[
    Path | None,
    typer.Option("--checkpoints", help="Folder with checkpoint folders, by id or by path in the suite."),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Touch no network.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key of the suite: recipe.learning_rate=2e-5.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
FormatOption = Annotated[
    Literal["text", "json", "csv", "markdown", "latex"],
    typer.Option("--format", help="How the table is printed."),
]


def print_table(table: Table, format_: Literal["text", "json", "csv", "markdown", "latex"]) -> None:
    """A table on standard output."""
    typer.echo(table.render(format_), nl=False)


def print_json(value: object) -> None:
    """JSON on standard output: each key on a line of its own, and each item of a list."""
    import json

    dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    # Python's own indentation is made item by item, several times slower: that matters to 100,000 runs.
    def pieces(part: object, margin: str) -> Iterator[str]:
        before = f"\n{margin} "
        if isinstance(part, dict) and part and not margin:
            for number, (key, item) in enumerate(part.items()):
                yield f"{',' if number else '{'}{before}{dump(key)}: "
                yield from pieces(item, " ")
            yield f"\n{margin}}}"
        elif isinstance(part, list) and part:
            for number, item in enumerate(part):
                yield f"{',' if number else '['}{before}{dump(item)}"
            yield f"\n{margin}]"
        else:
            yield dump(part)

    # In full before the first is written: what cannot be JSON leaves no half of it behind.
    sys.stdout.writelines([*pieces(value, ""), "\n"])
    sys.stdout.flush()
