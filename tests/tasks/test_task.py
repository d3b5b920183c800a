"""Task files: facts that add up, refused where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from multibench.errors import DataError, UnknownNameError
from multibench.tasks import find_task
from tests.support.tiny import make_classification, make_regression


def test_a_task_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    task = find_task(str(make_classification(tmp_path)))
    assert (task.name, task.outputs, task.labels) == ("pairs", 2, ("other", "same"))
    assert find_task(str(make_regression(tmp_path))).outputs == 1


def test_a_changed_task_file_is_read_again(tmp_path: Path) -> None:
    path = make_classification(tmp_path)
    assert find_task(str(path)).version == 1
    path.write_text(path.read_text().replace("version = 1", "version = 22"))
    assert find_task(str(path)).version == 22


def test_an_unknown_task_brings_near_names() -> None:
    with pytest.raises(UnknownNameError, match=r"no task 'mprc'\. Did you mean 'mrpc'"):
        find_task("mprc")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "pairs"', 'name = "a/b"', "name"),
        ('name = "pairs"', 'name = "a.b"', "name"),
        ("[splits.extra]", '[splits."ex.tra"]', "splits"),
        ('kind = "classification"', 'kind = "ranking"', "kind"),
        ('headline = "accuracy"', 'headline = "mcc"', "headline metric mcc is not among"),
        ('labels = ["other", "same"]', "", "a classification task has labels"),
        ('evaluations = ["dev"]', 'evaluations = ["dev2"]', r"without facts: \['dev2'\]"),
        ("rows = 48", "rows = 49", "adds up to 48, not to 49"),
        ("version = 1", 'version = "one"', "version"),
        ("version = 1", "", "version"),
        ("version = 1", "version = 1\ncolour = 2", "colour"),
        ("version = 1", "version = ", "not valid TOML"),
        ('file = "dev.tsv"', 'file = "dev.xyz"', "does not show in its ending"),
        ('file = "dev.tsv"', 'file = "dev.json"', "cannot have the official format 'squad'"),
        ("[official.splits.extra]", "[official.splits.other]", r"names splits without facts: \['other'\]"),
        ('label_codes = ["no", "yes"]', 'label_codes = ["no", "no"]', "label codes"),
        ('label_codes = ["no", "yes"]', 'label_codes = ["no"]', "label codes"),
        ('label = "label"', "", "needs 'label', the column of labels, for train"),
        ('file = "dev.tsv"', 'file = "dev.tsv"\nheader = false', "numbers from 0 if it has no header"),
        (
            'file = "dev.tsv"\ninputs = ["sentence1", "sentence2"]',
            'file = "dev.tsv"\ninputs = ["a"]',
            "columns",
        ),
        ("version = 1", 'version = 1\ncluster = "topic"', "'cluster' names topic"),
        ("version = 1", 'version = 1\ncluster_unit = "topics"', "says nothing without 'cluster'"),
        ("version = 1", 'version = 1\nstrata = "topic"\nstrata_reason = "so"', "'strata' names topic"),
        ("version = 1", 'version = 1\nstrata = "sentence1"', "needs a 'strata_reason'"),
        ("version = 1", 'version = 1\nstratum_unit = "topics"', "say nothing without 'strata'"),
        (
            "version = 1",
            'version = 1\ncluster = "sentence1"\nstrata = "sentence1"\nstrata_reason = "so"',
            "sentence1 is a sample .* or fixed .*, not both",
        ),
    ],
)
def test_a_bad_task_file_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = make_classification(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=expected) as caught:
        find_task(str(path))
    assert str(path) in str(caught.value)


def test_a_task_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not valid TOML"):
        find_task(str(path))
    with pytest.raises(DataError, match="no task file"):
        find_task(str(tmp_path / "none.toml"))
