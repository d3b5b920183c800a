"""Writes examples in any layout that a task can have, so that what is read can be held against it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multibench.tasks import Task
from multibench.tasks.data import Answer
from multibench.tasks.layouts import FileLayout, Format


@dataclass(frozen=True)
class Row:
    """One example: ``label`` is a class number, a score or a list of answers."""

    inputs: tuple[str, ...]
    label: Any = None
    metadata: dict[str, str] = field(default_factory=dict)


def some_rows(task: Task, count: int = 6) -> list[Row]:
    """Rows of the task's kind, with texts that careless readers change."""
    odd = [
        "NA",
        "null",
        "None",
        'a "stray quote',
        " blanks ",
        "naïve 猫 ’s",
        "",
        "nan",
        "a,b;c|d",
        "#1",
        "'",
        "-",
    ]
    rows = []
    for i in range(count):
        texts = tuple(f"{odd[(i + k) % len(odd)]}" for k in range(len(task.inputs)))
        metadata = {name: ["one", "two"][i % 2] for name in task.metadata}
        if "gender" in metadata:
            metadata["gender"] = ["male", "female"][i % 2]
        label: Any = i % max(1, len(task.labels))
        if task.kind == "regression":
            label = round((task.score_range or (0.0, 1.0))[1] * i / count, 3)
        if task.kind == "span":
            texts = (f"Which {odd[i % len(odd)]}?", f"{odd[(i + 1) % len(odd)]} is the answer")
            answer = Answer("the answer", texts[1].index("the answer"))
            label = [] if task.unanswerable and i % 3 == 0 else [answer, Answer("answer", answer.start + 4)]
        rows.append(Row(texts, label, metadata))
    return rows


def write_split(root: Path, task: Task, layout: FileLayout, split: str, rows: Sequence[Row]) -> Path:
    """The file of ``split`` below ``root``; returns its path."""
    file = layout.splits[split]
    path = root / layout.folder / file.file
    path.parent.mkdir(parents=True, exist_ok=True)
    format_ = layout.format_of(file.file)
    assert format_ is not None
    if format_ == "squad":
        path.write_text(json.dumps(_squad(rows), ensure_ascii=False), "utf-8")
        return path
    columns = task.columns(layout, split)
    typed = format_ in ("jsonl", "parquet")
    table: dict[str | int, list[Any]] = {}
    for position, column in enumerate(columns.inputs):
        table[column] = [row.inputs[position] for row in rows]
    if columns.label is not None:
        table[columns.label] = [_label(task, layout, row.label, typed) for row in rows]
    if columns.ids is not None:
        table[columns.ids] = [f"q{i}" for i in range(len(rows))]
    for name in task.metadata:
        table[name] = [row.metadata[name] for row in rows]
    if layout.parts is not None:
        named = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
        table[layout.parts.column] = [_composed(layout.parts.pattern, row) for row in named]
        for name in re.compile(layout.parts.pattern).groupindex:
            table.pop(name, None)
    write_table(path, format_, table, file.header)
    return path


def write_table(path: Path, format_: Format, table: dict[Any, list[Any]], header: bool = True) -> None:
    """Columns as a file of that format."""
    rows = list(zip(*table.values(), strict=True))
    if format_ == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(table), path)
    elif format_ == "jsonl":
        lines = (json.dumps(dict(zip(table, row, strict=True)), ensure_ascii=False) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    elif not header:
        width = max(int(column) for column in table) + 1
        placed = [dict(zip(table, row, strict=True)) for row in rows]
        lines = ("\t".join(str(row.get(i, "x")) for i in range(width)) for row in placed)
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    elif format_ == "csv":
        text = io.StringIO(newline="")
        csv.writer(text).writerows([list(table), *rows])
        path.write_bytes(text.getvalue().encode())
    else:
        path.write_text("".join("\t".join(map(str, row)) + "\n" for row in (tuple(table), *rows)), "utf-8")


def _label(task: Task, layout: FileLayout, label: Any, typed: bool) -> Any:
    if task.kind == "span":
        return {"text": [a.text for a in label], "answer_start": [a.start for a in label]}
    if task.kind == "regression":
        return label
    if typed and layout.label_codes is None:
        return label
    return (layout.label_codes or task.labels)[label]


def _composed(pattern: str, row: dict[Any, Any]) -> str:
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda group: str(row[group[1]]), pattern).replace("\\.", ".")


def _squad(rows: Sequence[Row]) -> dict[str, Any]:
    articles: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        answers = [{"text": a.text, "answer_start": a.start} for a in row.label]
        question = {"id": f"q{i}", "question": row.inputs[0], "answers": answers}
        paragraph = {"context": row.inputs[1], "qas": [question]}
        articles.setdefault(row.metadata.get("title", "T"), []).append(paragraph)
    return {"data": [{"title": title, "paragraphs": found} for title, found in articles.items()]}
