"""One run: model, training, predictions, metrics, and the record of it all."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from multibench.checkpoints.download.bring import fetched_commit
from multibench.checkpoints.folder import CheckpointFolder
from multibench.checkpoints.formats.config import read_config
from multibench.checkpoints.load import Dropout, Head, initialise_head, load_model
from multibench.errors import CheckpointError, StatisticsError
from multibench.execution.modules import module_scores
from multibench.execution.workshop import Workshop
from multibench.metrics.squad import answer_outputs, given_answers
from multibench.planning import PlannedRun
from multibench.results import provenance
from multibench.results.store import Predictions, RunStore, writing
from multibench.results.summary import collapse_evidence, evaluation_summary
from multibench.tasks import Task
from multibench.tasks.encode import Encoded
from multibench.training.loop import train
from multibench.training.predict import predict, predict_spans
from multibench.training.record import TrainingRecord
from multibench.training.spans import best_answers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from multibench.execution.progress import ProgressReport

__all__ = ["RunOutcome", "check_inputs", "execute", "in_classes_of", "record_failure"]


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: ``finished``, ``collapsed`` or ``diverged``, and its scores in a few words."""

    status: str
    summary: str


def execute(
    run: PlannedRun, workshop: Workshop, store: RunStore, suite: dict[str, Any], progress: ProgressReport
) -> RunOutcome:
    """Make ``run`` and store it. ``suite`` is recorded with it (name, recipe, selection rule).

    Raises ``CheckpointError`` and ``DataError`` for inputs that cannot be used; anything else that
    goes wrong is the caller's to record.
    """
    assert run.folder is not None
    assert run.identity is not None
    started, clock = provenance.timestamp(), time.perf_counter()
    check_inputs(run)
    for task, split in run.evaluations:  # what is wrong with them shows before the training, not after it
        if task.kind == "span":
            workshop.windows(run.folder, task, split, run.settings)
        else:
            workshop.encoded(run.folder, task, split, run.settings.max_length)
    earlier = _earlier_weights(run, store)
    model = _model(run, workshop, earlier)
    training = None
    if run.finetuning_seed is not None and earlier is None:
        training = _train(model, run, workshop, progress)
    status, reason = "finished", None
    predictions: dict[str, Predictions] = {}
    evaluations: dict[str, Any] = {}
    if training is not None and training.divergence is not None:
        status, reason = "diverged", training.divergence.sentence()
    else:
        try:
            predictions, evaluations, evidence = _evaluate_all(model, run, workshop)
        except StatisticsError as error:
            # Weights that are numbers, and outputs that are none (an overflow in bf16, say).
            status, reason = "diverged", f"the model's outputs are no numbers: {error}"
        else:
            if evidence and len(evidence) == len(run.evaluations):
                status, reason = "collapsed", "; ".join(evidence)
    if status == "diverged" and run.stored is not None and run.stored["status"] in {"finished", "collapsed"}:
        raise RuntimeError(
            f"training again for a further evaluation went wrong, the earlier run is kept: {reason}"
        )
    _keep_earlier(run, store, predictions, evaluations, same_model=earlier is not None)
    record = {
        "status": status,
        "reason": reason,
        "identity": run.identity.to_dict(),
        "labels": run.labels(),
        "suite": suite,
        "settings": run.settings.model_dump(mode="json"),
        "evaluations": evaluations,
        "training_data": _training_data(run, workshop),
        "training": _training_summary(run, training) if earlier is None else (run.stored or {})["training"],
        "provenance": {
            **provenance.environment(),
            **_computation(workshop, run),
            "checkpoint_notes": list(run.folder.notes),
            "started": started,
            "finished": provenance.timestamp(),
            "seconds": round(time.perf_counter() - clock, 3),
        },
    }
    weights = None
    if suite["keep_weights"] == "last" and status != "diverged":
        weights = store.scratch(run.identity.run_id)
        with writing(weights):
            model.save_pretrained(weights)
    history = _history(training) if earlier is None else store.history(run.identity.run_id)
    store.write(run.identity.run_id, record, history, predictions, weights, replace=run.stored is not None)
    return RunOutcome(status, _summary(evaluations, reason))


def record_failure(
    run: PlannedRun, store: RunStore, suite: dict[str, Any], error: BaseException, trace: str
) -> bool:
    """Store that ``run`` failed, and why: a result with a reason, not a hole.

    A run that is stored already, and only lacks an evaluation, stays as it is; the answer is then False.
    """
    assert run.identity is not None
    if run.stored is not None and run.stored["status"] != "failed":
        return False
    reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    record = {
        "status": "failed",
        "reason": reason,
        "traceback": trace,
        "identity": run.identity.to_dict(),
        "labels": run.labels(),
        "suite": suite,
        "settings": run.settings.model_dump(mode="json"),
        "evaluations": {},
        "training": {},
        "provenance": {**provenance.environment(), "finished": provenance.timestamp()},
    }
    store.write(run.identity.run_id, record, {}, {}, replace=run.stored is not None)
    return True


