"""A task of one's own in one TOML file: the same examples from every format, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multibench.errors import DataError
from multibench.tasks import DataSources, Examples, Task, find_task, load_split, sources
from multibench.tasks.layouts import Format
from tests.tasks.written import some_rows, write_split, write_table

OWN = """
name = "own"
version = 1
title = "A task of one's own"
description = "No Python."
kind = "{kind}"
inputs = [{inputs}]
{facts}
evaluations = ["dev"]
mean_tokens = 10
licence = "none"
source = "tests"
metadata = ["topic"]

[splits.dev]
rows = 12

[files]
folder = "own"
{columns}
splits = {{ dev = "dev.{ending}" }}

[hub]
id = "nobody/own"
config = "own"
splits = {{ dev = "validation" }}
inputs = [{hub_inputs}]
label = "gold"
"""

KINDS: dict[str, dict[str, str]] = {
    "classification": {
        "inputs": '"first", "second"',
        "hub_inputs": '"text a", "text b"',
        "facts": 'labels = ["no", "yes"]\nmetrics = ["accuracy"]\nheadline = "accuracy"',
        "columns": 'inputs = ["text a", "text b"]\nlabel = "gold"',
    },
    "regression": {
        "inputs": '"text"',
        "hub_inputs": '"text"',
        "facts": 'score_range = [0.0, 5.0]\nmetrics = ["pearson"]\nheadline = "pearson"',
        "columns": 'label = "gold"',
    },
    "span": {
        "inputs": '"question", "context"',
        "hub_inputs": '"question", "context"',
        "facts": 'unanswerable = true\nmetrics = ["exact_match"]\nheadline = "exact_match"',
        "columns": 'label = "gold"',
    },
}


def _own(root: Path, kind: str, ending: str) -> Task:
    values = {**KINDS[kind], "columns": "" if ending == "json" else KINDS[kind]["columns"]}
    (root / f"{kind}.{ending}.toml").write_text(OWN.format(kind=kind, ending=ending, **values), "utf-8")
    return find_task(str(root / f"{kind}.{ending}.toml"))


def _load(task: Task, root: Path | None) -> Examples:
    return load_split(task, "dev", DataSources(root))


def _endings(kind: str) -> list[str]:
    return ["jsonl", "parquet", *(["json"] if kind == "span" else ["tsv", "csv", "txt"])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_same_examples(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    found: dict[str, Examples] = {}
    for ending in _endings(kind):
        task = _own(tmp_path, kind, ending)
        rows = some_rows(task, 12)
        assert task.files is not None
        path = write_split(tmp_path, task, task.files, "dev", rows)
        found[ending] = _load(task, tmp_path)
        if ending != "parquet":
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            found[f"{ending}.gz"] = _load(task, tmp_path)

    def load_dataset(*_: Any, split: str, **__: Any) -> Any:
        files = {split: str(tmp_path / "own/dev.parquet")}
        return datasets.load_dataset(
            "parquet", data_files=files, split=split, cache_dir=str(tmp_path / "cache")
        )

    monkeypatch.setattr(sources, "_datasets_loader", lambda: load_dataset)
    found["hub"] = _load(task, None)
    assert len({(examples.ids, examples.fingerprint) for examples in found.values()}) == 1
    assert all(list(zip(*e.texts, strict=True)) == [row.inputs for row in rows] for e in found.values())
    assert {"NA", "null", "None", "nan", "", 'a "stray quote'} <= {*found["hub"].texts[0]} or kind == "span"
    topics = tuple(row.metadata["topic"] for row in rows)
    for ending, examples in found.items():  # SQuAD's JSON has no place for topics
        assert examples.metadata == ({} if ending in {"json", "json.gz"} else {"topic": topics})


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv", "tsv"])
@pytest.mark.parametrize(
    ("codes", "written"),
    [
        ('["0", "1"]', [0, 1, 1]),
        ('["-1", "1"]', [-1, 1, 1]),
        ('["false", "true"]', ["false", "true", "true"]),
        ('["neg", "pos"]', ["neg", "pos", "pos"]),
    ],
)
def test_labels_are_read_by_their_codes(
    tmp_path: Path, ending: Format, codes: str, written: list[Any]
) -> None:
    task = _with_codes(tmp_path, ending, codes)
    table = {"text a": ["a"] * 3, "text b": ["b"] * 3, "gold": written}
    write_table(tmp_path / f"own/dev.{ending}", ending, table)
    assert _labels(task, tmp_path) == [0, 1, 1]


def test_truth_values_and_class_numbers_are_read_in_typed_files(tmp_path: Path) -> None:
    table = {"text a": ["a"] * 2, "text b": ["b"] * 2, "gold": [False, True]}
    typed: tuple[Format, ...] = ("jsonl", "parquet")
    for ending in typed:
        truth = _with_codes(tmp_path, ending, '["false", "true"]')
        write_table(tmp_path / f"own/dev.{ending}", ending, table)
        assert _labels(truth, tmp_path) == [0, 1]
        names = _own(tmp_path, "classification", ending)
        with pytest.raises(DataError, match="the label is False, not one of"):
            _labels(names, tmp_path)
        for gold in ([0, 1], ["no", "yes"]):
            write_table(tmp_path / f"own/dev.{ending}", ending, {**table, "gold": gold})
            assert _labels(names, tmp_path) == [0, 1]


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_numbers_are_names_where_the_classes_are_called_so(tmp_path: Path, ending: Format) -> None:
    stars = ("1", "2", "3")
    facts = _own(tmp_path, "classification", ending).model_dump()
    task = Task.model_validate({**facts, "labels": stars})
    (tmp_path / "own").mkdir()
    table = {"text a": ["a"] * 3, "text b": ["b"] * 3}
    write_table(tmp_path / f"own/dev.{ending}", ending, {**table, "gold": [1, 3, 2]})
    assert _labels(task, tmp_path) == [0, 2, 1]
    write_table(tmp_path / f"own/dev.{ending}", ending, {**table, "gold": [1, 0, 2]})
    with pytest.raises(DataError, match=r"the label is '?0'?, not one of \['1', '2', '3'\]"):
        _labels(task, tmp_path)


def _with_codes(root: Path, ending: str, codes: str) -> Task:
    (root / "own").mkdir(exist_ok=True)
    task = _own(root, "classification", ending)
    assert task.files is not None
    files = task.files.model_copy(update={"label_codes": tuple(json.loads(codes))})
    return task.model_copy(update={"files": files})


def _labels(task: Task, root: Path) -> list[int]:
    examples = load_split(task, "dev", DataSources(root, frozenset(["own"])))
    assert examples.labels is not None
    return list(examples.labels.tolist())


def test_the_original_release_goes_before_files_of_ones_own(tmp_path: Path) -> None:
    facts = _own(tmp_path, "regression", "csv").model_dump()
    task = Task.model_validate({**facts, "official": {**facts["files"], "splits": {"dev": "dev.tsv"}}})
    for layout in (task.files, task.official):
        assert layout is not None
        path = write_split(tmp_path, task, layout, "dev", some_rows(task, 12))
        assert _load(task, tmp_path).origin == str(path)


TABLE = {"text a": ["a", "b"], "text b": ["c", "d"], "gold": [0, 1]}


@pytest.mark.parametrize(
    ("ending", "change", "words"),
    [
        ("csv", lambda raw: raw + b'"open', "not valid CSV"),
        ("csv", lambda raw: raw + b'"a"b,c,0\n', "not valid CSV"),
        ("csv", lambda raw: raw + b"\n" + raw, "row 4: 0 columns instead of 3"),
        ("csv", lambda raw: raw + b"a,b\n", "row 4: 2 columns instead of 3"),
        ("csv", lambda raw: raw.replace(b"text b", b"text a"), "two columns 'text a'"),
        ("csv", lambda raw: raw.replace(b"gold", b"silver"), "no column 'gold'"),
        ("csv", lambda raw: raw.splitlines()[0], "holds no examples"),
        ("csv", lambda raw: b"", "holds no examples"),
        ("csv", lambda raw: raw.decode().encode("utf-16"), "is not UTF-8 text"),
        ("jsonl", lambda raw: b"", "holds no examples"),
        ("jsonl", lambda raw: raw + b"\n" + raw, "line 3 is not valid JSON"),
        ("jsonl", lambda raw: raw[:-3], "line 2 is not valid JSON"),
        ("jsonl", lambda raw: raw + b"[1]\n", r"line 3 is \[1\], not an object"),
        ("jsonl", lambda raw: raw + b"[" * 100_000, "line 3 is not valid JSON"),
        ("jsonl", lambda raw: raw + b'{"text a": "x"}\n', "line 3 has no 'text b'"),
        ("jsonl", lambda raw: raw.replace(b'"text b"', b'"text a"'), "a name occurs twice"),
        ("jsonl", lambda raw: raw.replace(b'"d"', b"null"), "line 2: 'second' is None, not a text"),
        ("jsonl", lambda raw: raw.replace(b'"d"', b'"\\ud800"'), "line 2: 'second' is .*, not a text"),
        ("jsonl", lambda raw: raw.replace(b'"gold": 1', b'"gold": 1.0'), "line 2: the label is 1.0"),
        ("jsonl", lambda raw: raw.replace(b'"gold": 1', b'"gold": [1]'), r"line 2: the label is \[1\]"),
        ("jsonl", lambda raw: raw.replace(b'"gold": 1', b'"gold": 1' + b"0" * 5000), "not valid JSON"),
        ("parquet", lambda raw: b"", "not a readable parquet file"),
        ("parquet", lambda raw: raw[:-9], "not a readable parquet file"),
        ("parquet", lambda raw: b"text a\n", "not a readable parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, ending: Format, change: Callable[[bytes], bytes], words: str
) -> None:
    task = _own(tmp_path, "classification", ending)
    (tmp_path / "own").mkdir()
    path = tmp_path / f"own/dev.{ending}"
    write_table(path, ending, TABLE if ending != "csv" else {**TABLE, "gold": ["no", "yes"]})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        _load(task, tmp_path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith((".", "?"))
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    task = _own(tmp_path, "regression", "tsv")
    (tmp_path / "own").mkdir()
    packed = gzip.compress(b"text\tgold\n" + b"a\t1.0\n" * 100)
    for raw in (packed[:-5], packed[:12] + b"xxxx" + packed[16:], b"text\tgold\n", packed + b"more"):
        (tmp_path / "own/dev.tsv.gz").write_bytes(raw)
        with pytest.raises(DataError, match="cannot be unpacked"):
            _load(task, tmp_path)


def test_lines_broken_inside_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "QQP"
    folder.mkdir()
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    good = "1\t2\t3\tWhy?\tWhat for?\t1\n"
    (folder / "dev.tsv").write_text(f'{header}{good}4\t5\t6\tHow\n"\tHow come?\t0\n{good}', "utf-8")
    accept = DataSources(tmp_path, frozenset(["qqp"]))
    examples = load_split(find_task("qqp"), "dev", accept)
    assert examples.texts == (("Why?",) * 2, ("What for?",) * 2)
    assert examples.origin.endswith("dev.tsv, less 2 broken lines")
    (folder / "dev.tsv").write_text(f"{header}{good}{good.strip()}\textra\n", "utf-8")
    with pytest.raises(DataError, match="line 3: 7 columns instead of 6"):
        load_split(find_task("qqp"), "dev", accept)
    (folder / "dev.tsv").write_text(f"{header}{good}4\t5\n{good.replace('1', '7')}", "utf-8")
    with pytest.raises(DataError, match="line 4: the label is '7'"):
        load_split(find_task("qqp"), "dev", accept)


def test_parts_of_a_column_must_be_there(tmp_path: Path) -> None:
    folder = tmp_path / "winogender/data"
    folder.mkdir(parents=True)
    file = folder / "all_sentences.tsv"
    for sentid, words in (
        ("technician.customer.1.txt", "'sentid' is 'technician.customer.1.txt', not of the form"),
        ("technician.customer.2.male.txt", "the label is '2', not one of"),
    ):
        file.write_text(f"sentid\tsentence\n{sentid}\tThey came.\n", "utf-8")
        with pytest.raises(DataError, match=words):
            load_split(find_task("winogender"), "test", DataSources(tmp_path))


@pytest.mark.parametrize(
    "instead", [{"ids": ["a"]}, {"ids_file": "ids.tsv"}, {"file": "dev.xyz"}, {"file": "a.json"}]
)
def test_a_file_to_cut_a_split_out_of_needs_all_that_says_how(instead: dict[str, Any]) -> None:
    task = find_task("rte").model_dump(mode="json")
    splits = {"dev": {"file": "dev.tsv", "instead": {"file": "all.tsv", **instead}}}
    with pytest.raises(ValueError, match=r"given together|official format"):
        Task.model_validate({**task, "official": {**task["official"], "splits": splits}})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"column": "a", "pattern": "("}, "is not a regular expression"),
        ({"column": "a", "pattern": "x+"}, "has no named group"),
    ],
)
def test_parts_need_a_pattern_with_names(parts: dict[str, str], words: str) -> None:
    task = find_task("winogender").model_dump(mode="json")
    with pytest.raises(ValueError, match=words):
        Task.model_validate({**task, "official": {**task["official"], "parts": parts}})


def test_examples_without_metadata_say_so(tmp_path: Path) -> None:
    task = _own(tmp_path, "regression", "jsonl")
    (tmp_path / "own").mkdir()
    write_table(tmp_path / "own/dev.jsonl", "jsonl", {"text": ["a"] * 12, "gold": [1.0] * 12})
    with pytest.raises(DataError, match="has no 'topic'; it has no metadata"):
        _load(task, tmp_path).groups("topic")


def test_the_documented_task_of_ones_own_is_read(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/tasks.md").read_text("utf-8")
    (tmp_path / "reviews.toml").write_text(guide.split("```toml\n")[1].split("```")[0], "utf-8")
    (tmp_path / "data/reviews").mkdir(parents=True)
    table = {
        "review": ["NA", "good, really", 'so "so"', "bad"],
        "stars": [1, 5, 5, 1],
        "product": list("abab"),
    }
    write_table(tmp_path / "data/reviews/train.csv", "csv", table)
    write_table(
        tmp_path / "data/reviews/dev.jsonl", "jsonl", {name: values[:2] for name, values in table.items()}
    )
    task = find_task(str(tmp_path / "reviews.toml"))
    train, dev = (load_split(task, split, DataSources(tmp_path / "data")) for split in ("train", "dev"))
    assert train.texts == (tuple(table["review"]),)
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 1, 0]
    assert {name: rows.tolist() for name, rows in train.groups("product").items()} == {
        "a": [0, 2],
        "b": [1, 3],
    }
    assert dev.as_released
