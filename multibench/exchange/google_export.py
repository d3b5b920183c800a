"""Stored runs in the layout of Google's example predictions, so that the notebooks released with these run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.errors import ResultsError
from multibench.exchange.coreference import label_info
from multibench.exchange.layout import (
    GOOGLE,
    INDEX,
    LABEL_INFO,
    RUN_INFO,
    file_name,
    glue_tasks,
    release_of,
    table_of,
)
from multibench.results import Predictions, Results
from multibench.results.frame import StoredRun
from multibench.results.partition import refuse_namesakes
from multibench.results.ties import keep_winners
from multibench.scoring.submission import answers_of, stored_for, write_file
from multibench.tasks import DataSources, Examples, Task, find_task, load_split

__all__ = ["export_google_predictions"]


def export_google_predictions(results: Results, out: Path, data: Path | None = None) -> list[Path]:
    """Write ``out/GLUE``, ``out/SQuAD`` and ``out/coref``, each if there are runs for it; returns the files.

    Every run with predictions on a task's own dev split is written, whatever its setting; runs must be told apart by
    checkpoint, learning rate and fine-tuning seed, which is all that the layout names. ``data`` is where the sentences
    of Winogender are looked for. Raises ``ResultsError`` if there is nothing to write, two runs would be one file, or
    one name stands for several checkpoints, and ``StorageError`` if ``out`` cannot be written.
    """
    refuse_namesakes(results.stored)
    written = _glue(results, out / "GLUE") + _squad(results, out / "SQuAD")
    written += _coreference(results, out / "coref", data)
    if not written:
        raise ResultsError(
            "No stored run has predictions that the layout has a place for: the first dev split of a GLUE task, "
            "SQuAD's dev split, or Winogender."
        )
    return written


def _having(results: Results, evaluation: str) -> list[StoredRun]:
    """Runs of the evaluation's own task with predictions for it."""
    task = evaluation.partition(".")[0]
    return [
        run
        for run in results.stored
        if evaluation in run.manifest["evaluations"] and run.fields["task"] == task
    ]


def _glue(results: Results, out: Path) -> list[Path]:
    rows: dict[str, dict[str, str]] = {}
    written: list[Path] = []
    for name, task in glue_tasks().items():
        evaluation = f"{task.name}.{task.evaluations[0]}"
        order = [task.labels.index(label) for label in GOOGLE.class_order.get(task.name, task.labels)]
        first: Predictions | None = None
        for run in _having(results, evaluation):
            stored = stored_for(run, evaluation, task)
            if stored.labels is None:
                raise ResultsError(
                    f"{run.run_id} has no labels for {evaluation}, which the layout writes beside."
                )
            first = first or stored
            if first.ids != stored.ids or not np.array_equal(_labels(first), _labels(stored)):
                raise ResultsError(
                    f"{run.run_id} was scored on other examples of {evaluation} than others; export them apart "
                    "(--where)."
                )
            file = _add_row(rows, run, name, "tsv")
            written.append(_write_scores(out / file, stored, order))
        if first is not None:
            written.append(write_file(out / f"{name}_dev_labels", _label_lines(task, _labels(first), order)))
    return [*written, *_index(out, rows)]


def _labels(stored: Predictions) -> NDArray[Any]:
    assert stored.labels is not None  # dev splits of GLUE have labels
    return stored.labels


def _squad(results: Results, out: Path) -> list[Path]:
    rows: dict[str, dict[str, str]] = {}
    written: list[Path] = []
    for name, ours in GOOGLE.tasks.items():
        evaluation = f"{ours}.{find_task(ours).evaluations[0]}"
        for run in _having(results, evaluation):
            file = _add_row(rows, run, name, "json")
            answers = json.dumps(answers_of(run, evaluation), ensure_ascii=False)
            written.append(write_file(out / file, answers.encode()))
    return [*written, *_index(out, rows)]


def _add_row(rows: dict[str, dict[str, str]], run: StoredRun, task: str, ending: str) -> str:
    """Add a run's row to those of the index, by file; returns that. Raises ``ResultsError`` if it is there already."""
    fields = run.fields
    release, seed, steps = release_of(fields)
    rate, finetuning_seed = fields["learning_rate"], fields["finetuning_seed"]
    row = {
        "task": task,
        "pretrain_id": seed,
        "n_steps": steps,
        "lr": "0" if rate is None else str(rate),
        "ft_seed": str(0 if finetuning_seed is None else finetuning_seed),
        "release": release,
    }
    file = file_name(row, ending)
    if file in rows:
        raise ResultsError(
            f"Two runs would both be {file}: the layout tells runs apart by checkpoint, learning rate and "
            "fine-tuning seed alone. Leave one setting with --where."
        )
    rows[file] = {**row, "file": file}
    return file