def _earlier_weights(run: PlannedRun, store: RunStore) -> CheckpointFolder | None:
    """The fine-tuned weights of the stored run, if it kept them: a new evaluation needs no new training."""
    if run.stored is None or run.stored["status"] in {"failed", "diverged"} or run.folder is None:
        return None
    folder = store.path(run.stored["run_id"]) / "weights"
    # Plans check predictions only; weights are checked here, where they are used.
    if not folder.is_dir() or store.damage(run.stored["run_id"]) is not None:
        return None
    return CheckpointFolder(folder, read_config(folder), run.folder.vocabulary)


def _keep_earlier(
    run: PlannedRun,
    store: RunStore,
    predictions: dict[str, Predictions],
    evaluations: dict[str, Any],
    same_model: bool,
) -> None:
    """Add what the stored run holds beyond what is asked for now, if this is the same model.

    It is if its weights were kept, or if the training repeated an evaluation bit for bit. Otherwise
    the earlier predictions stay with the earlier run, under ``replaced/``.
    """
    if run.stored is None:
        return
    run_id, earlier = run.stored["run_id"], run.stored["evaluations"]
    both = [name for name in earlier if name in predictions]
    repeated = bool(both) and all(
        np.array_equal(store.predictions(run_id, name).outputs, predictions[name].outputs, equal_nan=True)
        for name in both
    )
    if not (same_model or repeated):
        return
    for name in earlier:
        if name not in predictions:
            predictions[name] = store.predictions(run_id, name)
            evaluations[name] = earlier[name]


def _training_data(run: PlannedRun, workshop: Workshop) -> dict[str, Any] | None:
    """Which examples the run was trained on, and whether they are the released ones."""
    if run.finetuning_seed is None:
        return None
    examples = workshop.examples(run.task, "train")
    return {
        "data": examples.fingerprint,
        "examples": len(examples),
        "held_out": run.task.held_out,
        "as_released": examples.as_released,
        "origin": examples.origin_name,
    }


def check_inputs(run: PlannedRun) -> None:
    """Refuse what no training could mend: inputs longer than the model, an own head without class names.

    Raises ``CheckpointError``.
    """
    assert run.folder is not None
    limit = run.folder.config["max_position_embeddings"]
    if run.settings.max_length > limit:
        raise CheckpointError(
            f"max_length is {run.settings.max_length}, but {run.checkpoint.id} has {limit} positions."
        )
    _own_head_order(run)


def _model(run: PlannedRun, workshop: Workshop, earlier: CheckpointFolder | None) -> PreTrainedModel:
    assert run.folder is not None
    assert run.identity is not None
    head = Head(run.task.kind, run.task.outputs)
    if earlier is not None:
        return load_model(earlier, head, own_head=True).to(workshop.device)
    settings = run.settings
    dropout = Dropout(settings.dropout, settings.attention_dropout, settings.head_dropout)
    model = load_model(run.folder, head, dropout, own_head=run.finetuning_seed is None)
    if run.identity.seeds is not None:
        initialise_head(model, run.identity.seeds.head, settings.head_init)
    return model.to(workshop.device)


def _train(
    model: PreTrainedModel, run: PlannedRun, workshop: Workshop, progress: ProgressReport
) -> TrainingRecord:
    assert run.folder is not None
    assert run.identity is not None
    assert run.identity.seeds is not None
    examples = workshop.examples(run.task, "train")
    encoded: Encoded
    labels: NDArray[np.int64] | NDArray[np.float64] | None
    if run.task.kind == "span":
        encoded = windows = workshop.windows(run.folder, run.task, "train", run.settings)
        labels = windows.targets
    else:
        encoded = workshop.encoded(run.folder, run.task, "train", run.settings.max_length)
        labels = examples.labels
    assert labels is not None
    clock = time.perf_counter()

    def on_step(step: int, steps: int, loss: float) -> None:
        speed = step * run.settings.batch_size / (time.perf_counter() - clock)
        progress.step(step, steps, loss, speed)

    return train(model, encoded, labels, run.settings, run.identity.seeds, on_step)


def _own_head_order(run: PlannedRun) -> list[int] | None:
    """For a checkpoint's own head: its output number of each of the task's classes."""
    if run.finetuning_seed is not None or run.task.kind != "classification":
        return None
    assert run.folder is not None
    return run.folder.class_order(run.task.labels)


