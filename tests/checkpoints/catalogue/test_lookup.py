import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from multibench.checkpoints import FAMILIES, Checkpoint, all_checkpoints, find, read_family, select
from multibench.checkpoints.catalogue import lookup as catalog
from multibench.checkpoints.catalogue.checkpoint import SOURCE_KINDS, STATUSES
from multibench.checkpoints.catalogue.families import FACTS
from multibench.errors import CheckpointError, MultibenchError, NameTakenError, SuiteError, UnknownNameError
from multibench.registry import Registry

# Further families may join; these eight are of the reference.
SIZES = {
    "multiberts": 170,
    "google_bert": 7,
    "miniatures": 24,
    "wwm": 4,
    "distilbert": 7,
    "nvidia_nemo": 10,
    "nvidia_megatron": 2,
    "nvidia_dle": 12,
}
REFERENCE = [c for name in SIZES for c in FAMILIES.get(name).checkpoints]


def ids(checkpoints: Iterable[Checkpoint]) -> list[str]:
    return [checkpoint.id for checkpoint in checkpoints]


# --- the facts ---


def test_each_family_has_its_checkpoints() -> None:
    assert {name: len(FAMILIES.get(name).checkpoints) for name in SIZES} == SIZES
    assert len(REFERENCE) == 236


def test_multiberts_are_25_final_and_145_snapshots() -> None:
    everything = FAMILIES.get("multiberts").checkpoints
    final = [c for c in everything if "-step_" not in c.id]
    assert [c.pretraining_seed for c in final] == list(range(25))
    assert {c.step for c in final} == {2_000_000}
    thousands = [*range(0, 201, 20), *range(300, 2001, 100)]
    assert len(thousands) == 29
    wanted = {f"google/multiberts-seed_{n}-step_{k}k": (n, 1000 * k) for n in range(5) for k in thousands}
    assert {c.id: (c.pretraining_seed, c.step) for c in everything if "-step_" in c.id} == wanted


# Written out from the reference page, independently of the formula.
COUNTS = {
    "google/multiberts-seed_0": 109_482_240,
    "google/multiberts-seed_4-step_1100k": 109_482_240,
    "google-bert/bert-base-uncased": 109_482_240,
    "google-bert/bert-base-cased": 108_310_272,
    "google-bert/bert-large-uncased": 335_141_888,
    "google-bert/bert-large-cased": 333_579_264,
    "google-bert/bert-large-cased-whole-word-masking": 333_579_264,
    "google/bert_uncased_L-2_H-128_A-2": 4_385_920,
    "google/bert_uncased_L-4_H-256_A-4": 11_170_560,
    "google/bert_uncased_L-8_H-512_A-8": 41_373_184,
    "google/bert_uncased_L-10_H-768_A-12": 95_306_496,
    "google/bert_uncased_L-12_H-768_A-12": 109_482_240,
    "distilbert/distilbert-base-uncased": 66_362_880,
    "distilbert/distilbert-base-cased": 65_190_912,
    "nvidia/megatron-bert-cased-345m": 333_640_704,
    "nvidia/megatron-bert-uncased-345m": 335_213_568,
    "nvidia/nemo/bertlargeuncased": 335_141_888,
    # No source gives the vocabulary, or the width of the feed-forward layers.
    "google-bert/bert-base-multilingual-cased": None,
    "distilbert/distilbert-base-german-cased": None,
    "nvidia/nemo/qa_squadv1_1_bertbase": None,
    "nvidia/bert_pyt_ckpt_distilled_4l_288d_ft_sst2_amp": None,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name: Any) -> None:
    assert find(name).parameters == COUNTS[name]


