"""Two thousand damaged files: each is refused with one sentence, or read to the last row as it stands.

What counts as right is what another reader, a few lines here, finds in the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import DataError
from multibench.tasks import DataSources, Examples, Task, load_split
from tests.tasks.written import Row, write_split

FILES_PER_FORMAT = 300
FORMATS = [
    "tsv",
    "txt",
    "tsv.gz",
    "csv",
    "jsonl",
    "parquet",
    "json",
]  # "txt" has no header, "json" is SQuAD's
LABELS = ("no", "yes")


def _task(ending: str) -> Task:
    spans = ending == "json"
    file: dict[str, Any] = {"file": f"dev.{ending.removesuffix('.gz')}"}
    if ending == "txt":
        file |= {"header": False, "inputs": [0, 1], "label": 2}
    metric = "exact_match" if spans else "accuracy"
    return Task.model_validate(
        {
            "name": "own",
            "version": 1,
            "title": "Own",
            "description": "Damaged.",
            "kind": "span" if spans else "classification",
            "inputs": ["question", "context"],
            "labels": () if spans else LABELS,
            "unanswerable": spans,
            "metrics": [metric],
            "headline": metric,
            "evaluations": ["dev"],
            "mean_tokens": 10,
            "licence": "none",
            "source": "tests",
            "splits": {"dev": {"rows": 5}},
            "files": {
                "folder": "own",
                "splits": {"dev": file},
                **({} if spans or ending == "txt" else {"label": "gold"}),
            },
        }
    )


def _rows(spans: bool) -> list[Row]:
    texts = [
        ("Wer?", "Ada."),
        ("NA", 'a "quoted" one'),
        ("naïve 猫", ""),
        ("a,b", "null"),
        ("d;e", "the end "),
    ]
    if not spans:
        return [Row(pair, i % 2) for i, pair in enumerate(texts)]
    from multibench.tasks.data import Answer

    return [Row(pair, [Answer(pair[1], 0)] if pair[1] else []) for pair in texts]


# --- Damage. Each takes bytes and a generator, and returns other bytes (or now and then the same).


def _cut(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: rng.integers(len(raw) + 1)]


def _flip(raw: bytes, rng: np.random.Generator) -> bytes:
    found = bytearray(raw)
    for position in rng.integers(len(raw), size=rng.integers(1, 5)):
        found[position] = rng.integers(256)
    return bytes(found)


def _remove(raw: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(raw)))
    return raw[:start] + raw[start + int(rng.integers(1, 30)) :]


def _repeat(raw: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(raw) + 1, size=2).tolist())
    return raw[:end] + raw[start:end] + raw[end:]


def _insert(raw: bytes, rng: np.random.Generator) -> bytes:
    pieces = [
        b"\t",
        b"\n",
        b"\r",
        b'"',
        b",",
        b"\x00",
        b"{",
        b"}",
        b"[",
        b"null",
        b"NaN",
        b"-1",
        b"1e999",
        b"\\",
        b"\xff",
    ]
    start = int(rng.integers(len(raw) + 1))
    return raw[:start] + pieces[rng.integers(len(pieces))] + raw[start:]


def _encode(raw: bytes, rng: np.random.Generator) -> bytes:
    encoding = ["utf-16", "latin-1", "utf-8-sig", "utf-32-le", "cp1252"][rng.integers(5)]
    return raw.decode("utf-8", "replace").encode(encoding, "replace")


def _lines(raw: bytes, rng: np.random.Generator) -> bytes:
    lines = raw.split(b"\n")
    which = int(rng.integers(len(lines)))
    change: list[Callable[[], list[bytes]]] = [
        lambda: lines[:which] + lines[which + 1 :],
        lambda: [*lines[: which + 1], lines[which], *lines[which + 1 :]],
        lambda: [*lines[:which], b"", *lines[which:]],
        lambda: [line + b"\r" for line in lines],
        lambda: lines[::-1],
        lambda: [
            *lines[:which],
            lines[which].replace(b"\t", b" ", 1).replace(b",", b";", 1),
            *lines[which + 1 :],
        ],
        lambda: [*lines[:which], lines[which] + b"\tmore,more", *lines[which + 1 :]],
        lambda: [line.replace(b"gold", b"question") for line in lines],
    ]
    return b"\n".join(change[rng.integers(len(change))]())


def _values(raw: bytes, rng: np.random.Generator) -> bytes:
    """Values of other types and classes, where the format is text."""
    old = [
        b'"no"',
        b"no",
        b'"yes"',
        b"yes",
        b'"NA"',
        b'"gold"',
        b"gold",
        b'"id"',
        b'"answers"',
        b": 0",
        b'"text"',
    ]
    new = [
        b"null",
        b"1",
        b"0",
        b"-1",
        b"2",
        b"1.0",
        b"true",
        b"[]",
        b"{}",
        b'"maybe"',
        b"maybe",
        b'""',
        b"",
        b'"\\ud800"',
    ]
    for _ in range(int(rng.integers(1, 3))):
        raw = raw.replace(old[rng.integers(len(old))], new[rng.integers(len(new))], int(rng.integers(1, 3)))
    return raw


DAMAGE = [_cut, _flip, _remove, _repeat, _insert, _encode, _lines, _values]


def _columns(raw: bytes, rng: np.random.Generator) -> bytes:
    """For parquet: a column of another type, with a null, away, or there twice."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(raw))
    which = int(rng.integers(table.num_columns))
    name, values = table.column_names[which], table.column(which).to_pylist()
    others: list[Callable[[], Any]] = [
        lambda: pa.array([*values[:-1], None]),
        lambda: pa.array([None] * len(values)),
        lambda: pa.array(values).dictionary_encode(),
        lambda: pa.array([[value] for value in values]),
        lambda: pa.array([str(value).encode() for value in values]),
        lambda: pa.array([float(i) for i in range(len(values))]),
        lambda: pa.array([i % 2 for i in range(len(values))], pa.int8()),
        lambda: pa.array([i % 3 for i in range(len(values))], pa.uint64()),
        lambda: pa.array([i % 2 == 0 for i in range(len(values))]),
        lambda: pa.array(range(len(values)), pa.timestamp("ns", tz="UTC")),
        lambda: pa.array(range(len(values)), pa.duration("ns")),
        lambda: pa.array([{"a": value} for value in values]),
        lambda: pa.array([str(value) for value in values], pa.large_string()),
    ]
    form = int(rng.integers(len(others) + 3))
    if form < len(others):
        table = table.set_column(which, name, others[form]())
    else:
        table = [
            table.drop_columns([name]),
            table.append_column(name, table.column(which)),
            table.slice(0, int(rng.integers(len(values)))),
        ][form - len(others)]
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