def _evaluate_all(
    model: PreTrainedModel, run: PlannedRun, workshop: Workshop
) -> tuple[dict[str, Predictions], dict[str, Any], list[str]]:
    """Predictions and summaries of every evaluation of the run, and evidence of collapse."""
    predictions: dict[str, Predictions] = {}
    evaluations: dict[str, Any] = {}
    evidence: list[str] = []
    for task, split in run.evaluations:
        name = f"{task.name}.{split}"
        evaluate = _evaluate_spans if task.kind == "span" else _evaluate
        predictions[name], collapse = evaluate(model, run, workshop, task, split)
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
    return predictions, evaluations, evidence


def _evaluate(
    model: PreTrainedModel, run: PlannedRun, workshop: Workshop, task: Task, split: str
) -> tuple[Predictions, str | None]:
    """Predictions of classes or scores, and evidence that they are constant."""
    assert run.folder is not None
    examples = workshop.examples(task, split)
    encoded = workshop.encoded(run.folder, task, split, run.settings.max_length)
    outputs = predict(model, encoded, run.settings.precision)
    order = _own_head_order(run)
    if order is not None:
        outputs = np.ascontiguousarray(outputs[:, order])
    outputs = in_classes_of(task, run.task, outputs)
    return Predictions(examples.ids, outputs, examples.labels), collapse_evidence(task, outputs)


def _evaluate_spans(
    model: PreTrainedModel, run: PlannedRun, workshop: Workshop, task: Task, split: str
) -> tuple[Predictions, str | None]:
    """Predictions of answers, and evidence that they are all the same."""
    assert run.folder is not None
    task.class_map(run.task)  # refuses models of other kinds
    settings = run.settings
    examples = workshop.examples(task, split)
    windows = workshop.windows(run.folder, task, split, settings)
    scores = predict_spans(model, windows, settings.precision)
    best = best_answers(windows, scores, examples.texts[1], settings.n_best, settings.max_answer_length)
    threshold = settings.null_threshold if task.unanswerable else None
    gold = None
    if examples.answers is not None:
        gold = [[answer.text for answer in each] for each in examples.answers]
    outputs = answer_outputs(best.texts, best.null_odds, gold, threshold)
    answers = given_answers(best.texts, best.null_odds, threshold)
    evidence = collapse_evidence(task, outputs, answers)
    return Predictions(examples.ids, outputs, examples.labels, best.texts), evidence


def in_classes_of(task: Task, trained: Task, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of a model of ``trained`` in the classes of ``task``, ``(n, task.outputs)``.

    Where several classes count as one (HANS has two classes, MNLI models three), the largest of their
    scores stands for it, so that the predicted class is that of the unmerged prediction.
    """
    class_map = task.class_map(trained)
    if class_map is None:
        return outputs
    return np.ascontiguousarray(np.stack([outputs[:, those].max(axis=1) for those in class_map], axis=1))


def _training_summary(run: PlannedRun, training: TrainingRecord | None) -> dict[str, Any]:
    if training is None:
        return {}
    steps = len(training.losses)
    tail = max(1, steps // 10)
    flops = run.training_cost.flops
    rate = None if flops is None or training.divergence is not None else flops / max(training.seconds, 1e-9)
    return {
        "steps": steps,
        "examples": training.examples,
        "tokens": training.tokens,
        "computed_tokens": training.computed_tokens,
        "seconds": round(training.seconds, 3),
        "flops_per_second": rate,
        "loss_first": _finite(training.losses[:tail].mean()),
        "loss_last": _finite(training.losses[-tail:].mean()),
        "divergence": None if training.divergence is None else _plain(asdict(training.divergence)),
    }


def _history(training: TrainingRecord | None) -> dict[str, Any]:
    if training is None:
        return {}
    return {
        "loss": [_finite(v) for v in training.losses],
        "learning_rate": [float(v) for v in training.learning_rates],
        "gradient_norm": [_finite(v) for v in training.gradient_norms],
        "seconds": training.seconds,
    }


def _computation(workshop: Workshop, run: PlannedRun) -> dict[str, Any]:
    cuda = workshop.device.type == "cuda"
    return {
        "device": workshop.device.type,
        "accelerator": torch.cuda.get_device_name(workshop.device) if cuda else None,
        "threads": torch.get_num_threads(),
        "precision": run.settings.precision,
        "hub_commit": None if run.folder is None else fetched_commit(run.folder.path),
        "deterministic": not cuda or torch.are_deterministic_algorithms_enabled(),
        "replicas": 1,
        "finetuning_seed": run.finetuning_seed,
    }


def _summary(evaluations: dict[str, Any], reason: str | None) -> str:
    if not evaluations:
        return reason or ""
    parts = []
    for name, evaluation in evaluations.items():
        value = evaluation["metrics"].get(evaluation["headline"])
        shown = "undefined" if value is None else f"{100 * value:.1f}"
        parts.append(
            f"{name} {evaluation['headline']} {shown}" if evaluation["metrics"] else f"{name} predicted"
        )
    return ", ".join(parts)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: (str(v) if isinstance(v, float) and not math.isfinite(v) else v) for k, v in values.items()}
