"""Official files: read to the letter, refused with the line where they are not what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multibench.errors import DataError
from multibench.tasks import DataSources, Examples, find_task, load_split
from tests.support.tiny import DEV_ROWS, TRAIN_ROWS, make_classification, make_regression

HEADER = "sentence1\tsentence2\tlabel\n"


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    return make_classification(tmp_path)


def _read(task_file: Path, content: str | bytes) -> Examples:
    path = task_file.parent / "data/pairs/dev.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return _load(task_file, accept_different=frozenset({"pairs"}))


def _load(task_file: Path, split: str = "dev", **options: frozenset[str]) -> Examples:
    return load_split(find_task(str(task_file)), split, DataSources(task_file.parent / "data", **options))


def test_examples_are_as_released(task_file: Path) -> None:
    train = _load(task_file, "train")
    assert len(train) == TRAIN_ROWS
    assert train.ids == tuple(str(i) for i in range(TRAIN_ROWS))
    assert train.labels is not None
    assert train.labels.dtype == np.int64
    assert train.labels.sum() == TRAIN_ROWS - TRAIN_ROWS // 3
    assert train.as_released
    assert len(train.texts) == 2
    assert _load(task_file, "extra").labels is None


def test_scores_are_numbers_to_three_decimals(tmp_path: Path) -> None:
    path = make_regression(tmp_path)
    file = tmp_path / "data/tones/dev.tsv"
    rows = file.read_text().splitlines()
    text, score = rows[1].split("\t")
    rows[1] = f"{text}\t{float(score) - 1e-7 if float(score) else 1e-7:.12f}"  # as 3.8 in single precision
    before = _load(path).labels
    file.write_text("\n".join(rows) + "\n")
    labels = _load(path).labels
    assert labels is not None
    assert labels.dtype == np.float64
    np.testing.assert_array_equal(labels, before)


TEXTS = ["NA", "null", "None", "nan", "", "N/A", '"', 'a "quoted', "'s", "#1", " lead and trail ", "-"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_is_taken_for_a_missing_value_or_a_quote(task_file: Path, text: str) -> None:
    examples = _read(task_file, f"{HEADER}{text}\tplain\tyes\nplain\t{text}\tno\n")
    assert examples.texts == ((text, "plain"), ("plain", text))


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0c", "\x1c", "\r", "\ufeff", "\u00a0"])
def test_only_line_feeds_end_a_line(task_file: Path, odd: str) -> None:
    examples = _read(task_file, f"{HEADER}a{odd}b\tc\tyes\nd\te\tno\n")
    assert examples.texts[0] == (f"a{odd}b", "d")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends_change_nothing(
    task_file: Path, end: str, last: bool, mark: bytes
) -> None:
    text = f"{HEADER}a\tb\tyes\nc\td\tno\n".replace("\n", end)
    raw = mark + (text if last else text.removesuffix(end)).encode()
    examples = _read(task_file, raw)
    assert examples.texts == (("a", "c"), ("b", "d"))
    assert examples.labels is not None
    assert examples.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no examples"),
        (HEADER, "holds no examples"),
        ("sentence1\tsentence_2\tlabel\na\tb\tyes\n", "has no column 'sentence2'"),
        (f"{HEADER}a\tb\n", "line 2: 2 columns instead of 3"),
        (f"{HEADER}a\tb\tyes\na\tb\tc\tyes\n", "line 3: 4 columns instead of 3"),
        (f"{HEADER}a\tb\tyes\n\na\tb\tno\n", "line 3: 1 columns instead of 3"),
        (f"{HEADER}a\tb\tmaybe\n", r"line 2: the label is 'maybe', not one of \['no', 'yes'\]"),
        (f"{HEADER}a\tb\t\n", "line 2: the label is ''"),
        (HEADER.encode() + b"a\tb\xff\tyes\n", r"not UTF-8 text \(byte 29\)"),
    ],
)
def test_a_file_that_is_not_the_official_one_is_refused(
    task_file: Path, content: str | bytes, expected: str
) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        _read(task_file, content)
    assert "dev.tsv" in str(caught.value)


@pytest.mark.parametrize("score", ["5.1", "-0.1", "nan", "inf", "", "high"])
def test_a_score_out_of_range_is_refused(tmp_path: Path, score: str) -> None:
    path = make_regression(tmp_path)
    file = tmp_path / "data/tones/dev.tsv"
    lines = file.read_text().splitlines()
    lines[3] = lines[3].split("\t")[0] + "\t" + score
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"line 4: the score is '{score}'"):
        _load(path)


def test_another_size_is_refused_unless_accepted_and_then_marked(task_file: Path) -> None:
    file = task_file.parent / "data/pairs/dev.tsv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="23 examples instead of 24") as caught:
        _load(task_file)
    assert "accept_different_data" in str(caught.value)
    examples = _load(task_file, accept_different=frozenset({"pairs"}))
    assert len(examples) == DEV_ROWS - 1
    assert not examples.as_released
    assert _load(task_file, "train", accept_different=frozenset({"pairs"})).as_released


def test_other_labels_in_equal_number_are_refused(task_file: Path) -> None:
    file = task_file.parent / "data/pairs/dev.tsv"
    file.write_text(file.read_text().replace("\tyes\n", "\tno\n", 1))
    with pytest.raises(DataError, match=r"label counts \{'other': 9, 'same': 15\} instead of"):
        _load(task_file)


def test_other_scores_in_equal_number_are_refused(tmp_path: Path) -> None:
    path = make_regression(tmp_path)
    file = tmp_path / "data/tones/dev.tsv"
    lines = file.read_text().splitlines()
    lines[1] = lines[1].split("\t")[0] + "\t" + ("5.0" if lines[1].endswith("\t0.0") else "0.0")
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="a mean score of"):
        _load(path)


@pytest.mark.parametrize("layout", ["own/pairs", "pairs", "."])
def test_the_folder_may_be_given_at_any_height(task_file: Path, layout: str) -> None:
    root = task_file.parent
    task_file.write_text(task_file.read_text().replace('folder = "pairs"', 'folder = "own/pairs"'))
    (root / "data/pairs").rename(root / "moved")
    given = root / "given" / ("pairs" if layout == "." else "")
    target = given / layout
    target.parent.mkdir(parents=True, exist_ok=True)
    if layout == ".":
        target = given
    (root / "moved").rename(target)
    examples = load_split(find_task(str(task_file)), "dev", DataSources(given))
    assert len(examples) == DEV_ROWS


def test_the_fingerprint_is_of_the_content_alone(task_file: Path) -> None:
    one = _read(task_file, f"{HEADER}a\tb\tyes\nc\td\tno\n")
    same = _read(task_file, f"{HEADER}a\tb\tyes\r\nc\td\tno\r\n".replace("\n", "\r\n").replace("\r\r", "\r"))
    assert one.fingerprint == same.fingerprint
    others = [
        _read(task_file, f"{HEADER}{rows}").fingerprint
        for rows in (
            "a\tb\tyes\nc\td\tyes\n",
            "c\td\tno\na\tb\tyes\n",
            "ab\t\tyes\nc\td\tno\n",
            "a\tb\tyes\n",
            "a \tb\tyes\nc\td\tno\n",
        )
    ]
    assert len({one.fingerprint, *others}) == 6


def test_the_fingerprint_of_given_examples_never_changes() -> None:
    examples = Examples(
        "t", "dev", ("0", "1"), (("a", "ü"),), np.array([1, 0], dtype=np.int64), origin="anywhere"
    )
    golden = "4c4708e7e55903d71e254a3b834dfee3552fd0657d0c5611cfdff074c492fd30"
    assert examples.fingerprint == golden
    assert replace(examples, metadata={"topic": ("x", "y")}).fingerprint == golden
