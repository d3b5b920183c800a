"""Stored predictions as the files that other people's tools take: a GLUE submission, SQuAD's JSON."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from multibench.errors import ResultsError, StorageError
from multibench.metrics.squad import ANSWER_OUTPUTS, given_answers
from multibench.results import Predictions, Results, select_settings
from multibench.results.frame import StoredRun
from multibench.scoring.glue import SUBMISSION
from multibench.tasks import TASKS, Task, find_task

__all__ = ["answers_of", "export_glue_submission", "export_squad", "stored_for", "write_file"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows: equal predictions give an equal file


def export_glue_submission(results: Results, out: Path, rule: str | None = None) -> Path:
    """Write ``out/submission.zip`` as the GLUE server takes it, and return its path.

    One setting of each grid is chosen first, by ``rule`` or each suite's own (see ``select_settings``); after that
    exactly one run must be left for each of the eleven files. Raises ``ResultsError`` that names every file
    without a run, with several, or with rows that are not those of the released test set, and ``StorageError``
    if ``out`` cannot be written.
    """
    runs = [run for chosen in select_settings(results, rule) for run in chosen.runs]
    having = {
        evaluation: [run for run in runs if evaluation in run.manifest["evaluations"]]
        for evaluation in SUBMISSION.files.values()
    }
    none = [evaluation for evaluation, found in having.items() if not found]
    faults = (
        [f"No run has predictions for {', '.join(none)} (a suite's 'evaluations' name them)"] if none else []
    )
    files: dict[str, str] = {}
    for name, evaluation in SUBMISSION.files.items():
        if len(having[evaluation]) > 1:
            faults.append(
                f"{len(having[evaluation])} runs have some for {evaluation}; leave one with --where"
            )
        elif having[evaluation]:
            try:
                files[name] = _tsv(having[evaluation][0], evaluation)
            except ResultsError as error:
                faults.append(str(error).rstrip("."))
    if faults:
        more = len(faults) - 3
        shown = [*faults[:3], *([f"and {more} fault{'s' if more > 1 else ''} more"] if more > 0 else [])]
        raise ResultsError(f"These runs make no GLUE submission: {'; '.join(shown)}.")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return write_file(out / "submission.zip", content.getvalue())


def export_squad(results: Results, out: Path) -> list[Path]:
    """Write ``out/TASK.SPLIT.RUN.json``, ``{question id: answer}``, for every run with predictions of a built-in
    span task.

    Where questions may have no answer, one that the run's own threshold leaves without has "". Raises
    ``ResultsError`` if no run has such predictions, and ``StorageError`` if ``out`` cannot be written.
    """
    found = [
        (run, evaluation)
        for run in results.stored
        for evaluation in run.manifest["evaluations"]
        if _is_span(evaluation)
    ]
    if not found:
        raise ResultsError("No stored run has predictions for a span task such as SQuAD.")
    return [
        write_file(
            out / f"{evaluation}.{run.run_id}.json",
            json.dumps(answers_of(run, evaluation), ensure_ascii=False, indent=0).encode(),
        )
        for run, evaluation in found
    ]


def _tsv(run: StoredRun, evaluation: str) -> str:
    """The file of one test set: every row of the release, in its order, in the server's spelling."""
    name, _, split = evaluation.partition(".")
    task = find_task(name)
    if not run.manifest["evaluations"][evaluation]["as_released"]:
        raise ResultsError(f"{run.run_id} was applied to data that are not the released {evaluation}")
    stored = stored_for(run, evaluation, task)
    rows = task.splits[split].rows
    position = {name: k for k, name in enumerate(stored.ids)}
    missing = [str(i) for i in range(rows) if str(i) not in position]
    if missing or len(stored.ids) != rows:
        raise ResultsError(
            f"{run.run_id} has {len(stored.ids)} rows of {evaluation} instead of {rows}"
            + (f", and none for index {missing[0]}" if missing else "")
        )
    said = _said(task, stored)
    return "".join(
        f"{line}\n" for line in (SUBMISSION.header, *(f"{i}\t{said[position[str(i)]]}" for i in range(rows)))
    )


def stored_for(run: StoredRun, evaluation: str, task: Task) -> Predictions:
    """The predictions of a run on ``evaluation``, which are such as ``task`` has.

    Raises ``ResultsError`` if they have another number of outputs, or labels that are none of the task's classes.
    """
    stored = run.predictions(evaluation)
    width = len(ANSWER_OUTPUTS) if task.kind == "span" else task.outputs
    if stored.outputs.shape[1] != width:
        raise ResultsError(
            f"{run.run_id} has {stored.outputs.shape[1]} outputs an example for {evaluation}; the task has {width}."
        )
    if task.kind == "classification" and stored.labels is not None:
        whole = stored.labels.dtype == np.int64
        if not whole or not ((stored.labels >= 0) & (stored.labels < width)).all():
            raise ResultsError(
                f"{run.run_id} has labels for {evaluation} that are no classes of the task; expected 0 to {width - 1}."
            )
    return stored


def _said(task: Task, stored: Predictions) -> list[str]:
    """Each prediction as the server spells it; a score is cut to the task's range."""
    if not np.isfinite(stored.outputs).all():
        raise ResultsError(f"the predictions for {task.name} hold NaN or infinite values")
    if task.kind == "regression":
        low, high = task.score_range or (-np.inf, np.inf)
        return [f"{score:.6f}" for score in np.clip(stored.outputs[:, 0], low, high).tolist()]
    codes = (task.official.label_codes if task.official is not None else None) or task.labels
    said = [code if isinstance(code, str) else code[0] for code in codes]
    return [said[k] for k in stored.outputs.argmax(axis=1).tolist()]


def answers_of(run: StoredRun, evaluation: str) -> dict[str, str]:
    """The answers of a run to the questions of ``task.split``, "" for none under its own threshold.

    An imported run has no threshold that is known: its answers stand as they are. Raises ``ResultsError`` if the
    predictions are none of spans.
    """
    task = find_task(evaluation.partition(".")[0])
    stored = stored_for(run, evaluation, task)
    if stored.texts is None:
        raise ResultsError(f"The predictions of {run.run_id} for {evaluation} hold no texts.")
    unanswerable = task.unanswerable
    odds = stored.outputs[:, ANSWER_OUTPUTS.index("null_odds")]
    given = given_answers(stored.texts, odds, run.fields.get("null_threshold") if unanswerable else None)
    return dict(zip(stored.ids, given, strict=True))


def _is_span(evaluation: str) -> bool:
    name = evaluation.partition(".")[0]
    return name in TASKS and find_task(name).kind == "span"


def write_file(path: Path, content: bytes) -> Path:
    """Write the file whole or not at all, and never over another one. Raises ``StorageError`` if it cannot be."""
    try:
        if path.exists():
            if path.read_bytes() == content:
                return path
            raise StorageError(f"{path} exists already and is another file; give another --out folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.part")
        temporary.write_bytes(content)
        temporary.rename(path)
    except OSError as error:
        raise StorageError(
            f"Nothing could be written to {path.parent}: {error.strerror}. Give another --out folder."
        ) from error
    return path
