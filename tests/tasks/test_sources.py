"""Hub data sets through the real ``datasets`` library, read from local parquet in place of the Hub."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multibench import network
from multibench.errors import DataError, UnavailableError
from multibench.tasks import DataSources, Task, find_task, load_split
from multibench.tasks import sources as module
from multibench.tasks.layouts import HubLayout
from tests.support.tiny import make_classification, make_regression

Loader = Callable[..., Any]


def _on_the_hub(task: Task, label: str = "label", inputs: tuple[str, ...] | None = None) -> Task:
    splits = {"train": "train", "dev": "validation", "extra": "test"}
    hub = HubLayout(id="nobody/tiny", config="tiny", label=label, splits=splits, inputs=inputs)
    return task.model_copy(update={"hub": hub})


@pytest.fixture
def serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """Put a table where the Hub would be; returns what was asked for."""
    datasets = pytest.importorskip("datasets")
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked: list[dict[str, Any]] = []

    def start(columns: dict[str, Any]) -> list[dict[str, Any]]:
        pq.write_table(pa.table(columns), tmp_path / "hub.parquet")

        def load_dataset(name: str, config: str, *, split: str, revision: str | None) -> Any:
            asked.append({"name": name, "config": config, "split": split, "revision": revision})
            return datasets.load_dataset(
                "parquet",
                data_files={split: str(tmp_path / "hub.parquet")},
                split=split,
                cache_dir=str(tmp_path / "cache"),
            )

        monkeypatch.setattr(module, "_datasets_loader", lambda: load_dataset)
        return asked

    return start


def test_the_hub_gives_the_same_examples_as_the_official_file(tmp_path: Path, serve: Any) -> None:
    import pyarrow as pa

    task = find_task(str(make_classification(tmp_path)))
    official = load_split(task, "train", DataSources(tmp_path / "data"))
    assert official.labels is not None
    asked = serve(
        {
            "sentence1": official.texts[0],
            "sentence2": official.texts[1],
            "label": official.labels,
            "idx": pa.array(range(len(official)), pa.int32()),
        }
    )
    hub = load_split(_on_the_hub(task), "train", DataSources())
    assert hub.fingerprint == official.fingerprint
    assert asked == [{"name": "nobody/tiny", "config": "tiny", "split": "train", "revision": None}]
    elsewhere = load_split(_on_the_hub(task), "train", DataSources(tmp_path / "cache"))
    assert elsewhere.fingerprint == official.fingerprint  # a --data folder that lacks the task


def test_single_precision_scores_are_those_of_the_official_file(tmp_path: Path, serve: Any) -> None:
    task = find_task(str(make_regression(tmp_path)))
    file = tmp_path / "data/tones/train.tsv"
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    shifted = [(t, f"{float(s) * 0.76:.2f}") for t, s in rows[1:]]  # 3.8 and its like
    file.write_text("sentence\tlabel\n" + "".join(f"{t}\t{s}\n" for t, s in shifted))
    accept = frozenset({"tones"})
    official = load_split(task, "train", DataSources(tmp_path / "data", accept))
    assert official.labels is not None
    singles = official.labels.astype(np.float32)
    assert (singles.astype(np.float64) != official.labels).any()
    serve({"text": official.texts[0], "label": singles})
    hub = load_split(_on_the_hub(task, inputs=("text",)), "train", DataSources(None, accept))
    assert hub.fingerprint == official.fingerprint


def test_texts_that_look_like_missing_values_survive(tmp_path: Path, serve: Any) -> None:
    task = find_task(str(make_classification(tmp_path)))
    texts = ["NA", "null", "None", "", "nan"]
    serve({"sentence1": texts, "sentence2": texts, "label": [0, 1, 0, 1, 0]})
    accept = DataSources(None, frozenset({"pairs"}))
    assert load_split(_on_the_hub(task), "train", accept).texts == (tuple(texts), tuple(texts))


def test_metadata_come_from_the_hub_too(tmp_path: Path, serve: Any) -> None:
    task = find_task("hans")
    columns = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1], "heuristic": ["one", "two"]}
    serve(columns)
    accept = frozenset({"hans"})
    hub = load_split(task, "dev", DataSources(None, accept))
    assert dict(hub.metadata) == {"heuristic": ("one", "two")}
    header = "gold_label\tsentence1\tsentence2\theuristic\tsubcase\ttemplate\n"
    rows = "entailment\ta\tc\tone\ts\tt\nnon-entailment\tb\td\ttwo\ts\tt\n"
    (tmp_path / "hans").mkdir()
    (tmp_path / "hans/heuristics_evaluation_set.txt").write_text(header + rows)
    file = load_split(task, "dev", DataSources(tmp_path, accept))
    assert file.fingerprint == hub.fingerprint
    assert set(file.metadata) == {"heuristic", "subcase", "template"}


def test_a_split_without_labels_needs_no_column_of_them(serve: Any) -> None:
    for extra in ({}, {"label": [-1]}, {"label": [None]}):
        serve({"premise": ["a"], "hypothesis": ["c"], **extra})
        assert load_split(find_task("ax"), "test", DataSources(None, frozenset({"ax"}))).labels is None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"sentence1": ["a"], "label": [0]}, r"no column \['sentence2'\]"),
        ({"sentence1": ["a"], "sentence2": [None], "label": [0]}, "'sentence2' is None, not a text"),
        ({"sentence1": ["a"], "sentence2": [7], "label": [0]}, "'sentence2' is 7, not a text"),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [2]}, "the label is 2"),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [-1]}, "the label is -1"),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [None]}, "the label is None"),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [0]}, "1 examples instead of 48"),
    ],
)
def test_a_data_set_of_another_kind_is_refused(
    tmp_path: Path, serve: Any, columns: dict[str, Any], expected: str
) -> None:
    serve(columns)
    task = _on_the_hub(find_task(str(make_classification(tmp_path))))
    with pytest.raises(DataError, match=expected):
        load_split(task, "train", DataSources())


@pytest.mark.parametrize("score", [None, float("nan"), 5.5])
def test_scores_of_another_kind_are_refused(tmp_path: Path, serve: Any, score: float | None) -> None:
    serve({"sentence": ["a", "b"], "label": [1.0, score]})
    task = _on_the_hub(find_task(str(make_regression(tmp_path))))
    with pytest.raises(DataError, match="example 1: the score is"):
        load_split(task, "train", DataSources())


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    for root, path in ((None, "DATA/glue/RTE/train.tsv"), (tmp_path, f"{tmp_path}/glue/RTE/train.tsv")):
        with pytest.raises(UnavailableError) as caught:
            load_split(find_task("rte"), "train", DataSources(root))
        assert "cannot be reached" in str(caught.value) or find_spec("datasets") is None
        assert f"Put the official file at {path}" in str(caught.value)


@pytest.mark.parametrize(("name", "split"), [("rte", "train"), ("mrpc", "dev"), ("squad_v1", "train")])
def test_without_the_library_the_message_names_it_and_says_what_to_put_where(
    name: str, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnavailableError) as caught:
        load_split(find_task(name), split, DataSources(tmp_path))
    told = str(caught.value)
    assert told.startswith(f"{name}.{split}: the Hub data set ")
    assert "the package 'datasets' cannot be imported" in told
    assert "pip install datasets" in told
    assert f"Put the official file at {tmp_path}" in told


def test_what_the_library_raises_becomes_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Dataset scripts are no longer supported\nand more")

    monkeypatch.setattr(module, "_datasets_loader", lambda: load_dataset)
    monkeypatch.setattr(network, "hub_is_reachable", lambda: True)
    with pytest.raises(UnavailableError, match="failed to load: Dataset scripts are no longer") as caught:
        load_split(find_task("rte"), "train", DataSources())
    assert "and more" not in str(caught.value)


def test_a_split_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    task = find_task(str(make_classification(tmp_path)))
    with pytest.raises(DataError, match="no split 'test'; it has train, dev, extra"):
        load_split(task, "test", DataSources(tmp_path / "data"))
    with pytest.raises(DataError, match="is not a folder"):
        load_split(task, "dev", DataSources(tmp_path / "nowhere"))
    (tmp_path / "data/pairs/dev.tsv").unlink()
    with pytest.raises(DataError, match=r"Put the official file at .*dev\.tsv"):
        load_split(task, "dev", DataSources(tmp_path / "data"))