@pytest.mark.parametrize("checkpoint", all_checkpoints(), ids=lambda c: c.id)
def test_every_fact_has_a_source_and_a_status(checkpoint: Any) -> None:
    for fact in FACTS:
        value = getattr(checkpoint, fact)
        if value is None or value == ():
            assert fact not in checkpoint.provenance
        else:
            evidence = checkpoint.provenance[fact]
            assert evidence.source.strip()
            assert evidence.status in STATUSES
    assert checkpoint.sources
    for source in checkpoint.sources:
        assert source.location
        assert source.kind in SOURCE_KINDS
        assert source.evidence.source.strip()
        assert "{" not in source.location
    assert any(source.weights for source in checkpoint.sources)
    assert not any("{" in text for text in (checkpoint.id, *checkpoint.names, *checkpoint.notes))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_every_family_is_described(family: Any) -> None:
    assert all([family.title, family.description, family.paper, family.notes, family.checkpoints])
    assert {c.family for c in family.checkpoints} == {family.name}
    assert json.loads(json.dumps(family.to_dict()))["checkpoints"] == len(family.checkpoints)


def test_ids_and_names_are_unique() -> None:
    hub = [[s.location for s in c.sources if s.kind == "hub"] for c in all_checkpoints()]
    names = [n for c, more in zip(all_checkpoints(), hub, strict=True) for n in {c.id, *c.names, *more}]
    assert len(names) == len(set(names))


def test_what_was_seen_is_told_from_what_follows_a_pattern() -> None:
    seen = [c for c in FAMILIES.get("multiberts").checkpoints if c.status == "seen"]
    assert (
        len(seen) == 29 + 2 + 4
    )  # all snapshots of seed 0; seed 1: 200k, 2000k; seeds 2, 3: 0k; seed 4: 0k, 1100k
    mirrors = [s for c in REFERENCE for s in c.sources if s.note == "mirror"]
    assert len(mirrors) == 170
    assert sum(s.evidence.status == "seen" for s in mirrors) == 9
    assert find("google/multiberts-seed_0").status == "by pattern"


@pytest.mark.shared
def test_the_catalogue_equals_the_reference_table(shared_dir: Path) -> None:
    with (shared_dir / "reference" / "checkpoints.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["checkpoint_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 236
    assert sorted(ids(REFERENCE)) == sorted(rows)

    def text(value: object) -> str:
        return "" if value is None else str(value)

    for c in REFERENCE:
        row = rows[c.id]
        for size in ("layers", "hidden", "heads", "intermediate", "vocab_size"):
            assert text(getattr(c.architecture, size)) == row[size], (c.id, size)
        facts = (c.family, c.cased, c.step, c.pretraining_seed, c.parameters_stated)
        columns = ("family", "cased", "pretrain_steps", "pretrain_seed", "params_stated")
        assert [text(fact) for fact in facts] == [row[column] for column in columns], c.id
        if row["params_computed"]:
            assert c.parameters == int(row["params_computed"]), c.id
        # Where the table does not say how sure an id is, the catalogue must not call it seen.
        assert c.status == row["status"] or (not row["status"] and c.status == "by pattern"), c.id
        if row["alias"]:
            where = " ".join(f"{s.location} {s.file}" for s in c.sources)
            last = row["alias"].replace(":", "").split(" ")[-1].split("/")[-1]
            assert last in where, c.id
        assert ("fine-tuned" in row["notes"] or "SQuAD" in row["notes"] or "SST-2" in row["notes"]) <= bool(
            c.finetuned_on
        ), c.id


# --- find ---


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("google/multiberts-seed_7", "google/multiberts-seed_7"),
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("BERT-Tiny", "google/bert_uncased_L-2_H-128_A-2"),
        ("distilbert-base-cased", "distilbert/distilbert-base-cased"),
        ("MultiBertGunjanPatrick/multiberts-seed-3-1400k", "google/multiberts-seed_3-step_1400k"),
        ("MultiBertGunjanPatrick/multiberts-seed-24", "google/multiberts-seed_24"),
        ("qa_squadv1.1_bertbase", "nvidia/nemo/qa_squadv1_1_bertbase"),
        ("bert_pyt_ckpt_base_qa_squad11_amp", "nvidia/bert_pyt_ckpt_base_qa_squad11_amp"),
    ],
)
def test_find_by_any_name(name: Any, found: Any) -> None:
    assert find(name).id == found


