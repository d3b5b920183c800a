"""A family does not mix languages in silence: what reads texts in another way is left out, or told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multibench import api
from multibench.checkpoints import FAMILIES
from tests.support.command import multibench
from tests.support.tiny import VOCABULARY, Bench, make_bench, make_checkpoint, write_vocabulary


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path)
    for seed in range(3):
        make_checkpoint(bench.root / f"seed_{seed}", seed=seed)
    return bench


def _write(bench: Bench, **last: object) -> None:
    entries = [
        {"path": str(bench.root / f"seed_{seed}"), "family": "mine", "pretraining_seed": seed}
        for seed in range(3)
    ]
    entries[2] |= last
    bench.write(checkpoints=entries, finetuning_seeds=[0])


def _other_words(folder: Path) -> None:
    write_vocabulary(folder, [*VOCABULARY[:5], *reversed(VOCABULARY[5:])])


def _cased(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')


def _accents(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"strip_accents": false}')


@pytest.mark.parametrize("change", [_other_words, _cased, _accents])
def test_seeds_with_several_vocabularies_are_told(bench: Bench, change: object) -> None:
    _write(bench)
    assert not any("vocabularies" in remark for remark in bench.plan().remarks)
    change(bench.root / "seed_2")  # type: ignore[operator]
    (remark,) = (r for r in bench.plan().remarks if "vocabularies" in r)
    assert remark.startswith("The pretraining seeds of mine have 2 vocabularies: ")
    assert "seed_2. Seeds of one procedure share theirs" in remark
    bench.run()
    for words in (("scores", bench.results), ("variance", bench.results)):
        assert "The pretraining seeds of mine have 2 vocabularies" in multibench(*words).out
    notes = json.loads(multibench("scores", bench.results, "--format", "json").out)["notes"]
    assert any("have 2 vocabularies" in note for note in notes)


def test_checkpoints_of_two_families_may_differ(bench: Bench) -> None:
    _other_words(bench.root / "seed_2")
    _write(bench, family="theirs")
    assert not any("vocabularies" in remark for remark in bench.plan().remarks)


@pytest.mark.parametrize(("family", "english", "all_"), [("google_bert", 4, 7), ("distilbert", 2, 4)])
def test_a_family_of_the_catalogue_is_its_english_checkpoints_unless_more_is_asked_for(
    tmp_path: Path, family: str, english: int, all_: int
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"checkpoints: {{family: {family}}}\ntasks: rte\nfinetuning_seeds: 0\n")
    plan = api.plan(path, tmp_path / "results")
    assert len({run.checkpoint.id for run in plan.runs}) == english
    (remark,) = (r for r in plan.remarks if "other languages" in r)
    others = [c.id for c in FAMILIES.get(family).checkpoints if c.language is not None]
    assert all(name in remark for name in others)
    path.write_text(path.read_text().replace("}\n", ", include_languages: true}\n", 1))
    plan = api.plan(path, tmp_path / "results")
    assert len({run.checkpoint.id for run in plan.runs}) == all_
    assert not any("other languages" in remark for remark in plan.remarks)
    path.write_text(f"checkpoints: {{ids: {others}}}\ntasks: rte\nfinetuning_seeds: 0\n")
    assert len(api.plan(path, tmp_path / "results").runs) == len(others)
