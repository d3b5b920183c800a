"""``fetch`` and ``verify``: what a suite needs brought into one folder, and whether what is there is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from multibench.cli.common import (
    CheckpointsOption,
    DataOption,
    JsonOption,
    OfflineOption,
    ResultsArgument,
    SetOption,
    echo,
    print_json,
)

__all__ = ["add_verbs"]

_MARKS = {True: "ok", False: "FAILED", None: "-"}

verify = typer.Typer(
    no_args_is_help=True, help="Check checkpoints, or stored runs. Exit code 1 if a check fails."
)


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command()(fetch)
    app.add_typer(verify, name="verify")


def fetch(
    what: Annotated[
        str, typer.Argument(metavar="SUITE|CHECKPOINT", help="A suite (file or name), or a checkpoint's id.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Where to: for `run --checkpoints DIR --data DIR --offline`.")
    ],
    data: DataOption = None,
    checkpoints: CheckpointsOption = None,
    set_: SetOption = None,
    source: Annotated[
        Literal["hub", "tf_zip", "ngc"] | None,
        typer.Option(
            "--from", help="Take a checkpoint from this kind of source; the archive stays as it is."
        ),
    ] = None,
    offline: OfflineOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
    json: JsonOption = False,
) -> None:
    """Bring weights and data into a folder that works elsewhere, offline. The same command goes on where it stopped."""
    from multibench import api

    fetched = api.fetch(what, out, data, checkpoints, set_ or (), source=source, offline=offline, quiet=quiet)
    if json:
        print_json(fetched.to_dict())
    else:
        echo(f"{len(fetched.checkpoints)} checkpoints and {len(fetched.data)} splits of data are in {out}.")
        for remark in fetched.remarks:
            echo(remark)


@verify.command("checkpoint")
def verify_checkpoint(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Ids of the catalogue, or folders.")],
    checkpoints: CheckpointsOption = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="What the SHA-256 of the weights must be, as printed here.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Every weight accounted for, vocabulary against casing and tokenizer, duplicates, and a fingerprint."""
    from multibench import api

    verified = api.verify_checkpoints(names, checkpoints, sha256)
    if json:
        print_json([each.to_dict() for each in verified])
    else:
        for each in verified:
            echo(f"{each.checkpoint.id}  ({each.path})")
            for check in each.checks:
                echo(f"  {_MARKS[check.ok]:<7}{check.name:<13}{check.says}")
            if each.fingerprint is not None:
                for sentence, piece, probability in each.fingerprint.gaps():
                    echo(f"  {'-':<7}{'masked':<13}{sentence} -> {piece} ({probability:.0%})")
                echo(f"  {'-':<7}{'sha256':<13}{each.weights}")
    if not all(each.ok for each in verified):
        raise typer.Exit(1)


@verify.command("results")
def verify_results(results: ResultsArgument, json: JsonOption = False) -> None:
    """Every stored run against its checksums."""
    from multibench import api

    damaged = api.verify_results(results)
    if json:
        print_json(damaged)
    else:
        for run_id, reason in damaged["damaged"].items():
            echo(f"{run_id}: {reason}")
        echo(f"{damaged['runs']} runs checked, {len(damaged['damaged'])} damaged.")
    if damaged["damaged"]:
        raise typer.Exit(1)
