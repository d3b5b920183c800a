"""The real files: every split with the size and labels that were released, scored by known predictions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench.errors import DataError
from multibench.execution.evaluation import in_classes_of
from multibench.metrics import METRICS
from multibench.metrics.squad import answer_outputs
from multibench.tasks import DataSources, Examples, clusters, find_task, load_split

pytestmark = pytest.mark.shared

# Rows of each split and how many are of class 1, counted by others (see the data's own README) or
# given by the release; scores by their mean.
SIZES = {
    "cola": {"train": (8551, 6023), "dev": (1043, 721), "test": (1063, None)},
    "sst2": {"train": (67349, 37569), "dev": (872, 444), "test": (1821, None)},
    "mrpc": {"train": (3668, 2474), "dev": (408, 279), "test": (1725, None)},
    "stsb": {"train": (5749, 2.7010), "dev": (1500, 2.3639), "test": (1379, None)},
    "rte": {"train": (2490, 2490 - 1249), "dev": (277, 277 - 146), "test": (3000, None)},
    "wnli": {"train": (635, 312), "dev": (71, 31), "test": (146, None)},
    "qnli": {"dev": (5463, 5463 - 2702), "test": (5463, None)},
    "squad_v1": {"dev": (10570, 10570)},
    "squad_v2": {"dev": (11873, 5928)},
    "winogender": {"test": (720, 360)},
}


@cache
def _load(root: Path, name: str, split: str, accept: bool = False) -> Examples:
    return load_split(find_task(name), split, DataSources(root, frozenset([name] if accept else [])))


@pytest.fixture(scope="module")
def hans(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """HANS as the authors' generator made it anew: other sentences of the same templates."""
    root = tmp_path_factory.mktemp("data")
    (root / "hans").mkdir()
    file = shared_dir / "data/hans/heuristics_evaluation_set.regenerated.txt.gz"
    (root / "hans/heuristics_evaluation_set.txt.gz").symlink_to(file)
    return _load(root, "hans", "dev")


@pytest.mark.parametrize(("name", "split"), [(n, s) for n, splits in SIZES.items() for s in splits])
def test_every_split_is_what_was_released(shared_dir: Path, name: str, split: str) -> None:
    examples = _load(shared_dir / "data", name, split)
    rows, expected = SIZES[name][split]
    assert examples.as_released
    assert len(examples) == len(set(examples.ids)) == rows
    assert all(len(column) == rows for column in examples.texts)
    if expected is None:
        assert examples.labels is None
    elif name == "stsb":
        assert examples.labels is not None
        assert np.mean(examples.labels) == pytest.approx(expected, abs=5e-5)
    else:
        assert examples.labels is not None
        assert examples.labels.sum() == expected


