"""Runs of one checkpoint and task that are made together: one model, one training, and each run's own conclusion."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.checkpoints.load import Head, initialise_head, load_model
from multibench.errors import MultibenchError
from multibench.execution.breakage import raise_if_broken
from multibench.execution.evaluation import check_inputs, encode_evaluations
from multibench.execution.models import Models
from multibench.execution.progress import ProgressReport
from multibench.execution.run import Made, Making, conclude, earlier_weights, failure
from multibench.execution.workshop import Workshop
from multibench.planning import PlannedRun
from multibench.results import provenance
from multibench.results.store import RunStore
from multibench.tasks.encode import Encoded
from multibench.training.loop import Replica, train_together
from multibench.training.stack import Stack, words_in

__all__ = ["Following", "Maker"]

Take = Callable[[Made], None]
Following = Callable[[], PlannedRun | None]


class Maker:
    """Makes runs in groups; see ``make``."""

    def __init__(
        self,
        workshop: Workshop,
        store: RunStore,
        suite: dict[str, Any],
        progress: ProgressReport,
        models: Models,
    ) -> None:
        self._workshop, self._store, self._suite = workshop, store, suite
        self._progress, self._models = progress, models

    def make(self, runs: Sequence[PlannedRun], take: Take, following: Following = lambda: None) -> None:
        """Make ``runs``, which can be trained together, and hand each to ``take`` as soon as it is made.

        The model of ``following()``, which comes next, is loaded meanwhile. Raises the errors of ``multibench.errors``
        for inputs that cannot be used, and for a GPU that no longer answers; anything else that goes wrong is handed
        over as a failure: if it goes wrong for several together, each is tried alone.
        """
        for run in runs:
            check_inputs(run)
            encode_evaluations(run, self._workshop)
        again = [run for run in runs if self._evaluate_again(run, take)]
        train = [run for run in runs if run not in again]
        if not train:
            return
        self._progress.started(train)
        finish = None
        try:
            finish = self._train(train, following)
        except MultibenchError:
            raise
        except Exception as error:  # whatever torch raises: recorded with its traceback, never hidden
            raise_if_broken(self._workshop.device, error)
            if len(train) == 1:
                take(failure(train[0], self._suite, error, traceback.format_exc(), self._workshop.device))
                return
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            self._progress.say(f"{len(train)} runs together failed ({said}); each is tried alone.")
        if finish is None:
            # Behind the handler, whose traceback holds the memory of the group: it may be what there was too little of.
            for run in train:
                self.make([run], take)
            return
        self._progress.trained()
        for r, run in enumerate(train):
            self._hand_over(run, partial(finish, r), take)

    def _hand_over(self, run: PlannedRun, finish: Callable[[], Made], take: Take) -> None:
        try:
            made = finish()
        except MultibenchError:
            raise
        except Exception as error:
            raise_if_broken(self._workshop.device, error)
            made = failure(run, self._suite, error, traceback.format_exc(), self._workshop.device)
        take(made)

    def _evaluate_again(self, run: PlannedRun, take: Take) -> bool:
        """Apply the weights that the stored run kept, if it did, to the evaluations that it lacks."""
        folder = earlier_weights(run, self._store)
        if folder is None:
            return False
        self._progress.started([run])
        making = self._making(1)

        def finish() -> Made:
            head = Head(run.task.kind, run.task.outputs)
            model = load_model(folder, head, own_head=True).to(self._workshop.device)
            return conclude(run, making, model, None, again=True)

        self._hand_over(run, finish, take)
        self._progress.trained()
        return True

    def _making(self, replicas: int) -> Making:
        return Making(self._workshop, self._store, self._suite, replicas, provenance.timestamp())

    def _train(self, runs: Sequence[PlannedRun], following: Following) -> Callable[[int], Made]:
        """Train ``runs`` together; the function returned concludes the run of a number."""
        making = self._making(len(runs))
        model = self._models.load(runs[0]).to(self._workshop.device)
        self._models.expect(following())
        if runs[0].finetuning_seed is None:
            return lambda r: conclude(runs[r], making, model, None, again=False)
        encoded, labels = self._training_data(runs[0])
        half = runs[0].settings.precision == "bf16"
        stack = Stack(model, len(runs), words_in(encoded.tokens), half)
        replicas = []
        for r, run in enumerate(runs):
            assert run.identity is not None
            assert run.identity.seeds is not None
            initialise_head(model, run.identity.seeds.head, run.settings.head_init)
            stack.load(r, model)
            replicas.append(Replica(run.settings, run.identity.seeds))
        clock = time.perf_counter()

        def on_step(step: int, steps: int, loss: float) -> None:
            examples = step * len(runs) * runs[0].settings.batch_size
            self._progress.step(step, steps, loss, examples / (time.perf_counter() - clock))

        records = train_together(model, stack, encoded, labels, replicas, on_step)

        def finish(r: int) -> Made:
            stack.store(r, model)
            return conclude(runs[r], making, model, records[r], again=False)

        return finish

    def _training_data(self, run: PlannedRun) -> tuple[Encoded, NDArray[np.int64] | NDArray[np.float64]]:
        """The sequences that the run is trained on, and their labels or spans."""
        assert run.folder is not None
        labels: NDArray[np.int64] | NDArray[np.float64] | None
        encoded: Encoded
        if run.task.kind == "span":
            encoded = windows = self._workshop.windows(run.folder, run.task, "train", run.settings)
            labels = windows.targets
        else:
            encoded = self._workshop.encoded(run.folder, run.task, "train", run.settings.max_length)
            labels = self._workshop.examples(run.task, "train").labels
        assert labels is not None
        return encoded, labels
