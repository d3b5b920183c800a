"""Weights and data of a suite in one folder, with which it runs elsewhere without a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multibench.checkpoints import Checkpoint
from multibench.checkpoints.download.bring import bring, bring_archive, expected_bytes
from multibench.checkpoints.download.hub import require_room
from multibench.checkpoints.download.locate import find_below, find_local
from multibench.errors import DataError, UnavailableError
from multibench.planning.plan import needed_splits, selected_checkpoints
from multibench.suite import Suite
from multibench.tasks import HELD_OUT, DataSources, Task, load_split
from multibench.tasks.fetched import keep_split
from multibench.tasks.held_out import CutTask

__all__ = ["Fetched", "fetch_checkpoints", "fetch_suite"]

_IN_A_ROW = 3


@dataclass
class Fetched:
    """What was brought into ``folder``; ``missing`` says of each thing that was not why it was not."""

    folder: Path
    checkpoints: dict[str, Path] = field(default_factory=dict)
    data: dict[str, Path] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "folder": str(self.folder),
            "checkpoints": {name: str(path) for name, path in self.checkpoints.items()},
            "data": {name: str(path) for name, path in self.data.items()},
            "remarks": self.remarks,
            "missing": self.missing,
        }

    def sentence(self) -> str:
        """What is missing, as the message of an error."""
        (first, why), *others = self.missing.items()
        if not others:
            return why
        names = ", ".join(name for name, _ in others[:3]) + (" and others" if len(others) > 3 else "")
        return (
            f"{len(self.missing)} things could not be fetched; what could is in {self.folder}, and the same command "
            f"goes on from there. Besides {names}: {first}: {why}"
        )


def fetch_suite(
    suite: Suite,
    out: Path,
    sources: DataSources,
    root: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Fetched:
    """Bring the checkpoints and the data of ``suite`` into ``out``; the same call goes on where it stopped.

    What is on this machine already (below ``root``, in ``sources``, in the Hub client's cache) is taken from
    there. One missing thing does not keep the others from being fetched: see ``Fetched.missing``. Raises
    ``StorageError`` before anything is fetched if there is no room for the weights, and the errors of suites
    and data.
    """
    fetched = Fetched(out)
    checkpoints = selected_checkpoints(suite, root)
    _require_room_for(checkpoints, out, root)
    _fetch_data(suite, fetched, sources, say)
    _fetch_all(checkpoints, fetched, root, say)
    return fetched


def fetch_checkpoints(
    checkpoints: list[Checkpoint],
    out: Path,
    root: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    source: str | None = None,
) -> Fetched:
    """Bring ``checkpoints`` into ``out``, as ``fetch_suite`` does; from sources of the kind ``source``, if given."""
    fetched = Fetched(out)
    if source not in (None, "hub"):
        for checkpoint in checkpoints:
            fetched.checkpoints[checkpoint.id] = bring_archive(checkpoint, out, source)
        return fetched
    _require_room_for(checkpoints, out, root)
    _fetch_all(checkpoints, fetched, root, say)
    return fetched


def _require_room_for(checkpoints: list[Checkpoint], out: Path, root: Path | None) -> None:
    """Room for what has to be downloaded; what is on this machine may need none, and is seen to one by one."""
    wanting = [c for c in checkpoints if find_below(c, out) is None and find_local(c, root) is None]
    require_room(out, sum(map(expected_bytes, wanting)), f"the weights of {len(wanting)} checkpoints")


def _fetch_data(suite: Suite, fetched: Fetched, sources: DataSources, say: Callable[[str], None]) -> None:
    tasks = [suite.task(name) for name in suite.tasks]
    wanted = dict(_as_released(task, split) for task, split in needed_splits(tasks, suite))
    for (name, split), task in wanted.items():
        if task.builtin is not None:
            continue
        try:
            path = keep_split(task, load_split(task, split, sources), fetched.folder)
        except (UnavailableError, DataError) as error:
            fetched.missing[f"{name}.{split}"] = str(error)
        else:
            fetched.data[f"{name}.{split}"] = path
            say(f"{name}.{split}")


def _as_released(task: Task, split: str) -> tuple[tuple[str, str], Task]:
    """The split, and the task it is of, that holds the examples of one that was cut out of it."""
    if isinstance(task, CutTask):
        task, split = task.whole, "train" if split == HELD_OUT else split
    return (task.name, split), task


def _fetch_all(
    checkpoints: list[Checkpoint], fetched: Fetched, root: Path | None, say: Callable[[str], None]
) -> None:
    in_a_row = 0
    for number, checkpoint in enumerate(checkpoints, start=1):
        if in_a_row == _IN_A_ROW:
            fetched.missing[checkpoint.id] = f"not tried, because the {_IN_A_ROW} before it could not be had."
            continue
        was_there = find_below(checkpoint, fetched.folder) is not None
        if not was_there:
            say(f"[{number}/{len(checkpoints)}] {checkpoint.id}")
        try:
            path = bring(checkpoint, fetched.folder, root)
        except UnavailableError as error:
            fetched.missing[checkpoint.id] = str(error)
            in_a_row += 1
            continue
        in_a_row = 0
        if path is None:
            continue
        fetched.checkpoints[checkpoint.id] = path
        if not path.resolve().is_relative_to(fetched.folder.resolve()):
            fetched.remarks.append(
                f"{checkpoint.id} is named by its full path and stays where it is; a path below "
                f"{fetched.folder} can be taken elsewhere."
            )
