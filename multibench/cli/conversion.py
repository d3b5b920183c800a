"""``convert``: a checkpoint in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from multibench.cli.common import CheckpointsOption, JsonOption, OfflineOption, echo, print_json

__all__ = ["add_verbs"]


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verb."""
    app.command()(convert)


def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="An id, or a path: a folder of Hugging Face or TensorFlow, a zip archive, a .nemo or .pt file.",
        ),
    ],
    to: Annotated[Literal["huggingface", "tensorflow", "nemo"], typer.Option("--to", help="The new format.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    checkpoints: CheckpointsOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """A checkpoint in another format; every tensor is read back and compared."""
    from multibench import api

    conversion = api.convert(checkpoint, to, out, checkpoints, offline=offline)
    if json:
        print_json(conversion.to_dict())
        return
    echo(f"{conversion.path} holds {conversion.weights} tensors, each read back and equal.")
    for note in conversion.notes:
        echo(note)
