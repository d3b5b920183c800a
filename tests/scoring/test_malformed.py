"""Two thousand damaged prediction files: each is refused in a sentence, or scored as a plain reading of it says."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multibench.errors import DataError, ResultsError
from multibench.metrics.squad import answer_outputs
from multibench.results.store import Predictions, _write_predictions
from multibench.scoring import Scored, score
from tests.scoring.support import GOLD, HANS_ROWS, glue_text, hans_text, make_heuristics, make_questions
from tests.support.tiny import make_classification, make_regression

FILES_OF_EACH_LAYOUT = 286

JUNK = [
    "",
    " ",
    "NA",
    "null",
    "nan",
    "inf",
    "-1",
    "2",
    "1.5",
    "yes ",
    "YES",
    "entail",
    "'no'",
    "é",
    "🦊",
    "\x00",
    "0x0",
]
SEPARATORS = ["\t", ",", " ", ";", "\t\t", "\x0c", "\u2028"]
VALUES: list[Any] = [
    None,
    True,
    3,
    2.5,
    [],
    ["fox"],
    {"text": "fox"},
    math.nan,
    "",
    "fox",
    "the",
    "\ud800",
    "ﬁ",
]

Damage = Callable[[np.random.Generator, bytes], bytes]


# Damage


def _cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: rng.integers(0, len(content))]


def _overwrite(rng: np.random.Generator, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        damaged[rng.integers(0, len(damaged))] = rng.integers(0, 256)
    return bytes(damaged)


def _insert(rng: np.random.Generator, content: bytes) -> bytes:
    at = int(rng.integers(0, len(content) + 1))
    return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at:]


def _remove(rng: np.random.Generator, content: bytes) -> bytes:
    at = int(rng.integers(0, len(content)))
    return content[:at] + content[at + int(rng.integers(1, 20)) :]


def _recode(rng: np.random.Generator, content: bytes) -> bytes:
    text = content.decode("latin-1")
    return (
        text.encode(str(rng.choice(["utf-16", "utf-32", "utf-8-sig"])))
        if rng.random() < 0.7
        else content[::-1]
    )


def _lines(rng: np.random.Generator, content: bytes) -> bytes:
    """A line lost, doubled, moved, joined with the next, or with another cell."""
    lines = content.decode().split("\n")
    at = int(rng.integers(0, len(lines)))
    match rng.integers(0, 6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(int(rng.integers(0, len(lines))), lines[at])
        case 2:
            lines.insert(0, lines.pop(at))
        case 3:
            lines[at] = lines[at] + "".join(lines[at + 1 : at + 2])
        case 4:
            lines[at] = re.sub("[^\t,]*$", str(rng.choice(JUNK)), lines[at])
        case _:
            lines[at] = str(rng.choice(JUNK)) + lines[at]
    return "\n".join(lines).encode()


def _separators(rng: np.random.Generator, content: bytes) -> bytes:
    return re.sub(
        "[\t,]", str(rng.choice(SEPARATORS)), content.decode(), count=int(rng.integers(0, 4))
    ).encode()


def _answers(rng: np.random.Generator, content: bytes) -> bytes:
    """Another value, a name lost, new or doubled, or another shape of the whole."""
    answers: dict[str, Any] = json.loads(content)
    name = str(rng.choice(list(answers)))
    match rng.integers(0, 6):
        case 0 | 1:
            answers[name] = VALUES[rng.integers(0, len(VALUES))]
        case 2:
            del answers[name]
        case 3:
            answers[f"{name}x"] = "fox"
        case 4:
            return json.dumps(answers).replace("{", '{"' + name + '": "seven", ', 1).encode()
        case _:
            return json.dumps(
                [[answers], list(answers.values()), {"predictions": answers}, name][rng.integers(0, 4)]
            ).encode()
    return json.dumps(answers).encode()


def _table(rng: np.random.Generator, content: bytes) -> bytes:
    """A column lost, renamed, of another type, with gaps, or a row lost, doubled or moved."""
    table = pq.read_table(io.BytesIO(content))
    at = int(rng.integers(0, table.num_columns))
    name, column = table.column_names[at], table.column(at)
    match rng.integers(0, 7):
        case 0:
            table = table.drop_columns([name])
        case 1:
            table = table.rename_columns([f"{n}1" if n == name else n for n in table.column_names])
        case 2:
            table = table.set_column(at, name, pa.array(range(table.num_rows)))
        case 3:
            table = table.set_column(at, name, pa.array([str(v) for v in column.to_pylist()]))
        case 4:
            table = table.set_column(at, name, pa.array([None, *column.to_pylist()[1:]], column.type))
        case 5:
            table = table.append_column(name, column)
        case _:
            table = table.take(rng.integers(0, table.num_rows, table.num_rows + int(rng.integers(-1, 2))))
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


# A plain reading


def _pairs(content: bytes, separator: str) -> list[list[str]]:
    header, *lines = content.decode("utf-8-sig").split("\n")
    separator = separator if separator in header else "," if separator == "\t" else "\t"
    return [line.removesuffix("\r").strip(" ").split(separator) for line in lines if line]


def _read_classes(meaning: Mapping[str, int], separator: str) -> Callable[[bytes], dict[str, Any]]:
    def read(content: bytes) -> dict[str, Any]:
        pairs = _pairs(content, separator)
        assert len({name for name, _ in pairs}) == len(pairs)
        return {name: meaning[label] for name, label in pairs}

    return read


def _read_scores(content: bytes) -> dict[str, Any]:
    return {name: float(value) for name, value in _pairs(content, "\t")}


def _read_answers(content: bytes) -> dict[str, Any]:
    return dict(json.loads(content.decode("utf-8-sig"), object_pairs_hook=list))


def _read_stored(content: bytes) -> dict[str, Any]:
    columns = pq.ParquetFile(io.BytesIO(content)).read().to_pydict()
    outputs = np.array([columns[name] for name in sorted(c for c in columns if c.startswith("output_"))]).T
    values = outputs.argmax(axis=1).tolist() if outputs.shape[1] == 2 else outputs.tolist()
    return dict(zip(columns["id"], values, strict=True))


def _accuracy(gold: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, float]:
    return {"accuracy": sum(said[name] == label for name, label in gold.items()) / len(gold)}


def _correlation(gold: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, float]:
    x, y = list(gold.values()), [said[name] for name in gold]
    return {"pearson": float(np.corrcoef(x, y)[0, 1]) if len(set(y)) > 1 else math.nan}


def _words(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return re.sub(r"\b(the|an|a)\b", " ", kept).split()


def _overlap(gold: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, float]:
    exact, f1 = [], []
    for name, texts in gold.items():
        given = _words(said[name]) if name in said else None
        exact.append(max(float(given == _words(text)) for text in texts or [""]))
        scores = [0.0]
        for text in texts or [""]:
            wanted = _words(text)
            shared = (Counter(given or []) & Counter(wanted)).total()
            both = len(given or []) + len(wanted)
            scores.append(2 * shared / both if both else float(given == wanted and not texts))
        f1.append(max(scores))
    return {"exact_match": sum(exact) / len(gold), "f1": sum(f1) / len(gold)}


def _columns(gold: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, float]:
    rows = [said[name] for name in gold]
    return {
        "exact_match": sum(row[0] for row in rows) / len(gold),
        "f1": sum(row[1] for row in rows) / len(gold),
    }


# Layouts


@dataclass(frozen=True)
class Layout:
    """A task, a right file for it, what can happen to the file, and how to read what is left."""

    task: Path
    content: bytes
    damages: tuple[Damage, ...]
    gold: Mapping[str, Any]
    read: Callable[[bytes], dict[str, Any]]
    expected: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, float]]


ANY: tuple[Damage, ...] = (_cut, _overwrite, _insert, _remove, _recode)
ROWS: tuple[Damage, ...] = (*ANY, _lines, _lines, _lines, _separators)


def _dev(task: Path) -> dict[str, str]:
    rows = (task.parent / "data" / task.stem / "dev.tsv").read_text().splitlines()[1:]
    return {str(i): row.split("\t")[-1] for i, row in enumerate(rows)}


def _parquet(root: Path, predictions: Predictions) -> bytes:
    _write_predictions(root / "right.parquet", predictions)
    return (root / "right.parquet").read_bytes()


def _classes(root: Path) -> Layout:
    task = make_classification(root)
    codes = _dev(task)
    meaning = {"no": 0, "yes": 1, "other": 0, "same": 1}
    gold = {name: meaning[code] for name, code in codes.items()}
    return Layout(task, glue_text(codes).encode(), ROWS, gold, _read_classes(meaning, "\t"), _accuracy)


def _scores(root: Path) -> Layout:
    task = make_regression(root)
    gold = {name: float(code) for name, code in _dev(task).items()}
    return Layout(task, glue_text(gold).encode(), ROWS, gold, _read_scores, _correlation)


def _heuristics(root: Path) -> Layout:
    labels = {name: label for label, name, _, _ in HANS_ROWS}
    meaning = {"entailment": 0, "non-entailment": 1, "not_entailment": 1, "neutral": 1, "contradiction": 1}
    meaning |= {"non_entailment": 1, "not-entailment": 1}
    gold = {name: meaning[label] for name, label in labels.items()}
    content = hans_text(labels).encode()
    return Layout(make_heuristics(root), content, ROWS, gold, _read_classes(meaning, ","), _accuracy)


def _spans(unanswerable: bool) -> Callable[[Path], Layout]:
    def make(root: Path) -> Layout:
        gold = {name: texts for name, texts in GOLD.items() if texts or unanswerable}
        content = json.dumps({name: "".join(texts[:1]) for name, texts in gold.items()}).encode()
        damages = (*ANY, _answers, _answers, _answers)
        return Layout(make_questions(root, gold=gold), content, damages, gold, _read_answers, _overlap)

    return make


def _stored_classes(root: Path) -> Layout:
    task = make_classification(root)
    gold = {name: int(code == "yes") for name, code in _dev(task).items()}
    labels = np.array(list(gold.values()))
    content = _parquet(root, Predictions(tuple(gold), np.eye(2, dtype=np.float32)[labels], labels))
    return Layout(task, content, (_cut, _overwrite, _table, _table), gold, _read_stored, _accuracy)


def _stored_spans(root: Path) -> Layout:
    texts, odds = ("fox", "seven", "hares", "red", "red"), np.array([-2, 3, -1, 2, -1])
    outputs = answer_outputs(texts, odds, list(GOLD.values()), threshold=1.0)
    predictions = Predictions(tuple(GOLD), outputs, np.array([1, 1, 1, 0, 0]), texts)
    damages = (_cut, _overwrite, _table, _table)
    return Layout(make_questions(root), _parquet(root, predictions), damages, GOLD, _read_stored, _columns)


LAYOUTS = {
    "glue classes": _classes,
    "glue scores": _scores,
    "hans": _heuristics,
    "squad v1": _spans(unanswerable=False),
    "squad v2": _spans(unanswerable=True),
    "stored classes": _stored_classes,
    "stored spans": _stored_spans,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_damaged_files_are_refused_or_read_to_the_letter(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name](tmp_path)
    path = tmp_path / "predictions"
    outcomes: Counter[str] = Counter()
    longest = 0
    for number in range(FILES_OF_EACH_LAYOUT):
        rng = np.random.default_rng([7, len(name), number])
        content = layout.content
        for _ in range(int(rng.integers(1, 3))):
            damage = layout.damages[rng.integers(0, len(layout.damages))]
            try:
                content = damage(rng, content)
            except (ValueError, TypeError, IndexError, AttributeError, pa.ArrowException, OSError):
                break  # what the first damage left is too broken for the second
        path.write_bytes(content)
        try:
            scored = score(str(layout.task), path, data=tmp_path / "data")
        except (DataError, ResultsError) as error:
            outcomes["refused"] += 1
            longest = max(longest, len(str(error)))
        else:
            _check(layout, content, scored)
            outcomes["scored"] += 1
    assert longest < 600
    assert outcomes["refused"] > FILES_OF_EACH_LAYOUT / 3
    assert outcomes["scored"] > FILES_OF_EACH_LAYOUT / 100


def _check(layout: Layout, content: bytes, scored: Scored) -> None:
    said = layout.read(content)
    assert set(scored.missing) == set(layout.gold) - set(said)
    assert set(scored.extra) == set(said) - set(layout.gold)
    for metric, value in layout.expected(layout.gold, said).items():
        assert scored.metrics[metric] == pytest.approx(value, abs=1e-6, nan_ok=True)
