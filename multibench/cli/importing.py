"""``import``: predictions that were made elsewhere become stored runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multibench.cli.common import DataOption, JsonOption, echo, print_json
from multibench.errors import DataError

if TYPE_CHECKING:
    from multibench.exchange import Imported

__all__ = ["add_verbs"]

import_ = typer.Typer(
    no_args_is_help=True, help="Store predictions that were made elsewhere, as runs that every verb takes."
)

OutOption = Annotated[
    Path, typer.Option("--out", metavar="RESULTS", help="A results folder; the runs go to a folder in it.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="The name of that folder; by default that of what is imported.")
]
OrderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--class-order",
        metavar="TASK=CLASS,...",
        help="What the outputs mean, in their order, where accuracy cannot tell: a task's name and its classes.",
    ),
]
SeedsOption = Annotated[
    Literal["nested", "shared", "unknown"],
    typer.Option(
        "--finetuning-seeds",
        help="shared: fine-tuning seed 3 shares its noise among all checkpoints; nested: it does not.",
    ),
]
DifferentOption = Annotated[
    bool,
    typer.Option("--accept-different-data", help="Take labels that are not the released ones; marked so."),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Take a class order that the labels contradict, and runs that contradict the others; marked so.",
    ),
]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.add_typer(import_, name="import")


@import_.command("google-predictions")
def google_predictions(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder with index.tsv (GLUE, SQuAD) or preds.tsv (coreference)."
        ),
    ],
    out: OutOption,
    name: NameOption = None,
    data: DataOption = None,
    family: Annotated[
        list[str] | None,
        typer.Option("--family", metavar="RELEASE=FAMILY", help="Another family for a release or group."),
    ] = None,
    class_order: OrderOption = None,
    finetuning_seeds: SeedsOption = "unknown",
    accept_different_data: DifferentOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """The example predictions that were released with MultiBERTs, or others in their layout."""
    from multibench import api

    imported = api.import_google_predictions(
        folder,
        out,
        name=name,
        data=data,
        families=_pairs(family, "--family RELEASE=FAMILY"),
        class_order=_orders(class_order),
        finetuning_seeds=finetuning_seeds,
        accept_different_data=accept_different_data,
        force=force,
    )
    _tell(imported, json)


@import_.command("predictions")
def predictions(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE_OR_DIR",
            help="A matrix with an entry a run, or a folder with a file a run in any layout that 'score' reads.",
        ),
    ],
    index: Annotated[
        Path, typer.Option("--index", help="What each is of: a row a run, as .tsv, .csv or .jsonl.")
    ],
    out: OutOption,
    name: NameOption = None,
    data: DataOption = None,
    class_order: OrderOption = None,
    finetuning_seeds: SeedsOption = "unknown",
    accept_different_data: DifferentOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Any predictions, with a table that says what each is of: family, seeds, step, task, hyperparameters."""
    from multibench import api

    imported = api.import_predictions(
        file,
        index,
        out,
        name=name,
        data=data,
        class_order=_orders(class_order),
        finetuning_seeds=finetuning_seeds,
        accept_different_data=accept_different_data,
        force=force,
    )
    _tell(imported, json)


def _tell(imported: Imported, json: bool) -> None:
    if json:
        print_json(imported.to_dict())
        return
    echo(
        f"{imported.new} run{'' if imported.new == 1 else 's'} imported to {imported.folder}; {imported.already} were "
        f"there already."
    )
    for remark in imported.remarks:
        echo(remark)
    if imported.absent:
        echo(f"{len(imported.absent)} files of the index are not there, such as {imported.absent[0]}.")


def _pairs(given: Iterable[str] | None, form: str) -> dict[str, str]:
    pairs = dict(each.partition("=")[::2] for each in given or ())
    for key, value in pairs.items():
        if not key or not value:
            raise DataError(f"'{key}' says nothing; expected {form}.")
    return pairs


def _orders(given: Iterable[str] | None) -> dict[str, list[str]]:
    pairs = _pairs(given, "--class-order TASK=CLASS,CLASS")
    return {task: [name.strip() for name in names.split(",")] for task, names in pairs.items()}
