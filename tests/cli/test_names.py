"""Names that strangers chose: shown on terminals, never obeyed; and names that stand for something else, refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from multibench.errors import DataError
from multibench.execution import progress as progress_module
from multibench.execution.progress import BarProgress, LineProgress, run_title
from multibench.printable import printable
from multibench.tasks import find_task
from tests.support.command import Outcome, multibench
from tests.support.stored import store_run
from tests.support.tiny import Bench, make_bench

ESCAPES = {
    "red": "a\x1b[31mb",
    "title": "a\x1b]0;title\x07b",
    "one byte": "a\x9b31mb",
    "backspaces": "safe\x08\x08\x08\x08evil",
    "line": "a\rmultibench: all is well",
    "turned": "a\u202eb",
    "half": "a\ud800b",
    "markup": "[/red] [bold]x[/bold]",
}


def _plain(outcome: Outcome) -> bool:
    return not set(outcome.out + outcome.err) & set("\x1b\x07\x08\x9b\r\u202e\ud800")


@pytest.mark.parametrize("name", ESCAPES.values(), ids=ESCAPES)
def test_names_in_results_are_shown_and_not_obeyed(tmp_path: Path, name: str) -> None:
    outputs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    for k in range(2):
        options = {"family": name, "checkpoint": name, "finetuning_seed": k, "suite": {"name": name}}
        store_run(tmp_path / "results/suite", outputs=outputs, **options)
    for words in (
        ["status", tmp_path / "results", "--json"],
        ["instances", tmp_path / "results"],
        ["instances", tmp_path / "results", "--format", "json"],
        ["instances", tmp_path / "results", "--format", "csv"],
        ["instances", tmp_path / "results", "--base", f"family={name}", "--expt", "family=none"],
        ["scores", tmp_path / "results", "--where", f"{name}=1"],
    ):
        outcome = multibench(*words)
        assert outcome.code in (0, 2), outcome
        assert _plain(outcome)
        if "json" in map(str, words):
            assert json.loads(outcome.out)


def test_json_keeps_the_name_itself(tmp_path: Path) -> None:
    outputs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    name = ESCAPES["one byte"]
    for k in range(2):
        store_run(tmp_path / "suite", outputs=outputs, family=name, finetuning_seed=k)
    found = json.loads(multibench("instances", tmp_path, "--format", "json").out)
    assert found["rows"][0]["checkpoints"] == f"{name} step 2,000,000"


def test_letters_of_all_languages_are_shown_as_they_are() -> None:
    text = "naïve 日本 \U0001f600 a\tb\nc [/red] \\x"
    assert printable(text) == text


@pytest.mark.parametrize("name", ["[/red]", "a[/]b", "[link=file:///etc]x", "x\x1b[2J"])
def test_a_checkpoint_of_any_name_is_trained_under_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bench = make_bench(tmp_path)
    shutil.copytree(bench.root / "bert", bench.root / name)
    bench.write(checkpoints=[{"path": str(bench.root / name)}], finetuning_seeds=[0])
    run = bench.plan().runs[0]
    written = io.StringIO()
    monkeypatch.setattr(
        progress_module, "Console", lambda **_: Console(file=written, force_terminal=True, width=300)
    )
    bars = BarProgress()
    with bars:
        bars.begin(1, 0)
        bars.started([run])
        bars.step(1, 2, 0.5, 100.0)
        bars._progress.refresh()
        bars.say(f"fetching {name}")
        bars.run_finished(run, "finished", name, 1.0)
    assert "\x1b[2J" not in written.getvalue()
    assert name.replace("\x1b", "\\u001b") in written.getvalue()
    assert "\x1b" not in run_title(run)


def test_lines_are_no_better_served(capsys: pytest.CaptureFixture[str]) -> None:
    LineProgress().say("fetching a\x1b[31mb\rc")
    assert capsys.readouterr().err == "fetching a\\u001b[31mb\\u000dc\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize("name", ["runs", "tmp", "claims", "damaged", "replaced", "RUNS", "index.jsonl"])
def test_a_suite_is_not_called_what_its_own_folder_holds(bench: Bench, name: str) -> None:
    bench.write(name=name)
    for verb in ("plan", "run"):
        sentence = multibench(verb, bench.suite, *bench.options).refusal()
        assert f"a suite cannot be called '{name}'" in sentence
    assert not bench.results.exists()


def test_an_import_is_not_called_so_either(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/index.tsv").write_text("file\n")
    words = ["import", "google-predictions", tmp_path / "runs", "--out", tmp_path / "out"]
    assert "cannot be called 'runs'" in multibench(*words).refusal()
    assert "cannot be called 'tmp'" in multibench(*words, "--name", "tmp").refusal()


@pytest.mark.parametrize("name", ["rte", "squad_v1", "mnli"])
def test_a_task_of_ones_own_has_a_name_of_its_own(bench: Bench, name: str) -> None:
    path = bench.root / "mine.toml"
    text = Path(bench.task("pairs")).read_text()
    path.write_text(text.replace('name = "pairs"', f'name = "{name}"'))
    bench.write(tasks=[str(path)])
    for words in (["plan", bench.suite, *bench.options], ["show", "task", path]):
        sentence = multibench(*words).refusal()
        assert f"calls its task '{name}', which is the name of another task" in sentence
    with pytest.raises(DataError, match="Give it another name"):
        find_task(str(path))


def test_the_facts_of_a_built_in_task_are_that_task_wherever_they_lie(tmp_path: Path) -> None:
    import multibench.tasks

    facts = Path(multibench.tasks.__file__).parent / "facts/rte.toml"
    shutil.copy(facts, tmp_path / "rte.toml")
    assert find_task(str(tmp_path / "rte.toml")) == find_task("rte")
