"""Runs of one architecture and task that are made together: one training, and each run's own conclusion."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.checkpoints.load import Head, initialise_head, load_model
from multibench.errors import MultibenchError
from multibench.execution.breakage import raise_if_broken
from multibench.execution.device_record import device_record
from multibench.execution.evaluation import check_inputs, encode_evaluations
from multibench.execution.models import Models
from multibench.execution.most_together import MostTogether, is_out_of_memory
from multibench.execution.progress import ProgressReport
from multibench.execution.run import Made, Making, Save, conclude, earlier_weights, failure
from multibench.execution.trained import TrainedGroup
from multibench.execution.workshop import Workshop
from multibench.planning import PlannedRun
from multibench.results import provenance
from multibench.results.store import RunStore
from multibench.seeds import Seeds
from multibench.tasks.encode import Encoded
from multibench.training.loop import Replica, train_together
from multibench.training.record import TrainingRecord
from multibench.training.stack import Stack, words_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Following", "Maker"]

Take = Callable[[PlannedRun, Callable[[], Made]], None]
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
        self._most = MostTogether()

    def make(self, runs: Sequence[PlannedRun], take: Take, following: Following = lambda: None) -> None:
        """Make ``runs``, which can be trained together, and hand each to ``take`` as soon as it is made.

        What ``take`` gets puts the run together, in any thread. The model of ``following()``, which comes next, is
        loaded meanwhile. Raises the errors of ``multibench.errors`` for inputs that cannot be used, and for a GPU that
        no longer answers; anything else that goes wrong is handed over as a failure: if it goes wrong for several
        together, they are tried in halves where there was too little memory, else each alone.
        """
        for run in runs:
            check_inputs(run, self._workshop.device.type)
            encode_evaluations(run, self._workshop)
        again = [run for run in runs if self._evaluate_again(run, take)]
        parts = self._most.parts([run for run in runs if run not in again])
        for part, after in zip(parts, [*parts[1:], []], strict=False):
            self._make_together(part, take, partial(_first, after) if after else following)

    def _make_together(self, train: Sequence[PlannedRun], take: Take, following: Following) -> None:
        self._progress.started(train)
        parts: Sequence[Sequence[PlannedRun]] = []
        finished: Sequence[Callable[[], None]] = []
        try:
            finished = self._train_and_predict(train, take, following)
        except MultibenchError:
            raise
        except Exception as error:  # whatever torch raises: recorded with its traceback, never hidden
            raise_if_broken(self._workshop.device, error)
            if len(train) == 1:
                self._take_failure(train[0], error, take)
                return
            parts = self._smaller(train, error)
        # Behind the handler, whose traceback holds the memory of the group: it may be what there was too little of.
        for part in parts:
            self.make(part, take)
        for hand_over in finished:
            hand_over()

    def _smaller(self, train: Sequence[PlannedRun], error: Exception) -> Sequence[Sequence[PlannedRun]]:
        """The parts in which runs are tried again that failed together."""
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        if not is_out_of_memory(error):
            self._progress.say(f"{len(train)} runs together failed ({said}); each is tried alone.")
            return [[run] for run in train]
        self._most.halve(train)
        self._progress.say(f"{len(train)} runs together are too many ({said}); they are tried in halves.")
        return self._most.parts(train)

    def _take_failure(self, run: PlannedRun, error: Exception, take: Take) -> None:
        made = failure(run, self._suite, error, traceback.format_exc(), self._workshop.device)
        take(run, lambda: made)

    def _train_and_predict(
        self, train: Sequence[PlannedRun], take: Take, following: Following
    ) -> Sequence[Callable[[], None]]:
        """What hands each run over, once all is asked of the models that is to be asked."""
        group, records = self._train(train, following)
        said = [
            {} if record is not None and record.divergence is not None else group.outputs(r, run)
            for r, (run, record) in enumerate(zip(train, records, strict=True))
        ]
        self._progress.trained()
        making = self._making(len(train), group)
        return [
            partial(
                self._hand_over,
                run,
                partial(conclude, run, making, said[r], records[r], again=False),
                take,
                partial(group.save, r, run),
            )
            for r, run in enumerate(train)
        ]

    def _hand_over(self, run: PlannedRun, finish: Callable[..., Made], take: Take, save: Save) -> None:
        """Weights are written here, where the model is; all else in the thread of ``take``."""

        def put_together(save: Save | None = None) -> Made:
            try:
                return finish(save=save)
            except MultibenchError:
                raise
            except Exception as error:
                if save is not None:
                    raise_if_broken(self._workshop.device, error)
                return failure(run, self._suite, error, traceback.format_exc(), self._workshop.device)

        if self._suite["keep_weights"] == "last":
            made = put_together(save)
            take(run, lambda: made)
        else:
            take(run, put_together)

    def _evaluate_again(self, run: PlannedRun, take: Take) -> bool:
        """Apply the weights that the stored run kept, if it did, to the evaluations that it lacks."""
        folder = earlier_weights(run, self._store)
        if folder is None:
            return False
        self._progress.started([run])
        try:
            head = Head(run.task.kind, run.task.outputs)
            model = load_model(folder, head, own_head=True).to(self._workshop.device)
            group = self._alone(model, run)
            finish = partial(conclude, run, self._making(1, group), group.outputs(0, run), None, again=True)
        except MultibenchError:
            raise
        except Exception as error:
            raise_if_broken(self._workshop.device, error)
            self._take_failure(run, error, take)
        else:
            self._hand_over(run, finish, take, partial(group.save, 0, run))
        self._progress.trained()
        return True

    def _making(self, replicas: int, group: TrainedGroup) -> Making:
        predicting = sum(group.seconds) / replicas
        return Making(
            self._workshop,
            self._store,
            self._suite,
            replicas,
            group.started,
            {**device_record(self._workshop.device), "threads": torch.get_num_threads()},
            predicting,
        )

    def _alone(self, model: PreTrainedModel, run: PlannedRun) -> TrainedGroup:
        stack = Stack(model, 1, np.zeros(0, dtype=np.int64), run.settings.precision)
        return TrainedGroup(model, stack, self._workshop, provenance.timestamp())

    def _train(
        self, runs: Sequence[PlannedRun], following: Following
    ) -> tuple[TrainedGroup, Sequence[TrainingRecord | None]]:
        """Train ``runs`` together; their models, and what happened to each."""
        started = provenance.timestamp()
        if runs[0].finetuning_seed is None:
            model = self._models.load(runs[0]).to(self._workshop.device)
            self._models.expect(following())
            return self._alone(model, runs[0]), [None]
        encoded, labels = self._training_data(runs[0])
        model, stack = self._stack(runs, words_in(encoded.tokens), following)
        replicas = [Replica(run.settings, _seeds(run)) for run in runs]
        clock = time.perf_counter()
        sizes = sum(run.settings.batch_size for run in runs)

        def on_step(step: int, steps: int, loss: float) -> None:
            self._progress.step(step, steps, loss, step * sizes / (time.perf_counter() - clock))

        records = train_together(model, stack, encoded, labels, replicas, on_step)
        return TrainedGroup(model, stack, self._workshop, started), records

    def _stack(
        self, runs: Sequence[PlannedRun], words: NDArray[np.int64], following: Following
    ) -> tuple[PreTrainedModel, Stack]:
        """What each of ``runs`` starts from; the model is that of the last one."""
        model: PreTrainedModel | None = None
        stack: Stack | None = None
        for r, run in enumerate(runs):
            if model is None or run.folder is not runs[r - 1].folder:
                model = self._models.load(run).to(self._workshop.device)
                others = [other for other in runs[r:] if other.folder is not run.folder]
                self._models.expect(others[0] if others else following())
            initialise_head(model, _seeds(run).head, run.settings.head_init)
            if stack is None:
                stack = Stack(model, len(runs), words, run.settings.precision)
            stack.load(r, model)
        assert model is not None
        assert stack is not None
        return model, stack

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


def _first(runs: Sequence[PlannedRun]) -> PlannedRun | None:
    return runs[0] if runs else None


def _seeds(run: PlannedRun) -> Seeds:
    assert run.identity is not None
    assert run.identity.seeds is not None
    return run.identity.seeds
