"""What is stored of a run: predictions, metrics, and the record of how it was made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multibench.checkpoints.download.bring import fetched_commit
from multibench.checkpoints.folder import CheckpointFolder
from multibench.checkpoints.formats.config import read_config
from multibench.errors import StatisticsError
from multibench.execution.device_record import device_record
from multibench.execution.evaluation import Evaluated, evaluate_all
from multibench.execution.trained import Outputs
from multibench.execution.workshop import Workshop
from multibench.planning import PlannedRun
from multibench.results import provenance
from multibench.results.store import Predictions, RunStore, writing
from multibench.training.record import TrainingRecord

__all__ = ["Made", "Making", "conclude", "earlier_weights", "failure", "summary_of"]


@dataclass(frozen=True)
class Made:
    """A run that is made and not yet stored.

    ``status`` is ``finished``, ``collapsed``, ``diverged``, ``failed``, or ``kept`` where what is stored stays;
    ``summary`` its scores in a few words, ``seconds`` what it took.
    """

    run: PlannedRun
    status: str
    summary: str
    seconds: float
    record: dict[str, Any]
    history: dict[str, Any]
    predictions: dict[str, Predictions]
    weights: Path | None

    def store(self, store: RunStore) -> None:
        """Write it."""
        assert self.run.run_id is not None
        if self.status != "kept":
            replace = self.run.stored is not None
            store.write(self.run.run_id, self.record, self.history, self.predictions, self.weights, replace)


Save = Callable[[tuple[int, ...] | None, Path], None]
"""Writes the weights of a run, whose outputs mean classes in this order, into a folder."""


@dataclass(frozen=True)
class Making:
    """What the runs that are made together have in common."""

    workshop: Workshop
    store: RunStore
    suite: dict[str, Any]
    """What each run records about the suite that asked for it: name, recipe, selection rule."""
    replicas: int
    started: str
    computation: dict[str, Any]
    """Device, its arithmetic, and threads, as they were."""
    predicting: float = 0.0
    """Seconds that each run's share of predicting took."""


def conclude(
    run: PlannedRun,
    making: Making,
    said: Outputs,
    training: TrainingRecord | None,
    again: bool,
    save: Save | None,
) -> Made:
    """Put together what is to be stored of ``run``, whose model ``said`` so of its evaluations.

    With ``again`` the model is the stored run's own, with its kept weights, and ``training`` None. ``save`` writes the
    weights, where they are kept.
    """
    assert run.folder is not None
    assert run.identity is not None
    clock = time.perf_counter()
    store, run_id = making.store, run.identity.run_id
    status, reason = "finished", None
    found = Evaluated({}, {}, [])
    if training is not None and training.divergence is not None:
        status, reason = "diverged", training.divergence.sentence()
    else:
        try:
            found = evaluate_all(said, run, making.workshop)
        except StatisticsError as error:
            # Weights that are numbers, and outputs that are none (an overflow in bf16, say).
            status, reason = "diverged", f"the model's outputs are no numbers: {error}"
        else:
            if found.evidence and len(found.evidence) == len(run.evaluations):
                status, reason = "collapsed", "; ".join(found.evidence)
    if status == "diverged" and run.stored is not None and run.stored["status"] in {"finished", "collapsed"}:
        raise RuntimeError(
            f"training again for a further evaluation went wrong, the earlier run is kept: {reason}"
        )
    predictions, evaluations = found.predictions, found.evaluations
    _keep_earlier(run, store, predictions, evaluations, same_model=again)
    seconds = (
        making.predicting + time.perf_counter() - clock + (0.0 if training is None else training.seconds)
    )
    record = {
        "status": status,
        "reason": reason,
        "identity": run.identity.to_dict(),
        "labels": run.labels(),
        "suite": making.suite,
        "settings": run.settings.model_dump(mode="json"),
        "evaluations": evaluations,
        "training_data": _training_data(run, making.workshop),
        "training": (run.stored or {})["training"] if again else _training_summary(run, training),
        "provenance": {
            **provenance.environment(),
            **_computation(run, making),
            "checkpoint_notes": list(run.folder.notes),
            "vocabulary": run.folder.vocabulary.digest,
            **({} if found.order_found is None else {"class_order": found.order_found.to_dict()}),
            "started": making.started,
            "finished": provenance.timestamp(),
            "seconds": round(seconds, 3),
        },
    }
    if again:
        assert run.stored is not None
        trained = run.stored["provenance"]  # how it was trained stays as it was
        earlier = trained.get("evaluated_again", [])
        record["provenance"] = {**trained, "evaluated_again": [*earlier, record["provenance"]]}
    weights = None
    if save is not None and status != "diverged":
        weights = store.scratch(run_id)
        with writing(weights):
            save(found.order, weights)
    history = store.history(run_id) if again else _history(training)
    return Made(run, status, summary_of(evaluations, reason), seconds, record, history, predictions, weights)


def failure(
    run: PlannedRun, suite: dict[str, Any], error: Exception, trace: str, device: torch.device
) -> Made:
    """That ``run`` failed on ``device``, and why: a result with a reason, not a hole.

    A run that is stored already, and only lacks an evaluation, stays as it is: its status here is ``kept``.
    """
    assert run.identity is not None
    kept = run.stored is not None and run.stored["status"] != "failed"
    said = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {said[0] if said else ''}"
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
        "provenance": {
            **provenance.environment(),
            **device_record(device),
            "finished": provenance.timestamp(),
        },
    }
    return Made(run, "kept" if kept else "failed", reason, 0.0, record, {}, {}, None)


def earlier_weights(run: PlannedRun, store: RunStore) -> CheckpointFolder | None:
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


def _computation(run: PlannedRun, making: Making) -> dict[str, Any]:
    workshop = making.workshop
    cuda = workshop.device.type == "cuda"
    return {
        **making.computation,
        "precision": run.settings.precision,
        "hub_commit": None if run.folder is None else fetched_commit(run.folder.path),
        "deterministic": not cuda or torch.are_deterministic_algorithms_enabled(),
        "replicas": making.replicas,
        "finetuning_seed": run.finetuning_seed,
    }


def summary_of(evaluations: dict[str, Any], reason: str | None) -> str:
    """The scores of a run's ``evaluations`` in a few words, or why there are none."""
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
