"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multibench.errors import OptionError
from multibench.printable import printable

if TYPE_CHECKING:
    from multibench.reports import Table
    from multibench.results import Results

__all__ = [
    "AcceptOption",
    "CheckpointsOption",
    "DataOption",
    "DeviceOption",
    "FormatOption",
    "JsonOption",
    "OfflineOption",
    "ResultsArgument",
    "ResultsOption",
    "SetOption",
    "SuiteArgument",
    "difference",
    "echo",
    "print_json",
    "print_table",
    "reading",
    "tell_left_out",
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
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N",
        help="Where to compute; cuda: a GPU, cuda:1: the second. `run` uses every visible GPU.",
    ),
]
FormatOption = Annotated[
    Literal["text", "json", "csv", "markdown", "latex"],
    typer.Option("--format", help="How the table is printed."),
]


AcceptOption = Annotated[
    bool,
    typer.Option("--accept-damaged", help="End with exit code 0 though damaged runs were left out."),
]

_TOLD = 10
# Above this a bare number is more often meant as points than as a fraction.
_PLAIN = Decimal("0.1")
_DIFFERENCE = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,2})?)\s*(pt|pts|point|points|%|)\s*", re.IGNORECASE | re.ASCII
)


def difference(option: str) -> Callable[[str], float]:
    """What reads an ``option`` that takes a difference of two scores, above 0.

    It makes a fraction of ``0.5pt`` and ``0.5%`` (both are points) and of ``0.005``. A bare number above 0.1 is
    refused, since 0.5 may be meant as half a point or as 50. Raises ``OptionError``.
    """

    def read(value: str | float) -> float:
        if isinstance(value, float):  # a default
            return value
        found = _DIFFERENCE.fullmatch(value)
        if found is None:
            raise OptionError(
                f"{option} is '{value}'; give points, such as 0.5pt or 0.5%, or a fraction, such as 0.005."
            )
        number, unit = Decimal(found[1]), found[2]
        if number <= 0:
            raise OptionError(
                f"{option} is {value}; a difference is asked for by its size: give a positive fraction or points, such "
                "as 0.005 or 0.5pt."
            )
        if not unit and number > _PLAIN:
            small, large = f"{number.normalize():f}", f"{(100 * number).normalize():f}"
            raise OptionError(
                f"{option} {small} could be {small} points or {large}: write {small}pt or {small}% (both are points) "
                f"for the one, {large}pt for the other."
            )
        return float(number / 100 if unit else number)

    read.__name__ = "difference"
    return read


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text that may hold names of strangers, on standard output or standard error."""
    typer.echo(printable(str(text)), err=err, nl=nl)


@contextmanager
def reading(results: Path, accept: bool = False, data: Path | None = None) -> Iterator[Results]:
    """The runs below ``results``; at the end it is said which are damaged and were left out.

    ``data`` is where clusters of examples are looked for that older runs were stored without. Ends with exit code 1
    if any were, unless the user accepts that.
    """
    from multibench.results import Results

    opened = Results.open(results, data)
    try:
        yield opened
    finally:
        tell_left_out(opened.damaged)
    if opened.damaged and not accept:
        raise typer.Exit(1)


def tell_left_out(damaged: Sequence[str]) -> None:
    """Say on standard error which runs are not in what was made."""
    for sentence in damaged[:_TOLD]:
        echo(f"Left out, being damaged: {sentence}", err=True)
    if len(damaged) > _TOLD:
        echo(f"Left out, being damaged, are {len(damaged) - _TOLD} runs more.", err=True)
    if damaged:
        echo(
            f"{len(damaged)} damaged run{'' if len(damaged) == 1 else 's'} left out; `multibench verify results` "
            "lists all, `multibench run` makes those of its suite again.",
            err=True,
        )


def print_table(table: Table, format_: Literal["text", "json", "csv", "markdown", "latex"]) -> None:
    """A table on standard output."""
    echo(table.render(format_), nl=False)


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
    sys.stdout.writelines([*map(printable, pieces(value, "")), "\n"])
    sys.stdout.flush()
