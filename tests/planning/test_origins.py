"""Whom fine-tuning seeds are shared with: nested by default, in the pretraining seed of an origin."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from multibench.errors import SuiteError
from multibench.planning import PlannedRun
from multibench.seeds import Seeds, derive_nested_seeds, derive_seeds
from tests.support.command import multibench
from tests.support.stored import a_record
from tests.support.tiny import RECIPE, Bench, make_bench, make_checkpoint


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture
def wide(bench: Bench) -> Bench:
    """Folders ``bert``, ``bert_1``, ... of one size, and ``large`` of another."""
    for number in range(1, 4):
        make_checkpoint(bench.root / f"bert_{number}", seed=number)
    make_checkpoint(bench.root / "large", seed=5, vocab_size=200)
    return bench


def _path(bench: Bench, name: str, family: str | None = None, **more: Any) -> dict[str, Any]:
    return {"path": str(bench.root / name), **({} if family is None else {"family": family}), **more}


def _seeds(run: PlannedRun) -> Seeds:
    assert run.identity is not None
    assert run.identity.seeds is not None
    return run.identity.seeds


def _by_checkpoint(bench: Bench) -> dict[str, list[Seeds]]:
    """The seeds of the first task's first setting, in the order of the fine-tuning seeds."""
    found: dict[str, list[Seeds]] = {}
    for run in bench.plan().runs:
        found.setdefault(Path(run.checkpoint.id).name, []).append(_seeds(run))
    return found


def test_nested_seeds_differ_between_origins_pretraining_seeds_and_numbers() -> None:
    every = [
        derive_nested_seeds(origin, seed, k)
        for origin in ("multiberts/1", "multiberts/11", "multiberts")
        for seed in (0, 1, 10, "0", "name")
        for k in (0, 1, 10)
    ]
    values = [value for seeds in (*every, derive_seeds(0), derive_seeds(1)) for value in vars(seeds).values()]
    assert len(set(values)) == len(values)
    assert all(0 <= value < 2**63 for value in values)


def test_nested_seeds_never_change() -> None:
    """Whoever changes what these come from makes every stored run unknown."""
    assert derive_nested_seeds("multiberts/109482240", 0, 0) == Seeds(
        head=7306987473292960714, order=4981181346661736831, dropout=8398770982834798838
    )


def test_seeds_of_a_pretraining_seed_are_equal_across_steps_settings_and_tasks(wide: Bench) -> None:
    wide.write(
        checkpoints=[
            _path(wide, "bert", "f", pretraining_seed=0, step=1),
            _path(wide, "bert_1", "f", pretraining_seed=0, step=2),
            _path(wide, "bert_2", "f", pretraining_seed=1, step=1),
        ],
        tasks=[wide.task("pairs"), wide.task("tones")],
        recipe={**RECIPE, "learning_rate": [1e-3, 2e-3], "batch_size": [8, 16]},
    )
    runs = wide.plan().runs
    assert len(runs) == 3 * 2 * 4 * 2
    found: dict[tuple[Any, Any], set[Seeds]] = {}
    for run in runs:
        found.setdefault((run.checkpoint.pretraining_seed, run.finetuning_seed), set()).add(_seeds(run))
    assert all(len(seeds) == 1 for seeds in found.values())
    assert len(set.union(*found.values())) == 4
    assert {run.finetuning_seed_design for run in runs} == {"nested"}
    assert {run.labels()["origin"] for run in runs} == {f"f/{runs[0].checkpoint.parameters}"}


def test_families_and_sizes_have_seeds_of_their_own(wide: Bench) -> None:
    wide.write(
        checkpoints=[
            _path(wide, "bert", "f", pretraining_seed=0),
            _path(wide, "bert_1", "g", pretraining_seed=0),
            _path(wide, "large", "f", pretraining_seed=0),
        ]
    )
    seeds = _by_checkpoint(wide)
    assert len({each for of_one in seeds.values() for each in of_one}) == 6


