"""The runs of a suite: enumerated, identified, compared with what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from multibench.checkpoints import Checkpoint
from multibench.checkpoints.download.locate import fetch, find_local, local_checkpoint
from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.errors import ResultsError, SchemaError, SuiteError, UnavailableError
from multibench.planning.cost import Cost, run_cost
from multibench.recipes import Hyperparameters
from multibench.results.identity import RunIdentity
from multibench.results.store import RunStore
from multibench.seeds import derive_seeds
from multibench.suite import CheckpointSelection, Suite
from multibench.tasks import DataSources, Task, load_split

__all__ = ["Plan", "PlannedRun", "State", "make_plan", "needed_splits", "selected_checkpoints"]

Fingerprints = dict[tuple[str, str], str]
State = Literal["done", "collapsed", "diverged", "failed", "missing"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a suite. ``identity`` is None while its weights or data are not on this machine."""

    checkpoint: Checkpoint
    folder: CheckpointFolder | None
    task: Task
    evaluations: tuple[tuple[Task, str], ...]
    settings: Hyperparameters
    finetuning_seed: int | None
    identity: RunIdentity | None
    state: State
    stored: dict[str, Any] | None = None
    """The stored run's manifest: of a finished run, a failed one, or one that lacks an evaluation."""

    @cached_property
    def run_id(self) -> str | None:
        """The run's id, if it can be known."""
        return None if self.identity is None else self.identity.run_id

    @property
    def cost(self) -> Cost:
        """Estimated cost of the run."""
        trains = self.finetuning_seed is not None
        return run_cost(self.checkpoint.architecture, self.task, self.evaluations, self.settings, trains)

    @property
    def training_cost(self) -> Cost:
        """Estimated cost of its training alone."""
        return run_cost(self.checkpoint.architecture, self.task, (), self.settings, True)

    def labels(self) -> dict[str, Any]:
        """What the run is listed under: fields that filters and tables use."""
        return {
            "family": self.checkpoint.family,
            "checkpoint": self.checkpoint.id,
            "pretraining_seed": self.checkpoint.pretraining_seed,
            "step": self.checkpoint.step,
            "parameters": self.checkpoint.parameters,
            "task": self.task.name,
            "finetuning_seed": self.finetuning_seed,
            "held_out": self.task.held_out,
        }


@dataclass(frozen=True)
class Plan:
    """All runs of a suite, in the order in which they would run."""

    suite: Suite
    runs: tuple[PlannedRun, ...]
    remarks: tuple[str, ...]
    """What a person should know: duplicates, damaged runs, weights or data not on this machine."""
    damaged: frozenset[str] = frozenset()
    """Stored runs that fail their checksums; they count as missing."""

    def todo(self, retry_failed: bool = False) -> list[PlannedRun]:
        """The runs still to be made; failed ones again only if asked for."""
        states = {"missing", "failed"} if retry_failed else {"missing"}
        return [run for run in self.runs if run.state in states]

    def count(self, state: State) -> int:
        """How many runs are in a state."""
        return sum(run.state == state for run in self.runs)

    def cost(self) -> Cost:
        """Estimated cost of the missing runs."""
        return sum((run.cost for run in self.runs if run.state == "missing"), Cost(0.0, 0.0, 0.0))


def selected_checkpoints(suite: Suite, root: Path | None) -> list[Checkpoint]:
    """The checkpoints that a suite names, in its order, each once.

    Raises ``SuiteError`` for an empty selection, ``UnknownNameError`` for unknown names.
    """
    chosen: dict[str, Checkpoint] = {}
    for selection in suite.checkpoints:
        for checkpoint in _resolve(selection, root):
            chosen.setdefault(checkpoint.id, checkpoint)
    if not chosen:
        raise SuiteError(f"The suite {suite.name} selects no checkpoint.")
    return list(chosen.values())


def _resolve(selection: CheckpointSelection, root: Path | None) -> Iterable[Checkpoint]:
    if selection.path is not None:
        return [
            local_checkpoint(
                selection.path, root, selection.family, selection.pretraining_seed, selection.step
            )
        ]
    return selection.from_catalogue()


def make_plan(
    suite: Suite,
    store: RunStore,
    sources: DataSources,
    checkpoint_root: Path | None = None,
    may_fetch: bool = False,
    on_fetch: Callable[[str], None] | None = None,
    verify: bool = False,
) -> Plan:
    """Enumerate the runs of ``suite`` and compare them with what ``store`` holds.

    With ``may_fetch`` missing weights and data are downloaded, and what cannot be had is an error;
    without it such runs are listed without identity, and the plan says what is missing. With
    ``verify`` the predictions of stored runs are checked against their checksums, too, and runs that fail
    count as missing; a damaged ``run.json`` shows in any case.
    """
    remarks: list[str] = []
    stored, damaged = _stored_manifests(store, remarks, verify)
    tasks = [suite.task(name) for name in suite.tasks]
    data = _fingerprints(tasks, suite, sources, may_fetch, remarks)
    runs: list[PlannedRun] = []
    seen: dict[str, str] = {}
    for checkpoint in selected_checkpoints(suite, checkpoint_root):
        folder = _folder(checkpoint, checkpoint_root, may_fetch, on_fetch, remarks)
        content = folder.content if folder is not None else _recorded_content(checkpoint, stored)
        if content is not None and seen.setdefault(content, checkpoint.id) != checkpoint.id:
            remarks.append(f"{checkpoint.id} holds the same weights as {seen[content]}; it is counted once.")
            continue
        for task in tasks:
            runs.extend(_runs_of(suite, checkpoint, folder, content, task, data, stored))
    return Plan(suite, tuple(runs), tuple(remarks), damaged)


