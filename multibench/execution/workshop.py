"""What the runs of one process share, loaded and tokenized once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from multibench.checkpoints.folder import CheckpointFolder
from multibench.metrics.evaluate_adapter import EvaluateModule
from multibench.recipes import Hyperparameters
from multibench.tasks import DataSources, Examples, Task, load_split
from multibench.tasks.cache import cached
from multibench.tasks.encode import Encoded, encode
from multibench.tasks.spans import EncodedSpans, encode_windows

__all__ = ["Workshop"]


@dataclass
class Workshop:
    """What the runs of one process share: where data is, the device, and what is in memory already."""

    sources: DataSources
    device: torch.device
    modules: Sequence[EvaluateModule] = ()
    """Modules of ``evaluate`` that score each evaluation, too."""
    _examples: dict[tuple[str, str], Examples] = field(default_factory=dict)
    _encoded: dict[tuple[str, str, str, int], Encoded] = field(default_factory=dict)
    _windows: dict[tuple[str, str, str, int, int | None, int, int | None], EncodedSpans] = field(
        default_factory=dict
    )

    def examples(self, task: Task, split: str) -> Examples:
        """A split, loaded once."""
        key = (task.name, split)
        if key not in self._examples:
            self._examples[key] = load_split(task, split, self.sources)
        return self._examples[key]

    def encoded(self, folder: CheckpointFolder, task: Task, split: str, max_length: int) -> Encoded:
        """A split's token ids under a vocabulary, made once for all checkpoints that share it."""
        key = (folder.vocabulary.digest, task.name, split, max_length)
        if key not in self._encoded:
            examples, vocabulary = self.examples(task, split), folder.vocabulary
            self._encoded[key] = cached(
                Encoded,
                examples,
                (vocabulary.digest, max_length),
                lambda: encode(examples, vocabulary.tokenizer(), max_length),
            )
        return self._encoded[key]

    def windows(
        self, folder: CheckpointFolder, task: Task, split: str, settings: Hyperparameters
    ) -> EncodedSpans:
        """The windows of a span task's split under a vocabulary, made once for all checkpoints that share it."""
        cut = (
            settings.max_length,
            settings.doc_stride,
            settings.max_question_length,
            settings.window_overlap,
        )
        key = (folder.vocabulary.digest, task.name, split, *cut)
        if key not in self._windows:
            examples, vocabulary = self.examples(task, split), folder.vocabulary
            self._windows[key] = cached(
                EncodedSpans,
                examples,
                (vocabulary.digest, *cut),
                lambda: encode_windows(examples, vocabulary.tokenizer(), *cut),
            )
        return self._windows[key]
