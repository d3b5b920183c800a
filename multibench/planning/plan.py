"""The runs of a suite: enumerated, identified, compared with what is stored."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from multibench.checkpoints import FAMILIES, Checkpoint
from multibench.checkpoints.download.locate import fetch, find_local
from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.errors import SuiteError, UnavailableError
from multibench.planning.cost import Cost, run_cost
from multibench.planning.generations import generation_remarks
from multibench.planning.heads import OwnHead, own_head
from multibench.planning.origins import FinetuningSeed, finetuning_seeds_of, origins_of, select_checkpoints
from multibench.planning.vocabularies import vocabulary_remarks
from multibench.recipes import Hyperparameters
from multibench.results.design import design_of
from multibench.results.identity import RunIdentity
from multibench.results.index import read_runs
from multibench.results.store import RunStore
from multibench.seeds import FinetuningSeedDesign
from multibench.suite import Suite
from multibench.tasks import DataSources, Task, load_split

__all__ = ["Plan", "PlannedRun", "State", "make_plan", "needed_splits", "selected_checkpoints"]

_MOST_RUNS = 200_000

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
    origin: str = ""
    """Whom its nested fine-tuning seeds are shared with: checkpoints of equal pretraining seed and this origin."""
    finetuning_seed_design: FinetuningSeedDesign | None = None
    """How the three seeds derive from the fine-tuning seed; None where nothing is trained."""
    stored: dict[str, Any] | None = None
    """The stored run's manifest: of a finished run, a failed one, or one that lacks an evaluation."""
    head: OwnHead | None = None
    """The checkpoint's own head, where that is applied as it is to classes."""

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
            "finetuning_seed_design": self.finetuning_seed_design,
            "origin": self.origin,
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
    manifests: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Manifests of all runs that are stored under the suite's name, asked for now or not, by id."""

    def todo(self) -> list[PlannedRun]:
        """The runs still to be made."""
        return [run for run in self.runs if run.state == "missing"]

    def count(self, state: State) -> int:
        """How many runs are in a state."""
        return sum(run.state == state for run in self.runs)

    def cost(self) -> Cost:
        """Estimated cost of the missing runs."""
        alike: dict[tuple[int, ...], list[PlannedRun]] = {}
        for run in self.todo():
            # All runs of a task share these very objects, so that few costs have to be computed for many runs.
            key = id(run.checkpoint.architecture), id(run.evaluations), id(run.settings)
            alike.setdefault(key, []).append(run)
        return sum((runs[0].cost.times(len(runs)) for runs in alike.values()), Cost(0.0, 0.0, 0.0))


def selected_checkpoints(suite: Suite, root: Path | None) -> list[Checkpoint]:
    """The checkpoints that a suite names, in its order, each once.

    Raises ``SuiteError`` for an empty selection, ``UnknownNameError`` for unknown names.
    """
    return [one.checkpoint for one in select_checkpoints(suite, root)]


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
    stored = read_runs(store, verify)
    remarks = _other_design(suite, stored.manifests.values())
    remarks += [
        f"The stored run {run_id} is damaged and counts as missing: {damage.rstrip('.')}."
        for run_id, damage in stored.damaged.items()
    ]
    tasks = [suite.task(name) for name in suite.tasks]
    data = _fingerprints(tasks, suite, sources, may_fetch, remarks)
    work = [_work(suite, task, data) for task in tasks]
    recorded = _recorded_contents(stored.manifests.values())
    runs: list[PlannedRun] = []
    seen: dict[str, str] = {}
    selected = select_checkpoints(suite, checkpoint_root)
    _refuse_too_many(suite, work, len(selected))
    for one, origin in zip(selected, origins_of(selected), strict=True):
        checkpoint = one.checkpoint
        folder = _folder(checkpoint, checkpoint_root, may_fetch, on_fetch, remarks)
        known = recorded.get(checkpoint.id, set())
        content = folder.content if folder is not None else next(iter(known)) if len(known) == 1 else None
        if folder is None and len(known) > 1:
            remarks.append(
                f"The stored runs of {checkpoint.id} are of {len(known)} different sets of weights; which of them "
                "count can only be said when the checkpoint is here."
            )
        if content is not None and seen.setdefault(content, checkpoint.id) != checkpoint.id:
            remarks.append(f"{checkpoint.id} holds the same weights as {seen[content]}; it is counted once.")
            continue
        seeds = finetuning_seeds_of(suite, one, origin, content)
        design = None if suite.evaluate_only else suite.finetuning_seed_design
        start = _Start(checkpoint, folder, content, origin, design, seeds)
        for part in work:
            runs.extend(_runs_of(part, start, stored.manifests))
    mixed = vocabulary_remarks([(run.checkpoint, run.folder) for run in runs])
    remarks = [*generation_remarks(runs, stored.manifests), *mixed, *_left_out(suite), *remarks]
    return Plan(suite, tuple(runs), tuple(remarks), frozenset(stored.damaged), stored.manifests)


@dataclass(frozen=True)
class _Work:
    """What the runs of one task share, whatever their checkpoint."""

    task: Task
    evaluations: tuple[tuple[Task, str], ...]
    wanted: dict[str, str | None]
    """Evaluation -> fingerprint of its data, None if they are not here."""
    training_data: str | None
    settings: tuple[Hyperparameters, ...]
    evaluate_only: bool
    fits_any: bool
    """Whether inputs may be cut to the positions that a checkpoint has: it is applied as it is, at no stated length."""
    class_order: tuple[str, ...] | None
    """The suite's statement about checkpoints' own heads, if there is one."""


