"""Fine-tuned weights as a folder that transformers reads as it is: with names of classes, and with its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from multibench.checkpoints.formats.writers import write_tokenizer
from multibench.planning import PlannedRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["save_model"]


def save_model(model: PreTrainedModel, run: PlannedRun, order: tuple[int, ...] | None, folder: Path) -> None:
    """Write the ``model`` of ``run`` into ``folder``, so that pipelines of transformers say what the run says.

    ``order[c]`` is the output of the model that means class c of the run's task; None: they are in the task's order.
    The tokenizer's ``model_max_length`` is the run's, which a pipeline cuts to with ``truncation=True``.
    """
    assert run.folder is not None
    model.save_pretrained(folder)
    write_tokenizer(run.folder.vocabulary, run.settings.max_length, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    labels = run.task.labels
    if run.task.kind == "classification":
        names = {output: labels[c] for c, output in enumerate(range(len(labels)) if order is None else order)}
        config["id2label"] = {str(output): names[output] for output in sorted(names)}
        config["label2id"] = {name: output for output, name in sorted(names.items())}
        config["problem_type"] = "single_label_classification"
    elif run.task.kind == "regression":
        config["problem_type"] = "regression"  # else pipelines squash the score between 0 and 1
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
