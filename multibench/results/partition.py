"""Which runs may stand in one row: those that differ in their seeds, and in nothing else that can change a number.

A name is no proof. A local folder may have been overwritten, and a file of training examples may have changed, between
two runs that carry the same labels. So runs are parted by content: of one family, size and step, a pretraining seed
that has two sets of weights has two checkpoints, each of which stands alone; and of one task, runs on different
training data are different groups. Each group says in a few words (``mark``) why it is not the whole of its name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from multibench.errors import ResultsError

__all__ = [
    "Partition",
    "Place",
    "Run",
    "differing",
    "refuse_namesakes",
    "refuse_twins",
    "short_digests",
]

Group = tuple[Any, ...]
Conditions = tuple[tuple[str, tuple[str, ...]], ...]

_SHORT = 8


class Run(Protocol):
    """A stored run, as far as it matters here."""

    @property
    def run_id(self) -> str:
        """Its id."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Its record."""

    @property
    def fields(self) -> dict[str, Any]:
        """Labels, settings, digests."""

    @property
    def group(self) -> Group:
        """Family, step and size, or family and checkpoint."""


@dataclass(frozen=True)
class Place:
    """Where a run stands: its ``group``, what tells that from others of its ``title``, and how a filter finds it.

    ``mark`` is empty where there is no other group of that title. ``conditions`` (see ``RunFilter``) are fulfilled by
    the runs of the group and by no others of the same results.
    """

    group: Group
    title: str
    mark: str
    conditions: Conditions

    @property
    def name(self) -> str:
        """Title and mark."""
        return f"{self.title} ({self.mark})" if self.mark else self.title


def short_digests(digests: Iterable[str | None]) -> dict[str | None, str]:
    """Each digest by its first digits, eight or as many as it takes to tell them apart; None as ``unknown``."""
    known = sorted({digest for digest in digests if digest is not None})
    length = _SHORT
    while len({digest[:length] for digest in known}) < len(known):
        length += 1
    return {None: "unknown", **{digest: digest[:length] for digest in known}}


def differing(one: Run, other: Run) -> str:
    """In which parts the identities of two runs differ, as words."""
    words = {
        "checkpoint": "weights",
        "training_data": "training data",
        "task_version": "version of the task",
        "hyperparameters": "settings",
        "seeds": "seeds that noise is drawn from",
        "predictions": "predictions",
        "domain": "origin (one of them was imported)",
    }
    mine, others = one.manifest["identity"], other.manifest["identity"]
    found = [text for key, text in words.items() if mine.get(key) != others.get(key)]
    if "weights" in found and "seeds that noise is drawn from" in found:
        found.remove(
            "seeds that noise is drawn from"
        )  # a checkpoint without a pretraining seed has seeds of its own
    return ", ".join(found) or "labels"