def _index(out: Path, rows: dict[str, dict[str, str]]) -> list[Path]:
    return [write_file(out / "index.tsv", table_of(INDEX, rows.values()))] if rows else []


def _label_lines(task: Task, labels: NDArray[Any], order: list[int]) -> bytes:
    if task.kind == "classification":
        numbers = np.argsort(order)[labels]  # the layout's number of each of our classes
        return "".join(f"{number}\n" for number in numbers.tolist()).encode()
    return "".join(f"{score!r}\n" for score in labels.tolist()).encode()


def _write_scores(path: Path, stored: Predictions, order: list[int]) -> Path:
    """Class scores or values, each as the shortest decimal that is this very float32."""
    import pyarrow as pa
    import pyarrow.csv as pc

    outputs = stored.outputs
    if order:  # ties stay those of the class that was predicted
        outputs = keep_winners(outputs[:, order], np.argsort(order)[outputs.argmax(axis=1)])
    columns = [pa.array(np.ascontiguousarray(column)) for column in outputs.T]
    table = pa.table(columns, names=[str(k) for k in range(len(columns))])
    sink = pa.BufferOutputStream()
    pc.write_csv(table, sink, pc.WriteOptions(include_header=False, delimiter="\t"))
    return write_file(path, sink.getvalue().to_pybytes())


def _coreference(results: Results, out: Path, data: Path | None) -> list[Path]:
    facts = GOOGLE.coreference
    task = find_task(facts.task)
    evaluation = f"{task.name}.{facts.split}"
    groups: dict[str, list[StoredRun]] = {}
    for run in _having(results, evaluation):
        groups.setdefault(_group_of(run), []).append(run)
    if not groups:
        return []
    examples = load_split(task, facts.split, DataSources(data, frozenset({task.name})))
    rows, info = label_info(examples)
    written: list[Path] = []
    for name, runs in groups.items():
        runs.sort(key=_seeds)
        lines = [_choices(run, evaluation, examples)[rows] for run in runs]
        seeds = [dict(zip(RUN_INFO, map(str, _seeds(run)), strict=True)) for run in runs]
        if len({_seeds(run) for run in runs}) < len(runs):
            raise ResultsError(
                f"Two runs of {name} share pretraining and fine-tuning seed, which is all that the layout names. "
                "Leave one with --where."
            )
        content = "".join("\t".join(map(str, line.tolist())) + "\n" for line in lines)
        written += [
            write_file(out / name / "run_info.tsv", table_of(RUN_INFO, seeds, numbered=True)),
            write_file(out / name / "label_info.tsv", table_of(LABEL_INFO, info, numbered=True)),
            write_file(out / name / "preds.tsv", content.encode()),
        ]
    return written


def _seeds(run: StoredRun) -> tuple[int, int]:
    """Of pretraining and fine-tuning; an unknown one is number 0."""
    return run.fields["pretraining_seed"] or 0, run.fields["finetuning_seed"] or 0


def _group_of(run: StoredRun) -> str:
    """The folder of a run: the layout's name of its family and step, or the release that it would be."""
    for name, group in GOOGLE.groups.items():
        if (group.family, group.step) == (run.fields["family"], run.fields["step"]):
            return name
    release, _, steps = release_of(run.fields)
    return release if steps == "0" else f"{release}-{steps}"


def _choices(run: StoredRun, evaluation: str, examples: Examples) -> NDArray[np.int64]:
    """0 for the occupation, 1 for the other participant, of each example."""
    if run.manifest["evaluations"][evaluation]["data"] != examples.fingerprint:
        raise ResultsError(
            f"{run.run_id} was scored on other sentences than {examples.origin}; import it with the same --data, since "
            "the layout names occupation and gender of each."
        )
    stored = stored_for(run, evaluation, find_task(evaluation.partition(".")[0]))
    if len(stored.ids) != len(examples):
        raise ResultsError(f"{run.run_id} has {len(stored.ids)} choices for {len(examples)} sentences.")
    return np.asarray(stored.outputs.argmax(axis=1))
