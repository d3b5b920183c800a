"""What a suite may say, and how what it may not say is refused: one sentence with file and line."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from multibench.errors import SuiteError
from multibench.suite import load_suite
from multibench.tasks import find_task
from tests.support.command import multibench
from tests.support.tiny import make_classification, make_regression

GOOD = """
    checkpoints:
      - family: multiberts
        pretraining_seeds: 0-2
    tasks: [rte, cola]
    recipe:
      base: modern_glue
      learning_rate: [2e-5, 5e-5]
      tasks:
        cola: {epochs: 5}
    finetuning_seeds: 0-1,7
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(dedent(text).lstrip("\n"), "utf-8")
    return path


def test_a_suite_is_read_as_written(tmp_path: Path) -> None:
    suite = load_suite(_write(tmp_path, GOOD))
    assert suite.name == "mine"
    assert suite.finetuning_seeds == [0, 1, 7]
    assert suite.checkpoints[0].pretraining_seeds == [0, 1, 2]
    rte, cola = (suite.settings(find_task(name)) for name in ("rte", "cola"))
    assert [s.learning_rate for s in rte] == [2e-5, 5e-5]
    assert {s.epochs for s in rte} == {3}
    assert {s.epochs for s in cola} == {5}
    assert suite.evaluations_of(find_task("rte")) == [(find_task("rte"), "dev")]


@pytest.mark.parametrize(
    "listed", [None, ["test"], ["held_out", "test"], ["rte.held_out", "rte.train", "test"]]
)
def test_what_is_held_out_is_scored_whatever_else_is(tmp_path: Path, listed: list[str] | None) -> None:
    suite = load_suite(
        _write(tmp_path, GOOD), ["recipe.held_out=0.1", f"evaluations={{rte: {listed or 'dev'}}}"]
    )
    task = suite.task("rte")
    scored = [(other.name, split) for other, split in suite.evaluations_of(task)]
    others = [target.rpartition(".") for target in listed or ["dev"] if not target.endswith("held_out")]
    assert scored == [*((name or "rte", split) for name, _, split in others), ("rte", "held_out")]
    assert task.splits["held_out"].rows == 249
    assert suite.task("wnli") == find_task("wnli")  # no run is trained on it
    assert load_suite(tmp_path / "mine.yaml").task("rte") == find_task("rte")


@pytest.mark.parametrize(
    ("given", "seeds"),
    [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("[5, 2]", [5, 2]), ("'1,4-5'", [1, 4, 5])],
)
def test_seeds_are_lists_or_ranges(tmp_path: Path, given: str, seeds: list[int]) -> None:
    text = f"checkpoints: {{family: multiberts, pretraining_seeds: {given}}}\ntasks: rte\n"
    assert load_suite(_write(tmp_path, text)).checkpoints[0].pretraining_seeds == seeds


def test_a_task_of_ones_own_is_spoken_of_by_path_or_by_name(tmp_path: Path) -> None:
    path = make_classification(tmp_path)
    other = make_regression(tmp_path)
    for key in (str(path), "pairs"):
        text = f"""
            checkpoints: {{path: somewhere}}
            tasks: ['{path}', '{other}']
            evaluations: {{'{key}': [dev, extra]}}
            recipe: {{epochs: 1, tasks: {{'{key}': {{epochs: 9}}}}}}
            accept_different_data: ['{key}']
        """
        suite = load_suite(_write(tmp_path, text))
        task = find_task(str(path))
        assert [split for _, split in suite.evaluations_of(task)] == ["dev", "extra"]
        assert {s.epochs for s in suite.settings(task)} == {9}
        assert {s.epochs for s in suite.settings(find_task(str(other)))} == {1}
        assert suite.different_data_accepted == {"pairs"}