# --- The other reader.


def _other_reader(ending: str, raw: bytes, path: Path) -> list[tuple[Any, Any, Any]]:
    """(question, context, gold) of each row: a label's name or number, or answers as (text, start)."""
    if ending == "parquet":
        pandas = pytest.importorskip("pandas")
        frame = pandas.read_parquet(path)
        return list(zip(frame["question"], frame["context"], frame["gold"], strict=True))
    text = (gzip.decompress(raw) if ending == "tsv.gz" else raw).decode("utf-8-sig")
    if ending == "json":
        questions = (
            (q["question"], p["context"], [(a["text"], a["answer_start"]) for a in q["answers"]])
            for article in json.loads(text)["data"]
            for p in article["paragraphs"]
            for q in p["qas"]
        )
        return list(questions)
    if ending == "jsonl":
        rows = [json.loads(line) for line in text.split("\n") if line.strip(" \r")]
    elif ending == "csv":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    else:
        whole = text.split("\n")
        while whole and not whole[-1].strip(" \r"):  # blank lines at the end are none
            whole.pop()
        lines = [line.removesuffix("\r").split("\t") for line in whole]
        header = ["question", "context", "gold"] if ending == "txt" else lines.pop(0)
        rows = [dict(zip(header, line, strict=True)) for line in lines]
    return [(row["question"], row["context"], row["gold"]) for row in rows]


def _agree(examples: Examples, expected: list[tuple[Any, Any, Any]]) -> None:
    assert len(examples) == len(examples.texts[0]) == len(examples.texts[1]) == len(expected)
    for i, (question, context, gold) in enumerate(expected):
        assert (examples.texts[0][i], examples.texts[1][i]) == (question, context)
        assert examples.labels is not None
        if examples.answers is None:
            assert gold in (LABELS[examples.labels[i]], examples.labels[i])
        else:
            assert [answer.text for answer in examples.answers[i]] == [text for text, _ in gold]
            assert all(context.startswith(answer.text, answer.start) for answer in examples.answers[i])
            # A start that is off by two at most is put right, see multibench.tasks.squad.
            starts = zip(examples.answers[i], gold, strict=True)
            assert all(abs(answer.start - start) <= 2 for answer, (_, start) in starts)


@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_files_are_refused_or_read_in_full(ending: str, tmp_path: Path) -> None:
    task = _task(ending)
    assert task.files is not None
    path = write_split(tmp_path, task, task.files, "dev", _rows(spans=ending == "json"))
    whole = path.read_bytes()
    if ending == "tsv.gz":
        path.unlink()
        path = path.with_name(f"{path.name}.gz")
        whole = gzip.compress(whole, mtime=0)
    rng = np.random.default_rng([20261121, FORMATS.index(ending)])
    refused = 0
    damage = [_columns, _columns, *DAMAGE] if ending == "parquet" else DAMAGE
    for number in range(FILES_PER_FORMAT):
        raw = damage[number % len(damage)](whole, rng)
        path.write_bytes(raw)
        try:
            examples = load_split(task, "dev", DataSources(tmp_path, frozenset(["own"])))
        except DataError as error:
            refused += 1
            sentence = str(error)
            assert sentence.startswith(str(path)), sentence
            assert sentence.endswith((".", "?", ")")), sentence
            assert "\n" not in sentence, sentence
            assert len(sentence) < 500 + len(str(path)), sentence
        else:
            _agree(examples, _other_reader(ending, raw, path))
    assert FILES_PER_FORMAT // 3 < refused < FILES_PER_FORMAT


def test_there_are_two_thousand() -> None:
    assert len(FORMATS) * FILES_PER_FORMAT >= 2000
