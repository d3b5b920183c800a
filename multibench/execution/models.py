"""Models of checkpoints, the next of which is loaded while the present one is trained."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from multibench.checkpoints.load import Dropout, Head, load_model
from multibench.planning import PlannedRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Models"]


class Models:
    """A model for each group of runs, loaded ahead by one; to be used in a ``with`` block."""

    def __init__(self) -> None:
        # Had this thread more of its own, OpenMP would have more than there are cores, and let those of training sleep
        # between any two operations instead of waiting for the next one: steps of small models took twice as long.
        self._thread = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="loading",
            initializer=torch.set_num_threads,
            initargs=(1,),
        )
        self._ahead: tuple[str | None, Future[PreTrainedModel]] | None = None

        # That number is a thread's own, but also that of every thread which asks for the first time.
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Models:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        torch.set_num_threads(self._threads)

    def expect(self, run: PlannedRun | None) -> None:
        """Begin to load the model that ``run`` starts from, which is asked for next."""
        self._ahead = None if run is None else (run.run_id, self._thread.submit(_load, run))

    def load(self, run: PlannedRun) -> PreTrainedModel:
        """The model that ``run`` starts from, in float32 on the CPU; the head's weights are its own, or undefined."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == run.run_id:
            return ahead[1].result()
        return _load(run)


def _load(run: PlannedRun) -> PreTrainedModel:
    assert run.folder is not None
    settings = run.settings
    dropout = Dropout(settings.dropout, settings.attention_dropout, settings.head_dropout)
    head = Head(run.task.kind, run.task.outputs)
    return load_model(run.folder, head, dropout, own_head=run.finetuning_seed is None)