def test_an_evaluation_may_be_of_another_task(tmp_path: Path) -> None:
    text = """
        checkpoints: {family: multiberts, pretraining_seeds: 0}
        tasks: [rte]
        evaluations: {rte: [dev, wnli.dev]}
        accept_different_data: wnli
    """
    with pytest.raises(SuiteError, match=r"line 3: .*wnli"):  # other classes
        load_suite(_write(tmp_path, text))
    suite = load_suite(_write(tmp_path, text.replace("wnli.dev", "rte.test").replace("wnli", "rte")))
    assert suite.evaluations_of(find_task("rte")) == [(find_task("rte"), "dev"), (find_task("rte"), "test")]


def test_overrides_change_single_values(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    suite = load_suite(
        path,
        [
            "recipe.learning_rate=1e-4",
            "recipe.tasks.cola.epochs=2",
            "checkpoints.0.pretraining_seeds=[4]",
            "finetuning_seeds=3",
            "keep_weights=last",
            "tasks.0=mrpc",
        ],
    )
    assert suite.tasks == ["mrpc", "cola"]
    assert [s.learning_rate for s in suite.settings(find_task("mrpc"))] == [1e-4]
    assert {s.epochs for s in suite.settings(find_task("cola"))} == {2}
    assert suite.checkpoints[0].pretraining_seeds == [4]
    assert suite.finetuning_seeds == [3]
    assert suite.keep_weights == "last"


def test_a_recipe_given_by_name_can_be_overridden(tmp_path: Path) -> None:
    text = "checkpoints: {family: multiberts}\ntasks: rte\nrecipe: modern_glue\n"
    suite = load_suite(_write(tmp_path, text), ["recipe.epochs=1"])
    assert [s.epochs for s in suite.settings(find_task("rte"))] == [1]


# What is wrong -> the file, and what the sentence must hold. "{file}" stands for the file's path.
BAD = {
    "empty file": ("", ["{file} holds no suite", "'checkpoints'"]),
    "no mapping": ("- rte\n- cola\n", ["{file} holds no suite"]),
    "unclosed bracket": ("tasks: [rte\ncheckpoints: x\n", ["{file}, line 2", "not valid YAML"]),
    "tab": ("tasks:\n\t- rte\n", ["{file}, line 2", "not valid YAML"]),
    "two documents": ("tasks: rte\n---\ntasks: rte\n", ["{file}, line 2", "not valid YAML"]),
    "python tag": ("tasks: !!python/object/apply:os.system [ls]\n", ["{file}, line 1", "not valid YAML"]),
    "key twice": (GOOD + "    tasks: [wnli]\n", ["{file}, line 11", "'tasks' is given twice"]),
    "alias": ("a: &x [1]\nb: *x\n", ["{file}, line 2", "no YAML aliases"]),
    "impossible date": ("name: 2021-99-99\n", ["{file}, line 1", "not valid YAML"]),
    "no tasks": ("checkpoints: {family: multiberts}\n", ["{file}", "lacks 'tasks'"]),
    "no checkpoints": ("tasks: rte\n", ["{file}", "lacks 'checkpoints'"]),
    "unknown key": (
        GOOD.replace("finetuning_seeds", "finetuning_seed"),
        ["{file}, line 10", "no key 'finetuning_seed'", "did you mean 'finetuning_seeds'?"],
    ),
    "unknown key far from all": (GOOD + "    zzz: 1\n", ["{file}, line 11", "'zzz'", "known: name, "]),
    "unknown key of a checkpoint": (
        GOOD.replace("pretraining_seeds", "pretrain_seeds"),
        ["{file}, line 3", "did you mean 'pretraining_seeds'?"],
    ),
    "unknown hyperparameter": (
        GOOD.replace("learning_rate", "learning_rat"),
        ["{file}, line 7", "'learning_rat'", "did you mean 'learning_rate'"],
    ),
    "unknown hyperparameter of a task": (
        GOOD.replace("epochs", "epoch"),
        ["{file}, line 9", "'epoch'", "did you mean 'epochs'"],
    ),
    "illegal hyperparameter": (GOOD.replace("2e-5", "-1"), ["{file}, line 7", "learning_rate", "-1"]),
    "text for a number": (
        GOOD.replace("[2e-5, 5e-5]", "fast"),
        ["{file}, line 7", "learning_rate", "'fast'"],
    ),
    "empty grid": (GOOD.replace("[2e-5, 5e-5]", "[]"), ["{file}, line 7", "learning_rate", "empty list"]),
    "value twice": (GOOD.replace("5e-5", "2e-5"), ["{file}, line", "twice"]),
    "no seeds": (GOOD.replace("0-1,7", "[]"), ["{file}, line 10", "finetuning_seeds"]),
    "seeds in words": (GOOD.replace("0-1,7", "five"), ["{file}, line 10", "'five'", "0-4"]),
    "negative seed": (GOOD.replace("0-1,7", "[-1]"), ["{file}, line 10", "finetuning_seeds"]),
    "seeds backwards": (GOOD.replace("0-1,7", "4-0"), ["{file}, line 10", "finetuning_seeds"]),
    "true for a seed": (GOOD.replace("0-1,7", "true"), ["{file}, line 10", "finetuning_seeds"]),
    "number for tasks": (GOOD.replace("[rte, cola]", "7"), ["{file}, line 4", "tasks"]),
    "no task": (GOOD.replace("[rte, cola]", "[]"), ["{file}, line 4", "tasks"]),
    "unknown task": (
        GOOD.replace("[rte, cola]", "[cola, rtee]"),
        ["{file}, line 4", "no task 'rtee'", "'rte'", "Known: "],
    ),
    "task twice": (GOOD.replace("[rte, cola]", "[cola, cola]"), ["{file}, line 4", "twice"]),
    "task file that is not there": (
        GOOD.replace("[rte, cola]", "[nowhere.toml]"),
        ["{file}, line 4", "nowhere.toml"],
    ),
    "unknown recipe": (
        GOOD.replace("modern_glue", "modern_glu"),
        ["{file}, line 6", "no recipe 'modern_glu'", "'modern_glue'"],
    ),
    "unknown recipe, in short": (
        "checkpoints: {family: multiberts}\ntasks: rte\nrecipe: nothing_like_it\n",
        ["{file}, line 3", "no recipe 'nothing_like_it'", "Known: "],
    ),
    "settings of a task that is not listed": (
        GOOD.replace("cola: {epochs", "colla: {epochs"),
        ["{file}, line 9", "'colla' is no task of this suite", "did you mean 'cola'?"],
    ),
    "unknown family": (
        GOOD.replace("multiberts", "multibert"),
        ["{file}, line 2", "no family 'multibert'", "'multiberts'"],
    ),
    "unknown checkpoint": (
        "checkpoints:\n  - ids: [google/multiberts-seed_99]\ntasks: rte\n",
        ["{file}, line 2", "google/multiberts-seed_99"],
    ),
    "seed that no checkpoint has": (
        GOOD.replace("0-2", "[77]"),
        ["{file}, line 3", "pretraining seed 77", "0-24"],
    ),
    "step that no checkpoint has": (
        GOOD.replace("pretraining_seeds: 0-2", "steps: [60]"),
        ["{file}, line 3", "step 60", "did you mean 60000?"],
    ),
    "no way to a checkpoint": (
        "checkpoints: [{}]\ntasks: rte\n",
        ["{file}, line 1", "'family', 'ids' or 'path'"],
    ),
    "two ways to a checkpoint": (
        "checkpoints: [{path: a, ids: [b]}]\ntasks: rte\n",
        ["{file}, line 1", "'path' or 'ids'"],
    ),
    "a path's seed without path": (
        "checkpoints: [{family: multiberts, pretraining_seed: 3}]\ntasks: rte\n",
        ["{file}, line 1", "'pretraining_seeds'"],
    ),
    "empty list of checkpoints": ("checkpoints: []\ntasks: rte\n", ["{file}, line 1", "checkpoints"]),
    "unknown split": (
        GOOD + "    evaluations:\n      rte: [dev, devv]\n",
        ["{file}, line 12", "no split 'devv'", "train, dev, test"],
    ),
    "evaluations of another task": (
        GOOD + "    evaluations:\n      wnli: [dev]\n",
        ["{file}, line 12", "'wnli' is no task of this suite", "rte, cola"],
    ),
    "empty evaluations": (GOOD + "    evaluations:\n      rte: []\n", ["{file}, line 12", "rte"]),
    "unknown selection rule": (
        GOOD.replace("      base: modern_glue\n", "      base: modern_glue\n      selection: best\n"),
        ["{file}, line 7", "no selection rule 'best'", "best_mean_dev"],
    ),
    "a held-out share of all": (
        GOOD.replace("      base: modern_glue\n", "      base: modern_glue\n      held_out: 1\n"),
        ["{file}, line 7", "held_out", "less than 1"],
    ),
    "a held-out share of nothing": (
        GOOD.replace("      base: modern_glue\n", "      base: modern_glue\n      held_out: 1.0e-4\n"),
        ["{file}, line 7", "rte has 2490 training examples", "would hold out 0"],
    ),
    "held out where nothing is trained": (
        GOOD.replace("      base: modern_glue\n", "      base: modern_glue\n      held_out: 0.1\n")
        + "    evaluate_only: true\n",
        ["{file}, line 7", "nothing is trained"],
    ),
    "held-out part without a share": (
        GOOD + "    evaluations:\n      rte: [dev, held_out]\n",
        ["{file}, line 12", "no split 'held_out'"],
    ),
    "unknown keep_weights": (GOOD + "    keep_weights: all\n", ["{file}, line 11", "keep_weights", "'all'"]),
    "different data of a task that is not there": (
        GOOD + "    accept_different_data: [rte, mrcp]\n",
        ["{file}, line 11", "'mrcp' is no task of this suite"],
    ),
    "a name with slashes": (GOOD + "    name: ../elsewhere\n", ["{file}, line 11", "name", "../elsewhere"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_suite_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    path = _write(tmp_path, text)
    results = tmp_path / "results"
    sentence = multibench("run", path, "--results", results).refusal()
    for part in expected:
        assert part.format(file=path) in sentence
    assert not results.exists()


def test_a_missing_suite_is_refused(tmp_path: Path) -> None:
    sentence = multibench("run", tmp_path / "no.yaml").refusal()
    assert f"no suite file {tmp_path / 'no.yaml'}" in sentence


def test_a_suite_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"tasks: \xff\xfe\n")
    assert f"{path} is not UTF-8 text" in multibench("plan", path).refusal()


def test_a_folder_is_no_suite(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").mkdir()
    assert "cannot be read: Is a directory" in multibench("plan", tmp_path / "mine.yaml").refusal()


def test_a_suite_nested_without_end_is_refused(tmp_path: Path) -> None:
    assert "mine.yaml" in multibench("plan", _write(tmp_path, "a: " + "[" * 5000)).refusal()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("learning_rate", ["expected key=value"]),
        ("=3", ["expected key=value"]),
        ("recipe..epochs=3", ["expected key=value"]),
        ("recipe.epochs=[1", ["not valid YAML"]),
        ("recipe.epoch=1", ["--set recipe.epoch=1: ", "did you mean 'epochs'"]),
        ("recipe.epochs=0", ["--set recipe.epochs=0: ", "epochs"]),
        ("tasks=[rtee]", ["--set tasks=[rtee]: ", "no task 'rtee'"]),
        ("tasks.5=cola", ["'tasks' is a list of 2", "from 0 to 1"]),
        ("tasks.first=cola", ["'tasks' is a list of 2"]),
        ("tasks.0.x=cola", ["'tasks.0' holds a single value"]),
        ("checkpoints.0.family=nobody", ["--set checkpoints.0.family=nobody: ", "no family 'nobody'"]),
        ("keep_weight=last", ["--set keep_weight=last: ", "did you mean 'keep_weights'?"]),
        ("recipe.base=unheard", ["--set recipe.base=unheard: ", "no recipe 'unheard'"]),
    ],
)
def test_a_bad_override_is_refused_by_name(tmp_path: Path, override: str, expected: list[str]) -> None:
    sentence = multibench("plan", _write(tmp_path, GOOD), "--set", override).refusal()
    for part in expected:
        assert part in sentence