class Partition:
    """The groups of some runs. Failed runs are placed, but part nothing: they have no number that could be wrong."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._places: dict[str, Place] = {}
        """By run id."""
        self.notes: list[str] = []
        """Sentences: which names stand for more than one thing here, and which runs that concerns."""
        self.vocabularies: list[str] = []
        """Sentences: which pretraining seeds of one name read texts in several ways, as of several languages."""
        by_base: dict[Group, list[Run]] = defaultdict(list)
        for run in runs:
            by_base[run.group].append(run)
        for base, members in by_base.items():
            self._part(base, members)
        self._tell_namesakes()

    def place(self, run: Run) -> Place:
        """Where ``run`` stands; it must be one of those that were parted."""
        return self._places[run.run_id]

    def _part(self, base: Group, members: list[Run]) -> None:
        """Place the runs of one family, size and step (or checkpoint, where no pretraining seed is known)."""
        first = members[0].fields
        known = first["pretraining_seed"] is not None
        keys = ("family", "step", "parameters") if known else ("family", "pretraining_seed", "checkpoint")
        start = Place(base, _title(first), "", tuple((key, (_value(first[key]),)) for key in keys))
        origins = _cut(members, lambda run: bool(run.fields["imported"]))
        for imported, own in origins:
            place = start
            if len(origins) > 1:
                where = "imported" if imported else "made here"
                place = _narrowed(start, (where,), where, ("imported", (_value(imported),)))
            self._tell_vocabularies(place, own)
            for one, runs in self._by_weights(place, own):
                for task_place, of_task in self._by_training(one, runs):
                    self._places |= {run.run_id: task_place for run in of_task}

    def _tell_vocabularies(self, place: Place, members: list[Run]) -> None:
        """Say if pretraining seeds of one name have several vocabularies, as far as their runs recorded them."""
        known = [run for run in members if run.manifest.get("provenance", {}).get("vocabulary") is not None]
        sets = _cut(known, lambda run: run.manifest["provenance"]["vocabulary"])
        if members[0].fields["pretraining_seed"] is not None and len(sets) > 1:
            shown = short_digests(digest for digest, _ in sets)
            each = "; ".join(
                f"{shown[digest]} in {', '.join(sorted({str(run.fields['checkpoint']) for run in runs}))}"
                for digest, runs in sets
            )
            self.vocabularies.append(
                f"The pretraining seeds of {place.name} have {len(sets)} vocabularies: {each}. If these are of "
                "different languages or casing, they are no seeds of one procedure; tell them apart with --where "
                "checkpoint=NAME."
            )

    def _by_weights(self, place: Place, members: list[Run]) -> Iterator[tuple[Place, list[Run]]]:
        """One group; and for each pretraining seed that has several sets of weights one for each of these."""
        known = members[0].fields["pretraining_seed"] is not None
        rest: list[Run] = []
        alone: list[tuple[Any, list[tuple[Any, list[Run]]]]] = []
        for seed, own in _cut(members, lambda run: run.fields["pretraining_seed"]):
            sets = _cut(own, lambda run: run.fields["weights"])
            if len(sets) > 1:
                alone.append((seed, sets))
            else:
                rest += own
        for seed, sets in alone:
            shown = short_digests(digest for digest, _ in sets)
            self.notes.append(_weights_note(place, seed if known else None, sets, shown))
            for digest, runs in sets:
                words = f"seed {seed}, weights {shown[digest]}" if known else f"weights {shown[digest]}"
                extra = [
                    ("weights", (_value(digest),)),
                    *([("pretraining_seed", (str(seed),))] if known else []),
                ]
                yield _narrowed(place, ("weights", seed, digest), words, *extra), runs
        if rest and alone:
            seeds = sorted({run.fields["pretraining_seed"] for run in rest})
            place = _narrowed(place, (), "", ("pretraining_seed", tuple(map(str, seeds))))
            place = replace(place, mark=_joined(place.mark, "other seeds"))
        if rest:
            yield place, rest

    def _by_training(self, place: Place, members: list[Run]) -> Iterator[tuple[Place, list[Run]]]:
        """One group; and for each task with several sets of training data one for each of these."""
        rest: dict[str, list[Run]] = {}
        alone: list[tuple[str, list[tuple[Any, list[Run]]]]] = []
        for task, own in _cut(members, lambda run: run.fields["task"]):
            shares = _cut(own, lambda run: run.fields["held_out"])
            several = any(len(_cut(part, _training)) > 1 for _, part in shares)
            if several:
                alone.append((task, _cut(own, _training)))
            else:
                rest[task] = own
        for task, sets in alone:
            shown = short_digests(data for (data, _, _), _ in sets)
            versions = {version for (_, version, _), _ in sets}
            self.notes.append(_training_note(place, task, sets, shown))
            for (data, version, trained), runs in sets:
                words = f"training data {shown[data]}" if trained else "own head"
                words += f", version {version}" if len(versions) > 1 else ""
                yield (
                    _narrowed(
                        place,
                        ("training data", task, data, version, trained),
                        words,
                        ("task", (task,)),
                        ("training_data", (_value(data),)),
                        ("task_version", (str(version),)),
                        (
                            "finetuning_seed",
                            tuple({_value(run.fields["finetuning_seed"]): None for run in runs}),
                        ),
                    ),
                    runs,
                )
        if rest and alone:
            place = _narrowed(place, (), "", ("task", tuple(rest)))
        if rest:
            yield place, [run for own in rest.values() for run in own]

    def _tell_namesakes(self) -> None:
        """Add what tells groups of one name apart: their family or size, or else their number."""
        by_name: dict[str, dict[Group, Place]] = defaultdict(dict)
        for place in self._places.values():
            by_name[place.name].setdefault(place.group, place)
        new: dict[Group, Place] = {}
        for places in by_name.values():
            if len(places) > 1:
                ordered = sorted(places.values(), key=lambda place: str(place.conditions))
                for number, place in enumerate(ordered, start=1):
                    new[place.group] = replace(
                        place, mark=_joined(place.mark, _telling(place, ordered, number))
                    )
        if new:
            self._places = {run_id: new.get(place.group, place) for run_id, place in self._places.items()}


def _title(fields: dict[str, Any]) -> str:
    if fields["pretraining_seed"] is None:
        return str(fields["checkpoint"])
    step = "" if fields["step"] is None else f" step {fields['step']:,}"
    return f"{fields['family']}{step}"


def _training(run: Run) -> tuple[str | None, int, bool]:
    """What a run was trained on: data, version of the task, and whether it was at all."""
    trained = run.fields["finetuning_seed"] is not None or bool(run.fields["imported"])
    return run.fields["training_data"], run.fields["task_version"], trained


def _cut(runs: Sequence[Run], by: Any) -> list[tuple[Any, list[Run]]]:
    """The runs by a property, in the order of its values. Failed ones go with others and open no part of their own."""
    parts: dict[Hashable, list[Run]] = defaultdict(list)
    failed: list[Run] = []
    for run in runs:
        if run.manifest["status"] == "failed":
            failed.append(run)
        else:
            parts[by(run)].append(run)
    for run in failed:
        key = by(run) if by(run) in parts or not parts else min(parts, key=str)
        parts[key].append(run)
    return sorted(parts.items(), key=lambda item: _sortable(item[0]))


def _sortable(key: Any) -> tuple[bool, int, str]:
    return (False, key, "") if isinstance(key, int) else (True, 0, str(key))


def _narrowed(place: Place, key: Group, words: str, *conditions: tuple[str, tuple[str, ...]]) -> Place:
    return Place(
        (*place.group, *key), place.title, _joined(place.mark, words), (*place.conditions, *conditions)
    )


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def _telling(place: Place, others: Sequence[Place], number: int) -> str:
    for key in ("parameters", "family"):
        values = [dict(other.conditions).get(key, ("none",))[0] for other in others]
        if len(set(values)) == len(values):
            value = dict(place.conditions).get(key, ("none",))[0]
            if key == "family":
                return value
            return f"{int(value):,} parameters" if value != "none" else "unknown size"
    return f"no. {number}"


def _weights_note(
    place: Place, seed: Any, sets: list[tuple[Any, list[Run]]], shown: dict[str | None, str]
) -> str:
    what = f"pretraining seed {seed} of {place.name}" if seed is not None else place.name
    each = ", ".join(f"{shown[digest]} in {_runs(runs)}" for digest, runs in sets)
    ours = " They stand apart from the other seeds." if seed is not None else ""
    return (
        f"{len(sets)} different checkpoints are called {what}: weights {each}.{ours} Keep one with "
        "--where weights=DIGITS, several with --where 'weights=DIGITS|DIGITS'."
    )


def _training_note(
    place: Place, task: str, sets: list[tuple[Any, list[Run]]], shown: dict[str | None, str]
) -> str:
    each = ", ".join(
        f"{shown[data]} (version {version} of the task) in {_runs(runs)}"
        if trained
        else f"none in {_runs(runs)}"
        for (data, version, trained), runs in sets
    )
    return (
        f"{place.name} was trained on {len(sets)} different sets of training data of {task}, which are groups of their "
        f"own: {each}. Keep one with --where training_data=DIGITS."
    )


def _runs(runs: Sequence[Run]) -> str:
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}"


def refuse_namesakes(runs: Sequence[Run]) -> None:
    """Raise ``ResultsError`` if a name of ``runs`` stands for several checkpoints or sets of training data.

    For whatever names runs by their labels alone, as layouts of other tools do.
    """
    notes = Partition(runs).notes
    if notes:
        raise ResultsError(notes[0])


def refuse_twins(runs: Sequence[Run]) -> None:
    """Raise ``ResultsError`` if two of ``runs``, which are of one group, task and setting, have the same seeds."""
    seen: dict[tuple[Any, Any], Run] = {}
    for run in runs:
        fields = run.fields
        seed = fields["checkpoint"] if fields["pretraining_seed"] is None else fields["pretraining_seed"]
        other = seen.setdefault((seed, fields["finetuning_seed"]), run)
        if other is not run:
            known = fields["pretraining_seed"] is not None
            named = f"pretraining seed {seed} of {_title(fields)}" if known else str(seed)
            raise ResultsError(
                f"{other.run_id} (suite {other.fields['suite']}) and {run.run_id} (suite {fields['suite']}) are both "
                f"fine-tuning seed {_value(fields['finetuning_seed'])} of {named} on {fields['task']}, in one setting; "
                f"their identities differ in: {differing(other, run)}. {_apart(other.fields, fields)}"
            )


def _apart(one: dict[str, Any], other: dict[str, Any]) -> str:
    """How to leave out one of two runs."""
    keys = [
        key for key in ("suite", *other) if key not in {"run_id", "status"} and one.get(key) != other.get(key)
    ]
    if not keys:
        return "Move the folder of one of them out of the results."
    return f"Leave one of them out: --where {keys[0]}={_value(other.get(keys[0]))}."