def test_mrpc_keeps_its_stray_quotes_and_loses_its_byte_order_mark(shared_dir: Path) -> None:
    raw = (shared_dir / "data/glue/MRPC/train.tsv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    examples = _load(shared_dir / "data", "mrpc", "train")
    quotes = sum(text.count('"') for column in examples.texts for text in column)
    assert quotes == raw.count(b'"') > 0
    first = raw.decode("utf-8-sig").split("\n")[1].rstrip("\r").split("\t")
    assert [column[0] for column in examples.texts] == first[3:5]


def test_mrpc_comes_out_of_the_corpus_as_microsoft_released_it(shared_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "MRPC"
    folder.mkdir()
    for file in ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"):
        (folder / file).symlink_to(shared_dir / "data/glue/MRPC" / file)
    for split in ("train", "dev", "test"):
        cut_out = _load(tmp_path, "mrpc", split)
        assert Path(cut_out.origin).name.startswith("msr_paraphrase")
        assert cut_out.fingerprint == _load(shared_dir / "data", "mrpc", split).fingerprint
    (folder / "dev_ids.tsv").unlink()
    with pytest.raises(DataError, match=r"dev_ids\.tsv cannot be read: No such file"):
        load_split(find_task("mrpc"), "train", DataSources(tmp_path))


def test_the_glue_folder_itself_may_be_given(shared_dir: Path) -> None:
    roots = ("data", "data/glue", "data/glue/WNLI")
    assert len({_load(shared_dir / root, "wnli", "dev").fingerprint for root in roots}) == 1


def test_files_that_are_not_the_released_ones_are_read_only_if_that_is_meant(shared_dir: Path) -> None:
    partial = shared_dir / "data/glue-partial"
    for split, rows, duplicates in (("train", 20000, 0.371), ("dev", 3496, 0.379)):
        with pytest.raises(DataError, match=f"{rows} examples instead of"):
            _load(partial, "qqp", split)
        examples = _load(partial, "qqp", split, accept=True)
        assert not examples.as_released
        assert examples.labels is not None
        assert np.mean(examples.labels) == pytest.approx(duplicates, abs=5e-4)


def test_hans_has_its_heuristics_and_subcases(hans: Examples) -> None:
    assert len(hans) == 30000
    assert hans.as_released
    heuristics, subcases = hans.groups("heuristic"), hans.groups("subcase")
    assert {name: len(rows) for name, rows in heuristics.items()} == dict.fromkeys(
        ("lexical_overlap", "subsequence", "constituent"), 10000
    )
    assert [len(rows) for rows in subcases.values()] == [1000] * 30
    # A model that always sees entailment is right on half of each heuristic, and on all or nothing of a subcase.
    always = np.tile(np.float32([2, 0, 1]), (len(hans), 1))
    outputs = in_classes_of(find_task("hans"), find_task("mnli"), always)
    assert _scores(hans, outputs) == {"accuracy": 0.5}
    assert hans.labels is not None
    right = outputs.argmax(axis=1) == hans.labels
    assert {right[rows].mean() for rows in heuristics.values()} == {0.5}
    assert sorted(right[rows].mean() for rows in subcases.values()) == [0.0] * 15 + [1.0] * 15


def test_winogender_differs_in_the_gender_alone(shared_dir: Path) -> None:
    examples = _load(shared_dir / "data", "winogender", "test")
    assert {name: len(rows) for name, rows in examples.groups("gender").items()} == dict.fromkeys(
        ("male", "female", "neutral"), 240
    )
    assert [len(rows) for rows in examples.groups("occupation").values()] == [12] * 60
    assert examples.labels is not None
    for rows in examples.groups("gender").values():
        assert examples.labels[rows].mean() == 0.5


def test_articles_and_premises_are_clusters(shared_dir: Path) -> None:
    found = {}
    for name, split, root in (
        ("squad_v1", "dev", "data"),
        ("squad_v2", "dev", "data"),
        ("mnli", "dev_matched", "data/glue-partial"),
        ("rte", "dev", "data"),
    ):
        examples = _load(shared_dir / root, name, split)
        each = clusters(find_task(name), examples)
        assert each is None or len(each) == len(examples)
        found[name] = None if each is None else len(set(each))
    assert found["rte"] is None
    assert (found["squad_v1"], found["squad_v2"]) == (48, 35)
    assert 9815 / 3 <= (found["mnli"] or 0) < 9815 / 2  # three hypotheses were written for most premises


def _scores(examples: Examples, outputs: Any) -> dict[str, float]:
    task = find_task(examples.task)
    assert examples.labels is not None
    return {name: METRICS.get(name).score(examples.labels, outputs) for name in task.metrics}


# Task, split, folder, constant prediction -> closed forms from the counts above; MCC is 0 by definition.
CONSTANT = [
    ("wnli", "dev", "data", 0, {"accuracy": 40 / 71}),
    ("mrpc", "dev", "data", 1, {"accuracy": 279 / 408, "f1": 2 * 279 / (279 + 408)}),
    ("mrpc", "dev", "data", 0, {"accuracy": 129 / 408, "f1": 0.0}),
    ("cola", "dev", "data", 1, {"accuracy": 721 / 1043, "mcc": 0.0}),
    ("sst2", "dev", "data", 1, {"accuracy": 444 / 872}),
    ("rte", "dev", "data", 0, {"accuracy": 146 / 277}),
    ("qnli", "dev", "data", 1, {"accuracy": 2761 / 5463}),
    ("mnli", "dev_matched", "data/glue-partial", 0, {"accuracy": 3479 / 9815}),
    ("mnli", "dev_matched", "data/glue-partial", 1, {"accuracy": 3123 / 9815}),
    ("winogender", "test", "data", 0, {"accuracy": 0.5}),
]


@pytest.mark.parametrize(("name", "split", "root", "answer", "expected"), CONSTANT)
def test_one_answer_to_everything_scores_what_the_counts_say(
    shared_dir: Path, name: str, split: str, root: str, answer: int, expected: dict[str, float]
) -> None:
    examples = _load(shared_dir / root, name, split)
    assert _scores(examples, np.full(len(examples), answer)) == pytest.approx(expected, abs=1e-12)


def test_the_published_percentages_of_constant_answers(shared_dir: Path) -> None:
    wnli, mrpc = (_load(shared_dir / "data", name, "dev") for name in ("wnli", "mrpc"))
    assert round(100 * _scores(wnli, np.zeros(71, dtype=int))["accuracy"], 2) == 56.34
    found = _scores(mrpc, np.ones(408, dtype=int))
    assert {name: round(100 * value, 2) for name, value in found.items()} == {"accuracy": 68.38, "f1": 81.22}


@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "rte", "wnli", "qnli"])
def test_gold_answers_score_one(shared_dir: Path, name: str) -> None:
    examples = _load(shared_dir / "data", name, "dev")
    task = find_task(name)
    assert _scores(examples, examples.labels) == pytest.approx(dict.fromkeys(task.metrics, 1.0), abs=1e-12)
    assert examples.labels is not None
    if task.kind == "regression":
        turned = _scores(examples, 5.0 - examples.labels)
        assert turned == pytest.approx(dict.fromkeys(task.metrics, -1.0), abs=1e-12)
    elif len(task.labels) == 2:
        assert _scores(examples, 1 - examples.labels)["accuracy"] == 0