def _left_out(suite: Suite) -> list[str]:
    """Which checkpoints of the families that the suite names are of other languages, and are not among its runs."""
    said = []
    for selection in suite.checkpoints:
        if selection.path is not None or selection.family is None or selection.include_languages:
            continue
        others = [c.id for c in FAMILIES.get(selection.family).checkpoints if c.language is not None]
        if others:
            said.append(
                f"{selection.family} has checkpoints of other languages, which are left out: {', '.join(others)}. Name "
                "them under 'ids', or say include_languages: true."
            )
    return said


def _refuse_too_many(suite: Suite, work: list[_Work], checkpoints: int) -> None:
    seeds = 1 if suite.evaluate_only else len(suite.finetuning_seeds)
    count = checkpoints * seeds * sum(len(part.settings) for part in work)
    if count > _MOST_RUNS:
        raise SuiteError(
            f"The suite {suite.name} asks for {count:,} runs, and up to {_MOST_RUNS:,} are planned together; give "
            "fewer checkpoints, settings or seeds, or several suites."
        )


@dataclass(frozen=True)
class _Start:
    """What the runs of one checkpoint share, whatever their task."""

    checkpoint: Checkpoint
    folder: CheckpointFolder | None
    content: str | None
    origin: str
    design: FinetuningSeedDesign | None
    seeds: tuple[FinetuningSeed, ...]


def _work(suite: Suite, task: Task, data: Fingerprints) -> _Work:
    evaluations = tuple(suite.evaluations_of(task))
    settings = suite.settings(task)
    return _Work(
        task=task,
        evaluations=evaluations,
        wanted={f"{other.name}.{split}": data.get((other.name, split)) for other, split in evaluations},
        training_data=None if suite.evaluate_only else data.get((task.name, "train")),
        settings=settings[:1] if suite.evaluate_only else settings,
        fits_any=suite.evaluate_only and not suite.states(task, "max_length"),
        evaluate_only=suite.evaluate_only,
        class_order=suite.stated_order(task),
    )


def _runs_of(work: _Work, start: _Start, stored: Mapping[str, dict[str, Any]]) -> Iterator[PlannedRun]:
    task, data, folder, content = work.task, work.training_data, start.folder, start.content
    head = None
    if work.evaluate_only and task.kind == "classification" and folder is not None:
        head = own_head(folder, task, work.evaluations, work.wanted, work.class_order)
    settings = [_cut_to(folder, setting) for setting in work.settings] if work.fits_any else work.settings
    for setting, (seed, derived) in itertools.product(settings, start.seeds):
        identity = None
        if content is not None and (data is not None or seed is None) and (head is None or head.known):
            order = None if head is None else head.identity()
            identity = RunIdentity.of(content, task, data, setting, derived, order)
        manifest = stored.get(identity.run_id) if stored and identity is not None else None
        yield PlannedRun(
            checkpoint=start.checkpoint,
            folder=folder,
            task=task,
            evaluations=work.evaluations,
            settings=setting,
            finetuning_seed=seed,
            identity=identity,
            state="missing" if manifest is None else _state(manifest, work.wanted),
            origin=start.origin,
            finetuning_seed_design=start.design,
            stored=manifest,
            head=head,
        )


def _other_design(suite: Suite, stored: Iterable[dict[str, Any]]) -> list[str]:
    """A sentence for each other design that runs stored under the suite's name have: they are other runs."""
    if suite.evaluate_only:
        return []
    counts = Counter(design_of(manifest) for manifest in stored if "imported" not in manifest)
    sentences = []
    for design, count in sorted((d, n) for d, n in counts.items() if d is not None):
        if design != suite.finetuning_seed_design:
            runs, them = ("run is", "it") if count == 1 else ("runs are", "them")
            sentences.append(
                f"{count} stored {runs} `{design}`: set `finetuning_seed_design: {design}` to go on with {them}. "
                f"This suite is `{suite.finetuning_seed_design}`, so they do not count here, and no interval covers "
                "both together; another --results folder keeps them apart."
            )
    return sentences


def _cut_to(folder: CheckpointFolder | None, setting: Hyperparameters) -> Hyperparameters:
    """``setting`` with a ``max_length`` of at most the positions of the checkpoint in ``folder``."""
    limit = setting.max_length if folder is None else folder.config["max_position_embeddings"]
    return setting if setting.max_length <= limit else setting.model_copy(update={"max_length": limit})


def _state(manifest: dict[str, Any], wanted: dict[str, str | None]) -> State:
    """A run is done if it is stored with every evaluation that is wanted, on the data that is here now."""
    status: State | Literal["finished"] = manifest["status"]
    if status == "failed" or status == "diverged":
        return status
    for name, fingerprint in wanted.items():
        evaluation = manifest["evaluations"].get(name)
        if evaluation is None or fingerprint not in (None, evaluation["data"]):
            return "missing"
    return "collapsed" if status == "collapsed" else "done"


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
            examples = load_split(task, split, sources)
            found[task.name, split] = examples.fingerprint
            remarks += [examples.remark] if examples.remark else []
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


def _recorded_contents(stored: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    """Checkpoint -> the content digests that its stored runs recorded."""
    digests: dict[str, set[str]] = {}
    for manifest in stored:
        digest = manifest["identity"]["checkpoint"]
        if digest is not None:
            digests.setdefault(manifest["labels"]["checkpoint"], set()).add(digest)
    return digests
