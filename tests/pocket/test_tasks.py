"""The built-in tasks: fixed data, balanced labels, sound sentences, exact offsets, disjoint words."""

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from multibench.errors import DataError, UnknownNameError
from multibench.pocket import lexicon, vocabulary
from multibench.pocket.acceptability import VIOLATIONS, acceptability
from multibench.pocket.stress import SUBCASES
from multibench.pocket.tasks import POCKET_TASKS, VERSION, fingerprint, split
from multibench.pocket.world import Words
from tests.pocket.recogniser import accepts

# Whoever changes a row changes `VERSION` as well: runs on other data are other runs.
FINGERPRINTS = {
    ("pocket_acceptability", "train"): "35d26b5e3d27bc5bfa83b0860c2d4f61b52e1d3b722e25cc6bfca60f044c1279",
    ("pocket_acceptability", "dev"): "5dd6e90517e847526d43f76c797b98ea2c65a62f94b2bc0240dc9369a3a8952d",
    ("pocket_inference", "train"): "0f4753366b217578ab0d265e10a8ad8cd9347c4d290b108631b3a08752ac3238",
    ("pocket_inference", "dev_matched"): "87a074a03f31e37880412e799560ec7a1647163fff798273c8e760e3c75e45e1",
    (
        "pocket_inference",
        "dev_mismatched",
    ): "1d5767be90dbc96606ddadb91695fc41a81426a30ef32622a249a2339d0e8b2d",
    ("pocket_questions", "train"): "258164790df6027a02c87f6d54a2b5c4f959f53ba917589362c77f5b187836bc",
    ("pocket_questions", "dev"): "d91341e22b9b5eefe2ab917baec2e895dbaf7721c64ce8e6946acf05ce40de02",
    ("pocket_similarity", "train"): "0cba12784528d6a135ec4a55e17d5315583be3ccf2d0bd76022ed3226b23240a",
    ("pocket_similarity", "dev"): "2f1b333b2e059e2b5015224fdade8c1edf5918b4ddc2963f7967715e67b2d1cc",
    ("pocket_stress", "dev"): "1ce58f65defd7218a41c9d809be22139ab5f409f43465de6613964cc875f5b0e",
}
PARTS = [(task.name, part) for task in POCKET_TASKS for part in task.sizes]
TEXTS = ("sentence", "sentence1", "sentence2", "premise", "hypothesis", "context", "question")


def texts(row: dict[str, Any]) -> list[str]:
    return [row[column] for column in TEXTS if column in row]


def test_the_data_of_this_version_is_known() -> None:
    assert VERSION == "1"
    assert {part: fingerprint(*part) for part in PARTS} == FINGERPRINTS


@pytest.mark.parametrize("hash_seed", ["0", "1", "4321"])
def test_hash_randomisation_changes_nothing(hash_seed: str) -> None:
    code = (
        "import json; from multibench.pocket.tasks import fingerprint;"
        "print(json.dumps([fingerprint('pocket_stress', 'dev'), fingerprint('pocket_inference', 'dev_matched')]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(printed) == [
        fingerprint("pocket_stress", "dev"),
        fingerprint("pocket_inference", "dev_matched"),
    ]


def test_generation_depends_on_its_seed_alone() -> None:
    np.random.seed(7)  # noqa: NPY002 - global state must not matter
    once = acceptability("dev", 1, 40)
    np.random.seed(8)  # noqa: NPY002
    assert acceptability("dev", 1, 40) == once
    assert acceptability("dev", 2, 40) != once


@pytest.mark.parametrize("part", PARTS, ids=".".join)
def test_sizes_ids_and_no_duplicates(part: tuple[str, str]) -> None:
    rows = split(*part)
    assert len(rows) == POCKET_TASKS.get(part[0]).sizes[part[1]]
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(isinstance(row["id"], str) for row in rows)
    assert len({tuple(texts(row)) for row in rows}) == len(rows)


def test_train_and_dev_share_no_example_and_no_content_concept() -> None:
    shared = {
        w
        for n in (*lexicon.kind_nouns().values(), *lexicon.sort_nouns().values())
        for w in (n.singular, n.plural)
    }
    shared |= {w for n in lexicon.nouns() if n.sort == "place" for w in (n.singular, n.plural)}
    content = {w for n in lexicon.nouns() for w in (n.singular, n.plural)}
    content |= {w for v in lexicon.verbs() for w in (v.base, v.third, v.participle)}
    content |= {a.word for a in lexicon.adjectives()}
    content -= shared
    for task in POCKET_TASKS:
        if "train" not in task.sizes:
            continue
        train = split(task.name, "train")
        seen = {tuple(texts(row)) for row in train}
        known = {word for row in train for text in texts(row) for word in vocabulary.words(text)} & content
        for part in set(task.sizes) - {"train"}:
            dev = split(task.name, part)
            assert not seen & {tuple(texts(row)) for row in dev}
            assert not known & {word for row in dev for text in texts(row) for word in vocabulary.words(text)}


@pytest.mark.parametrize("part", PARTS, ids=".".join)
def test_every_word_is_one_piece(part: tuple[str, str]) -> None:
    known = vocabulary.load()
    assert all(
        word in known for row in split(*part) for text in texts(row) for word in vocabulary.words(text)
    )