@pytest.mark.parametrize("size_in_full", [False, True])
def test_a_paired_family_shares_its_seeds(wide: Bench, size_in_full: bool) -> None:
    checkpoints = [
        _path(wide, "bert", "f", pretraining_seed=0),
        _path(wide, "bert_1", "f", pretraining_seed=1),
        _path(wide, "bert_2", "variant", pretraining_seed=0, paired_with="f"),
        _path(wide, "large", "distilled", pretraining_seed=1, paired_with="f"),
    ]
    if size_in_full:
        wide.write(checkpoints=checkpoints[:2])
        origin = wide.plan().runs[0].origin
        checkpoints = [{**c, "paired_with": origin} if "paired_with" in c else c for c in checkpoints]
    wide.write(checkpoints=checkpoints)
    seeds = _by_checkpoint(wide)
    assert seeds["bert"] == seeds["bert_2"]
    assert seeds["bert_1"] == seeds["large"]
    assert not set(seeds["bert"]) & set(seeds["bert_1"])
    assert len({run.run_id for run in wide.plan().runs}) == 8


def test_a_checkpoint_can_be_paired_with_a_family_of_the_catalogue(bench: Bench) -> None:
    bench.write(checkpoints=[_path(bench, "bert", "mine", pretraining_seed=3, paired_with="multiberts")])
    (first, second) = bench.plan().runs
    assert first.origin == "multiberts/109482240"
    assert _seeds(second) == derive_nested_seeds("multiberts/109482240", 3, 1)


def test_checkpoints_without_pretraining_seed_have_seeds_of_their_own_wherever_they_are(wide: Bench) -> None:
    wide.write(checkpoints=[_path(wide, "bert"), _path(wide, "bert_1")])
    before = _by_checkpoint(wide)
    assert len({seeds for of_one in before.values() for seeds in of_one}) == 4
    (wide.root / "bert").rename(wide.root / "moved")
    wide.write(checkpoints=[_path(wide, "moved"), _path(wide, "bert_1")])
    assert _by_checkpoint(wide)["moved"] == before["bert"]


def test_a_checkpoint_of_the_catalogue_without_pretraining_seed_takes_its_name(bench: Bench) -> None:
    name = "google-bert/bert-base-uncased"
    shutil.copytree(bench.root / "bert", bench.root / "checkpoints" / name)
    bench.write(checkpoints=[{"ids": name}])
    from multibench import api

    run = api.plan(bench.suite, bench.results, bench.data, bench.root / "checkpoints").runs[1]
    assert _seeds(run) == derive_nested_seeds(run.origin, name, 1)
    assert run.origin == f"google_bert/{run.checkpoint.parameters}"


def test_shared_seeds_are_those_of_version_1(wide: Bench) -> None:
    wide.write(
        checkpoints=[_path(wide, "bert", "f", pretraining_seed=0), _path(wide, "bert_1", "g")],
        finetuning_seed_design="shared",
    )
    runs = wide.plan().runs
    assert [_seeds(run) for run in runs] == [derive_seeds(0), derive_seeds(1)] * 2
    assert {run.labels()["finetuning_seed_design"] for run in runs} == {"shared"}


