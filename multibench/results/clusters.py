"""What examples share: clusters, which are a sample, and strata, which are fixed; stored or read from the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError, UnknownNameError
from multibench.results.store import Predictions
from multibench.tasks import HELD_OUT, Examples, Task, find_task, with_held_out
from multibench.tasks.data import clusters, strata
from multibench.tasks.sources import load_local

__all__ = [
    "BUILT_IN",
    "ClusterSource",
    "Groups",
    "common_groups",
    "groups_of",
    "predictions_of",
    "unit_names",
]

Codes = NDArray[np.int64]


class Groups(NamedTuple):
    """For each example the number of its cluster and of its stratum, ``(n,)`` from 0; None where there are none."""

    clusters: Codes | None = None
    strata: Codes | None = None

    @property
    def none(self) -> bool:
        """Whether there are neither."""
        return self.clusters is None and self.strata is None


def groups_of(task: Task, examples: Examples) -> Groups:
    """Numbers in the order of first occurrence, so that equal examples have equal ones."""
    return Groups(_numbered(clusters(task, examples)), _numbered(strata(task, examples)))


def _numbered(names: Sequence[str] | None) -> Codes | None:
    if names is None:
        return None
    codes: dict[str, int] = {}
    return np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int64)


def predictions_of(
    task: Task, examples: Examples, outputs: NDArray[np.float32], texts: tuple[str, ...] | None = None
) -> Predictions:
    """What is stored of a model's ``outputs`` ``(n, outputs)`` on ``examples``: with ids, labels, clusters, strata."""
    return Predictions(examples.ids, outputs, examples.labels, texts, *groups_of(task, examples))


def unit_names(task: Task, groups: Groups) -> dict[str, str]:
    """``cluster_unit`` and ``stratum_unit``, each where ``groups`` has such numbers: plural words for what they are."""
    names = {}
    if groups.clusters is not None:
        names["cluster_unit"] = task.cluster_unit or "clusters"
    if groups.strata is not None:
        names["stratum_unit"] = task.stratum_unit or "strata"
    return names


@dataclass(frozen=True, eq=False)
class ClusterSource:
    """Where clusters are looked for that were not stored: built-in data, and files below ``data``. Never online."""

    data: Path | None = None
    _found: dict[tuple[str, Any], tuple[frozenset[str], Groups] | None] = field(default_factory=dict)

    def fill(self, found: Predictions, evaluation: str, manifest: Mapping[str, Any]) -> Predictions:
        """``found`` with the clusters and strata of the task's data, if it has neither and these are the same data.

        Raises ``DataError`` for files below ``data`` that cannot be read.
        """
        if found.clusters is not None or found.strata is not None:
            return found
        known = self._look(evaluation, manifest)
        if known is None or manifest["evaluations"][evaluation]["data"] not in known[0]:
            return found
        return replace(found, clusters=known[1].clusters, strata=known[1].strata)

    def remark(self, evaluation: str, manifest: Mapping[str, Any]) -> str | None:
        """A sentence on clusters or strata that the task's facts name and that could not be had."""
        task = _task(evaluation, manifest)
        if task is None or (task.cluster is None and task.strata is None):
            return None
        known = self._look(evaluation, manifest)
        if known is not None and known[1].none:
            why = "its data do not name them"
        elif known is not None:
            why = f"the data below {self.data} are not those that it was scored on"
        elif self.data is not None:
            why = f"{self.data} does not hold its data"
        else:
            why = "the runs were stored without them; the task's data (--data) would tell"
        if task.cluster is None:
            what = f"which of the {task.stratum_unit or 'strata'} an example belongs to"
            so = "so the examples count as one sample and intervals are too wide"
        else:
            what = f"which examples share {task.cluster_unit or 'clusters'}"
            so = "so they count as independent and intervals are too narrow"
        return f"{evaluation}: it is not known {what}, {so} ({why})."

    def _look(self, evaluation: str, manifest: Mapping[str, Any]) -> tuple[frozenset[str], Groups] | None:
        """Fingerprints of the data that are here under which a run may have been scored, and their groups."""
        key = (evaluation, manifest["labels"].get("held_out"))
        if key not in self._found:
            self._found[key] = self._load(_task(evaluation, manifest), evaluation.partition(".")[2])
        return self._found[key]

    def _load(self, task: Task | None, split: str) -> tuple[frozenset[str], Groups] | None:
        if task is None or (task.cluster is None and task.strata is None) or split not in task.splits:
            return None
        examples = load_local(task, split, self.data)
        if examples is None:
            return None
        fingerprints = {examples.fingerprint}
        if task.cluster in task.inputs:
            # Imported with labels alone, which are in the order of the split, or the labels would differ.
            fingerprints.add(replace(examples, texts=()).fingerprint)
        return frozenset(fingerprints), groups_of(task, examples)


def _task(evaluation: str, manifest: Mapping[str, Any]) -> Task | None:
    """The task of ``task.split``; None if it is nowhere described any more."""
    name, _, split = evaluation.partition(".")
    try:
        task = find_task(name)
    except UnknownNameError:
        return None
    share = manifest["labels"].get("held_out")
    return with_held_out(task, share) if split == HELD_OUT and share is not None else task


BUILT_IN = ClusterSource()
"""Built-in data only."""


def described(
    groups: Groups, source: ClusterSource, evaluation: str, manifests: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The fields of ``PredictionTensor`` on clusters and strata; their names are those of the runs or the facts."""
    fields: dict[str, Any] = {"clusters": groups.clusters, "strata": groups.strata}
    names: dict[str, str] = {}
    task = _task(evaluation, manifests[0])
    for given in (
        {} if task is None else unit_names(task, groups),
        *(m["evaluations"][evaluation] for m in manifests),
    ):
        names |= {key: given[key] for key in ("cluster_unit", "stratum_unit") if key in given}
    remark = source.remark(evaluation, manifests[0]) if groups.none else None
    return {**fields, **names, "remarks": () if remark is None else (remark,)}


def common_groups(parts: Iterable[Predictions | Groups], what: str) -> Groups:
    """The clusters and strata of ``parts``, predictions for the same examples, of those that have any.

    Raises ``ResultsError`` if they contradict each other; ``what`` is the evaluation.
    """
    found: dict[str, Codes] = {}
    for part in parts:
        for name in Groups._fields:
            codes = getattr(part, name)
            if codes is not None and not np.array_equal(found.setdefault(name, codes), codes):
                raise ResultsError(
                    f"Runs on {what} have different {name} stored for the same examples, of other versions of the "
                    "task's facts perhaps, so they cannot be compared; filter by suite, or make them again."
                )
    return Groups(**found)
