"""Models of a group once they are trained: what they say of a split, all at once, and their weights."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multibench.execution.saving import save_model
from multibench.execution.workshop import Workshop
from multibench.planning import PlannedRun
from multibench.tasks import Task
from multibench.tasks.encode import Encoded
from multibench.training.predict import predict_together
from multibench.training.stack import Stack

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

__all__ = ["Outputs", "TrainedGroup"]

Outputs = dict[tuple[str, str], NDArray[np.float32]]
"""What one model says of each (task, split): ``(n, outputs)``, of spans the scores of every token."""


@dataclass(frozen=True)
class TrainedGroup:
    """The models in ``stack``, which are built like ``model``; run r is the stack's replica r."""

    model: PreTrainedModel
    stack: Stack
    workshop: Workshop
    started: str
    """When, by the clock."""
    seconds: list[float] = field(default_factory=list)
    """How long each split took, all models together."""
    _known: dict[tuple[str, str], NDArray[np.float32]] = field(default_factory=dict)

    def outputs(self, r: int, run: PlannedRun) -> Outputs:
        """What the model of ``run`` says of everything that is asked of it."""
        asked = [*run.evaluations]
        if run.head is not None and run.head.found_on is not None:
            asked.append(run.head.found_on)
        return {(task.name, split): self._of_all(run, task, split)[r] for task, split in asked}

    def _of_all(self, run: PlannedRun, task: Task, split: str) -> NDArray[np.float32]:
        key = task.name, split
        if key not in self._known:
            assert run.folder is not None
            encoded: Encoded
            if task.kind == "span":
                encoded = self.workshop.windows(run.folder, task, split, run.settings)
            else:
                encoded = self.workshop.encoded(run.folder, task, split, run.settings.max_length)
            begun = time.perf_counter()
            self._known[key] = predict_together(self.model, self.stack, encoded)
            self.seconds.append(time.perf_counter() - begun)
        return self._known[key]

    def save(self, r: int, run: PlannedRun, order: tuple[int, ...] | None, folder: Path) -> None:
        """Write the model of ``run`` into ``folder``."""
        self.stack.store(r, self.model)
        save_model(self.model, run, order, folder)
