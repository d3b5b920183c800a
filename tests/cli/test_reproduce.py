"""``reproduce``, ``list references`` and ``show reference`` as a user sees them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

from multibench.reference import REFERENCES
from tests.support.command import multibench
from tests.support.stored import store_run

F1 = (0.8850, 0.8862, 0.8841, 0.8855, 0.8847)
"""Around the published 88.52."""


def _stored(folder: Path) -> Path:
    for seed, score in enumerate(F1):
        store_run(
            folder / "mine", outputs=np.zeros((4, 2), dtype=np.float32), task="squad_v1", evaluation="squad_v1.dev",
            pretraining_seed=None, step=None, checkpoint="google-bert/bert-base-uncased", family="google_bert",
            finetuning_seed=seed, metrics={"answer_f1": score, "exact_match": 0.8 + seed / 1000}, data="squad",
            learning_rate=3e-5, batch_size=12, epochs=2, max_length=384, window_overlap=128,
        )  # fmt: skip
    return folder


def test_the_verb_in_its_formats(tmp_path: Path) -> None:
    results = _stored(tmp_path)
    outcome = multibench("reproduce", "hf_squad", results)
    assert (outcome.code, outcome.err) == (0, "")
    assert "match" in outcome.out
    assert "Margin: 1 point," in outcome.out
    [f1, exact] = csv.DictReader(
        io.StringIO(multibench("reproduce", "hf_squad", results, "--format", "csv").out)
    )
    assert (f1["verdict"], exact["published"]) == ("match", "0.8122")
    assert float(f1["difference_low"]) < 0 < float(f1["difference_high"])
    rows = json.loads(
        multibench("reproduce", "hf_squad", results, "--margin", "0.0005", "--format", "json").out
    )["rows"]
    assert rows[0]["verdict"] == "cannot tell"
    assert r"\toprule" in multibench("reproduce", "hf_squad", results, "--format", "latex").out
    none = multibench("reproduce", "hf_squad", results, "--where", "finetuning_seed=7")
    assert "no run is stored" in none.out
    assert "published" in multibench("reproduce", "hf_squad", "--format", "markdown").out


def test_the_verb_refuses_in_a_sentence(tmp_path: Path) -> None:
    assert "There is no reference" in multibench("reproduce", "nothing").refusal()
    assert "could be 2 points or 200" in multibench("reproduce", "hf_squad", "--margin", "2").refusal()
    assert "fraction between 0 and 1" in multibench("reproduce", "hf_squad", "--margin", "200pt").refusal()
    assert "no results folder" in multibench("reproduce", "hf_squad", tmp_path / "none").refusal()


def test_references_are_listed_and_shown() -> None:
    assert "multiberts_e1" in multibench("list", "references").out
    listed = json.loads(multibench("list", "references", "--json").out)
    assert [entry["name"] for entry in listed] == REFERENCES.names()
    shown = json.loads(multibench("show", "reference", "multiberts_e2", "--json").out)
    assert shown["rows"][0]["scores"]["squad_v2"]["exact_match"]["value"] == 0.721923
    assert "stored output" in multibench("show", "reference", "multiberts_e2").out
    assert "There is no reference 'x'" in multibench("show", "reference", "x").refusal()
