"""``demo``, ``plan``, ``run`` and ``status``: from a suite to stored runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from multibench.cli.common import (
    CheckpointsOption,
    DataOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    ResultsOption,
    SetOption,
    SuiteArgument,
    echo,
    print_json,
    reading,
)

__all__ = ["add_verbs"]

_GPU_HELP = (
    "Predict hours on this card: h100, h100-pcie, h200, a100, a100-pcie, a100-40gb, l40s, l4, t4, v100 or rtx4090; may "
    "be repeated. One that torch finds here is added."
)
_STOPPED = "Stopped. Finished runs are stored; the same command goes on where it stopped."


class _Stopped(KeyboardInterrupt):
    """An interruption of our own kind.

    A plain one that passes through the ``exec`` of a text, as dataclasses do on import, makes CPython end by SIGINT
    in the end, though it was caught and another exit code was asked for (``unhandled_keyboard_interrupt``).
    """


@contextmanager
def _stopping(quiet: bool) -> Iterator[None]:
    """Turn an interruption, or being told to stop, into a sentence and the exit code of one.

    Once stopping, being told again changes nothing: a terminal interrupts every process of a suite, and the first of
    them tells the others, which may be storing what they made. A second interruption ends that, too.
    """

    def stop(number: int, frame: object) -> None:
        # Not SIG_IGN: CPython complains if the signal has come already and is to be handled next.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        raise _Stopped

    # A shell's background jobs ignore interruptions, and go on doing so.
    both = (signal.SIGTERM, signal.SIGINT)
    heeded = [number for number in both if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, stop) for number in heeded]
    try:
        yield
    except KeyboardInterrupt:
        if not quiet:
            echo(_STOPPED, err=True)
        raise typer.Exit(130) from None
    finally:
        for number, handler in zip(heeded, before, strict=True):
            signal.signal(number, handler)


_WorkersOption = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Processes that share the runs; auto: what suits the machine, on GPUs one a card.",
    ),
]


def _number(given: str, option: str, of: str) -> int | Literal["auto"]:
    """A number from 1, or ``auto``."""
    if given == "auto":
        return "auto"
    if not given.isdecimal() or int(given) < 1:
        raise typer.BadParameter(
            f"{given!r} is no number of {of}; give 1, a larger number, or auto.", param_hint=option
        )
    return int(given)


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command()(demo)
    app.command()(plan)
    app.command()(run)
    app.command()(status)


def demo(
    results: ResultsOption = Path("results"),
    workers: _WorkersOption = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
) -> None:
    """The whole job on built-in models and tasks, with no network: run, compare, find the noise."""
    from multibench import api
    from multibench.reports.demo import demo_page

    with _stopping(quiet):
        folder = api.demo(results, workers=_number(workers, "--workers", "processes"), quiet=quiet)
    with reading(folder):
        echo(demo_page(folder), nl=False)


def plan(
    suite: SuiteArgument,
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    checkpoints: CheckpointsOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also how runs would be trained, how many together, and why.")
    ] = False,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="CARD", help=_GPU_HELP),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="FLOP/S|FILE",
            help="Hours at a measured rate of fine-tuning: FLOP/s, such as 6e13, or a file of `bench --format json`.",
        ),
    ] = None,
) -> None:
    """The runs of a suite: done, missing, and what the missing ones cost. Fetches nothing.

    Hours are those of this machine's CPU. For a GPU name the card (--gpu), or give a measured rate (--rate).
    """
    from multibench import api
    from multibench.reports.progress import plan_summary, plan_text

    made = api.plan(suite, results, data, checkpoints, set_ or ())
    hours = api.plan_hours(made, gpu or (), rate)
    if json:
        print_json(plan_summary(made, hours))
    else:
        echo(plan_text(made, hours))
        if explain:
            from multibench.execution.devices import device_of, find_cards, planning_device
            from multibench.planning import explain as how

            cards = find_cards("auto")
            echo("\n".join(["", *how(made, planning_device(device_of(cards), len(cards)))]))


def run(
    suite: SuiteArgument,
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    checkpoints: CheckpointsOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of a process; if not given, its share of the cores."),
    ] = None,
    workers: _WorkersOption = "auto",
    replicas: Annotated[
        str, typer.Option(metavar="N|auto", help="Runs of one checkpoint and task trained together; 1: none.")
    ] = "auto",
    offline: OfflineOption = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make failed runs again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
) -> None:
    """Make the missing runs of a suite. The same command goes on after any interruption.

    Exit code 1: some runs failed; 2: something given cannot be used; 3: a GPU does not answer; 130: stopped.
    """
    from multibench import api

    with _stopping(quiet):
        outcome = api.run(
            suite,
            results,
            data,
            checkpoints,
            set_ or (),
            device=device,
            threads=threads,
            offline=offline,
            retry_failed=retry_failed,
            quiet=quiet,
            workers=_number(workers, "--workers", "processes"),
            replicas=_number(replicas, "--replicas", "runs"),
        )
    if not quiet:
        made = ", ".join(f"{count} {name}" for name, count in sorted(outcome.made.items()))
        failed = f" {outcome.failed} failed (--retry-failed makes them again)." if outcome.failed else ""
        seconds = f"{outcome.seconds:.{1 if outcome.seconds < 100 else 0}f} s"
        echo(f"{made or 'Nothing to do: every run is stored'} ({seconds}).{failed}", err=True)
    if outcome.failed:
        raise typer.Exit(1)


def status(
    suite_or_results: Annotated[
        str, typer.Argument(metavar="SUITE_OR_RESULTS", help="A suite file or a results folder.")
    ],
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    checkpoints: CheckpointsOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """How far a suite is: done, failed, collapsed, diverged, missing."""
    from multibench import api
    from multibench.reports.progress import status_text

    found = api.status(suite_or_results, results, data, checkpoints, set_ or ())
    if json:
        print_json(found)
    else:
        echo(status_text(found))
