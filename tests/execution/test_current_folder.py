"""Nothing that lies in the current folder, or that a file of data or of facts names, is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multibench.errors import DataError
from multibench.execution import workers
from multibench.metrics.evaluate_adapter import local_module
from multibench.suite import load_suite
from multibench.tasks import DataSources, find_task, load_split
from multibench.tasks.task import TASKS
from tests.support.command import REPOSITORY, environment, multibench
from tests.support.modules import EQUAL, NUMBERS, write_module
from tests.support.tiny import make_classification

MARK = "from pathlib import Path\nPath({!r}).touch()\nraise SystemExit(9)\n"


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The current folder is a stranger's: modules called as libraries are, and what they leave when imported."""
    folder, mark = tmp_path / "strange", tmp_path / "imported"
    folder.mkdir()
    for name in ("numpy", "torch", "yaml", "typer", "secrets", "pocket_rows"):
        (folder / f"{name}.py").write_text(MARK.format(str(mark)))
    monkeypatch.chdir(folder)
    return folder, mark


def test_a_worker_does_not_look_in_the_current_folder(strange: tuple[Path, Path]) -> None:
    said: list[str] = []
    with workers.extra_workers(1, ["list", "families"], None, said.append):
        pass
    assert said == []
    assert not strange[1].exists()


def test_python_m_does_not_look_in_the_current_folder(strange: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "multibench", "list", "recipes"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert not strange[1].exists()


def test_a_package_that_is_only_in_the_current_folder_is_found_by_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "path", ["", str(REPOSITORY), "/usr/lib/python3"])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = workers._found_without_the_current_folder()
    assert found == {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}/elsewhere"}
    monkeypatch.chdir("/")
    assert workers._found_without_the_current_folder() == {}


@pytest.mark.parametrize("module", ["pocket_rows", "os", "multibench.pocket.tasks"])
def test_a_task_file_names_no_code(strange: tuple[Path, Path], tmp_path: Path, module: str) -> None:
    path = make_classification(tmp_path)
    path.write_text(path.read_text() + f'\n[builtin]\nmodule = "{module}"\nlabel = "label"\n')
    with pytest.raises(DataError, match=r"has a \[builtin\] table, which names code to run"):
        find_task(str(path))
    assert "[builtin]" in multibench("show", "task", path).refusal()
    assert not strange[1].exists()


def test_the_package_s_own_tasks_still_make_their_examples() -> None:
    task = next(task for task in TASKS if task.builtin is not None)
    assert len(load_split(task, task.evaluations[0], DataSources())) > 0


@pytest.mark.parametrize("name", ["accuracy", "someone/accuracy", "squad_v2"])
def test_a_module_s_name_is_never_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert local_module(name) is None
    write_module(tmp_path / Path(name).parent, Path(name).name, NUMBERS, EQUAL)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"Write ./{name} if you mean the folder"):
        local_module(name)
    assert local_module(f"./{name}") is not None
    suite = tmp_path / "study.yaml"
    suite.write_text(f"checkpoints: {{family: miniatures}}\ntasks: rte\nmetric: {{evaluate: {name}}}\n")
    with pytest.raises(Exception, match="line 3"):
        load_suite(suite)


def test_a_folder_is_not_taken_for_a_data_set_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nyu-mll" / "glue").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="would be taken for the Hub's data set"):
        load_split(find_task("rte"), "dev", DataSources())


def test_code_in_a_task_is_refused_wherever_it_is_used(tmp_path: Path, capsys: Any) -> None:
    path = make_classification(tmp_path)
    path.write_text(path.read_text() + '\n[builtin]\nmodule = "antigravity"\nlabel = "label"\n')
    predictions = tmp_path / "p.tsv"
    predictions.write_text("x")
    for words in (("score", path, predictions), ("import", "predictions", tmp_path, "--out", tmp_path / "o")):
        assert multibench(*words).code == 2
    assert "antigravity" not in sys.modules
