"""Stored runs as data frames, and their predictions as labelled arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError
from multibench.results.clusters import BUILT_IN, ClusterSource, common_groups, described
from multibench.results.design import (
    Design,
    common_design,
    design_of,
    design_remarks,
    finetuning_labels,
    origin_of,
)
from multibench.results.filters import RunFilter, parse_filter
from multibench.results.index import read_runs
from multibench.results.partition import Partition, short_digests
from multibench.results.store import Predictions, RunStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PredictionTensor", "Results", "StoredRun", "attach_clusters", "find_stores"]


@dataclass(frozen=True)
class StoredRun:
    """One stored run: where it is and its manifest."""

    store: RunStore
    manifest: dict[str, Any]
    clusters_from: ClusterSource = field(default=BUILT_IN, repr=False, compare=False)
    """Where clusters are looked for that were not stored with its predictions."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.manifest["run_id"])

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Everything that a filter can ask for: labels, settings, status, suite."""
        return {
            **self.manifest["settings"],
            "held_out": None,  # in runs that were stored before there was such a thing
            **self.manifest["labels"],
            "status": self.manifest["status"],
            "suite": self.manifest["suite"]["name"],
            "recipe": self.manifest["suite"]["recipe"],
            "imported": "imported" in self.manifest,
            "weights": self.manifest["identity"]["checkpoint"],
            "training_data": self.manifest["identity"]["training_data"],
            "task_version": self.manifest["identity"]["task_version"],
            "finetuning_seed_design": design_of(self.manifest),
            "origin": origin_of(self.manifest),
            "run_id": self.run_id,
        }

    @property
    def completeness(self) -> tuple[bool, int]:
        """Orders copies of one run that several suites stored: the fullest counts."""
        return self.manifest["status"] != "failed", len(self.manifest["evaluations"])

    @property
    def group(self) -> tuple[Any, ...]:
        """What its pretraining seeds vary within, by its labels: family, step and size.

        A checkpoint whose pretraining seed is unknown stands alone. Whether the weights and data are those that the
        labels speak of is the ``Partition``'s to say: by that, runs of one group differ in seeds only.
        """
        labels = self.manifest["labels"]
        if labels["pretraining_seed"] is None:
            return (labels["family"], labels["checkpoint"])
        return (labels["family"], labels["step"], labels["parameters"])

    def predictions(self, evaluation: str) -> Predictions:
        """Its predictions on ``task.split``. Raises ``ResultsError`` if there are none or they are damaged."""
        stored = self.store.predictions(self.run_id, evaluation, self.manifest)
        return self.clusters_from.fill(stored, evaluation, self.manifest)

    def score(self, evaluation: str, metric: str) -> float:
        """A stored score; NaN where it is undefined or was not taken."""
        value = self.manifest["evaluations"].get(evaluation, {}).get("metrics", {}).get(metric)
        return float("nan") if value is None else float(value)


@dataclass(frozen=True, eq=False)
class PredictionTensor:
    """Predictions of several runs on the same examples.

    ``outputs`` float32 ``(n_runs, n_examples, n_outputs)``; ``labels`` ``(n_examples,)`` or None;
    ``ids`` names the examples; ``runs[i]`` holds the fields of run i (pretraining seed,
    fine-tuning seed, ...). ``as_released`` is False if the data differs from the released one.
    ``clusters`` int64 ``(n_examples,)`` numbers what examples share that are not independent (``cluster_unit``, in the
    plural: articles), and ``strata`` the fixed parts of the benchmark (``stratum_unit``); None where there are none,
    or ``remarks`` say in sentences that they are not known, or that the design of the fine-tuning seeds is not.
    """

    evaluation: str
    runs: tuple[dict[str, Any], ...]
    ids: tuple[str, ...]
    labels: NDArray[Any] | None
    outputs: NDArray[np.float32]
    as_released: bool
    clusters: NDArray[np.int64] | None = None
    cluster_unit: str = "examples"
    """What a sample of examples is drawn by: their clusters, or they themselves."""
    strata: NDArray[np.int64] | None = None
    stratum_unit: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def design(self) -> Design:
        """How fine-tuning seeds relate to pretraining seeds: ``nested``, ``shared``, or ``unknown`` of imports.

        Raises ``ResultsError`` if the runs are of several designs.
        """
        return common_design(self.runs, self.evaluation)

    def run_info(self) -> dict[str, list[Any]]:
        """Columns ``seed`` and ``finetune_seed``, one row a run, as the statistics take them.

        A checkpoint without a known pretraining seed is its own seed, under its name. Fine-tuning seeds that are
        nested have the name of their pretraining seed with them: none are equal across pretraining seeds. Those that
        are shared, or of which it is unknown, are equal where their numbers are. Raises ``ResultsError`` if the runs
        are of several designs.
        """
        self._refuse_namesakes()
        common_design(self.runs, self.evaluation)
        seeds, _ = self._seeds()
        return {"seed": seeds, "finetune_seed": finetuning_labels(self.runs, seeds)}

    def _refuse_namesakes(self) -> None:
        """One pretraining seed is one set of weights: raise ``ResultsError`` where it is not."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for run, seed in zip(self.runs, self._seeds()[0], strict=True):
            key = (run.get("family"), run.get("parameters"), run.get("step"), seed)
            other = found.setdefault(key, run)
            if other.get("weights") != run.get("weights"):
                shown = short_digests([other["weights"], run["weights"]])
                raise ResultsError(
                    f"{other['run_id']} and {run['run_id']} are both called seed {seed} of {run['family']}, and their "
                    f"weights differ ({shown[other['weights']]} and {shown[run['weights']]}), so they are no runs of "
                    "one checkpoint. Keep one with the filter weights=DIGITS."
                )

    def _seeds(self) -> tuple[list[Any], list[int]]:
        """Of pretraining and of fine-tuning, one of each a run; -1 where nothing was fine-tuned."""
        return (
            [r["checkpoint"] if r["pretraining_seed"] is None else r["pretraining_seed"] for r in self.runs],
            [-1 if r["finetuning_seed"] is None else r["finetuning_seed"] for r in self.runs],
        )

    def grid(self) -> tuple[list[Any], list[Any], NDArray[np.float32]]:
        """Pretraining seeds, fine-tuning seeds, and outputs with both as axes.

        The array is ``(n_pretraining, n_finetuning, n_examples, n_outputs)``, NaN where there is no
        run. Raises ``ResultsError`` if two runs fall into one cell (several settings, say).
        """
        seeds, finetuning = self._seeds()
        first = sorted(set(seeds), key=lambda v: (isinstance(v, str), v))
        second = sorted(set(finetuning))
        grid = np.full((len(first), len(second), *self.outputs.shape[1:]), np.nan, dtype=np.float32)
        taken: set[tuple[int, int]] = set()
        for i, (seed, finetune) in enumerate(zip(seeds, finetuning, strict=True)):
            cell = (first.index(seed), second.index(finetune))
            if cell in taken:
                raise ResultsError(
                    f"Two runs share pretraining seed {seed} and fine-tuning seed {finetune}; filter by what tells "
                    "them apart, such as learning_rate or step."
                )
            taken.add(cell)
            grid[cell] = self.outputs[i]
        return first, second, grid