def test_an_unknown_name_gets_near_matches_and_families_not_236_ids() -> None:
    with pytest.raises(UnknownNameError) as error:
        find("google/multiberts-seed_25")
    message = str(error.value)
    assert "google/multiberts-seed_2" in message
    assert "multiberts (170)" in message
    assert len(message) < 600


def test_one_name_for_two_checkpoints_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = read_family(family_file(tmp_path, name="rivals", id="google-bert/bert-base-uncased"))
    registry = Registry("family", built_in=catalog._built_in)
    registry.register(family.name, family)
    monkeypatch.setattr(catalog, "FAMILIES", registry)
    with pytest.raises(NameTakenError, match=r"\(google_bert\).*\(rivals\)"):
        catalog._index((*SIZES, "rivals"))


# --- select ---


def test_by_default_the_last_step_of_every_run() -> None:
    assert ids(select("multiberts")) == [f"google/multiberts-seed_{n}" for n in range(25)]


def test_steps_and_seeds() -> None:
    chosen = select("multiberts", pretraining_seeds=[3, 1], steps=[2_000_000, 0])
    assert [(c.pretraining_seed, c.step) for c in chosen] == [(1, 0), (1, 2_000_000), (3, 0), (3, 2_000_000)]
    assert ids(chosen)[1] == "google/multiberts-seed_1"
    assert len(select("multiberts", steps="all")) == 165
    assert len(select("multiberts", steps=[1_000_000, 2_000_000])) == 5 + 25


def test_aliases_only_when_asked_for() -> None:
    pair = select("multiberts", pretraining_seeds=[2], aliases=True)
    assert ids(pair) == ["google/multiberts-seed_2", "google/multiberts-seed_2-step_2000k"]
    assert pair[1].alias_of == pair[0].id
    assert len(select("multiberts", steps="all", aliases=True)) == 170


def test_no_two_selected_checkpoints_are_one() -> None:
    chosen = select(steps="all", finetuned=True)
    seeded = [(c.family, c.pretraining_seed, c.step) for c in chosen if c.pretraining_seed is not None]
    assert len(seeded) == len(set(seeded))


def test_finetuned_only_when_asked_for() -> None:
    assert len(select("wwm")) == 2
    assert len(select("wwm", finetuned=True)) == 4
    assert len(select("google_bert", languages=True)) == 7
    chosen = select("distilbert", languages=True)
    assert {c.language for c in chosen} == {None, "German", "more than 100 languages"}
    assert {c.finetuned_on for c in select(finetuned="squad_v2")} == {"squad_v2"}
    assert len(select("nvidia_nemo", finetuned="squad_v2")) == 4


def test_sizes_in_order_where_seeds_and_steps_are_unknown() -> None:
    sizes = [c.parameters for c in select("miniatures")]
    assert len(sizes) == 24
    assert sizes == sorted(size or 0 for size in sizes)


def test_several_families() -> None:
    assert len(select(["miniatures", "distilbert", "miniatures"])) == 24 + 2
    assert len(select(list(SIZES))) == 25 + 4 + 24 + 2 + 2 + 2 + 2 + 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pretraining_seeds": [3, 25]}, r"pretraining seed 25; there are: 0-24"),
        ({"steps": [2000]}, r"step 2000; .*did you mean 2000000"),
        ({"steps": [12_345]}, r"step 12345; there are: 0, 20000"),
        ({"pretraining_seeds": []}, "empty"),
        ({"pretraining_seeds": [24], "steps": [0]}, "step 0; there are: 2000000"),
        ({"steps": "final"}, "give 'last', 'all' or a list"),
        ({"finetuned": "rte"}, "fine-tuned on 'rte'; there are some for: none"),
    ],
)
def test_an_empty_selection_says_what_exists(asked: Any, message: Any) -> None:
    with pytest.raises(SuiteError, match=message):
        select("multiberts", **asked)


def test_seeds_of_a_family_without_known_seeds() -> None:
    with pytest.raises(SuiteError, match="none is known"):
        select("google_bert", pretraining_seeds=[0])


