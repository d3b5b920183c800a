"""Results that read each file of predictions once, for whoever asks many questions of the same runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from multibench.results.frame import Results
from multibench.results.store import Predictions, RunStore

__all__ = ["remembering"]

ROOM = 2**30


class _RememberingStore(RunStore):
    """Keeps predictions in memory until ``room`` bytes are taken; what does not fit is read again."""

    def __init__(self, folder: Path, room: int) -> None:
        super().__init__(folder)
        self._room = room
        self._kept: dict[tuple[str, str], Predictions] = {}
        self._examples: dict[str, Predictions] = {}

    def predictions(
        self, run_id: str, evaluation: str, manifest: dict[str, Any] | None = None
    ) -> Predictions:
        if (run_id, evaluation) in self._kept:
            return self._kept[run_id, evaluation]
        found = super().predictions(run_id, evaluation, manifest)
        first = self._examples.setdefault(evaluation, found)
        if found.ids == first.ids:
            # Ids take more memory than outputs; the same ones are kept once.
            found = replace(found, ids=first.ids, **_kept_once(first, found))
        if found.texts is None and found.outputs.nbytes <= self._room:
            self._room -= found.outputs.nbytes + (0 if found.labels is None else found.labels.nbytes)
            self._kept[run_id, evaluation] = found
        return found


def _kept_once(first: Predictions, found: Predictions) -> dict[str, Any]:
    """Clusters and strata of ``found``, as those of ``first`` where they are equal."""
    kept = {}
    for name in ("clusters", "strata"):
        own, other = getattr(found, name), getattr(first, name)
        kept[name] = other if own is not None and np.array_equal(own, other) else own
    return kept


def remembering(results: Results, room: int = ROOM) -> Results:
    """The same runs; up to ``room`` bytes of their predictions stay in memory once they were read.

    Texts of span tasks are not kept. The files must not change meanwhile.
    """
    stores = {run.store.folder: _RememberingStore(run.store.folder, room) for run in results.stored}
    runs = [replace(run, store=stores[run.store.folder]) for run in results.stored]
    return Results(runs, results.damaged, results.partition)