def find_stores(path: Path) -> list[RunStore]:
    """The suites' stores in a results folder, or the one that ``path`` itself is.

    Raises ``ResultsError`` if there is none.
    """
    if not path.is_dir():
        raise ResultsError(f"There is no results folder {path}.")
    if (path / "runs").is_dir():
        return [RunStore(path)]
    stores = [RunStore(folder) for folder in sorted(path.iterdir()) if (folder / "runs").is_dir()]
    if not stores:
        raise ResultsError(f"{path} holds no results: expected {path}/SUITE/runs or {path}/runs.")
    return stores


class Results:
    """Stored runs, read only. ``Results.open(folder)`` takes a results folder or one suite of it."""

    def __init__(
        self, runs: Sequence[StoredRun], damaged: Sequence[str] = (), partition: Partition | None = None
    ) -> None:
        self.stored = tuple(runs)
        self.damaged = tuple(damaged)
        """Sentences about runs that are damaged; they are left out."""
        self._partition = partition

    @cached_property
    def partition(self) -> Partition:
        """Which of these runs may stand in one row, and why others may not."""
        return self._partition or Partition(self.stored)

    @classmethod
    def open(cls, path: Path | str, data: Path | str | None = None) -> Results:
        """All runs below ``path`` that match their checksums; one that two suites share counts once.

        Those that do not are left out and named in ``damaged``, whichever of their files it is. ``data`` is a folder of
        the tasks' data, where clusters are looked for that older runs were stored without. Raises ``ResultsError`` if
        there are no results, ``SchemaError`` for another schema version.
        """
        runs: dict[str, StoredRun] = {}
        damaged: list[str] = []
        source = BUILT_IN if data is None else ClusterSource(Path(data))
        for store in find_stores(Path(path)):
            stored = read_runs(store, verify=True)
            damaged += stored.damaged.values()
            for run_id, manifest in stored.manifests.items():
                found = StoredRun(store, manifest, source)
                if run_id not in runs or found.completeness > runs[run_id].completeness:
                    runs[run_id] = found
        return cls([runs[run_id] for run_id in sorted(runs)], damaged)

    def __len__(self) -> int:
        return len(self.stored)

    def fields(self) -> list[str]:
        """Fields that filters may use."""
        return sorted({key for run in self.stored for key in run.fields})

    def where(self, filter_: RunFilter | str) -> Results:
        """The runs that a filter such as ``family=pocket,step=0`` accepts.

        A text is a question of its own: the runs are parted anew. A ``RunFilter`` is a part of a larger question, and
        its groups keep the names that they have there.
        """
        parsed = parse_filter(filter_, self.fields()) if isinstance(filter_, str) else filter_
        kept = [run for run in self.stored if parsed.accepts(run.fields)]
        return Results(kept, self.damaged, None if isinstance(filter_, str) else self.partition)

    def evaluations(self) -> list[str]:
        """All ``task.split`` that any run was scored or applied on."""
        return sorted({name for run in self.stored for name in run.manifest["evaluations"]})

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a run: id, status, labels, settings."""
        import pandas as pd

        return pd.DataFrame(
            [{"run_id": r.run_id, **r.fields, "reason": r.manifest["reason"]} for r in self.stored]
        )

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row for each run, evaluation and metric, with ``score`` a fraction or correlation."""
        import pandas as pd

        rows = [
            {**run.fields, "evaluation": evaluation, "metric": metric, "score": run.score(evaluation, metric)}
            for run in self.stored
            for evaluation, summary in run.manifest["evaluations"].items()
            for metric in summary["metrics"]
        ]
        return pd.DataFrame(rows)

    def predictions(self, evaluation: str) -> PredictionTensor:
        """Predictions of all these runs on ``task.split``, joined by example id.

        Runs without predictions (diverged, failed) are left out. Raises ``ResultsError`` if none has
        any, if their data differ, or if a file fails its checksum.
        """
        having = [run for run in self.stored if evaluation in run.manifest["evaluations"]]
        if not having:
            raise ResultsError(f"No stored run has predictions for {evaluation}.")
        reference = having[0].manifest["evaluations"][evaluation]
        _refuse_other_data(having, evaluation, reference["data"])
        first = having[0].predictions(evaluation)
        outputs = np.empty((len(having), *first.outputs.shape), dtype=np.float32)
        groups = common_groups([first], evaluation)
        for i, run in enumerate(having):
            part = first if i == 0 else run.predictions(evaluation)
            same = part.ids == first.ids and part.outputs.shape == first.outputs.shape
            if not same or not _equal(part.labels, first.labels):
                raise ResultsError(
                    f"{run.store.path(run.run_id)} has other examples, labels or outputs for {evaluation} than "
                    f"{having[0].store.path(having[0].run_id)}, though their data fingerprints agree."
                )
            outputs[i] = part.outputs
            groups = common_groups([groups, part], evaluation)
        fields = tuple(run.fields for run in having)
        shared = described(groups, having[0].clusters_from, evaluation, [run.manifest for run in having])
        shared["remarks"] += design_remarks(fields, evaluation)
        trained = all((run.manifest.get("training_data") or {}).get("as_released", True) for run in having)
        return PredictionTensor(
            evaluation,
            fields,
            first.ids,
            first.labels,
            outputs,
            bool(reference["as_released"]) and trained,
            **shared,
        )


def _equal(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return one is other is None or (one is not None and other is not None and np.array_equal(one, other))


def attach_clusters(results: Results, data: Path | str) -> Results:
    """The same runs; clusters and strata that were not stored with them are looked for below ``data``.

    They are taken where the data are those that the runs were scored on; ``PredictionTensor.remarks`` say where not.
    """
    source = ClusterSource(Path(data))
    return Results([replace(run, clusters_from=source) for run in results.stored], results.damaged)


def _refuse_other_data(runs: Iterable[StoredRun], evaluation: str, fingerprint: str) -> None:
    for run in runs:
        if run.manifest["evaluations"][evaluation]["data"] != fingerprint:
            raise ResultsError(
                f"Runs were scored on different data for {evaluation} (the fingerprints of "
                f"{run.store.path(run.run_id)} and others differ), so they cannot be compared."
            )
