"""Predictions of other tools become stored runs, which every verb takes like those that were made here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import DataError, ResultsError
from multibench.exchange.items import FinetuningSeeds, Item
from multibench.exchange.reading import Read, read_runs
from multibench.metrics import METRICS
from multibench.metrics.squad import answer_outputs, given_answers
from multibench.results import Predictions, RunStore, provenance
from multibench.results.clusters import groups_of, predictions_of
from multibench.results.identity import ImportedIdentity
from multibench.results.summary import collapse_evidence, evaluation_summary
from multibench.suite.schema import RESERVED
from multibench.tasks import Examples

__all__ = ["ImportSource", "Imported", "import_folder", "store_items"]

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ImportSource:
    """What is imported: the name of its ``layout``, the folder that file names are relative to, its ``index``.

    ``selection`` is the rule by which one setting of a grid is reported (``recipes.SELECTION_RULES``).
    """

    layout: str
    root: Path
    index: Path
    finetuning_seeds: FinetuningSeeds
    selection: str
    remarks: tuple[str, ...] = ()
    """What a reader of the numbers should know, in sentences."""
    absent: tuple[str, ...] = ()
    """Files that the index names and that are not there."""


@dataclass(frozen=True)
class Imported:
    """What an import did: the ``folder`` with the runs, how many are ``new`` and were there ``already``.

    ``absent`` are files that an index names and that are not there. ``remarks`` say, in sentences, which labels and
    class orders were taken, and what else a reader of the numbers should know.
    """

    folder: Path
    new: int
    already: int
    absent: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "folder": str(self.folder),
            "new": self.new,
            "already": self.already,
            "absent": list(self.absent),
            "remarks": list(self.remarks),
        }


@dataclass(eq=False)
class _Run:
    """All that is known of one run: its items by evaluation, and what they hold."""

    first: Item
    items: dict[str, Item] = field(default_factory=dict)
    read: dict[str, Read] = field(default_factory=dict)


def import_folder(out: Path, name: str | None, path: Path) -> RunStore:
    """Where the runs of ``path`` go: ``out/name``, by default under its own name.

    Raises ``DataError`` for a name that is none of a folder.
    """
    if name is not None and _NO_NAME.search(name):
        raise DataError(
            f"The name {name!r} of the folder for the runs has other characters than A-Z a-z 0-9 _ -."
        )
    chosen = name or _folder_name(path)
    if chosen.lower() in RESERVED:
        raise DataError(
            f"The folder for the runs cannot be called '{chosen}', which is the name of a part of such a folder; "
            "give another --name."
        )
    return RunStore(out / chosen)


def _folder_name(path: Path) -> str:
    return _NO_NAME.sub("_", path.resolve().name.partition(".")[0]).strip("_-")[:64] or "imported"


def store_items(
    items: Sequence[Item],
    examples: dict[str, Examples],
    source: ImportSource,
    store: RunStore,
    stated: dict[str, tuple[str, ...]],
    force: bool = False,
) -> Imported:
    """Store the runs of ``items`` that are not stored yet; ``examples`` by ``task.split``.

    The class order is found for each evaluation and family, where ``stated``, by task, does not give it. ``force``
    takes what contradicts the labels or the other runs. Runs of one task are stored together, or
    none of them. Raises ``DataError`` for predictions that cannot be used, and ``ResultsError`` if the folder holds
    runs that were made here, or other predictions of the same run.
    """
    stored = _Stored(store)
    sums = {path: _sha256(path) for path in {source.index, *(item.file for item in items)}}
    new = already = 0
    remarks = [
        f"{name}: labels from {each.origin}{'' if each.as_released else '; NOT the released data'}."
        for name, each in examples.items()
    ]
    remarks += [each.remark for each in examples.values() if each.remark]
    remarks += [*source.remarks, *_of_seeds(items, source.finetuning_seeds), *_of_clusters(items, examples)]
    for task in dict.fromkeys(item.trained_on.name for item in items):
        runs = _grouped([item for item in items if item.trained_on.name == task])
        every = [item for run in runs for item in run.items.values()]
        read = dict(zip(map(id, every), read_runs(every, examples, stated, remarks, force), strict=True))
        for run in runs:
            run.read = {name: read[id(item)] for name, item in run.items.items()}
        missing: list[tuple[str, dict[str, Any], dict[str, Predictions]]] = []
        for run in runs:
            run_id, record, predictions = _content(run, examples, source, store.folder.name, sums)
            if stored.has(run_id, record):
                already += 1
            else:
                missing.append((run_id, record, predictions))
        if missing:
            store.write_all(missing)
        new += len(missing)
    return Imported(store.folder, new, already, source.absent, tuple(dict.fromkeys(remarks)))


def _of_seeds(items: Sequence[Item], design: FinetuningSeeds) -> list[str]:
    """A sentence if fine-tuning seeds recur among pretraining seeds, and nobody says whether that means anything."""
    units: dict[int | None, set[Any]] = {}
    for item in items:
        unit = (
            item.origin.checkpoint if item.origin.pretraining_seed is None else item.origin.pretraining_seed
        )
        units.setdefault(item.finetuning_seed, set()).add((item.origin.family, unit))
    units.pop(None, None)
    if design != "unknown" or not any(len(having) > 1 for having in units.values()):
        return []
    return [
        "Whether equal fine-tuning seeds of several checkpoints share their noise is not known: they are analysed as "
        "if they did. Import with --finetuning-seeds nested or shared if you know."
    ]


def _of_clusters(items: Sequence[Item], examples: dict[str, Examples]) -> list[str]:
    """A sentence for each evaluation whose clusters or strata cannot be told from what was given."""
    sentences = []
    for name, task in {item.evaluation: item.task for item in items}.items():
        groups = groups_of(task, examples[name])
        for facts, codes, unit in (
            (task.cluster, groups.clusters, task.cluster_unit or "clusters"),
            (task.strata, groups.strata, task.stratum_unit or "strata"),
        ):
            if facts is not None and codes is None:
                sentences.append(
                    f"{name}: {unit} are not stored, since only the task's data name them (--data); without, its "
                    "examples count as independent."
                )
    return sentences


class _Stored:
    """What was imported into a folder before."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.manifests = {run_id: store.manifest(run_id) for run_id in store.run_ids()}
        made = [run_id for run_id, manifest in self.manifests.items() if "imported" not in manifest]
        if made:
            raise ResultsError(
                f"{store.folder} holds {len(made)} runs that were made here, such as {made[0]}; imported ones go into "
                "a folder of their own: give another --name."
            )
        self.said = {_said(manifest): run_id for run_id, manifest in self.manifests.items()}

    def has(self, run_id: str, record: dict[str, Any]) -> bool:
        """Whether the very run is there. Raises ``ResultsError`` if it is with other predictions or on other data."""
        again = f"Give another --name, or remove {self.store.folder} first."
        if run_id in self.manifests:
            before, now = (
                {name: each["data"] for name, each in manifest["evaluations"].items()}
                for manifest in (self.manifests[run_id], record)
            )
            if before != now:
                raise ResultsError(
                    f"{run_id} is stored in {self.store.folder} with the same predictions on other data. {again}"
                )
            return True
        other = self.said.get(_said(record))
        if other is not None:
            raise ResultsError(
                f"{self.store.folder} holds other predictions of the same run, as {other}: "
                f"{_listed(record['labels'])}. {again}"
            )
        return False