@pytest.mark.parametrize("part", ["train", "dev"])
def test_acceptable_sentences_parse_and_others_do_not(part: str) -> None:
    rows = split("pocket_acceptability", part)
    wrong = [row["sentence"] for row in rows if accepts(row["sentence"]) != bool(row["label"])]
    assert wrong == []
    assert np.mean([row["label"] for row in rows]) == 0.5
    counts = Counter(row["violation"] for row in rows if not row["label"])
    assert set(counts) == set(VIOLATIONS)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_recogniser_refuses_what_it_should() -> None:
    good = [
        "the dog that the cats chase sleeps.".replace("cat", "horse"),
        "no dog ever sleeps.",
        "an owl and a crow sleep.",
    ]
    bad = [
        "the dog that the horses chases sleeps.",
        "some dogs ever sleep.",
        "a owl sleeps.",
        "an owl and a crow sleeps.",
        "the dog sleeps the crow.",
        "the dog does not sleeps.",
        "the dog not sleeps.",
        "these dog sleep.",
        "the dog chases.",
        "the dog near the horses sleep.",
        "the dog sleeps",
    ]
    assert [accepts(text) for text in good] == [True] * len(good)
    assert [text for text in bad if accepts(text)] == []


@pytest.mark.parametrize("part", ["train", "dev_matched", "dev_mismatched"])
def test_inference_labels_are_balanced_and_sentences_sound(part: str) -> None:
    rows = split("pocket_inference", part)
    assert set(Counter(row["label"] for row in rows).values()) == {len(rows) // 3}
    assert [text for row in rows for text in texts(row) if not accepts(text)] == []
    negated = [
        Counter("not" in texts(row)[i].split() for row in rows if row["label"] == 0)[True] for i in (0, 1)
    ]
    assert min(negated) > 0.04 * len(rows) / 3


def test_mismatched_pairs_are_of_other_templates() -> None:
    def share(part: str, word: str) -> float:
        rows = split("pocket_inference", part)
        return float(np.mean([word in row["premise"].split() for row in rows]))

    assert share("train", "that") == share("dev_matched", "that") == 0
    assert share("dev_mismatched", "that") > 0.25
    assert share("dev_mismatched", "and") > 0.08 > share("train", "and") == 0


@pytest.mark.parametrize("part", ["train", "dev"])
def test_similarity_scores_spread_over_the_range(part: str) -> None:
    rows = split("pocket_similarity", part)
    scores = np.array([row["score"] for row in rows])
    assert scores.min() >= 0
    assert scores.max() == 5
    assert np.allclose(scores * 5, np.round(scores * 5))
    assert np.histogram(scores, bins=5, range=(0, 5))[0].min() > 0.08 * len(rows)
    assert [text for row in rows for text in texts(row) if not accepts(text)] == []


@pytest.mark.parametrize("part", ["train", "dev"])
def test_answers_stand_where_their_offsets_say(part: str) -> None:
    rows = split("pocket_questions", part)
    for row in rows:
        answers = row["answers"]
        assert len(answers["text"]) == len(answers["answer_start"])
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text
        assert [s for s in row["context"][:-1].split(". ") if not accepts(s + ".")] == []
        assert row["question"].endswith("?")
    assert np.mean([not row["answers"]["text"] for row in rows]) == pytest.approx(1 / 3, abs=0.01)


def test_stress_pairs_use_only_words_of_the_premise() -> None:
    rows = split("pocket_stress", "dev")
    base = {form: v.concept for v in lexicon.verbs() for form in (v.base, v.third, v.participle) if form}
    for row in rows:
        premise, hypothesis = (
            {base.get(w, w) for w in vocabulary.words(row[side])} for side in ("premise", "hypothesis")
        )
        assert hypothesis <= premise
    counts = Counter((row["heuristic"], row["label"]) for row in rows)
    assert set(counts.values()) == {len(rows) // 12, len(rows) // 4}
    assert all(counts[h, 1] == 3 * counts[h, 0] for h in SUBCASES)
    assert {row["subcase"] for row in rows} == {
        s for h in SUBCASES.values() for names in h.values() for s in names
    }


def test_unknown_names_are_refused_with_what_exists() -> None:
    with pytest.raises(UnknownNameError, match="pocket_inference"):
        split("pocket_inferenz", "train")
    with pytest.raises(DataError, match="dev_matched, dev_mismatched"):
        split("pocket_inference", "dev")


def test_the_two_parts_of_the_lexicon_are_disjoint_and_whole() -> None:
    train, dev, whole = Words.part("train"), Words.part("dev"), Words.part("all")
    for field in ("nouns", "verbs", "adjectives"):
        parts = [
            {w.concept for w in getattr(p, field) if getattr(w, "sort", "") != "place" or field != "nouns"}
            for p in (train, dev)
        ]
        assert not parts[0] & parts[1]
        everything = {w.concept for w in getattr(whole, field)}
        assert {w.concept for p in (train, dev) for w in getattr(p, field)} == everything
    for verb in whole.verbs:
        assert not verb.opposite or any(v.concept == verb.opposite for v in whole.verbs)