def _runs_of(
    suite: Suite,
    checkpoint: Checkpoint,
    folder: CheckpointFolder | None,
    content: str | None,
    task: Task,
    data: Fingerprints,
    stored: dict[str, dict[str, Any]],
) -> Iterable[PlannedRun]:
    evaluations = tuple(suite.evaluations_of(task))
    training_data = data.get((task.name, "train"))
    wanted = {f"{other.name}.{split}": data.get((other.name, split)) for other, split in evaluations}
    own_head = suite.evaluate_only and task.kind == "classification" and folder is not None
    order = folder.class_order(task.labels) if own_head and folder is not None else None
    seeds: list[int] | list[None] = [None] if suite.evaluate_only else suite.finetuning_seeds
    settings = suite.settings(task)
    for setting in settings[:1] if suite.evaluate_only else settings:
        for seed in seeds:
            identity = None
            if content is not None and (training_data is not None or seed is None):
                derived = None if seed is None else derive_seeds(seed)
                trained_on = None if seed is None else training_data
                identity = RunIdentity.of(content, task, trained_on, setting, derived, order)
            yield PlannedRun(
                checkpoint=checkpoint,
                folder=folder,
                task=task,
                evaluations=evaluations,
                settings=setting,
                finetuning_seed=seed,
                identity=identity,
                state=_state(identity, wanted, stored),
                stored=None if identity is None else stored.get(identity.run_id),
            )


def _state(
    identity: RunIdentity | None, wanted: dict[str, str | None], stored: dict[str, dict[str, Any]]
) -> State:
    """A run is done if it is stored with every evaluation that is wanted, on the data that is here now."""
    manifest = None if identity is None else stored.get(identity.run_id)
    if manifest is None:
        return "missing"
    status = manifest["status"]
    if status in {"failed", "diverged"}:
        return "failed" if status == "failed" else "diverged"
    for name, fingerprint in wanted.items():
        evaluation = manifest["evaluations"].get(name)
        if evaluation is None or fingerprint not in (None, evaluation["data"]):
            return "missing"
    return "collapsed" if status == "collapsed" else "done"


def _stored_manifests(
    store: RunStore, remarks: list[str], verify: bool
) -> tuple[dict[str, dict[str, Any]], frozenset[str]]:
    """Manifests of the stored runs that can be read, and the ids of those that are damaged."""
    manifests: dict[str, dict[str, Any]] = {}
    damaged: set[str] = set()
    for run_id in store.run_ids():
        try:
            damage = store.damage(run_id, weights=False) if verify else None
            if damage is None:
                manifests[run_id] = store.manifest(run_id)
                continue
        except SchemaError:
            raise
        except ResultsError as error:
            damage = str(error)
        damaged.add(run_id)
        remarks.append(f"The stored run {run_id} is damaged and counts as missing: {damage.rstrip('.')}.")
    return manifests, frozenset(damaged)


def needed_splits(tasks: list[Task], suite: Suite) -> list[tuple[Task, str]]:
    """Every split that the runs of ``suite`` read, each once."""
    needed: dict[tuple[str, str], Task] = {}
    for task in tasks:
        if not suite.evaluate_only:
            needed[task.name, "train"] = task
        needed.update({(other.name, split): other for other, split in suite.evaluations_of(task)})
    return [(task, split) for (_, split), task in needed.items()]


def _fingerprints(
    tasks: list[Task], suite: Suite, sources: DataSources, may_fetch: bool, remarks: list[str]
) -> Fingerprints:
    """Fingerprints of every split that the suite needs, each loaded and checked; absent if it cannot be had."""
    found: Fingerprints = {}
    for task, split in needed_splits(tasks, suite):
        try:
            found[task.name, split] = load_split(task, split, sources).fingerprint
        except UnavailableError as error:
            if may_fetch:
                raise
            remarks.append(str(error))
    return found


def _folder(
    checkpoint: Checkpoint,
    root: Path | None,
    may_fetch: bool,
    on_fetch: Callable[[str], None] | None,
    remarks: list[str],
) -> CheckpointFolder | None:
    path = find_local(checkpoint, root)
    if path is None and may_fetch:
        if on_fetch is not None:
            on_fetch(checkpoint.id)
        path = fetch(checkpoint, root)
    if path is None:
        remarks.append(f"{checkpoint.id} is not on this machine; `multibench run` fetches it.")
        return None
    folder = open_folder(path, checkpoint.cased)
    remarks += [f"{checkpoint.id}: {note}" for note in folder.notes]
    return folder


def _recorded_content(checkpoint: Checkpoint, stored: dict[str, dict[str, Any]]) -> str | None:
    """The content digest that finished runs of this checkpoint recorded, if they agree on one."""
    digests = {
        m["identity"]["checkpoint"] for m in stored.values() if m["labels"]["checkpoint"] == checkpoint.id
    }
    return digests.pop() if len(digests) == 1 else None