def _said(manifest: dict[str, Any]) -> str:
    """What tells a run from others, but for its predictions."""
    return json.dumps([manifest["labels"], manifest["settings"]], sort_keys=True)


def _grouped(items: Sequence[Item]) -> list[_Run]:
    """The items of each run. Raises ``DataError`` if one is there twice."""
    runs: dict[str, _Run] = {}
    for item in items:
        run = runs.setdefault(json.dumps([item.labels(), dict(item.settings)]), _Run(item))
        if item.evaluation in run.items:
            raise DataError(
                f"{item.place} and {run.items[item.evaluation].place} are the same run on {item.evaluation}: "
                f"{_listed(item.labels())}. Name what tells them apart."
            )
        run.items[item.evaluation] = item
    return list(runs.values())


def _content(
    run: _Run,
    examples: dict[str, Examples],
    source: ImportSource,
    suite: str,
    sums: dict[Path, str],
) -> tuple[str, dict[str, Any], dict[str, Predictions]]:
    """Id, manifest and predictions of a run."""
    predictions, evaluations, evidence = {}, {}, []
    for evaluation, item in run.items.items():
        read = run.read[evaluation]
        predictions[evaluation], collapse = _predictions(item, examples[evaluation], read)
        outputs = predictions[evaluation].outputs
        # A threshold that is tuned on the labels needs odds, which answers alone do not have.
        tuned = read.null_odds is not None
        metrics = [m for m in item.task.metrics if tuned or not METRICS.get(m).tuned_on_reported_split]
        evaluations[evaluation] = evaluation_summary(item.task, examples[evaluation], outputs, metrics)
        evidence += [f"{evaluation}: {collapse}"] if collapse else []
    collapsed = len(evidence) == len(run.items)
    identity = ImportedIdentity(
        task=run.first.trained_on.name,
        task_version=run.first.trained_on.version,
        labels=run.first.labels(),
        hyperparameters=dict(run.first.settings),
        predictions={name: _digest(predictions[name]) for name in sorted(predictions)},
    )
    record = {
        "status": "collapsed" if collapsed else "finished",
        "reason": "; ".join(evidence) if collapsed else None,
        "identity": identity.to_dict(),
        "labels": run.first.labels(),
        "suite": {"name": suite, "recipe": "imported", "selection": source.selection},
        "settings": dict(run.first.settings),
        "evaluations": evaluations,
        "training": {},
        "imported": {
            "layout": source.layout,
            "from": source.root.name,
            "index": {"file": source.index.name, "sha256": sums[source.index]},
            "files": {
                name: {"file": _relative(item.file, source.root), "sha256": sums[item.file]}
                for name, item in run.items.items()
            },
            "class_order": {
                name: read.order.to_dict() for name, read in run.read.items() if read.order is not None
            },
            "taken": {name: read.taken for name, read in run.read.items() if read.taken},
            "notes": {name: list(read.notes) for name, read in run.read.items() if read.notes},
            "finetuning_seeds": source.finetuning_seeds,
        },
        "provenance": {**provenance.environment(), "finished": provenance.timestamp()},
    }
    return identity.run_id, record, predictions


def _predictions(item: Item, examples: Examples, read: Read) -> tuple[Predictions, str | None]:
    """What is stored of an evaluation, and evidence of collapse."""
    task, texts = item.task, read.texts
    if texts is None:
        assert read.outputs is not None
        return predictions_of(task, examples, read.outputs), collapse_evidence(task, read.outputs)
    odds = np.full(len(texts), np.nan) if read.null_odds is None else read.null_odds
    # Without a threshold that the source states, answers stand as they are given.
    threshold = item.settings.get("null_threshold")
    threshold = (math.inf if threshold is None else threshold) if task.unanswerable else None
    columns = answer_outputs(texts, odds, examples.gold_texts, threshold)
    given = given_answers(texts, odds, threshold)
    return predictions_of(task, examples, columns, texts), collapse_evidence(task, columns, given)


def _digest(predictions: Predictions) -> str:
    """SHA-256 of what was said of the examples, whatever their labels."""
    if predictions.texts is not None:
        said = json.dumps([predictions.ids, predictions.texts])
        return hashlib.sha256(said.encode()).hexdigest()
    content: NDArray[np.float32] = np.ascontiguousarray(predictions.outputs, dtype="<f4")
    return hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _listed(labels: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in labels.items() if value is not None)