def test_an_unknown_family_gets_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="multiberts"):
        select("multibert")


# --- to_dict ---


def test_to_dict_is_json_with_every_promised_key() -> None:
    entry = json.loads(json.dumps(find("google/multiberts-seed_1-step_2000k").to_dict()))
    promised = {
        "id", "family", "pretraining_seed", "step", "parameters", "parameters_stated", "architecture",
        "cased", "language", "sources", "licence", "status", "alias_of", "notes", "finetuned_on", "names", "provenance",
    }  # fmt: skip
    assert promised == set(entry)
    assert entry["pretraining_seed"] == 1
    assert entry["step"] == 2_000_000
    assert entry["alias_of"] == "google/multiberts-seed_1"
    assert entry["provenance"]["alias_of"]["status"] == "inferred"
    assert [source["kind"] for source in entry["sources"]] == ["hub", "tf_zip", "hub"]
    json.dumps([c.to_dict() for c in all_checkpoints()])


# --- family files ---

FAMILY = """
name = "{name}"
title = "T"
description = "D"
paper = "P"
[evidence]
page = {{ status = "seen", source = "a page" }}
[common]
architecture = {{ model_type = "bert", layers = 2, hidden = 8, heads = 2, intermediate = 16 }}
licence = "MIT"
{common}
[[checkpoints]]
id = "{id}"
sources = [{{ kind = "folder", location = "a/b" }}]
{checkpoint}
{rest}
"""


def family_file(folder: Path, **parts: str) -> Path:
    defaults = {
        "name": "mine",
        "common": 'evidence = { default = "page" }',
        "id": "one",
        "checkpoint": "",
        "rest": "",
    }
    path = folder / "family.toml"
    path.write_text(FAMILY.format(**{**defaults, **parts}))
    return path


def test_a_family_of_ones_own(tmp_path: Path) -> None:
    each = "each = { pretraining_seed = [0, 1], step = [0, 5000], layers = [1, 3] }"
    family = read_family(family_file(tmp_path, id="s{pretraining_seed}-{step_k}k-L{layers}", checkpoint=each))
    assert len(family.checkpoints) == 8
    last = family.checkpoints[-1]
    assert (last.id, last.pretraining_seed, last.step, last.architecture.layers) == ("s1-5k-L3", 1, 5000, 3)
    assert family.licence == "MIT"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"common": ""}, "'one' states id without a source"),
        ({"common": 'evidence = { id = "page" }'}, "'one' states architecture without a source"),
        ({"common": 'evidence = { default = "pages" }'}, "not 'pages'"),
        ({"checkpoint": "licens = 'MIT'"}, "'licens' is not known.*did you mean 'licence'"),
        ({"checkpoint": "each = { csed = [true] }"}, "'csed' is not known.*did you mean 'cased'"),
        ({"checkpoint": "architecture = { hiden = 3 }"}, "'hiden' is not known.*did you mean 'hidden'"),
        ({"checkpoint": "evidence = { stp = 'page' }"}, "'stp' is not known.*did you mean 'step'"),
        ({"checkpoint": "alias_of = 'two'"}, "alias of 'two'"),
        ({"rest": "[details.two]\nnotes = ['x']"}, "not there: two"),
        ({"rest": "[[seen]]\nsource = 'a card'\nnames = ['tw*']"}, r"'tw\*', which matches nothing"),
        ({"rest": "nonsense"}, "not valid TOML"),
        ({"id": "{seed}"}, "lacks or misuses something: KeyError"),
        ({"checkpoint": "architecture = { heads = 3 }"}, "8 hidden units do not divide into 3 heads"),
    ],
)
def test_a_bad_family_file_is_refused_with_a_reason(tmp_path: Path, parts: Any, message: Any) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        read_family(family_file(tmp_path, **parts))
    assert isinstance(error.value, MultibenchError)
    assert "family.toml" in str(error.value)


def test_a_missing_family_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_family(tmp_path / "none.toml")