REFUSED = {
    "a family that nobody knows": ({"paired_with": "multibert"}, "did you mean 'multiberts'?"),
    "a size that nobody knows": ({"paired_with": "multiberts/7"}, "has the sizes 109482240: which of them"),
    "several sizes": (
        {"paired_with": "miniatures"},
        "Give family and size, such as 'paired_with: miniatures/",
    ),
    "nothing": ({"paired_with": ""}, "'' is no family of the catalogue or of this suite"),
    "a number": ({"paired_with": 5}, "paired_with"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_pair_that_means_nothing_is_refused(bench: Bench, name: str) -> None:
    changes, sentence = REFUSED[name]
    bench.write(checkpoints=[_path(bench, "bert", "f", pretraining_seed=0, **changes)])
    assert sentence in multibench("plan", bench.suite, *bench.options).refusal()


def test_pairs_of_pairs_are_refused(wide: Bench) -> None:
    wide.write(
        checkpoints=[
            _path(wide, "bert", "f", pretraining_seed=0, paired_with="g"),
            _path(wide, "bert_1", "g", pretraining_seed=0, paired_with="f"),
        ]
    )
    refusal = multibench("plan", wide.suite, *wide.options).refusal()
    assert "g is itself paired with f; name that instead" in refusal
    assert "line" in refusal


def test_a_checkpoint_selected_twice_has_one_pair(bench: Bench) -> None:
    own = _path(bench, "bert", "f", pretraining_seed=0)
    bench.write(checkpoints=[own, {**own, "paired_with": "multiberts"}])
    with pytest.raises(SuiteError, match="twice, as paired with nothing and multiberts"):
        bench.plan()


def _store_as_diverged(bench: Bench) -> None:
    """What the suite's runs would leave behind if there were no predictions."""
    for run in bench.plan().runs:
        assert run.identity is not None
        record = {
            **a_record()[1],
            "status": "diverged",
            "reason": "the loss became NaN",
            "identity": run.identity.to_dict(),
            "labels": run.labels(),
            "suite": {"name": "tiny", "recipe": "modern_glue", "selection": "none"},
            "settings": run.settings.model_dump(mode="json"),
            "evaluations": {},
            "training": {},
            "provenance": {},
        }
        bench.store.write(run.identity.run_id, record, {}, {})


def test_a_folder_of_the_other_design_is_continued_only_if_the_suite_says_so(bench: Bench) -> None:
    bench.write(finetuning_seed_design="shared")
    _store_as_diverged(bench)
    assert (bench.plan().todo(), bench.plan().remarks) == ([], ())
    bench.write()
    sentence = "2 stored runs are `shared`: set `finetuning_seed_design: shared` to go on with them."
    plan = bench.plan()
    assert plan.count("missing") == 2
    assert plan.remarks[0].startswith(sentence)
    for verb in ("plan", "status"):
        assert sentence in multibench(verb, bench.suite, *bench.options).out
    again = multibench(
        "plan", bench.suite, *bench.options, "--set", "finetuning_seed_design=shared", "--json"
    )
    found = json.loads(again.out)
    assert (found["missing"], found["finetuning_seed_design"], found["remarks"]) == (0, "shared", [])
    _store_as_diverged(bench)
    assert len(bench.store.run_ids()) == 4
    assert bench.plan().todo() == []
    bench.write(finetuning_seed_design="shared")
    assert (
        bench.plan().remarks[0].startswith("2 stored runs are `nested`: set `finetuning_seed_design: nested`")
    )


def test_runs_of_another_origin_are_said_not_to_count(bench: Bench) -> None:
    own = _path(bench, "bert", "f", pretraining_seed=0)
    bench.write(checkpoints=[own])
    _store_as_diverged(bench)
    before = bench.plan().runs[0].origin
    bench.write(checkpoints=[{**own, "paired_with": "multiberts"}])
    (remark,) = bench.plan().remarks
    assert remark.startswith("2 stored runs do not count: their seeds that noise is drawn from differ (")
    assert f"stored for the origin {before}, now multiberts/109482240" in remark
    assert "no table takes both" in remark


def test_a_run_says_which_stored_runs_do_not_count(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    from multibench.execution.progress import LineProgress

    bench.write(finetuning_seed_design="shared", finetuning_seeds=[0])
    _store_as_diverged(bench)
    bench.write()
    LineProgress().open_suite(bench.plan(), 2)
    assert "1 stored run is `shared`: set `finetuning_seed_design: shared` to go on with it." in (
        capsys.readouterr().err
    )


def test_the_plan_says_why_seeds_are_nested(wide: Bench) -> None:
    pair = [_path(wide, name, "f", pretraining_seed=k) for k, name in enumerate(("bert", "bert_1"))]
    wide.write(checkpoints=pair)
    explained = multibench("plan", wide.suite, *wide.options, "--explain").out
    assert "nested fine-tuning seeds" in explained
    assert "was 2.9 points so, and 4.3" in explained
    wide.write(checkpoints=pair, finetuning_seed_design="shared")
    told = multibench("plan", wide.suite, *wide.options).out
    assert "`finetuning_seed_design: nested` costs the same" in told
    wide.write(checkpoints=pair[:1], finetuning_seed_design="shared")
    assert "costs the same" not in multibench("plan", wide.suite, *wide.options).out


def test_another_design_is_refused_with_its_line(bench: Bench) -> None:
    bench.write(finetuning_seed_design="crossed")
    refusal = multibench("plan", bench.suite, *bench.options).refusal()
    assert "finetuning_seed_design" in refusal
    assert "'nested' or 'shared'" in refusal