def test_no_answer_to_everything_is_right_where_there_is_none(shared_dir: Path) -> None:
    examples = _load(shared_dir / "data", "squad_v2", "dev")
    assert examples.answers is not None
    gold = [[answer.text for answer in answers] for answers in examples.answers]
    outputs = answer_outputs(["anything"] * len(gold), np.ones(len(gold)), gold, 0.0)
    assert _scores(examples, outputs) == pytest.approx(
        dict.fromkeys(find_task("squad_v2").metrics, 5945 / 11873), abs=1e-12
    )


def test_ten_real_models_score_what_was_published(shared_dir: Path) -> None:
    folder = shared_dir / "data/predictions/bert_base_mnli_10_seeds"
    examples = _load(shared_dir / "data/glue-partial", "mnli", "dev_matched")
    assert examples.labels is not None
    ours = [1, 2, 0]  # Google's order is contradiction, entailment, neutral
    labels = np.loadtxt(folder / "MNLI_dev_labels", dtype=int)
    assert np.array_equal(np.array(ours)[examples.labels], labels)
    published = [
        0.8484971982, 0.8483953133, 0.8480896587, 0.8421803362, 0.8456444218,
        0.8446255731, 0.8472745797, 0.8479877738, 0.8502292410, 0.8491085074,
    ]  # fmt: skip
    for seed, accuracy in enumerate(published, start=1):
        (file,) = folder.glob(f"MNLI/*ft_seed={seed}.tsv")
        outputs = np.array([line.split("\t") for line in file.read_text().splitlines()], dtype=np.float64)
        assert _scores(examples, outputs[:, ours])["accuracy"] == pytest.approx(accuracy, abs=1e-9)
