"""The real GLUE files: every split with the size and labels that were released."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multibench.tasks import DataSources, find_task, load_split

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
}


@pytest.mark.parametrize(("name", "split"), [(n, s) for n, splits in SIZES.items() for s in splits])
def test_every_split_is_what_was_released(shared_dir: Path, name: str, split: str) -> None:
    task = find_task(name)
    examples = load_split(task, split, DataSources(shared_dir / "data"))
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
    examples = load_split(find_task("mrpc"), "train", DataSources(shared_dir / "data"))
    quotes = sum(text.count('"') for column in examples.texts for text in column)
    assert quotes == raw.count(b'"') > 0
    first = raw.decode("utf-8-sig").split("\n")[1].rstrip("\r").split("\t")
    assert [column[0] for column in examples.texts] == first[3:5]


def test_the_glue_folder_itself_may_be_given(shared_dir: Path) -> None:
    task = find_task("wnli")
    found = {
        load_split(task, "dev", DataSources(shared_dir / path)).fingerprint
        for path in ("data", "data/glue", "data/glue/WNLI")
    }
    assert len(found) == 1
