"""``list`` and ``show`` say what is easily mistaken, where one meets it."""

from __future__ import annotations

import json

import pytest

from tests.support.command import multibench


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("multiberts", "28 or 29 snapshots a run"),
        ("multiberts", "step_2000k is presumably the final checkpoint"),
        ("miniatures", "The miniature of 12 layers and width 768 is not BERT-Base"),
        ("google_bert", "google/bert_uncased_L-12_H-768_A-12 has the shape of BERT-Base"),
    ],
)
def test_the_list_of_a_familys_checkpoints_ends_in_its_notes(family: str, said: str) -> None:
    outcome = multibench("list", "checkpoints", "--family", family)
    assert outcome.code == 0
    assert said in " ".join(outcome.out.split())
    assert said in " ".join(multibench("show", "family", family).out.split())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("google/multiberts-seed_3-step_0k", "28 or 29 snapshots a run"),
        ("google/multiberts-seed_3-step_0k", "not counted among the 28 steps of the README"),
        ("google/bert_uncased_L-12_H-768_A-12", "retrained; not google-bert/bert-base-uncased"),
        ("google-bert/bert-base-uncased", "belongs to the miniatures: it is another pretraining run"),
    ],
)
def test_a_checkpoint_is_shown_with_what_it_is_mistaken_for(name: str, said: str) -> None:
    shown = json.loads(multibench("show", "checkpoint", name, "--json").out)
    assert any(said in note for note in (*shown["notes"], *shown["family_notes"]))


def test_the_list_of_families_says_where_the_notes_are() -> None:
    assert "`multibench show family NAME`" in multibench("list", "families").out
    listed = json.loads(multibench("list", "families", "--json").out)
    assert all(family["notes"] for family in listed)
