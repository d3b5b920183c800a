"""What a fine-tuned model's outputs say on the evaluations of its run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multibench.errors import CheckpointError, DataError, StatisticsError, UnavailableError
from multibench.execution.modules import module_scores
from multibench.execution.trained import Outputs
from multibench.execution.workshop import Workshop
from multibench.metrics.squad import answer_outputs, given_answers
from multibench.planning import PlannedRun
from multibench.planning.heads import how_to_state
from multibench.results.clusters import predictions_of
from multibench.results.store import Predictions
from multibench.results.summary import collapse_evidence, evaluation_summary
from multibench.results.ties import keep_winners
from multibench.scoring.order import ClassOrder, find_order
from multibench.tasks import Task
from multibench.training.spans import best_answers

__all__ = ["Evaluated", "check_inputs", "encode_evaluations", "evaluate_all", "in_classes_of"]


def check_inputs(run: PlannedRun, device: str) -> None:
    """Refuse what no training could mend.

    Raises ``CheckpointError`` for inputs longer than the model, ``UnavailableError`` for arithmetic that a ``device``
    of this kind has not.
    """
    if run.settings.precision == "tf32" and device != "cuda":
        raise UnavailableError(
            f"The recipe's precision is tf32, which a {device} has not. Run it on a GPU (of compute capability "
            "8.0 or later), or set recipe.precision to fp32 or bf16."
        )
    assert run.folder is not None
    limit = run.folder.config["max_position_embeddings"]
    if run.settings.max_length > limit:
        raise CheckpointError(
            f"max_length is {run.settings.max_length}, but {run.checkpoint.id} has {limit} positions."
        )


def encode_evaluations(run: PlannedRun, workshop: Workshop) -> None:
    """Encode what the run will be applied to: what is wrong with it shows before the training, not after it."""
    assert run.folder is not None
    for task, split in run.evaluations:
        if task.kind == "span":
            workshop.windows(run.folder, task, split, run.settings)
        else:
            workshop.encoded(run.folder, task, split, run.settings.max_length)


class Evaluated(NamedTuple):
    """What a model says of every evaluation of a run, by name."""

    predictions: dict[str, Predictions]
    evaluations: dict[str, Any]
    evidence: list[str]
    """Of collapse, a sentence an evaluation."""
    order: tuple[int, ...] | None = None
    """For a checkpoint's own head: the output that means each class."""
    order_found: ClassOrder | None = None
    """How that order was found, where neither the checkpoint nor the suite says it."""


def evaluate_all(said: Outputs, run: PlannedRun, workshop: Workshop) -> Evaluated:
    """Predictions and summaries of every evaluation of the run, whose model ``said`` so, and evidence of collapse.

    Raises ``StatisticsError`` for outputs that are no numbers, and ``CheckpointError`` if accuracy does not tell
    which output of a checkpoint's own head is which class.
    """
    predictions: dict[str, Predictions] = {}
    evaluations: dict[str, Any] = {}
    evidence: list[str] = []
    found = _find_own_order(said, run, workshop)
    order = None if run.head is None else run.head.order
    if found is not None:
        order = tuple(int(k) for k in np.argsort(found.classes))
    for task, split in run.evaluations:
        name = f"{task.name}.{split}"
        if task.kind == "span":
            predictions[name], collapse = _evaluate_spans(said, run, workshop, task, split)
        else:
            predictions[name], collapse = _evaluate(said, run, workshop, task, split, order)
        outputs = predictions[name].outputs
        if task.kind != "span" and not np.isfinite(outputs).all():
            raise StatisticsError(
                f"{np.count_nonzero(~np.isfinite(outputs))} outputs on {name} are NaN or infinite"
            )
        examples = workshop.examples(task, split)
        evaluations[name] = evaluation_summary(task, examples, outputs)
        if workshop.modules and examples.labels is not None:
            evaluations[name]["evaluate"] = module_scores(
                workshop.modules, task, examples, predictions[name], run.settings.null_threshold
            )
        if collapse:
            evidence.append(f"{name}: {collapse}")
    return Evaluated(predictions, evaluations, evidence, order, found)


def _find_own_order(said: Outputs, run: PlannedRun, workshop: Workshop) -> ClassOrder | None:
    """The order of the outputs of the checkpoint's own head by accuracy, where it is to be found so."""
    if run.head is None or run.head.found_on is None:
        return None
    task, split = run.head.found_on
    outputs = said[task.name, split]
    what = f"{run.checkpoint.id} on {task.name}.{split}"
    try:
        return find_order(task, workshop.examples(task, split).labels, [outputs], what)
    except DataError as error:
        # What it advises is for imports.
        begin = str(error).partition(". ")[0].rstrip(".")
        raise CheckpointError(f"{begin}. {how_to_state(task)}") from error


def _evaluate(
    said: Outputs,
    run: PlannedRun,
    workshop: Workshop,
    task: Task,
    split: str,
    order: tuple[int, ...] | None,
) -> tuple[Predictions, str | None]:
    """Predictions of classes or scores, and evidence that they are constant."""
    examples = workshop.examples(task, split)
    outputs = said[task.name, split]
    if order is not None:
        outputs = keep_winners(
            np.ascontiguousarray(outputs[:, list(order)]), np.argsort(list(order))[outputs.argmax(axis=1)]
        )
    outputs = in_classes_of(task, run.task, outputs)
    return predictions_of(task, examples, outputs), collapse_evidence(task, outputs)


def _evaluate_spans(
    said: Outputs, run: PlannedRun, workshop: Workshop, task: Task, split: str
) -> tuple[Predictions, str | None]:
    """Predictions of answers, and evidence that they are all the same."""
    assert run.folder is not None
    task.class_map(run.task)  # refuses models of other kinds
    settings = run.settings
    examples = workshop.examples(task, split)
    windows = workshop.windows(run.folder, task, split, settings)
    best = best_answers(
        windows, said[task.name, split], examples.texts[1], settings.n_best, settings.max_answer_length
    )
    threshold = settings.null_threshold if task.unanswerable else None
    gold = None
    if examples.answers is not None:
        gold = [[answer.text for answer in each] for each in examples.answers]
    outputs = answer_outputs(best.texts, best.null_odds, gold, threshold)
    answers = given_answers(best.texts, best.null_odds, threshold)
    evidence = collapse_evidence(task, outputs, answers)
    return predictions_of(task, examples, outputs, best.texts), evidence


def in_classes_of(task: Task, trained: Task, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of a model of ``trained`` in the classes of ``task``, ``(n, task.outputs)``.

    Where several classes count as one (HANS has two classes, MNLI models three), the largest of their
    scores stands for it, so that the predicted class is that of the unmerged prediction.
    """
    class_map = task.class_map(trained)
    if class_map is None:
        return outputs
    merged = np.ascontiguousarray(np.stack([outputs[:, those].max(axis=1) for those in class_map], axis=1))
    counts_as = {output: number for number, those in enumerate(class_map) for output in those}
    if len(counts_as) < outputs.shape[1]:
        return merged
    of = np.array([counts_as[output] for output in range(outputs.shape[1])])
    return keep_winners(merged, of[outputs.argmax(axis=1)])
